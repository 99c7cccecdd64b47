"""Reads what hqtrio.worker.hardware understands: sysfs, /proc, the environment."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

from actors.worker.settings import WorkerSettings
from hqtrio.model.resources import CPUS, Descriptor
from hqtrio.worker.definitions import compose
from hqtrio.worker.hardware import Sources, detect, parse_cpu_list

log = logging.getLogger(__name__)

NODES: Final = Path("sys/devices/system/node")
CPUS_DIRECTORY: Final = Path("sys/devices/system/cpu")
CPU_NAME: Final = re.compile(r"cpu([0-9]{1,9})")
NVIDIA_GPUS: Final = Path("proc/driver/nvidia/gpus")
CGROUP: Final = Path("sys/fs/cgroup")


def describe(settings: WorkerSettings, *, under_slurm: bool = False) -> Descriptor:
    """What this node offers under these settings. InputError if they contradict each other."""
    given = {pool.resource for pool in settings.resources}
    if settings.cpus is not None:
        given.add(CPUS)
    sources = read_sources(under_slurm=under_slurm)
    detected = detect(sources, [name for name in settings.detect if name not in given])
    for warning in detected.warnings:
        log.warning("%s", warning)
    return compose(
        settings.resources,
        settings.cpus,
        detected.pools,
        siblings=None if settings.hyper_threading else sources.siblings,
        coupling=settings.coupling,
    )


def read_sources(
    *,
    root: Path = Path("/"),
    affinity: Collection[int] | None = None,
    environment: Mapping[str, str] | None = None,
    under_slurm: bool = False,
) -> Sources:
    """Everything that detection looks at; what cannot be read is left out.

    `root` holds `sys` and `proc`; without the others they are this process's own.
    """
    nodes = _text(root / NODES / "possible")
    limits, quotas = _cgroup_limits(root)
    return Sources(
        affinity=sorted(_own_cpus() if affinity is None else affinity),
        nodes=nodes,
        node_cpus={n: _text(root / NODES / f"node{n}" / "cpulist") for n in _numbers(nodes)},
        siblings=_siblings(root),
        meminfo=_text(root / "proc/meminfo") or _meminfo(root),
        cgroup_limits=limits,
        cpu_quotas=quotas,
        nvidia_gpus=len(_entries(root / NVIDIA_GPUS)),
        environment=os.environ if environment is None else environment,
        under_slurm=under_slurm,
    )


def _own_cpus() -> Collection[int]:
    """The CPUs that this process may use; all of them where the system makes no difference."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return range(os.cpu_count() or 1)


def _meminfo(root: Path) -> str:
    """The node's memory as the kernel would tell it, where it has no file for that."""
    if root != Path("/"):
        return ""
    try:
        kib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 1024
    except (OSError, ValueError):
        return ""
    return f"MemTotal: {kib} kB\n" if kib > 0 else ""


def _numbers(nodes: str) -> list[int]:
    try:
        return parse_cpu_list(nodes)
    except ValueError:
        return []


def _siblings(root: Path) -> dict[int, str]:
    """The threads of each CPU's core; an offline CPU has none."""
    directory = root / CPUS_DIRECTORY
    found = {}
    for name in _entries(directory):
        if match := CPU_NAME.fullmatch(name):
            text = _text(directory / name / "topology/thread_siblings_list")
            if text:
                found[int(match[1])] = text
    return found


def _cgroup_limits(root: Path) -> tuple[list[str], list[str]]:
    """Limits of memory and of CPU time, of this process's cgroup and of every one above it.

    Version 1 has a tree for each controller, version 2 one for all.
    """
    memory: list[str] = []
    quotas: list[str] = []
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        here = Path(path.lstrip("/"))
        for above in (here, *here.parents):
            if controllers == "":
                directory = root / CGROUP / above
                memory.append(_text(directory / "memory.max"))
                quotas.append(_text(directory / "cpu.max"))
            if "memory" in controllers.split(","):
                memory.append(_text(root / CGROUP / "memory" / above / "memory.limit_in_bytes"))
            if "cpu" in controllers.split(","):
                directory = root / CGROUP / "cpu" / above
                period = _text(directory / "cpu.cfs_period_us")
                quotas.append(f"{_text(directory / 'cpu.cfs_quota_us').strip()} {period}")
    return [text for text in memory if text], [text for text in quotas if text.strip()]


def _entries(directory: Path) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except (OSError, ValueError):
        return ""
