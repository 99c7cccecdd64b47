"""Requests of thousands of kinds come and go; what was learned of the last ones is kept."""

from __future__ import annotations

import pytest
from scheduling_cluster import Cluster, needs

from hqtrio.model.resources import UNIT
from hqtrio.scheduling.mirror import FORMER_MAX, RequestClass
from hqtrio.scheduling.ready import ReadyQueue

IDLE_MAX = 20


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr("hqtrio.scheduling.tables.IDLE_CLASSES_MAX", IDLE_MAX)


def kind(number: int):
    """A request unlike those of other numbers."""
    return needs(1 + number / UNIT)


def run(cluster: Cluster, number: int) -> None:
    cluster.submit(kind(number))
    cluster.finish_all()


def classes(cluster: Cluster):
    return cluster.machine._tables.classes


def test_of_requests_that_nobody_makes_any_more_few_are_remembered():
    cluster = Cluster(checks=False)
    worker = cluster.join(2)
    for number in range(3 * IDLE_MAX):
        run(cluster, number)
    known = classes(cluster)
    assert IDLE_MAX <= len(known) <= 2 * IDLE_MAX
    latest = 3 * IDLE_MAX
    assert all((kind(number),) in known for number in range(latest - IDLE_MAX, latest))
    [mirror] = cluster.machine._tables.workers.values()
    assert mirror.classes <= {klass.id for klass in known.values()}
    assert mirror.shape._usable.keys() <= {klass.id for klass in known.values()}
    assert len(mirror.shape._demands) <= len(known)
    assert worker.classes.keys() == mirror.classes
    assert worker.closed is None
    cluster.machine.check()


def test_what_waits_or_runs_is_never_forgotten_nor_named_anew():
    cluster = Cluster(checks=False)
    worker = cluster.join(3)
    [runs] = cluster.occupy(worker, kind(0))
    [waits] = cluster.submit(needs(4))
    before = {classes(cluster)[variants].id for variants in ((kind(0),), (needs(4),))}
    for number in range(1, 3 * IDLE_MAX):
        [task] = cluster.submit(kind(number))
        cluster.settle()
        worker.end(task)
        worker.report()
        cluster.hear(worker)
    cluster.machine.check()
    assert {classes(cluster)[variants].id for variants in ((kind(0),), (needs(4),))} == before
    other = cluster.join(4)
    cluster.settle()
    assert waits in other.running
    assert runs in worker.running


def test_a_forgotten_request_that_comes_again_is_defined_again():
    cluster = Cluster(checks=False)
    worker = cluster.join(2)
    for number in [*range(3 * IDLE_MAX), 0]:
        run(cluster, number)
    assert len(worker.ran) == 3 * IDLE_MAX + 1
    numbers = [klass.id for klass in classes(cluster).values()]
    assert len(set(numbers)) == len(numbers)
    assert max(numbers) == 3 * IDLE_MAX + 1


def test_priorities_that_come_and_go_are_not_counted_for_ever():
    klass = RequestClass(1, (needs(),))
    for turn in range(10 * FORMER_MAX):
        queue = ReadyQueue(klass, turn % 3)
        klass.add_queue(queue)
        assert klass.top is max(klass.queues.values(), key=lambda queue: queue.priority)
        if turn % 3:
            del klass.queues[queue.priority]
    assert len(klass._order) <= FORMER_MAX + 2 * len(klass.queues)
