"""Workers that do not read what they were sent get nothing more until they do."""

from __future__ import annotations

import pytest
from scheduling_cluster import Cluster

from hqtrio.messages.worker import Enqueue, Grant, Stop
from hqtrio.scheduling.events import LinkFree, LinkStuck


@pytest.fixture
def cluster():
    return Cluster()


def orders(worker):
    """Messages under way to the worker."""
    return [message for frame in worker.frames for message in frame]


def test_a_stuck_worker_is_granted_nothing(cluster):
    stuck, _ = cluster.join(2), cluster.join(2)
    cluster.handle(LinkStuck(stuck.link))
    tasks = cluster.submit(1, count=3)
    cluster.settle()
    assert cluster.running() == [[], tasks[:2]]
    cluster.handle(LinkFree(stuck.link))
    cluster.settle()
    assert cluster.running() == [tasks[2:], tasks[:2]]


def test_a_stuck_worker_gets_no_backlog(cluster):
    worker = cluster.join(1)
    cluster.submit(1, count=1000)
    cluster.settle()
    cluster.handle(LinkStuck(worker.link))
    worker.end(min(worker.running))
    worker.report()
    cluster.hear(worker)
    cluster.round()
    assert not [m for m in orders(worker) if isinstance(m, Enqueue | Grant)]
    cluster.handle(LinkFree(worker.link))
    cluster.round()
    assert [m for m in orders(worker) if isinstance(m, Enqueue)]


def test_the_backlog_of_a_stuck_worker_may_be_stolen(cluster):
    stuck = cluster.join(1)
    tasks = cluster.submit(1, count=2)
    cluster.settle()
    cluster.handle(LinkStuck(stuck.link))
    cluster.join(1)
    cluster.settle()
    assert cluster.running() == [tasks[:1], tasks[1:]]


def test_a_stuck_worker_is_not_held_for_waiting_tasks(cluster):
    stuck, other = cluster.join(4), cluster.join(4)
    blocker = cluster.submit(2, count=4)
    cluster.settle()
    cluster.handle(LinkStuck(stuck.link))
    stuck.end(blocker[0])
    large = cluster.submit(4, priority=1)
    cluster.settle()
    for task in list(other.running):
        other.end(task)
    cluster.settle()
    assert cluster.running()[1] == large


def test_a_worker_that_is_stopped_while_stuck_stays_out_of_use(cluster):
    worker = cluster.join(1)
    cluster.handle(LinkStuck(worker.link))
    cluster.stop(worker)
    cluster.round()
    assert isinstance(orders(worker)[-1], Stop)
    cluster.handle(LinkFree(worker.link))
    cluster.submit(1)
    cluster.settle()
    assert cluster.running() == [[]]


def test_a_stuck_worker_that_is_lost_gives_its_tasks_to_others(cluster):
    stuck = cluster.join(2)
    tasks = cluster.submit(1, count=2)
    cluster.settle()
    cluster.handle(LinkStuck(stuck.link))
    cluster.lose(stuck)
    cluster.join(2)
    cluster.settle()
    assert cluster.running() == [tasks]


def test_links_without_a_worker_may_say_they_are_stuck(cluster):
    waiting = cluster.join(1, admit=False)
    for link in (waiting.link, 77):
        cluster.handle(LinkStuck(link))
        cluster.handle(LinkFree(link))
    cluster.submit(1)
    cluster.settle()
    assert len(cluster.running()[0]) == 1
