"""What a node offers, read from texts that the system provides. Nothing here looks them up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from hqtrio.model.resources import CPUS, UNIT, Pool

MEM: Final = "mem"
NVIDIA: Final = "gpus/nvidia"
AMD: Final = "gpus/amd"
DETECTABLE: Final = (CPUS, MEM, NVIDIA, AMD)

_KIB: Final = 1024
_MIB: Final = 1024 * 1024
_NO_DEVICES: Final = ("-1", "NoDevFiles")
_SIZE_MAX: Final = (2**32 - 1) * UNIT
_CPUS_MAX: Final = 1 << 16  # a list of CPUs that names more is not a list of CPUs


@dataclass(frozen=True, slots=True)
class Sources:
    """Contents of system files and of the environment; what could not be read is absent.

    `node_cpus` maps NUMA nodes to their cpulist; `siblings` maps CPUs to thread_siblings_list;
    `cgroup_limits` are memory limits on this process's path; `nvidia_gpus` counts the driver's
    entries.
    """

    affinity: Sequence[int]
    nodes: str = ""
    node_cpus: Mapping[int, str] = field(default_factory=dict)
    siblings: Mapping[int, str] = field(default_factory=dict)
    meminfo: str = ""
    cgroup_limits: Sequence[str] = ()
    nvidia_gpus: int = 0
    environment: Mapping[str, str] = field(default_factory=dict)
    under_slurm: bool = False


@dataclass(frozen=True, slots=True)
class Detected:
    """Pools sorted by name, and what the user should know about how they came to be."""

    pools: tuple[Pool, ...]
    warnings: tuple[str, ...] = ()


def parse_cpu_list(text: str) -> list[int]:
    """Numbers of `2-7,10-12,20`, ascending as written. ValueError for anything else."""
    cpus: list[int] = []
    for item in text.strip().split(","):
        first_text, dash, last_text = item.strip().partition("-")
        first = _number(first_text)
        last = _number(last_text) if dash else first
        if last < first or last - first > _CPUS_MAX:
            raise ValueError(f"no range of CPUs: {item!r}")
        cpus += range(first, last + 1)
    return cpus


def _number(text: str) -> int:
    text = text.strip()
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"not the number of a CPU: {text!r}")
    return int(text)


def detect(sources: Sources, wanted: Iterable[str] = DETECTABLE) -> Detected:
    """The pools of this node, of the wanted kinds."""
    pools: list[Pool] = []
    warnings: list[str] = []
    for resource in sorted(set(wanted)):
        pool: Pool | None = None
        if resource == CPUS:
            pool = _cpus(sources, warnings)
        elif resource == MEM:
            pool = _memory(sources)
        elif resource == NVIDIA:
            pool = _nvidia(sources, warnings)
        elif resource == AMD:
            pool = _devices(AMD, "ROCR_VISIBLE_DEVICES", sources, warnings)
        if pool is not None:
            pools.append(pool)
    return Detected(tuple(pools), tuple(warnings))


def without_hyper_threads(pool: Pool, siblings: Mapping[int, str]) -> Pool:
    """The pool with the lowest allowed thread of each core only."""
    allowed = {int(label) for group in pool.groups for label in group if label.isdigit()}
    kept: list[tuple[str, ...]] = []
    for group in pool.groups:
        labels = tuple(label for label in group if _is_first_thread(label, siblings, allowed))
        if labels:
            kept.append(labels)
    size = UNIT * sum(map(len, kept))
    changed = tuple(kept) != pool.groups
    return Pool(pool.resource, tuple(kept), size, pool.is_range and not changed)


def _is_first_thread(label: str, siblings: Mapping[int, str], allowed: set[int]) -> bool:
    if not label.isdigit() or int(label) not in siblings:
        return True
    try:
        threads = parse_cpu_list(siblings[int(label)])
    except ValueError:
        return True
    return int(label) == min((cpu for cpu in threads if cpu in allowed), default=int(label))


def _cpus(sources: Sources, warnings: list[str]) -> Pool:
    allowed = set(sources.affinity)
    groups: list[tuple[str, ...]] = []
    dropped: list[int] = []
    try:
        for node in parse_cpu_list(sources.nodes):
            text = sources.node_cpus.get(node, "").strip()
            cpus = parse_cpu_list(text) if text else []
            group = tuple(str(cpu) for cpu in cpus if cpu in allowed)
            dropped += [cpu for cpu in cpus if cpu not in allowed]
            if group:
                groups.append(group)
    except ValueError as error:
        warnings.append(f"NUMA nodes cannot be read, CPUs are not grouped: {error}")
        groups = []
    found = [label for group in groups for label in group]
    if not found or len(set(found)) < len(found):
        labels = tuple(map(str, range(len(allowed))))
        return Pool(CPUS, (labels,), UNIT * len(labels), is_range=True)
    if dropped:
        shown = ",".join(map(str, dropped))
        warnings.append(f"CPUs {shown} are not used: they are outside of the affinity mask")
    return Pool(CPUS, tuple(groups), UNIT * len(found))


def _memory(sources: Sources) -> Pool | None:
    slurm = sources.environment.get("SLURM_MEM_PER_NODE", "") if sources.under_slurm else ""
    if slurm.isascii() and slurm.isdigit() and int(slurm):
        return Pool(MEM, (), min(int(slurm) * UNIT, _SIZE_MAX))
    total = 0
    for line in sources.meminfo.splitlines():
        name, _, rest = line.partition(":")
        if name == "MemTotal" and rest.split() and rest.split()[0].isdigit():
            total = int(rest.split()[0]) * _KIB
    limits = [int(text) for text in map(str.strip, sources.cgroup_limits) if text.isdigit()]
    size = min([total, *(limit for limit in limits if limit)]) * UNIT // _MIB
    return Pool(MEM, (), min(size, _SIZE_MAX)) if size else None


def _nvidia(sources: Sources, warnings: list[str]) -> Pool | None:
    if "CUDA_VISIBLE_DEVICES" in sources.environment:
        return _devices(NVIDIA, "CUDA_VISIBLE_DEVICES", sources, warnings)
    if sources.nvidia_gpus <= 0:
        return None
    labels = tuple(map(str, range(sources.nvidia_gpus)))
    return Pool(NVIDIA, (labels,), UNIT * len(labels), is_range=True)


def _devices(resource: str, variable: str, sources: Sources, warnings: list[str]) -> Pool | None:
    value = sources.environment.get(variable, "")
    if not value or value.strip() in _NO_DEVICES:
        return None
    labels = tuple(value.split(","))
    if not all(label.strip() for label in labels):
        return None
    if len(set(labels)) < len(labels):
        warnings.append(f"{variable} names a device twice and is ignored: {value}")
        return None
    return Pool(resource, (labels,), UNIT * len(labels))
