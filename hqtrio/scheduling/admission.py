"""Whether what a worker says of itself can be worked with at all."""

from __future__ import annotations

from math import isfinite

from hqtrio.errors import InputError, RemoteFault
from hqtrio.messages.worker import Register
from hqtrio.model.descriptors import check_descriptor
from hqtrio.model.load import NodeLoad
from hqtrio.model.worker import WorkerConfig

TEXT_MAX = 4096  # characters: the server keeps them for as long as it lives
CPUS_MAX = 16_384  # of one node, and GPUs of one kind
COUNTER_MAX = 2**63


def fault_in(hello: Register) -> str:
    """What is wrong with a registration, as the worker is told; empty if nothing is."""
    config = hello.config
    spans = {
        "heartbeat interval": config.heartbeat_s,
        "idle timeout": config.idle_timeout_s,
        "time limit": config.time_limit_s,
        "remaining time": hello.remaining_s,
    }
    for what, seconds in spans.items():
        if seconds is not None and not (isfinite(seconds) and seconds >= 0):
            return f"the {what} of a worker must be a number of seconds, got {seconds}"
    if not 0.0 <= config.min_utilization <= 1.0:
        return "Minimal utilization has to be in the interval [0.0, 1.0]."
    fault = _fault_in_texts(config)
    if fault:
        return fault
    try:
        check_descriptor(config.descriptor)
    except InputError as error:
        return str(error)
    return ""


def check_load(load: NodeLoad) -> None:
    """RemoteFault for figures that nobody could have measured."""
    devices = (*(load.nvidia or ()), *(load.amd or ()))
    if max(len(load.cpus), len(devices)) > CPUS_MAX:
        raise RemoteFault("the load of a node tells of too many CPUs or GPUs")
    shares = [*load.cpus, *(share for one in devices for share in (one.processor, one.memory))]
    if not all(isfinite(share) and share >= 0 for share in shares):
        raise RemoteFault("the load of a node holds figures that are none")
    counters = (
        load.memory_bytes,
        load.free_bytes,
        load.received_bytes,
        load.sent_bytes,
        load.received_packets,
        load.sent_packets,
        load.received_errors,
        load.sent_errors,
    )
    if not all(0 <= counter < COUNTER_MAX for counter in counters):
        raise RemoteFault("the load of a node holds counts that are impossible")
    if any(len(one.id) > TEXT_MAX for one in devices):
        raise RemoteFault(f"the name of a GPU has at most {TEXT_MAX} characters")


def _fault_in_texts(config: WorkerConfig) -> str:
    texts = {
        "host name": config.hostname,
        "address": config.listen_address,
        "work directory": config.work_dir,
        "group": config.group,
        "manager": config.manager,
        "manager's job id": config.manager_job_id,
        "version": config.version,
    }
    for what, text in texts.items():
        if len(text) > TEXT_MAX:
            return f"the {what} of a worker has at most {TEXT_MAX} characters, got {len(text)}"
    return ""
