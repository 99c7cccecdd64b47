"""Access files, the server directory and the identities in them."""

from __future__ import annotations

import json
import os
import ssl
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from net_ports import ACCESS

from hqtrio import __version__
from hqtrio.errors import InputError
from hqtrio.net import tls
from hqtrio.net.access import (
    AccessFile,
    Endpoint,
    make_access,
    make_uid,
    read_access,
    write_access,
)
from hqtrio.net.directory import (
    create_instance,
    instances,
    publish_instance,
    resolve_directory,
    withdraw_instance,
)
from hqtrio.net.identity import parse_bundle, server_name
from hqtrio.net.tls import client_context, server_context


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- files


def test_s4_05_the_full_file_has_exactly_the_keys_of_the_schema(tmp_path: Path) -> None:
    path = tmp_path / "full.json"
    write_access(path, ACCESS)
    content = json.loads(path.read_text())
    assert list(content) == ["version", "server_uid", "client", "worker"]
    assert list(content["client"]) == list(content["worker"]) == ["host", "port", "secret_key"]
    assert read_access(path, "full") == ACCESS


def test_s4_05_partial_files_hold_one_part_and_never_the_servers_key(tmp_path: Path) -> None:
    client, worker = tmp_path / "client.json", tmp_path / "worker.json"
    write_access(client, ACCESS.client_part())
    write_access(worker, ACCESS.worker_part())
    assert list(json.loads(client.read_text())) == ["version", "client"]
    assert list(json.loads(worker.read_text())) == ["version", "worker"]
    for path, role in ((client, "client"), (worker, "worker")):
        key = read_access(path, role).endpoint(role).secret_key
        assert key is not None
        assert parse_bundle(key, "").server_key is None
        with pytest.raises(InputError, match=r"Cannot load access record from .* it has no"):
            read_access(path, "full")
    with pytest.raises(InputError, match="it has no `client`"):
        read_access(worker, "client")


def test_a_null_secret_is_written_as_null(tmp_path: Path) -> None:
    access = make_access(
        "abc123",
        client_host="a",
        client_port=1,
        worker_host="b",
        worker_port=2,
        client_open=True,
        worker_open=True,
    )
    write_access(tmp_path / "open.json", access)
    content = json.loads((tmp_path / "open.json").read_text())
    assert content["client"] == {"host": "a", "port": 1, "secret_key": None}
    assert read_access(tmp_path / "open.json", "full") == access


@pytest.mark.parametrize("umask", [0, 0o077, 0o777])
def test_only_the_owner_can_read_what_is_secret(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        instance = create_instance(tmp_path / "server")
        write_access(instance / "access.json", ACCESS)
    finally:
        os.umask(before)
    assert mode(instance) == 0o700
    assert mode(instance / "access.json") == 0o400


def test_an_access_file_is_never_overwritten_by_accident(tmp_path: Path) -> None:
    path = tmp_path / "access.json"
    write_access(path, ACCESS)
    other = make_access("zzzzzz", client_host="", client_port=0, worker_host="", worker_port=0)
    with pytest.raises(InputError, match="already exists"):
        write_access(path, other)
    assert read_access(path, "full") == ACCESS
    write_access(path, other, replace=True)
    assert read_access(path, "full") == other
    assert mode(path) == 0o400
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(InputError, match=r"Cannot write access file .*No space left on device"):
        write_access(tmp_path / "access.json", ACCESS)
    assert list(tmp_path.iterdir()) == []


def test_secrets_do_not_show_in_a_log() -> None:
    key = ACCESS.endpoint("worker").secret_key
    assert key is not None
    for thing in (ACCESS, ACCESS.endpoint("worker"), parse_bundle(key, "")):
        assert "PRIVATE" not in f"{thing} {thing!r}"


# --- errors, worded as scripts expect them


def test_no_server(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match=r"No running instance of .*server start"):
            read_access(place, "client")


def test_a_server_directory_that_is_none(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with pytest.raises(InputError, match=r"Invalid server directory.* is not a directory"):
        read_access(fifo, "client")
    file = tmp_path / "file"
    file.touch()
    for action in (resolve_directory, create_instance):
        with pytest.raises(InputError, match=r"Invalid server directory.* is not a directory"):
            action(file)


def test_s4_02_another_version_is_named_with_ours(tmp_path: Path) -> None:
    path = tmp_path / "access.json"
    path.write_text('{"version": "0.9.9", "shape": "unknown"}')
    with pytest.raises(InputError) as refused:
        read_access(tmp_path, "client")
    text = str(refused.value)
    assert "version mismatch detected" in text
    assert f"Access record contains version 0.9.9, but the current version is {__version__}" in text


def broken(change: Callable[[dict[str, object]], object]) -> bytes:
    content: dict[str, object] = json.loads(msgspec.json.encode(ACCESS))
    change(content)
    return json.dumps(content).encode()


def set_worker(**changes: object) -> Callable[[dict[str, object]], object]:
    return lambda content: content["worker"].update(changes)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b"{}",
        broken(lambda content: content.pop("worker")),
        broken(lambda content: content.pop("server_uid")),
        broken(set_worker(port="x")),
        broken(set_worker(port=70_000)),
        broken(set_worker(host=None)),
        broken(set_worker(secret_key="ab" * 32)),
        broken(set_worker(secret_key=ACCESS.worker_part().endpoint("worker").secret_key)),
    ],
)
def test_a_broken_access_file_is_named_and_its_secrets_are_not(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "access.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match="Cannot load access record from") as refused:
        read_access(path, "full")
    assert str(path) in str(refused.value)
    assert "PRIVATE" not in str(refused.value)
    assert "abab" not in str(refused.value)


def test_an_unreadable_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> object:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match=r"Cannot load access record from .*Permission denied"):
        read_access(tmp_path, "worker")


# --- the server directory


def test_every_start_gets_the_next_number(tmp_path: Path) -> None:
    server = tmp_path / "deep" / "server"
    assert create_instance(server).name == "001"
    assert create_instance(server).name == "002"
    (server / "041").mkdir()
    (server / "notes").mkdir()
    assert create_instance(server).name == "042"
    (server / "1000").mkdir()
    assert create_instance(server).name == "1001"
    assert [path.name for path in instances(server)] == ["001", "002", "041", "042", "1000", "1001"]
    assert mode(server) == 0o700


def test_clients_follow_the_link_to_the_current_server(tmp_path: Path) -> None:
    write_access(tmp_path / "access.json", ACCESS.client_part())
    assert resolve_directory(tmp_path) == tmp_path
    assert read_access(tmp_path, "client") == ACCESS.client_part()
    instance = create_instance(tmp_path)
    write_access(instance / "access.json", ACCESS)
    publish_instance(instance)
    assert resolve_directory(tmp_path).resolve() == instance.resolve()
    assert read_access(tmp_path, "client") == ACCESS


def test_a_dangling_link_is_replaced_and_clients_do_not_follow_it(tmp_path: Path) -> None:
    (tmp_path / "hq-current").symlink_to("007")
    assert resolve_directory(tmp_path) == tmp_path
    instance = create_instance(tmp_path)
    publish_instance(instance)
    assert os.readlink(tmp_path / "hq-current") == instance.name


def test_the_link_is_replaced_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = create_instance(tmp_path), create_instance(tmp_path)
    publish_instance(first)

    def fail(source: Path, target: Path) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(InputError, match="Input/output error"):
        publish_instance(second)
    assert os.readlink(tmp_path / "hq-current") == first.name
    assert sorted(path.name for path in tmp_path.iterdir()) == ["001", "002", "hq-current"]


def test_a_directory_in_the_place_of_the_link_is_left_alone(tmp_path: Path) -> None:
    instance = create_instance(tmp_path)
    (tmp_path / "hq-current").mkdir()
    with pytest.raises(InputError, match="remove what stands there"):
        publish_instance(instance)


def test_s4_04_a_stop_removes_its_own_link_only(tmp_path: Path) -> None:
    first, second = create_instance(tmp_path), create_instance(tmp_path)
    publish_instance(first)
    publish_instance(second)
    assert not withdraw_instance(first)
    assert os.readlink(tmp_path / "hq-current") == "002"
    assert withdraw_instance(second)
    assert not withdraw_instance(second)
    assert first.is_dir()
    assert second.is_dir()


# --- identities


def test_uids_are_six_letters_and_digits() -> None:
    uids = {make_uid() for _ in range(100)}
    assert len(uids) == 100
    assert all(len(uid) == 6 and uid.isascii() and uid.isalnum() for uid in uids)


def test_every_uid_gives_a_legal_name() -> None:
    assert server_name("aB3xyZ") == "ab3xyz.hqtrio.invalid"
    for uid in ("", "a b", "ü", "-x", "x" * 100, "a.b", "*", "\udcff"):
        label = server_name(uid).removesuffix(".hqtrio.invalid")
        assert label.startswith("x-")
        assert len(label) <= 63


@pytest.mark.parametrize("uid", ["aB3xyZ", "two words", "ü" * 80])
def test_contexts_are_made_of_every_access_record(uid: str) -> None:
    access = make_access(uid, client_host="", client_port=0, worker_host="", worker_port=0)
    for role, part in (("client", access.client_part()), ("worker", access.worker_part())):
        full, own = access.endpoint(role).secret_key, part.endpoint(role).secret_key
        assert full is not None
        assert own is not None
        assert server_context(full).minimum_version == ssl.TLSVersion.TLSv1_3
        context, name = client_context(own)
        assert name == server_name(uid)
        assert context.check_hostname
        assert context.verify_mode == ssl.CERT_REQUIRED
        with pytest.raises(InputError, match="lacks the server's key"):
            server_context(own)


def test_clocks_of_nodes_do_not_matter() -> None:
    from cryptography import x509

    key = ACCESS.endpoint("client").secret_key
    assert key is not None
    bundle = parse_bundle(key, "")
    for pem in (bundle.role_certificate, bundle.server_certificate):
        certificate = x509.load_pem_x509_certificate(pem.encode())
        assert certificate.not_valid_before_utc.year == 2000
        assert certificate.not_valid_after_utc.year == 9999


def test_the_two_roles_share_the_server_and_nothing_else() -> None:
    client, worker = (
        parse_bundle(ACCESS.endpoint(role).secret_key or "", "") for role in ("client", "worker")
    )
    assert client.server_certificate == worker.server_certificate
    assert client.role_certificate != worker.role_certificate
    assert client.role_key != worker.role_key


@pytest.mark.parametrize("has_memory_files", [True, False])
def test_a_key_never_touches_a_file_system(
    monkeypatch: pytest.MonkeyPatch, has_memory_files: bool
) -> None:
    opened: list[str] = []

    def audit(event: str, args: tuple[object, ...]) -> None:
        if event == "open" and recording:
            opened.append(str(args[0]))

    if not has_memory_files:

        def refuse() -> int:
            raise OSError(38, "Function not implemented")

        monkeypatch.setattr(tls, "_open_memory", refuse)
    key = ACCESS.endpoint("worker").secret_key
    assert key is not None
    recording = True
    sys.addaudithook(audit)
    descriptors = set(os.listdir("/proc/self/fd"))
    try:
        server_context(key)
    finally:
        recording = False
    assert set(os.listdir("/proc/self/fd")) == descriptors
    assert [path for path in opened if not path.isdecimal()] == []


def test_a_damaged_credential_is_the_users_to_replace() -> None:
    key = ACCESS.endpoint("worker").secret_key
    assert key is not None
    damaged = key.replace("MI", "MJ")
    with pytest.raises(InputError, match="Cannot use the credential of this access record"):
        server_context(damaged)


def test_a_client_needs_no_cryptography() -> None:
    """It takes longer to import than most commands take."""
    text = (
        "import sys, hqtrio.net.connector, hqtrio.net.access; "
        "assert 'cryptography' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", text], check=True)


def test_endpoints_show_their_address() -> None:
    assert Endpoint("node1", 5, None).address == "node1:5"
    assert Endpoint("::1", 5, None).address == "[::1]:5"
    assert AccessFile(__version__, client=Endpoint("h", 1, None)).endpoint("client").port == 1
