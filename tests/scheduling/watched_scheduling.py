"""A scheduling machine under supervision: every step is judged, and taken twice."""

from __future__ import annotations

from contextlib import contextmanager

from holds_oracle import check_held_capacity, check_hold_changes, check_holds, holds_of
from scheduling_ledger import Ledger
from scheduling_oracle import Oracle

from hqtrio.scheduling.machine import Scheduling


class RecordedScheduling:
    """In the place of the machine; a ledger follows what goes in and what comes out."""

    def __init__(self, **options):
        self.real = Scheduling(**options)
        self.ledger = Ledger()
        self._settled_at = None  # when the last round ended, if nothing has happened since

    def __getattr__(self, name):
        return getattr(self.real, name)

    def handle(self, event, now):
        self._settled_at = None
        self.ledger.take_event(event, now.monotonic)
        return self._take(self.real.handle(event, now), now)

    def end_batch(self, now):
        return self._round(self.real.end_batch(now), now)

    def tick(self, now):
        return self._round(self.real.tick(now), now)

    def _round(self, effects, now):
        at = now.monotonic
        effects = self._take(effects, now)
        # Otherwise the round is not over.
        self._settled_at = None if self.real._tables.dirty else at
        return effects

    def _take(self, effects, now):
        effects = list(effects)
        self.ledger.take_effects(effects, now.monotonic)
        return effects

    def check(self):
        self.real.check()
        self.ledger.check()
        if self._settled_at is not None:
            check_holds(self.oracle(self._settled_at))

    def oracle(self, at):
        return Oracle(self.ledger, holds_of(self.real, at), at)


class WatchedScheduling(RecordedScheduling):
    """`is_quiet` says that nothing is under way to or from the machine."""

    def __init__(self, is_quiet, **options):
        super().__init__(**options)
        self.twin = Scheduling(**options)
        self.judged = 0  # rounds after which the decisions were judged
        self.is_wrong = False  # nothing more is to be learnt from it
        self._is_quiet = is_quiet

    def handle(self, event, now):
        with self._judging():
            effects = super().handle(event, now)
            self._compare(effects, self.twin.handle(event, now))
            return effects

    def end_batch(self, now):
        with self._judging():
            return self._judge(now, lambda machine: machine.end_batch(now))

    def tick(self, now):
        with self._judging():
            return self._judge(now, lambda machine: machine.tick(now))

    def check(self):
        with self._judging():
            super().check()

    @contextmanager
    def _judging(self):
        try:
            yield
        except BaseException:
            self.is_wrong = True
            raise

    def _compare(self, effects, others):
        assert list(effects) == list(others), "equal events, different effects"  # I16
        assert self.real.next_deadline() == self.twin.next_deadline()

    def _judge(self, now, step):
        at = now.monotonic
        quiet = self._is_quiet()
        before = self.oracle(at)
        effects = self._round(step(self.real), now)
        self._compare(effects, step(self.twin))
        granted = self.ledger.granted
        after = self.oracle(at)
        after.check_utilization(granted)
        if self._settled_at is not None:
            check_hold_changes(before, after)
            if quiet:
                self.judged += 1
                after.check_starts(granted, before)
                after.check_continuing()
                after.check_work_conserved()
                check_held_capacity(after)
        return effects
