"""How busy a node is, at one moment."""

from __future__ import annotations

from hqtrio.model.value import Value


class DeviceLoad(Value, frozen=True):
    """One GPU; both figures in per cent."""

    id: str
    processor: float
    memory: float


class NodeLoad(Value, frozen=True):
    """Each CPU in per cent; memory in bytes; what went through the network since the node began.

    GPUs of a kind are None where the worker has none of it, or where they could not be asked.
    """

    cpus: tuple[float, ...]
    memory_bytes: int
    free_bytes: int
    received_bytes: int = 0
    sent_bytes: int = 0
    received_packets: int = 0
    sent_packets: int = 0
    received_errors: int = 0
    sent_errors: int = 0
    nvidia: tuple[DeviceLoad, ...] | None = None
    amd: tuple[DeviceLoad, ...] | None = None
