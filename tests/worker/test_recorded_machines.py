"""What a worker finds on machines of many shapes, and on this one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from recorded_machine import machine, record, unfold

from actors.worker.hardware import describe, read_sources
from actors.worker.settings import WorkerSettings
from hqtrio.ids import IdArray, format_ids
from hqtrio.model.resources import CPUS, UNIT, Pool
from hqtrio.worker.definitions import parse_cpus
from hqtrio.worker.hardware import (
    MEM,
    NVIDIA,
    Sources,
    detect,
    parse_cpu_list,
    without_hyper_threads,
)

MIB = UNIT
EPYC_NODES = (
    "0-5,48-53|6-11,54-59|12-17,60-65|18-23,66-71|24-29,72-77|30-35,78-83|36-41,84-89|42-47,90-95"
)
EPYC_CORES = "0-5|6-11|12-17|18-23|24-29|30-35|36-41|42-47"
EVERY_FOURTH = "|".join(",".join(map(str, range(socket, 64, 4))) for socket in range(4))
EVERY_FOURTH_CORE = "|".join(",".join(map(str, range(socket, 32, 4))) for socket in range(4))


@pytest.fixture
def sources_of(tmp_path: Path):
    """What a process on a recorded machine finds; by default it may use all CPUs."""

    def read(name: str, allowed: str = "", **environment: str) -> Sources:
        root = machine(name, tmp_path)
        online = (root / "sys/devices/system/cpu/online").read_text()
        affinity = parse_cpu_list(allowed or online)
        return read_sources(
            root=root,
            affinity=affinity,
            environment=environment,
            under_slurm="SLURM_JOB_ID" in environment,
        )

    return read


def shown(pool: Pool) -> str:
    """The groups, with ranges for consecutive CPUs."""
    return "|".join(format_ids(IdArray.of(map(int, group))) for group in pool.groups)


def cpus_of(sources: Sources) -> Pool:
    (pool,) = detect(sources, [CPUS]).pools
    assert pool.size == UNIT * sum(map(len, pool.groups))
    return pool


@pytest.mark.parametrize(
    ("name", "nodes", "cores"),
    [
        ("epyc-7451-2s", EPYC_NODES, EPYC_CORES),
        ("epyc-7451-2s-smt-off", EPYC_CORES, EPYC_CORES),
        ("epyc-7742-2s", "0-63,128-191|64-127,192-255", "0-63|64-127"),
        ("xeon-x7550-4s", EVERY_FOURTH, EVERY_FOURTH_CORE),
        ("xeon-x7550-one-node", "0-63", "0-31"),
        (
            "power9-ac922",
            "0-63|64-127",
            ",".join(map(str, range(0, 64, 4))) + "|" + ",".join(map(str, range(64, 128, 4))),
        ),
        ("grace-gh200", "0-71", "0-71"),
        ("meteor-lake", "0-21", "0-1,3,6,8,10,12-21"),
        ("sandbox", "0-3", "0-3"),
    ],
)
def test_cpus_by_node_and_by_core(sources_of, name: str, nodes: str, cores: str):
    sources = sources_of(name)

    assert shown(cpus_of(sources)) == nodes
    assert shown(without_hyper_threads(cpus_of(sources), sources.siblings)) == cores


@pytest.mark.parametrize(
    ("name", "allowed", "nodes", "cores"),
    [
        # Whole nodes, as a batch manager gives them away: the emptied ones are no groups.
        ("epyc-7451-2s", "12-23,60-71", "12-17,60-65|18-23,66-71", "12-17|18-23"),
        # Only the second threads: then those are the first allowed ones of their cores.
        ("epyc-7742-2s", "130-133,192-193", "130-133|192-193", "130-133|192-193"),
        # Core 2 with both threads, of core 3 only the second one.
        ("epyc-7742-2s", "2,130-131", "2,130-131", "2,131"),
        # A core per socket.
        ("xeon-x7550-4s", "0-3,32-35", "0,32|1,33|2,34|3,35", "0|1|2|3"),
        # The first thread of a core is masked out.
        ("power9-ac922", "1-3,65", "1-3|65", "1|65"),
        ("meteor-lake", "5,20", "5,20", "5,20"),
        ("grace-gh200", "1", "1", "1"),
    ],
)
def test_only_cpus_that_the_process_may_use(
    sources_of, name: str, allowed: str, nodes: str, cores: str
):
    sources = sources_of(name, allowed)

    assert shown(cpus_of(sources)) == nodes
    assert shown(without_hyper_threads(cpus_of(sources), sources.siblings)) == cores


def test_what_the_mask_drops_is_told(sources_of):
    found = detect(sources_of("epyc-7742-2s", "0-3,64"), [CPUS])

    dropped = "CPUs 4-63,65-255 are not used: they are outside of the affinity mask"
    assert found.warnings == (dropped,)


def test_nodes_that_do_not_hold_every_cpu_are_no_groups(sources_of):
    found = detect(sources_of("xeon-x7550-one-node"), [CPUS])

    assert found.warnings == ("NUMA nodes do not hold every CPU once, CPUs are not grouped",)
    assert not found.pools[0].is_range


def test_a_machine_without_nodes_counts_its_cpus_and_warns_of_nothing(sources_of):
    found = detect(sources_of("sandbox"), [CPUS])

    assert (found.pools[0].is_range, found.warnings) == (True, ())


def test_explicit_cpus_are_pruned_by_the_cores_of_the_machine(sources_of):
    siblings = sources_of("epyc-7742-2s", "0-3").siblings
    pool = without_hyper_threads(parse_cpus("[[2,130,131],[64,192],[x,01]]"), siblings)

    assert pool.groups == (("2", "131"), ("64",), ("x", "01"))


@pytest.mark.parametrize(
    ("name", "environment", "mib"),
    [
        ("xeon-x7550-4s", {}, 132145264 / 1024),
        ("epyc-7451-2s", {}, 8192),  # cgroup version 1: the job's limit is below the step's
        ("epyc-7742-2s", {}, 102400),  # version 2
        ("xeon-x7550-4s", {"SLURM_MEM_PER_NODE": "5000"}, 132145264 / 1024),
        ("xeon-x7550-4s", {"SLURM_MEM_PER_NODE": "5000", "SLURM_JOB_ID": "1"}, 5000),
        ("xeon-x7550-4s", {"SLURM_MEM_PER_NODE": "5G", "SLURM_JOB_ID": "1"}, 132145264 / 1024),
        ("xeon-x7550-4s", {"SLURM_MEM_PER_NODE": "0", "SLURM_JOB_ID": "1"}, 132145264 / 1024),
        ("epyc-7451-2s", {"SLURM_MEM_PER_NODE": "8000", "SLURM_JOB_ID": "5"}, 8000),
        # What Slurm promises and the kernel does not let us use is of no use.
        ("epyc-7451-2s", {"SLURM_MEM_PER_NODE": "99999", "SLURM_JOB_ID": "5"}, 8192),
    ],
)
def test_memory(sources_of, name: str, environment: dict[str, str], mib: float):
    (pool,) = detect(sources_of(name, **environment), [MEM]).pools

    assert (pool.groups, pool.size) == ((), int(mib * MIB))


@pytest.mark.parametrize(
    ("name", "warning"),
    [
        ("epyc-7451-2s", "the time of 2.5 CPUs, it offers 96"),
        ("epyc-7742-2s", "the time of 32 CPUs, it offers 256"),
    ],
)
def test_a_quota_of_cpu_time_takes_no_cpu_but_is_told(sources_of, name: str, warning: str):
    found = detect(sources_of(name), [CPUS])

    assert warning in found.warnings[0]
    assert found.warnings[1:] == ()


def test_a_quota_that_is_enough_is_not_told(sources_of):
    found = detect(sources_of("epyc-7742-2s", "0-31"), [CPUS])

    assert not any("cgroup" in warning for warning in found.warnings)


@pytest.mark.parametrize(
    ("name", "environment", "labels"),
    [
        ("power9-ac922", {}, ("0", "1", "2", "3")),
        ("power9-ac922", {"ROCR_VISIBLE_DEVICES": "0"}, ("0", "1", "2", "3")),
        ("power9-ac922", {"CUDA_VISIBLE_DEVICES": "2,3"}, ("2", "3")),
        ("power9-ac922", {"CUDA_VISIBLE_DEVICES": "GPU-8a1b,MIG-77"}, ("GPU-8a1b", "MIG-77")),
        ("power9-ac922", {"CUDA_VISIBLE_DEVICES": "-1"}, None),
        ("power9-ac922", {"CUDA_VISIBLE_DEVICES": "NoDevFiles"}, None),
        ("grace-gh200", {}, ("0",)),
        ("meteor-lake", {}, None),
        ("meteor-lake", {"CUDA_VISIBLE_DEVICES": "0"}, ("0",)),
    ],
)
def test_nvidia_gpus(
    sources_of, name: str, environment: dict[str, str], labels: tuple[str, ...] | None
):
    pools = detect(sources_of(name, **environment), [NVIDIA]).pools

    assert [pool.groups for pool in pools] == ([(labels,)] if labels else [])


def test_a_device_named_twice_is_told_and_not_used(sources_of):
    found = detect(sources_of("power9-ac922", ROCR_VISIBLE_DEVICES="1,0,1"))

    assert [pool.resource for pool in found.pools] == [CPUS, NVIDIA, MEM]
    assert found.warnings == ("ROCR_VISIBLE_DEVICES names a device twice and is ignored: 1,0,1",)


# --- this machine


def test_this_machine_is_described_as_its_recording_is(tmp_path: Path):
    here = read_sources()
    root = unfold(record(Path("/")), tmp_path)
    there = read_sources(root=root, affinity=here.affinity, environment=here.environment)

    assert detect(there, [CPUS]) == detect(here, [CPUS])
    assert there.siblings == here.siblings


def test_this_machine_offers_the_cpus_of_this_process(tmp_path: Path):
    allowed = os.sched_getaffinity(0)
    (cpus,) = (p for p in describe(WorkerSettings(tmp_path)).pools if p.resource == CPUS)
    (cores,) = (
        p
        for p in describe(WorkerSettings(tmp_path, hyper_threading=False)).pools
        if p.resource == CPUS
    )
    labels = [int(label) for group in cpus.groups for label in group]
    first = [int(label) for group in cores.groups for label in group]

    assert cpus.size == UNIT * len(allowed)
    assert cpus.is_range or set(labels) == allowed
    assert 0 < len(first) <= len(labels) and set(first) <= set(labels)
