"""Anything may happen in any order: the invariants hold, and every possible task ends."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from scheduling_cluster import Cluster, needs

from hqtrio.model.resources import Policy
from hqtrio.model.task import Ending
from hqtrio.model.worker import LossReason
from hqtrio.scheduling.events import LinkFree, LinkStuck

REQUESTS = st.sampled_from(
    [
        (needs(1),),
        (needs(2),),
        (needs(3),),
        (needs(0.5),),
        (needs(1.5),),
        (needs("all"),),
        (needs(9),),
        (needs(2, policy=Policy.FORCE_COMPACT),),
        (needs(1, gpus=1),),
        (needs(4), needs(1, gpus=1)),
        (needs(1, time_s=50.0),),
    ]
)
SHAPES = st.sampled_from([((1,), {}), ((4,), {}), (((2, 2),), {"gpus": 1}), ((6,), {"gpus": 2})])


class SchedulingStory(RuleBasedStateMachine):
    """Frames are delivered one at a time in either direction, rounds run when they like."""

    @initialize()
    def begin(self):
        self.cluster = Cluster()

    @property
    def workers(self):
        return list(self.cluster.workers.values())

    def pick(self, data, items):
        return data.draw(st.sampled_from(items)) if items else None

    @rule(request=REQUESTS, priority=st.integers(-1, 2), count=st.integers(1, 12))
    def submit(self, request, priority, count):
        self.cluster.submit(*request, priority=priority, count=count)

    @rule(count=st.integers(1, 5))
    def submit_with_entries(self, count):
        self.cluster.submit(1, entries=[b"%d" % i for i in range(count)])

    @precondition(lambda self: len(self.workers) < 4)
    @rule(shape=SHAPES, remaining_s=st.sampled_from([None, 70.0]))
    def join(self, shape, remaining_s):
        args, sums = shape
        self.cluster.join(*args, remaining_s=remaining_s, **sums)

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), reason=st.sampled_from(list(LossReason)))
    def lose(self, data, reason):
        self.cluster.lose(self.pick(data, self.workers), reason)

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def stop(self, data):
        self.cluster.stop(self.pick(data, self.workers))

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), event=st.sampled_from([LinkStuck, LinkFree]))
    def stick(self, data, event):
        self.cluster.handle(event(self.pick(data, self.workers).link))

    @rule(data=st.data(), took=st.sampled_from([0.0, 0.01, 1.0, 100.0]))
    def end(self, data, took):
        worker = self.pick(data, [worker for worker in self.workers if worker.running])
        if worker is not None:
            ending = data.draw(st.sampled_from([Ending.FINISHED, Ending.EXITED]))
            worker.end(self.pick(data, sorted(worker.running)), ending, took)

    @rule(data=st.data())
    def cancel(self, data):
        if self.cluster.live:
            tasks = data.draw(st.lists(st.sampled_from(sorted(self.cluster.live)), unique=True))
            self.cluster.cancel(tasks)

    @rule(data=st.data())
    def worker_reads(self, data):
        worker = self.pick(data, [worker for worker in self.workers if worker.frames])
        if worker is not None:
            worker.read_frame()

    @rule(data=st.data())
    def worker_reports(self, data):
        worker = self.pick(data, self.workers)
        if worker is not None and worker.report():
            self.cluster.hear(worker)

    @rule()
    def book_speaks(self):
        if self.cluster.inbox:
            self.cluster.handle(self.cluster.inbox.popleft())

    @rule()
    def end_batch(self):
        self.cluster.round()

    @rule(seconds=st.sampled_from([0.05, 5.0, 30.0]))
    def wait(self, seconds):
        self.cluster.time += seconds
        self.cluster._perform(self.cluster.machine.tick(self.cluster.now()))
        self.cluster.machine.check()

    def teardown(self):
        cluster = self.cluster
        cluster.join(12, gpus=4)
        cluster.settle()
        for worker in self.workers:
            cluster.handle(LinkFree(worker.link))
            if worker.stopped is not None:
                cluster.lose(worker)
        cluster.finish_all()
        assert not cluster.live, sorted(cluster.live)
        statistics = cluster.machine.statistics()
        assert (statistics.ready, statistics.shipped, statistics.slots) == (0, 0, 0)
        refusals = set(cluster.refusals) - {"did not end in time after being told"}
        assert not refusals, refusals


SchedulingStory.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestSchedulingStory = SchedulingStory.TestCase
