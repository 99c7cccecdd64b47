from __future__ import annotations

import os

import pytest

from actors.worker.hardware import describe, read_sources
from actors.worker.settings import WorkerSettings
from hqtrio.errors import InputError
from hqtrio.model.resources import CPUS, UNIT
from hqtrio.worker.definitions import compose, parse_cpus, parse_resource
from hqtrio.worker.hardware import (
    AMD,
    DETECTABLE,
    MEM,
    NVIDIA,
    Sources,
    detect,
    parse_cpu_list,
    without_hyper_threads,
)

# --- definitions


@pytest.mark.parametrize(
    ("text", "groups", "is_range"),
    [
        ("4", (("0", "1", "2", "3"),), True),
        ("1_0", (tuple(map(str, range(10))),), True),
        ("2x2", (("0", "1"), ("2", "3")), False),
        ("1x3", (("0", "1", "2"),), True),
        ("[0, 01, a]", (("0", "01", "a"),), False),
        ('["a b", c]', (("a b", "c"),), False),
        ("[[0,1],[2]]", (("0", "1"), ("2",)), False),
        ("[[7]]", (("7",),), False),
        (" range ( 10 -  12 ) ", (("10", "11", "12"),), True),
        ("range(5-5)", (("5",),), True),
    ],
)
def test_cpus_as_users_write_them(text: str, groups: tuple[tuple[str, ...], ...], is_range: bool):
    pool = parse_cpus(text)
    assert (pool.resource, pool.groups, pool.is_range) == (CPUS, groups, is_range)
    assert pool.size == UNIT * sum(map(len, groups))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "List has to contain at least a single element"),
        ("[[1],[]]", "Each group has to contain at least a single element"),
        ("[1,1]", "List items have to be unique"),
        ("[[1,1]]", "Group items have to be unique"),
        ("[[1],[1]]", "Invalid resource definition for cpus"),
        ("range(3-1)", "Start must be greater or equal to end"),
        ("0x4", "Invalid resource definition for cpus"),
        ("4x0", "Invalid resource definition for cpus"),
        ("[1,2", "Unexpected end of input"),
        ("[1,2]x", "Unexpected token 'x'"),
        ("abc", "Unexpected token 'abc'"),
        ("[1 2]", "Unexpected token '2'"),
        ('["a]', "Unexpected token"),
        ("range(1)", "Unexpected token '1'"),
        ("range(0-4000000000)", "too many items"),
        ("", "Unexpected end of input"),
        ("sum(1.23456)", "Resource precision exceeded"),
        ("5000000000", "too large"),
    ],
)
def test_what_cannot_be_cpus_is_refused_in_words(text: str, words: str):
    with pytest.raises(InputError) as refusal:
        parse_cpus(text)
    assert words in str(refusal.value) and "\n" not in str(refusal.value)


def test_other_resources_have_names():
    pool = parse_resource(" fairy = sum ( 0.5 ) ")
    assert (pool.resource, pool.groups, pool.size) == ("fairy", (), UNIT // 2)
    assert parse_resource("gpus/nvidia=[a]").resource == "gpus/nvidia"
    for text, words in [
        ("x=1", "Unexpected token '1'"),
        ("x", "Unexpected end of input"),
        ("9x=[1]", "Unexpected token '9x'"),
        ("a_b=[1]", "Unexpected token 'a_b'"),
    ]:
        with pytest.raises(InputError, match=words):
            parse_resource(text)


def test_composition_sorts_and_lets_given_resources_win():
    detected = detect(Sources(affinity=[0], meminfo="MemTotal: 1048576 kB")).pools
    descriptor = compose([parse_resource("mem=sum(5)"), parse_resource("b=[1]")], None, detected)
    assert [(p.resource, p.size) for p in descriptor.pools] == [
        ("b", UNIT),
        ("cpus", UNIT),
        ("mem", 5 * UNIT),
    ]


@pytest.mark.parametrize(
    ("resources", "cpus", "words"),
    [
        (["a=[1]", "a=[2]"], "2", "Resource a defined twice"),
        (["cpus=[1]"], "2", "Parameters --cpus and --resource cpus=... cannot be combined"),
        ([], None, "You have to specify --cpus explicitly when opting out of CPU automatic"),
        ([], "0", "Resource kind `sum` cannot be used with CPUs"),
        ([], "sum(3)", "Resource kind `sum` cannot be used with CPUs"),
        (["cpus=sum(3)"], None, "Resource kind `sum` cannot be used with CPUs"),
        (["x=sum(0)"], "1", "Resource x is empty"),
    ],
)
def test_contradictions(resources: list[str], cpus: str | None, words: str):
    with pytest.raises(InputError, match=words):
        compose(map(parse_resource, resources), parse_cpus(cpus) if cpus else None, [])


# --- detection


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("2-4,10-12,20", [2, 3, 4, 10, 11, 12, 20]),
        ("0\n", [0]),
        ("0, 1 , 3-4 \n", [0, 1, 3, 4]),
    ],
)
def test_cpu_lists(text: str, cpus: list[int]):
    assert parse_cpu_list(text) == cpus


@pytest.mark.parametrize("text", ["0-1-2", "-2", ",,", "", "a", "3-1", "0-99999999"])
def test_bad_cpu_lists(text: str):
    with pytest.raises(ValueError):
        parse_cpu_list(text)


def pool_of(sources: Sources, resource: str):
    return next((pool for pool in detect(sources).pools if pool.resource == resource), None)


@pytest.mark.parametrize(
    ("sources", "groups"),
    [
        (
            Sources([0, 1, 2, 3], "0-1", {0: "0-1", 1: "2-3"}),
            (("0", "1"), ("2", "3")),
        ),
        (Sources([1], "0", {0: "0-3"}), (("1",),)),  # taskset -c 1
        (Sources([2, 3], "0-1", {0: "0-1", 1: "2-3"}), (("2", "3"),)),  # an emptied node
        (Sources([0, 1], "0-2", {0: "0-1", 1: "", 2: "\n"}), (("0", "1"),)),  # memory only
        (Sources([5, 6], "", {}), (("0", "1"),)),  # no sysfs
        (Sources([5, 6], "0", {0: "x"}), (("0", "1"),)),
    ],
)
def test_cpus_by_numa_node_and_affinity(sources: Sources, groups: tuple[tuple[str, ...], ...]):
    pool = pool_of(sources, CPUS)
    assert pool is not None and pool.groups == groups


def test_without_hyper_threads_the_lowest_allowed_thread_stays():
    siblings = {0: "0,128", 128: "0,128", 2: "2,130", 130: "2,130", 131: "3,131"}
    pool = parse_cpus("[[0,128],[2,130],[131]]")
    assert without_hyper_threads(pool, siblings).groups == (("0",), ("2",), ("131",))
    assert without_hyper_threads(parse_cpus("[130]"), siblings).groups == (("130",),)


@pytest.mark.parametrize(
    ("sources", "mib"),
    [
        (Sources([0], meminfo="MemTotal:  2048 kB\nMemFree: 1 kB"), 2.0),
        (Sources([0], meminfo="MemTotal: 2048 kB", cgroup_limits=["max", "1572864\n"]), 1.5),
        (
            Sources(
                [0],
                meminfo="MemTotal: 2048 kB",
                environment={"SLURM_MEM_PER_NODE": "77"},
                under_slurm=True,
            ),
            77,
        ),
        (Sources([0], meminfo="MemTotal: 2048 kB", environment={"SLURM_MEM_PER_NODE": "77"}), 2.0),
        (Sources([0], meminfo="nonsense"), None),
    ],
)
def test_memory(sources: Sources, mib: float | None):
    pool = pool_of(sources, MEM)
    assert (pool and pool.size) == (None if mib is None else mib * UNIT)


@pytest.mark.parametrize(
    ("environment", "nvidia_gpus", "nvidia", "amd"),
    [
        ({"CUDA_VISIBLE_DEVICES": "1,GPU-x"}, 4, ("1", "GPU-x"), None),
        ({"CUDA_VISIBLE_DEVICES": ""}, 4, None, None),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, 4, None, None),
        ({"CUDA_VISIBLE_DEVICES": "1,,2"}, 4, None, None),
        ({"CUDA_VISIBLE_DEVICES": "1,1"}, 4, None, None),
        ({}, 2, ("0", "1"), None),
        ({"ROCR_VISIBLE_DEVICES": "7"}, 1, ("0",), ("7",)),
    ],
)
def test_gpus(
    environment: dict[str, str],
    nvidia_gpus: int,
    nvidia: tuple[str, ...] | None,
    amd: tuple[str, ...] | None,
):
    sources = Sources([0], nvidia_gpus=nvidia_gpus, environment=environment)
    for resource, labels in ((NVIDIA, nvidia), (AMD, amd)):
        pool = pool_of(sources, resource)
        assert (pool and pool.groups) == (labels and (labels,))


def test_this_machine_is_described(tmp_path):
    descriptor = describe(WorkerSettings(tmp_path))
    cpus = next(pool for pool in descriptor.pools if pool.resource == CPUS)
    assert cpus.size == UNIT * len(os.sched_getaffinity(0))
    given = WorkerSettings(tmp_path, cpus=parse_cpus("3"), detect=())
    assert [p.resource for p in describe(given).pools] == [CPUS]
    assert set(DETECTABLE) >= {p.resource for p in detect(read_sources()).pools}
