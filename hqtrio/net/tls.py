"""TLS contexts: version 1.3 only, both sides authenticated, one pinned certificate per side."""

from __future__ import annotations

import os
import ssl
from typing import Final

from hqtrio.errors import InputError
from hqtrio.net.identity import Bundle, parse_bundle

MFD_NOEXEC_SEAL: Final = 0x8  # Linux 6.3; a hardened node may demand it, an older kernel refuses it


def server_context(secret_key: str) -> ssl.SSLContext:
    """For the port of one role: proves to be the server, lets in the role's credential only."""
    bundle = parse_bundle(secret_key, "secret_key")
    if bundle.server_key is None:
        raise InputError("Cannot serve with this access record: it lacks the server's key")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0
    context.verify_mode = ssl.CERT_REQUIRED
    _load(context, bundle.server_certificate, bundle.server_key, bundle.role_certificate)
    return context


def client_context(secret_key: str) -> tuple[ssl.SSLContext, str]:
    """For a peer of the server, with the name that the server's certificate must carry."""
    bundle: Bundle = parse_bundle(secret_key, "secret_key")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks the name
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    _load(context, bundle.role_certificate, bundle.role_key, bundle.server_certificate)
    return context, bundle.server_name


def _load(context: ssl.SSLContext, certificate: str, key: str, trusted: str) -> None:
    try:
        load_identity(context, certificate, key)
        context.load_verify_locations(cadata=trusted)
    except ssl.SSLError as error:
        raise InputError(
            f"Cannot use the credential of this access record ({error.reason}); make a new one"
        ) from error


def load_identity(context: ssl.SSLContext, certificate: str, key: str) -> None:
    """Give the context its certificate and key. `ssl` wants a path, so the file is in memory."""
    try:
        fd = _open_memory()
    except (OSError, AttributeError):
        _load_through_pipes(context, certificate, key)
        return
    with open(fd, "wb") as file:
        file.write((certificate + key).encode())
        file.flush()
        context.load_cert_chain(f"/proc/self/fd/{fd}")


def _open_memory() -> int:
    try:
        return os.memfd_create("identity", os.MFD_CLOEXEC | MFD_NOEXEC_SEAL)
    except OSError:
        return os.memfd_create("identity", os.MFD_CLOEXEC)


def _load_through_pipes(context: ssl.SSLContext, certificate: str, key: str) -> None:
    """Where there are no memory files: a pipe holds more than a certificate, and is read once."""
    ends: list[int] = []
    try:
        for text in (certificate, key):
            readable, writable = os.pipe()
            ends.append(readable)
            with open(writable, "wb") as file:
                file.write(text.encode())
        context.load_cert_chain(*(f"/dev/fd/{end}" for end in ends))
    finally:
        for end in ends:
            os.close(end)
