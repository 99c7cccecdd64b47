"""Scenarios of allocation policies where links say which groups are close."""

import pytest
from numa_worker import NumaWorker, run_until_all_ended


def pairs(one, two, count, weight=256):
    """Links of equal-numbered groups."""
    return [(one, group, two, group, weight) for group in range(count)]


@pytest.mark.parametrize("running", [0, 1, 2])
def test_n28_gpus_come_from_the_group_of_the_cpus(running):
    worker = NumaWorker(pairs("cpus", "gpus", 4), cpus="3|3|3|3", gpus="4|4|4|4")
    for _ in range(running):
        assert worker.run(cpus="2")
    task = worker.run(cpus="2", gpus="2")
    assert len(task.groups()) == 1
    assert task.groups("gpus") == task.groups()


def test_n29_more_gpus_than_one_group_has():
    worker = NumaWorker(pairs("cpus", "gpus", 4), cpus="4|4|4|4", gpus="2|2|2|2")
    task = worker.run(cpus="4", gpus="3")
    assert len(task.groups()) == 1
    assert set(task.groups()) < set(task.groups("gpus"))
    assert task.spread("gpus") == [2, 1]


def test_n30_fractions_are_coupled_too():
    worker = NumaWorker(pairs("cpus", "gpus", 4), cpus="4|4|4|4", gpus="2|2|2|2")
    task = worker.run(cpus="0.1", gpus="0.5")
    assert task.groups() == task.groups("gpus")


def test_n31_the_heaviest_links_win():
    coupling = [("cpus", i, "gpus", i // 2, 256) for i in range(6)]
    coupling += [("gpus", i // 2, "foo", i, 128) for i in range(6)]
    worker = NumaWorker(coupling, cpus="2|2|2|2|2|2", gpus="1|1|1", foo="3|3|3|3|3|3")
    used = worker.run(cpus="1")
    assert used.groups() == [0]
    hogs = [worker.run(foo="3") for _ in range(5)]
    assert worker.run(foo="2").groups("foo") == [5]
    worker.end(*hogs)
    task = worker.run(cpus="4 compact!", gpus="1 compact!", foo="5 compact!")
    assert [task.groups(name) for name in ("cpus", "gpus", "foo")] == [[2, 3], [1], [2, 3]]


def test_n32_a_chain_of_links():
    coupling = [
        ("cpus", 2, "gpus", 1, 256),
        ("cpus", 0, "gpus", 1, 128),
        ("gpus", 1, "foo", 0, 256),
    ]
    worker = NumaWorker(coupling, cpus="1|1|1", gpus="1|1|1", foo="1|1|1")
    task = worker.run(cpus="1 compact!", gpus="1 compact!", foo="1 compact!")
    assert [task.groups(name) for name in ("cpus", "gpus", "foo")] == [[2], [1], [0]]


def use(worker, resource, *counts):
    """Use so many whole indices of each group."""
    hogs = [worker.run(**{resource: "1"}) for _ in range(int(worker.free(resource)))]
    for group, count in enumerate(counts):
        mine = [task for task in hogs if task.groups(resource) == [group]]
        worker.end(*mine[count:])


@pytest.mark.parametrize(("coupling", "runs"), [(pairs("cpus", "gpus", 3), False), ([], True)])
def test_n33_a_strict_pair_waits_for_a_coupled_place(coupling, runs):
    worker = NumaWorker(coupling, cpus="2|2|2", gpus="2|2|2")
    use(worker, "cpus", 2, 2, 0)
    use(worker, "gpus", 0, 2, 2)
    assert bool(worker.run(cpus="1 compact!", gpus="1 compact!")) == runs


def test_n34_two_coupled_groups_of_each():
    worker = NumaWorker(pairs("cpus", "gpus", 4), cpus="2|2|2|2", gpus="2|2|2|2")
    use(worker, "cpus", 2, 2, 0, 0)
    use(worker, "gpus", 0, 1, 0, 1)
    task = worker.run(cpus="3 compact!", gpus="3 compact!")
    assert task.groups() == task.groups("gpus") == [2, 3]


@pytest.mark.parametrize(
    ("coupled", "gpus_used", "runs"),
    [(True, (2, 0, 0), False), (False, (2, 0, 0), True), (True, (0, 0, 2), True)],
)
def test_n35_strict_asks_for_the_weight_of_the_empty_worker(coupled, gpus_used, runs):
    coupling = pairs("cpus", "gpus", 3) if coupled else []
    worker = NumaWorker(coupling, cpus="4|4|4", gpus="2|2|2")
    use(worker, "cpus", 0, 0, 4)
    use(worker, "gpus", *gpus_used)
    assert bool(worker.run(cpus="8 compact!", gpus="4 compact!")) == runs


@pytest.mark.parametrize(
    ("cpus", "foo", "spreads"),
    [
        ("6 tight", "2 tight", ([4, 2], [2])),
        ("6 scatter", "2 scatter", ([2, 2, 2], [1, 1])),
        ("6 compact", "2 compact", ([3, 3], [2])),
        ("6 scatter", "2 tight", ([2, 2, 2], [2])),
    ],
)
def test_n36_every_need_has_its_own_policy(cpus, foo, spreads):
    worker = NumaWorker(pairs("cpus", "foo", 3), cpus="4|4|4", foo="2|2|2")
    task = worker.run(cpus=cpus, foo=foo)
    assert (task.spread(), task.spread("foo")) == spreads


def test_n37_two_tasks_touch_two_groups_each():
    worker = NumaWorker(pairs("cpus", "foo", 3), cpus="3|3|3", foo="3|3|3")
    for needs in ({"cpus": "4", "foo": "2"}, {"cpus": "2", "foo": "4"}):
        task = worker.run(**needs)
        assert len({*task.groups(), *task.groups("foo")}) == 2


def test_n38_a_plain_need_coupled_to_a_strict_one_is_strict():
    worker = NumaWorker(pairs("cpus", "foo", 2), cpus="3|3", foo="4|4")
    run = worker.run

    def run_and_look(**needs):
        task = run(**needs)
        assert task is None or task.groups() == task.groups("foo")
        assert task is None or len(task.groups()) == 1
        return task

    worker.run = run_and_look
    big, small = {"cpus": "1", "foo": "3 compact!"}, {"cpus": "1", "foo": "1 compact!"}
    assert run_until_all_ended(worker, [big] * 50 + [small] * 50) >= 4


def test_strictness_does_not_spread_to_what_is_not_coupled():
    coupling = pairs("cpus", "foo", 2)
    worker = NumaWorker(coupling, cpus="2|2", foo="2|2", goo="2|2")
    use(worker, "goo", 1, 1)
    task = worker.run(cpus="1 compact!", foo="1", goo="2")
    assert task.spread("goo") == [1, 1]


def test_groups_of_one_pool_can_be_close_to_each_other():
    worker = NumaWorker([("cpus", 0, "cpus", 3, 256)], cpus="2|2|2|2")
    assert worker.run(cpus="4").groups() == [0, 3]
    assert worker.run(cpus="4").groups() == [1, 2]
    assert NumaWorker([], cpus="2|2|2|2").run(cpus="4").groups() == [0, 1]


def test_what_fails_elsewhere_leaves_coupled_pools_alone():
    worker = NumaWorker(pairs("cpus", "foo", 2), cpus="2|2", foo="2|2", mem="sum 1")
    assert worker.run(mem="1")
    assert worker.run(cpus="1", foo="1", mem="1") is None
    assert (worker.free("cpus"), worker.free("foo")) == (4, 4)
