"""All tables of the job book, and what many of its parts need to do with them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from hqtrio.ids import task_id
from hqtrio.jobs.blocks import ArrayBlock
from hqtrio.jobs.effects import Outbox
from hqtrio.jobs.job import ABORTED, FAILED, WAITING, Job, Runs
from hqtrio.jobs.pairing import free_unconditional, spared
from hqtrio.jobs.release import BodyNumbers, announce, release, release_places
from hqtrio.jobs.retries import Retries
from hqtrio.jobs.workers import Register
from hqtrio.messages.records import JobCompleted
from hqtrio.messages.scheduling import BodiesDone, TasksCancelled


class Tables:
    """Jobs in order of id; `changed` are those that the present event has changed."""

    __slots__ = (
        "bodies",
        "changed",
        "jobs",
        "keys",
        "last_job",
        "out",
        "retries",
        "slices",
        "workers",
    )

    def __init__(self) -> None:
        self.jobs: dict[int, Job] = {}
        self.last_job = 0
        self.keys: dict[bytes, int] = {}  # of submits to jobs that still exist
        self.workers = Register()
        self.bodies = BodyNumbers()
        self.changed: dict[int, None] = {}
        self.retries = Retries()
        self.out = Outbox()
        self.slices: deque[Iterator[None]] = deque()  # long work that others wait behind

    def start(self, work: Iterator[None]) -> None:
        """Do the first slice of `work` now, and the rest in later ticks."""
        for _ in work:
            self.slices.append(work)
            return

    def sweep(self, job: Job, state: int, at: float) -> None:
        """End every active task of the job in `state`, and tell the scheduler so."""
        self._sweep(job, state, at, ())

    def abort_rest(self, job: Job, at: float) -> bool:
        """Abort every active task, but for groups that start however others end; whether there
        were any."""
        blocks = spared(job)
        if job.active == sum(block.active for block in blocks):
            return False
        self._sweep(job, ABORTED, at, blocks)
        return True

    def _sweep(self, job: Job, state: int, at: float, blocks: Sequence[ArrayBlock]) -> None:
        runs = job.active_runs(blocks)
        for worker in job.abort_all_but(blocks, at) if blocks else job.sweep(state, at):
            self.workers.released(worker)
        self.changed[job.id] = None
        if runs:
            base = task_id(job.id, 0)
            self.out.command(TasksCancelled(tuple((base + first, n) for first, n in runs)))
            self.bodies_done(job.give_up_bodies(blocks))

    def start_repeated(self, now: float) -> None:
        """Announce the failed tasks whose pause is over."""
        for job, positions in self.retries.take_due(self.jobs, now):
            announce(job, positions, self.bodies, self.out)

    def start_unconditional(self, job: Job) -> None:
        """Announce what may start because something has ended, however it did."""
        if job.met:
            met, job.met = job.met, []
            # Noted once for each of its producers when one abort ended several of them.
            free = {position for position in met if job.states[position] == WAITING}
            announce(job, sorted(free), self.bodies, self.out)
        late, job.late = job.late, []
        for block, places in late:
            self.start(release_places(job, block, places, self.out))
        for block in free_unconditional(job):
            self.start(release(job, block, self.bodies, self.out))

    def bodies_done(self, bodies: list[int]) -> None:
        if bodies:
            self.out.command(BodiesDone(tuple(bodies)))

    def exceeded(self, job: Job) -> bool:
        """Whether so many tasks have failed that the rest must be aborted."""
        limit = job.head.max_fails
        return limit is not None and job.counts[FAILED] > limit

    def settle(self, job: Job, at: float) -> None:
        """If nothing is active any more, say so once; what was shared is given up."""
        if job.unconditional:
            self.start_unconditional(job)
        if job.active:
            return
        if job.simple and job.blocks:
            self.bodies_done(job.give_up_bodies())
        if not job.is_open and job.completed_at is None:
            job.completed_at = at
            self.out.record(JobCompleted(job.id, at))


def name_runs(job: Job, runs: Runs) -> Runs:
    """Runs of positions as runs of packed task ids."""
    base = task_id(job.id, 0)
    return [(base + first, count) for run in runs for first, count in job.numbering.runs(*run)]
