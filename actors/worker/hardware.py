"""Reads what hqtrio.worker.hardware understands: sysfs, /proc, the environment."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Final

from actors.worker.settings import WorkerSettings
from hqtrio.model.resources import CPUS, Descriptor
from hqtrio.worker.definitions import compose
from hqtrio.worker.hardware import Sources, detect, parse_cpu_list, without_hyper_threads

log = logging.getLogger(__name__)

NODES: Final = Path("/sys/devices/system/node")
CPU_TOPOLOGY: Final = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
NVIDIA_GPUS: Final = Path("/proc/driver/nvidia/gpus")
CGROUP: Final = Path("/sys/fs/cgroup")


def describe(settings: WorkerSettings, *, under_slurm: bool = False) -> Descriptor:
    """What this node offers under these settings. InputError if they contradict each other."""
    given = {pool.resource for pool in settings.resources}
    if settings.cpus is not None:
        given.add(CPUS)
    sources = read_sources(under_slurm=under_slurm)
    detected = detect(sources, [name for name in settings.detect if name not in given])
    for warning in detected.warnings:
        log.warning("%s", warning)
    descriptor = compose(settings.resources, settings.cpus, detected.pools)
    if settings.hyper_threading:
        return descriptor
    return Descriptor(
        tuple(
            without_hyper_threads(pool, sources.siblings) if pool.resource == CPUS else pool
            for pool in descriptor.pools
        ),
        descriptor.coupling,
    )


def read_sources(*, under_slurm: bool = False) -> Sources:
    """Everything that detection looks at; what cannot be read is left out."""
    affinity = sorted(os.sched_getaffinity(0))
    nodes = _text(NODES / "possible")
    siblings = {cpu: text for cpu in affinity if (text := _text(Path(CPU_TOPOLOGY.format(cpu))))}
    return Sources(
        affinity=affinity,
        nodes=nodes,
        node_cpus={node: _text(NODES / f"node{node}" / "cpulist") for node in _numbers(nodes)},
        siblings=siblings,
        meminfo=_text(Path("/proc/meminfo")),
        cgroup_limits=_cgroup_limits(),
        nvidia_gpus=_entries(NVIDIA_GPUS),
        environment=os.environ,
        under_slurm=under_slurm,
    )


def _numbers(nodes: str) -> list[int]:
    try:
        return parse_cpu_list(nodes)
    except ValueError:
        return []


def _cgroup_limits() -> list[str]:
    """Memory limits of this process's cgroup and of every one above it, version 1 and 2."""
    limits: list[str] = []
    for line in _text(Path("/proc/self/cgroup")).splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers == "":
            root, name = CGROUP, "memory.max"
        elif "memory" in controllers.split(","):
            root, name = CGROUP / "memory", "memory.limit_in_bytes"
        else:
            continue
        here = Path(path.lstrip("/"))
        limits += [_text(root / above / name) for above in (here, *here.parents)]
    return [text for text in limits if text]


def _entries(directory: Path) -> int:
    try:
        return len(os.listdir(directory))
    except OSError:
        return 0


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
