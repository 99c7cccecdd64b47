"""What a multi-node task is told of the workers it has: their number, and files of their names."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address

from hqtrio.worker.launch import Environment
from hqtrio.worker.orders import TaskFile


def gang_environment(nodes: Sequence[str]) -> Environment:
    """The variables that name no file."""
    return ((b"HQ_NUM_NODES", b"%d" % len(nodes)),) if nodes else ()


def node_files(nodes: Sequence[str]) -> tuple[TaskFile, ...]:
    """Files with the full and the short host names, one a line, in the order of `nodes`."""
    if not nodes:
        return ()
    return (
        TaskFile(b"HQ_HOST_FILE", b"hq-hostfile", _lines(nodes)),
        TaskFile(b"HQ_NODE_FILE", b"hq-nodefile", _lines([short_name(node) for node in nodes])),
    )


def short_name(host: str) -> str:
    """The host name up to its first dot; an address stays as it is."""
    try:
        ip_address(host)
    except ValueError:
        return host.partition(".")[0]
    return host


def _lines(names: Sequence[str]) -> bytes:
    return "".join(f"{name}\n" for name in names).encode(errors="surrogateescape")
