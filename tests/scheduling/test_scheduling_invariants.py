"""Anything may happen in any order: what must hold holds, and every possible task ends.

Invariants are named where they are checked: in the ledger, in the oracle, in the machine's own
`check`, and here. HQTRIO_LONG=1 makes the stories longer and many more.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from scheduling_cluster import gang, needs
from watched_cluster import WatchedCluster

from hqtrio.model.resources import Policy
from hqtrio.model.task import Ending
from hqtrio.model.worker import LossReason
from hqtrio.scheduling.events import LinkFree, LinkStuck

LONG = os.environ.get("HQTRIO_LONG") == "1"
PLACED = [Policy.COMPACT, Policy.FORCE_COMPACT, Policy.TIGHT, Policy.FORCE_TIGHT, Policy.SCATTER]

POLICIES = st.sampled_from(PLACED)
AMOUNTS = st.sampled_from([1, 2, 3, 0.5, 1.5, 4, 6])
CPU_NEEDS = st.one_of(AMOUNTS, st.tuples(AMOUNTS, POLICIES), st.just("all"))
GPU_NEEDS = st.one_of(
    st.none(), st.sampled_from([1, 0.5, 2, 1.5]), st.tuples(st.sampled_from([1, 2]), POLICIES)
)
FOO_NEEDS = st.sampled_from([None, None, 0.25, 1, "all"])
TIMES_S = st.sampled_from([0.0, 0.0, 0.0, 50.0, 20.0])
WEIGHTS = st.sampled_from([1.0, 1.0, 2.0])


@st.composite
def requests(draw):
    others = {"foo": draw(FOO_NEEDS), "gpus": draw(GPU_NEEDS)}
    others = {name: amount for name, amount in others.items() if amount is not None}
    return needs(draw(CPU_NEEDS), time_s=draw(TIMES_S), weight=draw(WEIGHTS), **others)


@st.composite
def classes(draw):
    """Mostly plain cpus; sometimes anything, in variants, or whole workers."""
    kind = draw(st.sampled_from(["plain", "plain", "any", "variants", "gang"]))
    match kind:
        case "plain":
            return (needs(draw(st.sampled_from([1, 2, 3, 4]))),)
        case "any":
            return (draw(requests()),)
        case "variants":
            return tuple(draw(st.lists(requests(), min_size=2, max_size=3, unique=True)))
        case _:
            return (gang(draw(st.integers(1, 3)), time_s=draw(TIMES_S)),)


URGENT = st.sampled_from(
    [(needs(cpus),) for cpus in (1, 2, 3, 4, "all", (2, Policy.FORCE_COMPACT))]
    + [(gang(1),), (gang(2),), (needs(1, gpus=1), needs(3))]
)
SOCKETS = st.sampled_from([(1,), (2,), (3,), (4,), (6,), (2, 2), (3, 1), (4, 4), (2, 2, 2)])
GPUS = st.sampled_from([None, None, (1,), (2,), (1, 1), (2, 1), (2, 2)])
FOOS = st.sampled_from([None, None, 0.5, 2])
LIVES_S = st.sampled_from([None, None, None, 30.0, 70.0])
LOADS = st.sampled_from([0.0, 0.0, 0.0, 0.5, 1.0])
INDEX = st.integers(0, 40)


@st.composite
def shapes(draw):
    cpus, gpus, foo = draw(SOCKETS), draw(GPUS), draw(FOOS)
    others = {name: size for name, size in [("gpus", gpus), ("foo", foo)] if size is not None}
    if gpus and len(cpus) == len(gpus) > 1 and draw(st.booleans()):
        others["coupling"] = [("cpus", at, "gpus", at) for at in range(len(cpus))]
    return cpus, others


class SchedulingStory(RuleBasedStateMachine):
    """Frames are delivered one at a time in either direction, rounds run when they like."""

    @initialize()
    def begin(self):
        self.cluster = WatchedCluster()
        self.machine = self.cluster.machine
        self.short_tasks = False  # there were tasks so short that nobody steals the like of them

    @property
    def workers(self):
        return list(self.cluster.workers.values())

    # --- the job book

    @rule(variants=classes(), priority=st.integers(-2, 3), count=st.integers(1, 30))
    def submit(self, variants, priority, count):
        if variants[0].nodes:
            count = min(count, 4)
        self.cluster.submit(*variants, priority=priority, count=count)

    @rule(priority=st.integers(-2, 3), count=st.integers(1, 5))
    def submit_with_entries(self, priority, count):
        entries = [b"%d" % number for number in range(count)]
        self.cluster.submit(1, priority=priority, entries=entries)

    @precondition(lambda self: any(worker.waiting for worker in self.workers))
    @rule(variants=URGENT, count=st.integers(1, 3))
    def submit_urgent(self, variants, count):
        """Something that others must make room for."""
        self.cluster.submit(*variants, priority=4, count=count)

    @precondition(lambda self: self.cluster.live)
    @rule(index=INDEX, count=st.integers(1, 20))
    def cancel(self, index, count):
        self.short_tasks = True
        live = sorted(self.cluster.live)
        at = index % len(live)
        self.cluster.cancel(live[at : at + count])

    @precondition(lambda self: self.cluster.inbox)
    @rule()
    def book_speaks(self):
        self.cluster.handle(self.cluster.inbox.popleft())

    # --- workers

    @precondition(lambda self: len(self.workers) < 4)
    @rule(
        shape=shapes(),
        lives_s=LIVES_S,
        group=st.sampled_from("gggh"),
        load=LOADS,
        idle_s=st.sampled_from([None, None, None, 5.0]),
        lingers=st.booleans(),
    )
    def join(self, shape, lives_s, group, load, idle_s, lingers):
        cpus, others = shape
        worker = self.cluster.join(
            cpus,
            remaining_s=lives_s,
            group=group,
            min_utilization=load,
            idle_timeout_s=idle_s,
            **others,
        )
        worker.dies_at_once = not lingers

    @precondition(lambda self: self.workers)
    @rule(index=INDEX, reason=st.sampled_from(list(LossReason)))
    def lose(self, index, reason):
        self.cluster.lose(self.pick(self.workers, index), reason)

    @precondition(lambda self: self.workers)
    @rule(index=INDEX)
    def stop(self, index):
        self.cluster.stop(self.pick(self.workers, index))

    @precondition(lambda self: self.workers)
    @rule(index=INDEX, event=st.sampled_from([LinkStuck, LinkFree]))
    def stick(self, index, event):
        self.cluster.handle(event(self.pick(self.workers, index).link))

    @precondition(lambda self: any(worker.running for worker in self.workers))
    @rule(index=INDEX, took=st.sampled_from([0.001, 0.1, 2.0, 100.0]), well=st.booleans())
    def end(self, index, took, well):
        tasks = [(worker, task) for worker in self.workers for task in sorted(worker.running)]
        worker, task = self.pick(tasks, index)
        self.short_tasks |= took < 0.1
        ending = Ending.FINISHED if well else Ending.EXITED
        worker.end(task, Ending.CANCELLED if task in worker.dead else ending, took)

    @precondition(lambda self: any(worker.running for worker in self.workers))
    @rule(index=INDEX)
    def end_all_of_one(self, index):
        worker = self.pick([worker for worker in self.workers if worker.running], index)
        for task in sorted(worker.running):
            worker.end(task, took=1.0)

    @precondition(lambda self: any(worker.ends_at < float("inf") for worker in self.workers))
    @rule(index=INDEX, seconds=st.sampled_from([5.0, 25.0]))
    def clock_runs_ahead(self, index, seconds):
        """The worker's own clock decides what it starts too late."""
        mortal = [worker for worker in self.workers if worker.ends_at < float("inf")]
        worker = self.pick(mortal, index)
        worker.ends_at -= seconds
        worker.pump()

    # --- delivery and time

    @precondition(lambda self: any(worker.frames for worker in self.workers))
    @rule(index=INDEX)
    def worker_reads(self, index):
        self.pick([worker for worker in self.workers if worker.frames], index).read_frame()

    @precondition(lambda self: any(worker.facts or worker.reports for worker in self.workers))
    @rule(index=INDEX, heard=st.booleans())
    def worker_reports(self, index, heard):
        worker = self.pick([w for w in self.workers if w.facts or w.reports], index)
        worker.report()
        if heard:
            self.cluster.hear(worker)

    @rule()
    def end_batch(self):
        self.cluster.round()

    @rule()
    def come_to_rest(self):
        self.cluster.settle()

    @rule()
    def rest_for_long(self):
        """Long enough to steal again what was stolen last."""
        self.cluster.settle()
        self.cluster.advance(self.cluster.time + 2.5)
        self.cluster.settle()
        if not self.short_tasks:
            self.machine.oracle(self.cluster.time).check_stealing_over()

    @rule(seconds=st.sampled_from([0.05, 1.5, 30.0, 70.0]))
    def wait(self, seconds):
        self.cluster.pass_time(seconds)
        self.cluster.wake()

    # --- what holds after every step

    @invariant()
    def backlog_has_a_slot(self):
        """I04: unless the worker is about to hear of it, or has told."""
        ledger = self.machine.ledger
        for entry in ledger.workers.values():
            worker = self.cluster.workers[entry.link]
            if worker.frames or worker.facts or worker.reports:
                continue
            classes = {slot.variants for slot in entry.slots.values()}
            for task in entry.held.values():
                assert task.variants in classes or worker.stopped is not None, task

    @invariant()
    def figures_agree(self):
        """I02: the machine has exactly the tasks that it was told of."""
        ledger, figures = self.machine.ledger, self.machine.statistics()
        ready = len(ledger.ready())
        assert (figures.ready, figures.shipped) == (ready, len(ledger.tasks) - ready)
        assert figures.workers == len(ledger.workers)

    # --- the end

    def teardown(self):
        cluster, machine = self.cluster, self.machine
        if machine.is_wrong:
            return
        for worker in self.workers:
            cluster.handle(LinkFree(worker.link))
        cluster.settle()
        for worker in self.workers:
            worker.dies_at_once = True
            if worker.stopped is not None:
                cluster.lose(worker)
        self._end_everything()
        # What those are kept for that want to be full may never fill them.
        for worker in self.workers:
            if worker.config.min_utilization:
                cluster.lose(worker)
        self._end_everything()
        oracle = machine.oracle(cluster.time)
        for task in machine.ledger.ready():  # I12
            assert not oracle.hosts(task.variants), ("never ran", task)
        figures = machine.statistics()
        assert (figures.shipped, figures.slots, figures.running) == (0, 0, 0), figures
        assert not oracle.holds or machine.ledger.ready(), oracle.holds
        refusals = set(cluster.refusals) - {"did not end in time after being told"}
        assert not refusals, refusals

    def _end_everything(self):
        """Until neither the end of tasks nor time changes anything."""
        cluster = self.cluster
        while True:
            for worker in self.workers:
                for task in sorted(worker.running.keys() & worker.dead):
                    worker.end(task, Ending.CANCELLED)
            before = len(cluster.ended)
            cluster.finish_all()
            cluster.advance(cluster.time + 2.0)
            if len(cluster.ended) == before and not any(w.running for w in self.workers):
                return

    @staticmethod
    def pick(items, index):
        return items[index % len(items)]


SchedulingStory.TestCase.settings = settings(
    max_examples=5000 if LONG else 150,
    stateful_step_count=100 if LONG else 50,
    deadline=None,
    derandomize=not LONG,  # new stories are for the long run; these are always the same
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestSchedulingStory = SchedulingStory.TestCase
