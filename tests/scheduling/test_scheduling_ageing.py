"""Within a level: graphs that were begun go on first, and nobody is overtaken for ever."""

from __future__ import annotations

import pytest
from scheduling_cluster import Cluster, gang, needs


def first_of_other_class():
    """As good as one cpu, but another class."""
    return needs(1, time_s=1.0)


def test_s105_begun_chains_go_before_fresh_roots():
    cluster = Cluster()
    worker = cluster.join(1)
    [blocker] = cluster.occupy(worker, 1)
    roots = cluster.submit(first_of_other_class(), job=2, count=3)
    ready = cluster.submit(1, job=2, count=3, depth=1)
    for _ in range(4):
        cluster.end(list(worker.running), took=60.0)
    assert cluster.starts == [blocker, *ready, roots[0]]  # quality


def test_s105_depth_decides_within_one_class_too():
    cluster = Cluster()
    worker = cluster.join(1)
    blocker = cluster.submit(1)
    cluster.settle()
    roots = cluster.submit(1, job=2, count=3)
    ready = cluster.submit(1, job=2, count=3, depth=2)
    more = cluster.submit(1, job=2, count=3, depth=1)
    # Tasks this long are not sent ahead: each start is the machine's choice.
    while worker.running:
        cluster.end(list(worker.running), took=60.0)
    assert cluster.starts == [*blocker, *ready, *more, *roots]  # quality


def test_s105_one_step_of_depth_is_worth_256_jobs():
    for younger, first in ((255, "deep"), (257, "old")):
        cluster = Cluster()
        worker = cluster.join(1)
        cluster.occupy(worker, 1)
        old = cluster.submit(first_of_other_class(), job=10)
        deep = cluster.submit(1, job=10 + younger, depth=1)
        cluster.end(list(worker.running), took=60.0)
        assert list(worker.running) == (deep if first == "deep" else old)  # quality


def test_s105_depth_never_beats_priority_and_leaves_nothing_idle():
    cluster = Cluster()
    cluster.join(4)
    deep = cluster.submit(3, depth=1000)
    high = cluster.submit(2, priority=1)
    flat = cluster.submit(1, count=2)
    cluster.settle()
    assert cluster.started(high, deep, flat) == [1, 0, 2]


def stream(cluster, big, until, *, seconds=4):
    """Tasks of four seconds end one each second, and there are always more; when `big` started."""
    while cluster.time < until:
        cluster.advance(cluster.time + seconds / 4)
        for worker in cluster.workers.values():
            if big in worker.running:
                return cluster.time
            for task in sorted(worker.running)[:1]:
                worker.end(task, took=float(seconds))
        cluster.settle()
        if cluster.started([big]) == [1]:
            return cluster.time
    return None


def endless(patience_s=None, workers=1):
    options = {} if patience_s is None else {"patience_s": patience_s}
    cluster = Cluster(checks=False, **options)
    for _ in range(workers):
        cluster.join(4)
    small = cluster.submit(1, count=2_000)
    cluster.settle()
    for worker in cluster.workers.values():
        for task in list(worker.running)[:1]:
            worker.end(task, took=4.0)
    cluster.settle()
    return cluster, small


@pytest.mark.parametrize("patience_s", [None, 10.0])
def test_s106_a_large_task_among_endless_small_ones_starts_after_some_patience(patience_s):
    cluster, _ = endless(patience_s)
    start = cluster.time
    [big] = cluster.submit(4)
    cluster.settle()
    patience = 60.0 if patience_s is None else patience_s
    started = stream(cluster, big, start + patience + 30)
    assert started is not None
    # The longest task, the round, and at most one more task for each slot that was not told yet.
    assert patience - 1 <= started - start <= patience + 4 + 4 + 2  # quality
    cluster.end([big])
    assert cluster.loads() == [4]


def test_s106_without_ageing_it_waits():
    cluster, _ = endless(0.0)
    [big] = cluster.submit(4)
    cluster.settle()
    assert stream(cluster, big, cluster.time + 200) is None


def test_d14_a_multi_node_task_is_not_overtaken_for_ever():
    cluster, _ = endless(10.0, workers=3)
    start = cluster.time
    [pair] = cluster.submit(gang(2))
    cluster.settle()
    started = stream(cluster, pair, start + 60)
    assert started is not None
    assert started - start <= 10 + 4 * 4 + 4  # quality: each second ends one task of each worker


def test_s106_age_never_beats_priority():
    cluster, _ = endless(5.0)
    [big] = cluster.submit(4, priority=-1)
    cluster.settle()
    assert stream(cluster, big, cluster.time + 100) is None


def test_s106_an_aged_class_blocks_no_higher_level():
    cluster, _ = endless(5.0)
    worker = next(iter(cluster.workers.values()))
    cluster.submit(4)
    cluster.settle()
    start = cluster.time
    while cluster.time < start + 6:
        cluster.advance(cluster.time + 1)
        worker.end(min(worker.running), took=4.0)
        cluster.settle()
    high = cluster.submit(1, priority=1, count=2)
    cluster.settle()
    cluster.end(sorted(worker.running)[:2], took=4.0)
    assert cluster.started(high) == [2]


def test_an_aged_class_that_is_cancelled_keeps_nothing():
    cluster, _ = endless(5.0)
    worker = next(iter(cluster.workers.values()))
    big = cluster.submit(4)
    cluster.settle()
    start = cluster.time
    while cluster.time < start + 8:
        cluster.advance(cluster.time + 1)
        if len(worker.running) > 1:
            worker.end(min(worker.running), took=4.0)
        cluster.settle()
    assert len(worker.running) < 4
    cluster.cancel(big)
    cluster.settle()
    assert len(worker.running) == 4
    assert cluster.held() == [False]


def test_a_class_keeps_workers_although_its_oldest_task_has_started_for_its_age() -> None:
    """One task too few was counted, and a lower one took a cpu of a worker they need."""
    cluster = Cluster()
    gangs = cluster.submit(gang(1), priority=3, count=3)
    others = cluster.submit(1, priority=3, count=2)
    low = cluster.submit(1, priority=-1)
    cluster.settle()
    cluster.advance(cluster.time + 100)
    cluster.join(2)
    cluster.join(4)
    cluster.settle()
    assert cluster.started(gangs, others, low) == [1, 2, 0]
