"""What a registration may say of a worker's resources: a hostile one gets a reason, no more."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from hqtrio.messages.worker import Register
from hqtrio.model.resources import UNIT, Descriptor, Link, Pool
from hqtrio.model.worker import WorkerConfig
from hqtrio.scheduling.admission import fault_in

ONE_CPU = Pool("cpus", (("0",),), UNIT)


def groups(name: str, count: int, size: int = 1) -> Pool:
    labels = tuple(tuple(f"{g}.{i}" for i in range(size)) for g in range(count))
    return Pool(name, labels, UNIT * count * size)


def fault(*pools: Pool, coupling: tuple[Link, ...] = (), **changes: object) -> str:
    config = WorkerConfig("h", "h", "/", "g", Descriptor(pools, coupling))
    return fault_in(Register(replace(config, **changes), b"k"))


def linked(*links: Link) -> str:
    return fault(groups("cpus", 4), groups("gpus", 4), coupling=links)


def test_ordinary_workers_are_admitted():
    assert fault(ONE_CPU) == ""
    assert fault(groups("cpus", 2, 64), Pool("mem", (), 5), min_utilization=1.0) == ""
    assert linked(Link(0, 0, 0, 1, 1), Link(0, 0, 1, 0), Link(0, 3, 1, 3, 65535)) == ""


@pytest.mark.parametrize(
    ("pools", "text"),
    [
        ((), "Resource 'cpus' is missing"),
        ((Pool("mem", (), 5),), "Resource 'cpus' is missing"),
        ((Pool("cpus", (), 5),), "Resource kind `sum` cannot be used with CPUs"),
        ((ONE_CPU, ONE_CPU), "Resource cpus defined twice"),
        ((ONE_CPU, Pool("b", (), 5), Pool("a", (), 5)), "sorted by name"),
        ((ONE_CPU, Pool("mem", (), 0)), "Resource mem is empty"),
        ((ONE_CPU, Pool("mem", (), -5)), "Resource mem is empty"),
        ((ONE_CPU, Pool("mem", (), 10**30)), "Resource mem is too large"),
        ((ONE_CPU, Pool("x", (("a",), ()), UNIT)), "Resource x is empty"),
        ((ONE_CPU, Pool("x", (("a",), ("a",)), 2 * UNIT)), "'a' is there twice"),
        ((ONE_CPU, Pool("x", (("a",),), 2 * UNIT)), "size and items disagree"),
        ((ONE_CPU, Pool("x", (("a" * 5000,),), UNIT)), "an item has more than 4096 characters"),
        ((ONE_CPU, Pool("x_y", (), 5)), "Unexpected token 'x_y'"),
        ((ONE_CPU, Pool("x\n", (), 5)), "Unexpected token 'x\\n'"),
        ((groups("cpus", 257),), "257 groups, at most 256"),
        ((ONE_CPU, groups("x", 1, 100_001)), "more than 100000 items"),
        (tuple(Pool(f"x{i:03}", (), 5) for i in range(257)), "at most 256 resources, got 257"),
    ],
)
def test_pools_that_no_worker_has(pools: tuple[Pool, ...], text: str):
    assert text in fault(*pools)


@pytest.mark.parametrize(
    ("links", "text"),
    [
        ([Link(0, 0, 1, 4)], "names a group that it does not have"),
        ([Link(0, -1, 1, 0)], "names a group that it does not have"),
        ([Link(0, 0, 2, 0)], "names a group that it does not have"),
        ([Link(0, 0, 1, 0, 0)], "Invalid weight: 0"),
        ([Link(0, 0, 1, 0, -5)], "Invalid weight: -5"),
        ([Link(0, 0, 1, 0, 65536)], "Invalid weight: 65536"),
        ([Link(0, 2, 0, 2)], "links a group with itself"),
        ([Link(1, 0, 0, 0)], "the earlier group of a link first"),
        ([Link(0, 2, 0, 1)], "the earlier group of a link first"),
        ([Link(0, 0, 1, 0), Link(0, 0, 1, 0, 7)], "Repeated coupling definition"),
        ([Link(0, 1, 1, 0), Link(0, 0, 1, 0)], "must be sorted"),
        ([Link(0, 0, 1, 0)] * 257, "at most 256 coupling links, got 257"),
    ],
)
def test_coupling_that_no_worker_has(links: list[Link], text: str):
    assert text in linked(*links)


def test_coupling_of_more_than_a_placement_can_look_through_is_refused():
    pools = [groups("cpus", 2), *(groups(f"x{i}", 2) for i in range(4))]
    star = tuple(Link(0, 0, i, 0) for i in range(1, 5))
    assert fault(*pools[:4], coupling=star[:3]) == ""
    assert "Coupling joins at most 4 resources, got 5" in fault(*pools, coupling=star)
    many = "A coupled resource has at most 32 groups, 'x' has 33"
    assert fault(groups("cpus", 32), groups("x", 33)) == ""
    assert many in fault(groups("cpus", 32), groups("x", 33), coupling=(Link(0, 0, 1, 0),))


@pytest.mark.parametrize("utilization", [-0.1, 1.1, float("nan"), float("inf")])
def test_impossible_utilization(utilization: float):
    text = "Minimal utilization has to be in the interval [0.0, 1.0]."
    assert fault(ONE_CPU, min_utilization=utilization) == text
