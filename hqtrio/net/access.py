"""Access files: how clients and workers find a server and prove who they are.

`secret_key` is one PEM bundle (see hqtrio.net.identity), or null for a port without authentication
and encryption. The full file belongs to the server; a client or a worker needs only its own part.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import string
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from hqtrio import __version__
from hqtrio.errors import InputError
from hqtrio.net.directory import ACCESS_FILE, resolve_directory, sync_directory
from hqtrio.net.identity import make_bundles, parse_bundle

Role = Literal["client", "worker"]
Part = Literal["client", "worker", "full"]

UID_LENGTH: Final = 6
SIZE_MAX: Final = 1 << 20
MODE: Final = 0o400

Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]


class Endpoint(msgspec.Struct, frozen=True):
    """Where one role knocks, and its credential; its repr does not show the secret."""

    host: str
    port: Port
    secret_key: str | None

    def __repr__(self) -> str:
        return f"Endpoint({self.address}, {'tls' if self.secret_key else 'open'})"

    @property
    def address(self) -> str:
        """`host:port`, as users see it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class AccessFile(msgspec.Struct, frozen=True, omit_defaults=True):
    """The whole file, or the part that one role needs."""

    version: str
    server_uid: str | None = None
    client: Endpoint | None = None
    worker: Endpoint | None = None

    def endpoint(self, role: Role) -> Endpoint:
        """The part of a role, which must be there."""
        endpoint = self.client if role == "client" else self.worker
        assert endpoint is not None, role
        return endpoint

    def client_part(self) -> AccessFile:
        """What a client needs, without the server's key."""
        return AccessFile(self.version, client=_without_server_key(self.endpoint("client")))

    def worker_part(self) -> AccessFile:
        """What a worker needs, without the server's key."""
        return AccessFile(self.version, worker=_without_server_key(self.endpoint("worker")))


def make_uid() -> str:
    """A random server UID: six letters and digits."""
    letters = string.ascii_letters + string.digits
    return "".join(secrets.choice(letters) for _ in range(UID_LENGTH))


def make_access(
    uid: str,
    *,
    client_host: str,
    client_port: int,
    worker_host: str,
    worker_port: int,
    client_open: bool = False,
    worker_open: bool = False,
) -> AccessFile:
    """A full access record with new identities; an open port has no secret."""
    client_key, worker_key = (None, None) if client_open and worker_open else make_bundles(uid)
    return AccessFile(
        __version__,
        uid,
        Endpoint(client_host, client_port, None if client_open else client_key),
        Endpoint(worker_host, worker_port, None if worker_open else worker_key),
    )


def format_access(access: AccessFile) -> bytes:
    """The text of the file."""
    return msgspec.json.format(msgspec.json.encode(access), indent=2) + b"\n"


def write_access(path: Path, access: AccessFile, *, replace: bool = False) -> None:
    """The file is there as a whole, readable by its owner only, also after a power failure.

    InputError if it exists (unless `replace`) or cannot be written.
    """
    try:
        _write(path, format_access(access), replace=replace)
    except FileExistsError as error:
        raise InputError(
            f"Access file `{path}` already exists: remove it or choose another name"
        ) from error
    except OSError as error:
        raise InputError(f"Cannot write access file `{path}`: {error.strerror}") from error


def read_access(path: Path, need: Part) -> AccessFile:
    """The record of a server directory or of one access file, with the parts that are needed.

    InputError says what is missing or wrong, and what to do.
    """
    if path.is_dir():
        path = resolve_directory(path) / ACCESS_FILE
        missing = f"No running instance of hqtrio found at `{path.parent}`"
    elif path.exists() and not path.is_file():
        raise InputError(f"Invalid server directory: `{path}` is not a directory")
    else:
        missing = f"No running instance of hqtrio found at `{path}`"
    try:
        with path.open("rb") as file:
            text = file.read(SIZE_MAX)
    except FileNotFoundError as error:
        raise InputError(
            f"{missing}. Start one with `hqtrio server start`, or name the directory of a running "
            "one with --server-dir"
        ) from error
    except OSError as error:
        raise InputError(f"Cannot load access record from `{path}`: {error.strerror}") from error
    return parse_access(text, need, str(path))


class _Version(msgspec.Struct):
    version: str


def parse_access(text: bytes, need: Part, where: str) -> AccessFile:
    """The record, complete as far as it is needed; `where` names it in errors."""
    try:
        # First and alone: a file of another version may look different.
        version = msgspec.json.decode(text, type=_Version).version
        if version != __version__:
            raise InputError(
                f"Cannot use access record `{where}`: version mismatch detected. Access record "
                f"contains version {version}, but the current version is {__version__}"
            )
        access = msgspec.json.decode(text, type=AccessFile)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(f"Cannot load access record from `{where}`: {error}") from error
    for name, there in (
        ("server_uid", access.server_uid or need != "full"),
        ("client", access.client or need == "worker"),
        ("worker", access.worker or need == "client"),
    ):
        if not there:
            raise InputError(
                f"Cannot load access record from `{where}`: it has no `{name}`; a "
                f"{need} access file is needed here"
            )
    for name, endpoint in (("client", access.client), ("worker", access.worker)):
        if endpoint is not None and endpoint.secret_key is not None and need in (name, "full"):
            bundle = parse_bundle(endpoint.secret_key, f"{where}: {name}.secret_key")
            if need == "full" and bundle.server_key is None:
                raise InputError(
                    f"Cannot load access record from `{where}`: {name}.secret_key lacks the "
                    "server's key; a full access file is needed here"
                )
    return access


def _without_server_key(endpoint: Endpoint) -> Endpoint:
    if endpoint.secret_key is None:
        return endpoint
    bundle = parse_bundle(endpoint.secret_key, "secret_key")
    return msgspec.structs.replace(endpoint, secret_key=bundle.without_server_key())


def _write(path: Path, content: bytes, *, replace: bool) -> None:
    path = path.absolute()
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE)
    try:
        try:
            os.fchmod(fd, MODE)  # whatever the umask took away
            left = memoryview(content)
            while left:
                left = left[os.write(fd, left) :]
            os.fsync(fd)
        finally:
            os.close(fd)
        if replace:
            temporary.replace(path)
        else:
            os.link(temporary, path)  # unlike a rename it never overwrites
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
    sync_directory(path.parent)
