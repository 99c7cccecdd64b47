"""Workers that would be of use if they existed."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scheduling_cluster import Cluster, gang, needs, pools

from hqtrio.model.resources import UNIT, Descriptor, Policy, Pool
from hqtrio.scheduling.demand import Demand, Waiting, WorkerType, lay_out, plan
from hqtrio.scheduling.pools import Layout, Pools

NOTHING_KNOWN = Descriptor(())


def kind(cpus=None, *, most=1, lives=None, use=0.0, partial=False, nodes=1, **others):
    """A worker type; without cpus nothing is known of it but the other resources."""
    if cpus is None:
        sums = [Pool(name, (), round(size * UNIT)) for name, size in sorted(others.items())]
        return WorkerType(Descriptor(tuple(sums)), True, lives, most, nodes, use)
    return WorkerType(pools(cpus, **others), partial, lives, most, nodes, use)


def rows(*requests, count=1, priority=0):
    """Waiting tasks of one variant each."""
    return [Waiting((request,), priority, count) for request in requests]


def planned(waiting, *types):
    return plan(waiting, types).single_node


def asked(cluster, *types):
    """The machine's answer; what could start meanwhile has started."""
    demand = cluster.machine.demand(types, cluster.now())
    assert demand is not None
    cluster.settle()
    return demand


# --- numbered


def test_q01_nothing_waits():
    assert plan([], [kind(4), kind()]) == Demand((0, 0), ())


def test_q02_everything_has_started():
    cluster = Cluster()
    cluster.join_all(2, 3)
    cluster.submit(needs(3))
    cluster.submit(needs(1), count=2)
    cluster.settle()
    assert asked(cluster, kind(4, most=2)).single_node == (0,)


def test_q03_only_the_larger_worker_would_be_used():
    cluster = Cluster()
    cluster.join_all(2, 3)
    cluster.submit(needs(3), count=2)
    cluster.submit(needs(1))
    cluster.settle()
    assert asked(cluster, kind(2), kind(3)).single_node == (0, 1)


@pytest.mark.parametrize(("more", "expected"), [(0, (0, 0)), (1, (1, 0))])
def test_q04_one_task_more_than_there_is_room(more, expected):
    cluster = Cluster()
    cluster.join_all(2)
    cluster.submit(needs(1), count=2 + more)
    cluster.settle()
    assert asked(cluster, kind(2), kind(3)).single_node == expected


def test_q05_a_hundred_tasks_on_three_kinds():
    cluster = Cluster()
    cluster.join_all(4, 4, 4)
    cluster.submit(needs(1), count=100)
    types = kind(2, most=5), kind(1), kind(3, most=200)
    assert asked(cluster, *types).single_node == (5, 1, 26)  # before anything was sent, too
    cluster.settle()
    assert sum(cluster.loads()) == 12
    assert asked(cluster, *types).single_node == (5, 1, 26)


def test_q06_multi_node_tasks_ask_for_allocations():
    cluster = Cluster()
    cluster.join_all(4, 4, 4)
    cluster.submit(gang(3), count=5)
    cluster.submit(gang(6), count=10)
    cluster.submit(gang(12), count=5)
    cluster.submit(gang(3), count=20, priority=10)
    cluster.submit(gang(1))
    cluster.settle()
    answer = asked(cluster, kind(4, nodes=3), kind(4, nodes=11))
    assert answer == Demand((0, 0), ((0, 1, 1), (0, 3, 24), (1, 6, 10)))


@pytest.mark.parametrize(
    ("lives", "expected"), [(740, ()), (760, ((0, 4, 1),)), (None, ((0, 4, 1),))]
)
def test_q07_nodes_must_live_long_enough(lives, expected):
    waiting = rows(gang(4, time_s=750))
    assert plan(waiting, [kind(4, lives=lives, nodes=4)]).multi_node == expected


@pytest.mark.parametrize(
    ("use", "cpus", "expected"),
    [(0.5, 12, 0), (0.3, 12, 1), (0.8, 12, 0), (1, 5, 1), (0.5, 3, 2), (0.7, 3, 1)],
)
def test_q08_workers_that_want_to_be_used(use, cpus, expected):
    waiting = rows(needs(3)) + rows(needs(1), count=2)
    assert planned(waiting, kind(cpus, use=use, most=2)) == (expected,)


@pytest.mark.parametrize(
    ("use", "cpus", "gpus", "expected"),
    [
        (0.49, 29, 40, 1),
        (0.49, 29, 30, 0),
        (0.67, 41, 30, 0),
        (0.5, 41, 200, 0),
        (0.45, 39, 200, 1),
    ],
)
def test_q09_gpus_decide_how_many_cpus_are_used(use, cpus, gpus, expected):
    waiting = rows(needs(10, gpus=20), count=2)
    assert planned(waiting, kind(cpus, gpus=gpus, use=use)) == (expected,)


def test_q10_two_halves_use_a_worker_fully():
    assert planned(rows(needs(2), count=2), kind(4, use=1.0, most=2)) == (1,)


@pytest.mark.parametrize("plain", range(4))
@pytest.mark.parametrize("with_gpu", range(4))
def test_q11_an_unknown_resource_does_not_limit(plain, with_gpu):
    waiting = rows(needs(2), count=plain) + rows(needs(2, gpus=1), count=with_gpu)
    expected = min(2, (plain + with_gpu) // 2)
    assert planned(waiting, kind(4, partial=True, use=1.0, most=2)) == (expected,)


@pytest.mark.parametrize(("count", "expected"), [(0, 0), (1, 1), (1000, 1)])
def test_q12_of_an_unknown_worker_one_is_tried(count, expected):
    waiting = rows(needs(3), count=count)
    assert planned(waiting, kind(use=1.0, most=5)) == (expected,)


@pytest.mark.parametrize(("cpus", "lives", "expected"), [(2, 75, 0), (1, 101, 1), (4, 50, 1)])
def test_q13_each_variant_has_its_own_time(cpus, lives, expected):
    waiting = [Waiting((needs(1, time_s=100), needs(4, time_s=50)), 0, 1)]
    assert planned(waiting, kind(cpus, lives=lives)) == (expected,)


@pytest.mark.parametrize(("cpus", "lives", "expected"), [(10, 99, 0), (10, 101, 2), (1, 101, 1)])
def test_q14_workers_must_live_long_enough(cpus, lives, expected):
    waiting = rows(needs(1, time_s=100), needs(10, time_s=100))
    assert planned(waiting, kind(cpus, lives=lives, most=2)) == (expected,)


@pytest.mark.parametrize(("count", "expected"), [(1, 0), (4, 0), (8, 0), (9, 1), (12, 1)])
def test_q15_what_known_workers_cannot_take_goes_to_unknown_ones(count, expected):
    cluster = Cluster()
    cluster.join_all(4)
    cluster.submit(needs(1, time_s=5000), count=count)
    cluster.settle()
    assert asked(cluster, kind(2, most=2), kind()).single_node[1] == expected


@pytest.mark.parametrize(("cpus", "expected"), [(1, 0), (2, 3)])
def test_q16_no_more_than_there_may_be(cpus, expected):
    waiting = rows(needs(2), count=100)
    assert planned(waiting, kind(cpus, partial=True, most=3)) == (expected,)


def test_q17_unknown_workers_that_live_differently_long():
    waiting = rows(needs(4, time_s=750), needs(8, time_s=1750))
    assert planned(waiting, kind(lives=1000), kind(lives=50), kind()) == (1, 0, 1)


def test_q18_known_workers_first_and_no_probe_left_to_try():
    waiting = rows(needs(4)) + rows(needs(8), count=4)
    types = kind(4, partial=True, most=2), kind(16, partial=True, lives=50, most=5), kind()
    assert planned(waiting, *types) == (1, 2, 0)


@pytest.mark.parametrize("others", [{}, {"foo": 1}])
@pytest.mark.parametrize(
    ("gpus", "expected"), [({"gpus": 4}, 3), ({}, 2), ({"gpus": 0}, 0), ({"gpus": 100}, 2)]
)
def test_q19_a_resource_may_be_scarce_unknown_or_absent(gpus, expected, others):
    waiting = rows(needs(1, gpus=2, **others), count=10)
    assert planned(waiting, kind(8, partial=True, most=3, **gpus)) == (expected,)


def test_q20_what_was_cancelled_is_not_wanted():
    cluster = Cluster()
    tasks = cluster.submit(needs(1))
    assert asked(cluster, kind(4)).single_node == (1,)
    cluster.cancel(tasks)
    assert asked(cluster, kind(4)).single_node == (0,)


def test_q20_backlog_that_was_cancelled_is_not_wanted():
    cluster = Cluster()
    (worker,) = cluster.join_all(1)
    tasks = cluster.submit(needs(1), count=20)
    cluster.settle()
    assert worker.backlog
    cluster.cancel(tasks)
    assert asked(cluster, kind(4)).single_node == (0,)


def test_q21_asked_at_once_and_later():
    cluster = Cluster()
    (worker,) = cluster.join_all(1)
    cluster.occupy(worker)
    cluster.submit(needs(5))
    assert asked(cluster, kind(12, most=2)).single_node == (1,)
    cluster.settle()
    cluster.advance(cluster.time + 1)
    assert asked(cluster, kind(12, most=2)).single_node == (1,)


# --- more of the same


def test_asking_changes_nothing():
    cluster = Cluster()
    cluster.join_all(2)
    cluster.submit(needs(1), count=30)
    cluster.settle()
    first = asked(cluster, kind(4, most=100))
    assert asked(cluster, kind(4, most=100)) == first == Demand((7,), ())
    cluster.finish_all()
    assert len(cluster.ended) == 30


def test_dependents_are_not_wanted_and_backlog_is():
    cluster = Cluster()
    (worker,) = cluster.join_all(1)
    cluster.submit(needs(1), count=41)
    cluster.settle()
    assert worker.backlog
    assert asked(cluster, kind(4, most=100)).single_node == (10,)


def test_levels_decide_who_gets_the_few_good_workers():
    high, low = rows(needs(8), count=4, priority=1), rows(needs(4), count=10)
    assert planned(high + low, kind(8, most=2), kind(4, most=20)) == (2, 10)
    low, high = rows(needs(8), count=4), rows(needs(4), count=10, priority=1)
    assert planned(high + low, kind(8, most=2), kind(4, most=20)) == (2, 6)


def test_utilization_counts_all_levels():
    waiting = rows(needs(3), count=2, priority=1) + rows(needs(3), count=2)
    assert planned(waiting, kind(12, use=1.0, most=3)) == (1,)


def test_utilization_may_need_another_mix_than_the_most_urgent():
    waiting = rows(needs(7), priority=1) + rows(needs(4), count=3)
    assert planned(waiting, kind(12, use=1.0, most=3)) == (1,)


def test_utilization_is_exact():
    for tenths in range(1, 11):
        waiting = rows(needs(1), count=tenths)
        assert planned(waiting, kind(10, use=tenths / 10)) == (1,)
        assert planned(
            waiting[:0] + rows(needs(1), count=tenths - 1), kind(10, use=tenths / 10)
        ) == (0,)


def test_variants_that_come_first_where_few_workers_suffice():
    waiting = [Waiting((needs(2), needs(5)), 0, 10)]
    assert planned(waiting, kind(11, most=20)) == (2,)


def test_the_best_mix_of_variants_where_it_needs_fewer_workers():
    waiting = [Waiting((needs(6), needs(2, gpus=2)), 0, 9)]
    assert planned(waiting, kind(12, gpus=4, most=20)) == (3,)


def test_fractions_share_an_index_only_if_they_fit_into_it():
    gpus = {"gpus": (4,)}
    assert planned(rows(needs(1, gpus=0.6), count=8), kind(64, most=9, **gpus)) == (2,)
    assert planned(rows(needs(1, gpus=0.5), count=8), kind(64, most=9, **gpus)) == (1,)
    both = rows(needs(1, gpus=0.6), count=4) + rows(needs(1, gpus=0.4), count=4)
    assert planned(both, kind(64, most=9, **gpus)) == (1,)


def test_strict_policies_want_whole_groups():
    strict = needs(4, policy=Policy.FORCE_COMPACT)
    assert planned(rows(strict, count=4), kind((6, 6), most=9)) == (2,)
    assert planned(rows(strict, count=4) + rows(needs(1), count=8), kind((6, 6), most=9)) == (2,)
    assert planned(rows(needs(4), count=6), kind((6, 6), most=9)) == (2,)


def test_all_takes_a_worker_for_itself():
    waiting = rows(needs("all"), count=2) + rows(needs(1))
    assert planned(waiting, kind(4, most=9)) == (3,)
    assert planned(rows(needs(1, gpus="all"), count=2), kind(4, most=9, gpus=0)) == (0,)


def test_many_tiny_fractions_stay_cheap():
    waiting = rows(needs(0.01), count=10_000)
    assert planned(waiting, kind(50, most=9)) == (2,)


def test_multi_node_tasks_take_the_first_variant_that_somebody_can_run():
    waiting = [Waiting((gang(8), gang(2)), 0, 3), Waiting((gang(9), gang(2)), 0, 4)]
    types = [kind(4, nodes=2), kind(4, nodes=8)]
    assert plan(waiting, types) == Demand((0, 0), ((0, 2, 4), (1, 8, 3)))


def test_a_kind_of_which_there_may_be_none_is_left_out():
    assert planned(rows(needs(1)), kind(4, most=0), kind(4)) == (0, 1)


def test_a_million_tasks_at_thousands_of_priorities_are_counted():
    classes = [(needs(1),), (needs(2),), (needs(4, gpus=1),), (needs(1), needs(3, gpus=1))]
    waiting = [Waiting(classes[i % 4], -i, 312) for i in range(3200)]
    types = [kind(64, gpus=4, most=1000) for _ in range(10)]
    assert planned(waiting, *types) == (1000,) * 10
    few = [kind(64, gpus=4, most=1_000_000)]
    gpus = 2 * 800 * 312  # tasks that need one, or three cpus and one
    assert gpus // 8 <= planned(waiting, *few)[0] <= gpus // 4


# --- whatever waits


variants = st.lists(
    st.builds(
        needs,
        st.sampled_from([1, 1, 2, 3, 4, 0.5, "all"]),
        time_s=st.sampled_from([0.0, 0.0, 100.0]),
        weight=st.sampled_from([1.0, 1.0, 2.0]),
        policy=st.sampled_from([Policy.COMPACT, Policy.COMPACT, Policy.FORCE_COMPACT]),
    )
    | st.builds(needs, st.integers(1, 3), gpus=st.sampled_from([0.3, 0.6, 1, 2])),
    min_size=1,
    max_size=2,
).map(tuple)


def no_strict_all(choice):
    """`all` has no other policy."""
    return tuple(needs("all", time_s=r.time_s) if r.needs[0].amount == 0 else r for r in choice)


waitings = st.lists(
    st.builds(Waiting, variants.map(no_strict_all), st.integers(0, 3), st.integers(0, 30)),
    max_size=6,
)
kinds = st.lists(
    st.builds(
        kind,
        st.sampled_from([2, 4, 8, (4, 4), (3, 3)]),
        most=st.integers(0, 6),
        lives=st.sampled_from([None, 50.0, 100.0]),
        use=st.sampled_from([0.0, 0.0, 0.0, 0.5, 1.0]),
        partial=st.booleans(),
    )
    | st.builds(
        kind, st.integers(1, 9), gpus=st.sampled_from([0, 2, (2,), (1, 1)]), most=st.just(3)
    )
    | st.builds(kind, lives=st.sampled_from([None, 100.0]), most=st.integers(1, 3)),
    min_size=1,
    max_size=4,
)


@given(waitings, kinds)
@settings(max_examples=150, deadline=None)
def test_what_is_planned_fits_and_exists(waiting, types):
    started = Counter()
    workers = Counter()
    for load in lay_out(waiting, types):
        offer = types[load.type]
        workers[load.type] += load.workers
        room = Pools(Layout(offer.descriptor))
        claims = [
            (choice[variant], choice, count) for choice, variant, count in load.starts for _ in "x"
        ]
        assert claims
        cpus = 0
        # The order matters for fractions and strict groups: any that works is enough.
        for request, choice, count in claims:
            assert offer.lifetime_s is None or request.time_s <= offer.lifetime_s
            started[choice] += count * load.workers
            known = [n for n in request.needs if n.resource in room.by_name]
            assert offer.partial or len(known) == len(request.needs)
            for _ in range(count if known else 0):
                taken = room.take(needs_only(request, known))
                assert taken is not None
                cpus += sum(
                    part.amount
                    for need, part in zip(known, taken, strict=True)
                    if need.resource == "cpus"
                )
        if "cpus" in room.by_name:
            size = room.by_name["cpus"].pool.size
            assert cpus >= offer.min_utilization * size
    available = Counter()
    for row in waiting:
        available[row.variants] += row.count
    assert all(count <= available[choice] for choice, count in started.items())
    assert all(count <= types[index].max_sn_workers for index, count in workers.items())


def needs_only(request, known):
    return type(request)(tuple(known), 0, request.time_s, request.weight)


@given(waitings, kinds)
@settings(max_examples=60, deadline=None)
def test_the_same_question_has_the_same_answer(waiting, types):
    copies = [Waiting(tuple(row.variants), row.priority, row.count) for row in waiting]
    answer = plan(waiting, types)
    assert plan(copies, types) == answer
    assert len(answer.single_node) == len(types)
    halves = [
        Waiting(row.variants, row.priority, part)
        for row in waiting
        for part in (row.count // 2, row.count - row.count // 2)
    ]
    assert plan(halves, types) == answer


@given(variants.map(no_strict_all), st.integers(0, 40), st.integers(1, 40), kinds)
@settings(max_examples=100, deadline=None)
def test_more_tasks_of_one_kind_never_need_fewer_workers(choice, count, more, types):
    types = [offer for offer in types if offer.min_utilization == 0] or [kind(4, most=5)]
    fewer = plan([Waiting(choice, 0, count)], types)
    assert sum(plan([Waiting(choice, 0, count + more)], types).single_node) >= sum(
        fewer.single_node
    )


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4)), min_size=1, max_size=5),
    st.integers(1, 6),
    st.integers(0, 12),
)
@settings(max_examples=100, deadline=None)
def test_one_cpu_each_needs_as_many_workers_as_cpus_say(levels, cpus, most):
    waiting = [Waiting((needs(1, weight=1 + p),), p, count) for p, count in levels]
    total = sum(count for _, count in levels)
    assert planned(waiting, kind(cpus, most=most)) == (min(most, -(-total // cpus)),)
