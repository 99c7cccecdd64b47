"""Where a task could ever run, as the scheduling machine sees it."""

from __future__ import annotations

from scheduling_cluster import Cluster, needs, pools

from hqtrio.messages.client import AmountCondition, NodesCondition, TimeCondition
from hqtrio.messages.scheduling import AdmitWorker
from hqtrio.messages.worker import Register
from hqtrio.model.resources import CPUS, UNIT
from hqtrio.model.worker import WorkerConfig
from hqtrio.now import Now
from hqtrio.scheduling.events import LinkOpened


def explain(cluster, *variants, after=0):
    return cluster.machine.explain(variants, after, cluster.now())


def rows(cluster, *variants):
    fits = explain(cluster, *variants)
    assert not fits.more
    return fits.rows


def enabled(cluster, *variants):
    """Enabled variants by worker."""
    return {row.worker: row.enabled for row in rows(cluster, *variants)}


def join_group(cluster, group):
    """One more worker, in a group."""
    number = len(cluster.workers) + 1
    cluster.workers[number] = None
    config = WorkerConfig("node", "node", "/tmp", group, pools(4))
    cluster.machine.handle(
        LinkOpened(number, Register(config, b"key of %d" % number)), cluster.now()
    )
    admit = AdmitWorker(number, number, 1, config, "uid", b"", None)
    cluster.machine.handle(admit, cluster.now())


def cpus(amount, size):
    return AmountCondition(CPUS, amount * UNIT, size * UNIT)


def test_x01_too_few_cpus_and_too_little_time_each_block():
    cluster = Cluster()
    cluster.join(5, remaining_s=300.0)
    cluster.advance(cluster.time + 5)
    time = TimeCondition(3600.0, 295.0)
    [small], [large], [long] = (
        rows(cluster, needs(1)),
        rows(cluster, needs(10)),
        rows(cluster, needs(10, time_s=3600.0)),
    )
    assert (small.enabled, small.variants) == (1, ((cpus(1, 5),),))
    assert (large.enabled, large.variants) == (0, ((cpus(10, 5),),))
    assert (long.enabled, long.variants) == (0, ((time, cpus(10, 5)),))
    assert [one.holds for one in long.variants[0]] == [False, False]


def test_x02_nodes_must_come_from_one_group():
    cluster = Cluster()
    for group in ("A", "B", "A"):
        join_group(cluster, group)
    found = rows(cluster, needs(0, nodes=3))
    assert [row.variants for row in found] == [
        ((NodesCondition(3, 2),),),
        ((NodesCondition(3, 1),),),
        ((NodesCondition(3, 2),),),
    ]
    assert enabled(cluster, needs(0, nodes=3)) == {1: 0, 2: 0, 3: 0}
    assert enabled(cluster, needs(0, nodes=2)) == {1: 1, 2: 0, 3: 1}


def test_a_multi_node_variant_asks_for_time_but_for_no_resources():
    cluster = Cluster()
    cluster.join(2, remaining_s=10.0)
    [row] = rows(cluster, needs(4, nodes=1, time_s=10.0))
    assert row.variants == ((TimeCondition(10.0, 10.0), NodesCondition(1, 1)),)
    assert row.enabled == 1


def test_x03_each_variant_counts_and_absent_resources_are_zero():
    cluster = Cluster()
    for gpus in (0, 0, 2, 0, 0):
        cluster.join(*((2,) if gpus else (4,)), **({"gpus": gpus} if gpus else {}))
    variants = needs(2), needs(1, gpus=1)
    assert enabled(cluster, *variants) == {1: 1, 2: 1, 3: 2, 4: 1, 5: 1}
    first = rows(cluster, *variants)[0]
    assert first.variants[1] == (cpus(1, 4), AmountCondition("gpus", UNIT, 0))


def test_totals_count_and_not_what_is_free():
    cluster = Cluster()
    cluster.join(2)
    cluster.submit(2, count=5)
    cluster.settle()
    assert cluster.loads() == [1]
    assert enabled(cluster, needs(2)) == {1: 1}


def test_x05_a_worker_without_limit_lives_long_enough():
    cluster = Cluster()
    cluster.join(1)
    [row] = rows(cluster, needs(1, time_s=1e6))
    assert row.variants[0][0] == TimeCondition(1e6, None)
    assert row.enabled == 1


def test_x06_a_time_request_blocks_as_time_passes():
    cluster = Cluster()
    cluster.join(1, remaining_s=100.0)
    request = needs(1, time_s=60.0)
    joined_at = cluster.time
    cluster.time = joined_at + 40.0
    assert enabled(cluster, request) == {1: 1}
    cluster.time = joined_at + 41.0
    [row] = rows(cluster, request)
    assert row.enabled == 0
    assert row.variants[0][0] == TimeCondition(60.0, 59.0)
    over = cluster.machine.explain((request,), 0, Now(joined_at + 500.0, 0.0))
    assert over.rows[0].variants[0][0] == TimeCondition(60.0, 0.0)


def test_all_of_a_resource_needs_some_of_it():
    cluster = Cluster()
    cluster.join(3)
    assert enabled(cluster, needs("all")) == {1: 1}
    [row] = rows(cluster, needs("all"))
    assert row.variants == ((AmountCondition(CPUS, 0, 3 * UNIT),),)
    assert not AmountCondition("gpus", 0, 0).holds


def test_many_workers_come_in_pages_that_fit_a_frame():
    cluster = Cluster()
    for _ in range(150):
        cluster.join(1)
    variants = tuple(needs(1, **{f"resource{i}x{n}": 1 for n in range(8)}) for i in range(8))
    seen, pages, more = [], 0, True
    while more:
        fits = explain(cluster, *variants, after=seen[-1] if seen else 0)
        seen += [row.worker for row in fits.rows]
        pages, more = pages + 1, fits.more
    assert seen == list(range(1, 151))
    assert pages > 1
    assert explain(cluster, *variants, after=150).rows == ()
