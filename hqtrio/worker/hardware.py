"""What a node offers, read from texts that the system provides. Nothing here looks them up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from hqtrio.ids import IdArray, format_ids
from hqtrio.model.descriptors import GROUPS_MAX
from hqtrio.model.resources import CPUS, MEM, UNIT, Pool

NVIDIA: Final = "gpus/nvidia"
AMD: Final = "gpus/amd"
DETECTABLE: Final = (CPUS, MEM, NVIDIA, AMD)

_KIB: Final = 1024
_MIB: Final = 1024 * 1024
_NO_DEVICES: Final = ("-1", "NoDevFiles")
_SIZE_MAX: Final = (2**32 - 1) * UNIT
_CPUS_MAX: Final = 1 << 16  # a list of CPUs that names more is not a list of CPUs
_CPU_DIGITS: Final = 10


@dataclass(frozen=True, slots=True)
class Sources:
    """Contents of system files and of the environment; what could not be read is absent.

    `node_cpus` maps NUMA nodes to their cpulist; `siblings` maps CPUs to thread_siblings_list.
    `cgroup_limits` are memory limits on this process's path, `cpu_quotas` times of CPU and the
    periods they are for (`QUOTA PERIOD`). `nvidia_gpus` counts the driver's entries.
    """

    affinity: Sequence[int]
    nodes: str = ""
    node_cpus: Mapping[int, str] = field(default_factory=dict)
    siblings: Mapping[int, str] = field(default_factory=dict)
    meminfo: str = ""
    cgroup_limits: Sequence[str] = ()
    cpu_quotas: Sequence[str] = ()
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
    allowed = {cpu for group in pool.groups for label in group if (cpu := _cpu(label)) >= 0}
    kept: list[tuple[str, ...]] = []
    for group in pool.groups:
        labels = tuple(label for label in group if _is_first_thread(_cpu(label), siblings, allowed))
        if labels:
            kept.append(labels)
    size = UNIT * sum(map(len, kept))
    changed = tuple(kept) != pool.groups
    return Pool(pool.resource, tuple(kept), size, pool.is_range and not changed)


def _cpu(label: str) -> int:
    """The CPU that the label names; -1 for other labels, which users may have given."""
    is_number = label.isascii() and label.isdigit() and len(label) < _CPU_DIGITS
    return int(label) if is_number else -1


def _is_first_thread(cpu: int, siblings: Mapping[int, str], allowed: set[int]) -> bool:
    try:
        threads = parse_cpu_list(siblings.get(cpu, ""))
    except ValueError:
        return True  # nothing says that it shares a core
    return cpu == min((thread for thread in threads if thread in allowed), default=cpu)


def _cpus(sources: Sources, warnings: list[str]) -> Pool:
    allowed = sorted(set(sources.affinity))
    _warn_of_quota(sources, len(allowed), warnings)
    try:
        groups, dropped = _by_node(sources, set(allowed))
    except ValueError as error:
        warnings.append(f"NUMA nodes cannot be read, CPUs are not grouped: {error}")
        groups, dropped = [], []
    found = {cpu for group in groups for cpu in group}
    if not found:
        labels = tuple(map(str, range(len(allowed))))
        return Pool(CPUS, (labels,), UNIT * len(labels), is_range=True)
    if len(found) < len(allowed) or sum(map(len, groups)) > len(found):
        warnings.append("NUMA nodes do not hold every CPU once, CPUs are not grouped")
        groups = [allowed]
    elif len(groups) > GROUPS_MAX:
        warnings.append(f"More than {GROUPS_MAX} NUMA nodes have CPUs, CPUs are not grouped")
        groups = [allowed]
    if dropped:
        shown = format_ids(IdArray.of(dropped))
        warnings.append(f"CPUs {shown} are not used: they are outside of the affinity mask")
    return Pool(CPUS, tuple(tuple(map(str, cpus)) for cpus in groups), UNIT * len(allowed))


def _by_node(sources: Sources, allowed: set[int]) -> tuple[list[list[int]], list[int]]:
    """Allowed CPUs of the nodes that have any, and the others. ValueError for a broken list."""
    groups: list[list[int]] = []
    dropped: list[int] = []
    # A kernel built without NUMA has no list of nodes; there is nothing to warn of.
    for node in parse_cpu_list(sources.nodes) if sources.nodes.strip() else []:
        text = sources.node_cpus.get(node, "").strip()
        cpus = parse_cpu_list(text) if text else []
        groups.append([cpu for cpu in cpus if cpu in allowed])
        dropped += [cpu for cpu in cpus if cpu not in allowed]
    return [group for group in groups if group], dropped


def _warn_of_quota(sources: Sources, cpus: int, warnings: list[str]) -> None:
    """A quota takes no CPU away: it slows all of them down, which the user should know."""
    shares = []
    for text in sources.cpu_quotas:
        quota, _, period = text.strip().partition(" ")
        if quota.isdigit() and period.isdigit() and int(period):
            shares.append(int(quota) / int(period))
    if shares and min(shares) < cpus:
        warnings.append(
            f"A cgroup gives this worker the time of {min(shares):.4g} CPUs, it offers {cpus};"
            " say --cpus to offer fewer"
        )


def _memory(sources: Sources) -> Pool | None:
    limits = [int(text) for text in map(str.strip, sources.cgroup_limits) if text.isdigit()]
    slurm = sources.environment.get("SLURM_MEM_PER_NODE", "") if sources.under_slurm else ""
    total = int(slurm) * _MIB if slurm.isascii() and slurm.isdigit() and len(slurm) < 20 else 0
    total = total or _ram(sources.meminfo)
    size = min([total, *(limit for limit in limits if limit)]) * UNIT // _MIB
    return Pool(MEM, (), min(size, _SIZE_MAX)) if size else None


def _ram(meminfo: str) -> int:
    """Bytes of memory that the node has; 0 if it does not say."""
    for line in meminfo.splitlines():
        name, _, rest = line.partition(":")
        if name == "MemTotal" and rest.split() and rest.split()[0].isdigit():
            return int(rest.split()[0]) * _KIB
    return 0


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
