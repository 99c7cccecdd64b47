"""Gaps: what lower tasks may take on a worker that waiting higher tasks want."""

from __future__ import annotations

import pytest
from scheduling_cluster import Cluster, needs

from hqtrio.model.resources import Policy

W12 = {"cpus": 12, "foo": 2, "bar": 1}
BAR = needs(1, bar=1)
FOO = needs(1, foo=1)


@pytest.mark.parametrize(
    ("worker", "holder", "lower", "gap"),
    [
        pytest.param(4, (2,), 1, 0, id="4_cpus_in_pairs"),
        pytest.param(4, (3,), 1, 1, id="4_cpus_in_threes"),
        pytest.param(4, (3,), 2, 0, id="4_cpus_in_threes_for_a_pair"),
        pytest.param(W12, (4,), 2, 0, id="12_cpus_in_fours"),
        pytest.param(W12, (5,), 1, 2, id="12_cpus_in_fives"),
        pytest.param(W12, (needs(5, foo=2),), 1, 7, id="12_cpus_one_for_all_foo"),
        pytest.param(W12, (needs(5, foo=2),), FOO, 0, id="12_cpus_no_foo_left"),
        pytest.param(W12, (needs(5, foo=2),), BAR, 1, id="12_cpus_the_bar_left"),
        pytest.param(W12, (8, needs(2, foo=2)), 1, 2, id="12_cpus_variants_with_all_foo"),
        pytest.param(W12, (8, needs(2, foo=2)), BAR, 1, id="12_cpus_variants_and_the_bar"),
        pytest.param(W12, (8, needs(2, foo=1)), 1, 0, id="12_cpus_variants_with_one_foo"),
        pytest.param(
            {"cpus": 6, "foo": 2, "bar": 2},
            (needs(2, foo=1), needs(2, bar=1)),
            1,
            0,
            id="6_cpus_variants",
        ),
        pytest.param(58, (13, 7), 1, 2, id="58_cpus_variants"),
    ],
)
@pytest.mark.parametrize("queued", [1, 20])
def test_s3_7_the_gap_is_what_the_densest_filling_with_the_holder_leaves(
    worker, holder, lower, gap, queued
):
    """Whether the holders run or wait, and however many wait, is all the same."""
    cluster = Cluster()
    [one] = cluster.join_all(worker)
    top = cluster.submit(*holder, priority=1, count=60)
    low = cluster.submit(lower, count=queued)
    cluster.settle()
    assert cluster.started(low) == [min(gap, queued)]
    for _ in range(3):
        cluster.end([max(one.running.keys() & set(top))])
        assert cluster.started(low) == [min(gap, queued)]


def test_s3_7_the_gap_counts_what_runs_already():
    cluster = Cluster()
    worker = cluster.join(12)
    cluster.occupy(worker, 1)
    top, low = cluster.submit_all((1, 5, 3), (0, 1, 5))
    cluster.settle()
    assert cluster.started(top, low) == [2, 1]


def test_s3_7_two_holders_leave_the_smaller_gap():
    cluster = Cluster()
    worker = cluster.join(12, foo=2, bar=1)
    cluster.occupy(worker, FOO)
    cluster.occupy(worker, BAR)
    rows = [(2, needs(5, foo=2)), (1, needs(8, bar=1)), (0, 1, 9)]
    wide, narrow, low = cluster.submit_all(*rows)
    cluster.settle()
    # Beside the two running cpus, five leave five cpus, and eight leave two.
    assert cluster.started(wide, narrow, low) == [0, 0, 2]


@pytest.mark.parametrize("holder", [needs("all"), needs(0, nodes=1)])
def test_s3_7_whole_workers_leave_no_gap(holder):
    cluster = Cluster()
    worker = cluster.join(4, foo=4)
    [blocker] = cluster.occupy(worker, 2)
    top, low = cluster.submit_all((1, holder), (0, needs(1, foo=1), 5))
    cluster.settle()
    assert cluster.started(top, low) == [0, 0]
    cluster.end([blocker])
    assert cluster.started(top, low)[0] == 1


def test_s3_7_a_task_in_the_gap_never_delays_a_strict_holder():
    """Two sockets of six: 4 compact! can use 4 of each, and nothing else may cut into those."""
    cluster = Cluster()
    worker = cluster.join((6, 6))
    first = cluster.occupy(worker, needs(6, policy=Policy.COMPACT))
    strict = needs(4, policy=Policy.FORCE_COMPACT)
    [big, other], low = cluster.submit_all((1, strict, 2), (0, 1, 30))
    cluster.settle()
    assert big in worker.running
    assert other not in worker.running
    # The flat formula leaves no cpu; on concrete sockets two of this one cannot be used.
    assert cluster.started(low)[0] <= 2
    cluster.end(first)
    assert other in worker.running


@pytest.mark.parametrize(
    ("workers", "rows", "started"),
    [
        pytest.param((8,), [(1, 3, 3), (0, 1, 2)], [2, 2], id="s45"),
        pytest.param((8,), [(2, 1), (1, 3, 3), (0, 1, 1)], [1, 2, 1], id="s46_one"),
        pytest.param((8,), [(2, 1), (1, 3, 3), (0, 1, 4)], [1, 2, 1], id="s46_four"),
        pytest.param((4,), [(1, 3, 3), (0, 1, 4)], [1, 1], id="s28_many"),
    ],
)
def test_lower_tasks_fill_the_gap_and_no_more(workers, rows, started):
    cluster = Cluster()
    cluster.join_all(*workers)
    groups = cluster.submit_all(*rows)
    cluster.settle()
    assert cluster.started(*groups) == started


@pytest.mark.parametrize("levels", [1, 40])
def test_s47_a_second_round_adds_nothing(levels):
    cluster = Cluster()
    cluster.join(8)
    for _ in range(3):
        cluster.join(4, foo=1)
    top = cluster.submit_all((2, 3, 3), (2, needs(4, foo=1), 3), (1, 1, 7))
    lower = cluster.submit_all(*((-p, 1, 2) for p in range(levels)))
    cluster.settle()
    assert cluster.started(*top) == [2, 3, 2]
    assert not any(cluster.started(*lower))
    more = cluster.submit(1, priority=-1000)
    cluster.settle()
    assert cluster.started(*top, more) == [2, 3, 2, 0]


def test_s48_a_level_is_packed_before_the_next_one():
    cluster = Cluster()
    first, second = cluster.join_all(34, 34)
    three, nine, lower = cluster.submit_all((10, 3, 5), (10, 9, 6), (9, 3, 5))
    cluster.settle()
    ran = cluster.started(three, nine, lower)
    assert ran[2] == 0 or ran[0] == 5
    assert (first.cpus, second.cpus) == (33, 33)  # quality


@pytest.mark.parametrize(("running", "small"), [(0, 2), (1, 1), (2, 0)])
def test_s55_the_gap_beside_a_holder_with_variants(running, small):
    cluster = Cluster()
    worker = cluster.join(14, gpus=4)
    if running:
        cluster.occupy(worker, 1, count=running)
    top, low = cluster.submit_all((10, (needs(8), needs(4, gpus=2)), 10), (0, 1, 10))
    cluster.settle()
    assert cluster.started(low) == [small]
    assert cluster.started(top) == [2]
