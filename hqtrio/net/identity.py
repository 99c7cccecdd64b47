"""The three identities of a server and the PEM bundles that carry them.

Server, client role and worker role have a self-signed certificate each, and there is no authority
above them: whoever talks to a peer trusts exactly the one certificate that he expects. A bundle
holds, in this order: the role's certificate and key, the server's certificate, and in the server's
own file the server's key. A line before them says by which name the server's certificate is
checked.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final

from hqtrio.errors import InputError

DOMAIN: Final = ".hqtrio.invalid"

_NAME_LINE: Final = "Server name: "
_BLOCK: Final = re.compile(
    r"-----BEGIN (CERTIFICATE|PRIVATE KEY)-----\n[A-Za-z0-9+/=\n]+-----END \1-----\n"
)
_NAME: Final = re.compile(rf"^{_NAME_LINE}([a-z0-9-]+{re.escape(DOMAIN)})$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Bundle:
    """What one `secret_key` says; PEM texts. Its repr shows no key."""

    server_name: str
    role_certificate: str
    role_key: str
    server_certificate: str
    server_key: str | None

    def __repr__(self) -> str:
        return f"Bundle({self.server_name})"

    def without_server_key(self) -> str:
        """The bundle as a client or worker gets it."""
        return _format(
            self.server_name, self.role_certificate, self.role_key, self.server_certificate
        )


def server_name(uid: str) -> str:
    """The fixed name in the server's certificate: it identifies the server, not a host."""
    label = uid.lower()
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", label):
        label = "x-" + hashlib.sha256(uid.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return label + DOMAIN


def parse_bundle(text: str, where: str) -> Bundle:
    """The parts of a bundle; InputError names `where` and never quotes the text."""
    blocks = [(match[1], match[0]) for match in _BLOCK.finditer(text.replace("\r\n", "\n"))]
    kinds = [kind for kind, _ in blocks]
    name = _NAME.search(text.replace("\r\n", "\n"))
    order = ["CERTIFICATE", "PRIVATE KEY", "CERTIFICATE", "PRIVATE KEY"]
    if kinds not in (order[:3], order) or name is None:
        raise InputError(
            f"Cannot load access record from {where}: it is not a credential of this program; "
            "make access files with `hqtrio server generate-access`"
        )
    pem = [block for _, block in blocks]
    return Bundle(name[1], pem[0], pem[1], pem[2], pem[3] if len(pem) == 4 else None)


def make_bundles(uid: str) -> tuple[str, str]:
    """New secrets for the client and the worker port, each with the server's key."""
    name = server_name(uid)
    label = name.removesuffix(DOMAIN)
    server = make_identity(f"hqtrio server {label}", server_name=name)
    client, worker = (make_identity(f"hqtrio {role} {label}") for role in ("client", "worker"))
    return _format(name, *client, *server), _format(name, *worker, *server)


def make_identity(common_name: str, *, server_name: str | None = None) -> tuple[str, str]:
    """A new certificate and its key, valid whatever the clock of a node says."""
    # Here and not above: it takes longer to import than most commands take to run.
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])
    usage = ExtendedKeyUsageOID.SERVER_AUTH if server_name else ExtendedKeyUsageOID.CLIENT_AUTH
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.datetime(2000, 1, 1))
        .not_valid_after(datetime.datetime(9999, 12, 31, 23, 59, 59))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    )
    if server_name:
        names = x509.SubjectAlternativeName([x509.DNSName(server_name)])
        builder = builder.add_extension(names, critical=False)
    certificate = builder.sign(key, hashes.SHA256())
    return (
        certificate.public_bytes(serialization.Encoding.PEM).decode(),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode(),
    )


def _format(name: str, *pem: str) -> str:
    return f"{_NAME_LINE}{name}\n" + "".join(pem)
