"""Clusters in which time passes, and whose scheduler may be judged after every step."""

from __future__ import annotations

from scheduling_cluster import Cluster
from watched_scheduling import WatchedScheduling

from hqtrio.model.worker import LossReason


class LivelyCluster(Cluster):
    """Timers go off, workers come to their end, and the job book speaks when it is told to."""

    def is_quiet(self):
        """Nothing is under way in any direction."""
        return not self.inbox and not any(
            worker.frames or worker.facts or worker.reports for worker in self.workers.values()
        )

    def pass_time(self, seconds):
        """Workers see that it is later, and those that have come to their end are gone."""
        self.time += seconds
        for worker in list(self.workers.values()):
            if worker.ends_at < self.time:
                self.lose(worker, LossReason.TIME_LIMIT_REACHED)
            else:
                worker.pump()

    def round(self):
        """As it is, without what the job book has not said yet."""
        self.pass_time(0.03)
        self.wake()
        self._perform(self.machine.end_batch(self.now()))
        self._check()

    def wake(self):
        if self.machine.next_deadline() <= self.time:
            self._perform(self.machine.tick(self.now()))
            self._check()

    def settle(self):
        for _ in range(1000):
            while self.inbox:
                self.handle(self.inbox.popleft())
            self.round()
            for worker in list(self.workers.values()):
                while worker.frames:
                    worker.read_frame()
                if worker.report():
                    while worker.reports and worker.link in self.workers:
                        self.hear(worker)
            if self.is_quiet() and self.machine.next_deadline() > self.time:
                self.round()  # the last one of them is judged in silence
                if self.is_quiet():
                    self._check_copies()
                    return
        raise AssertionError("the cluster does not come to rest")


class WatchedCluster(LivelyCluster):
    """Its scheduler is judged after every step."""

    def __init__(self):
        super().__init__()
        self.machine = WatchedScheduling(self.is_quiet)
