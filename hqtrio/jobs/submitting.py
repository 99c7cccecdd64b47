"""From a request to tasks that exist: whole submits, submits in parts, open jobs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count as counter
from typing import Final

from hqtrio.errors import InputError
from hqtrio.jobs.blocks import ArrayBlock, Block
from hqtrio.jobs.checks import check_head, check_key
from hqtrio.jobs.draft import Draft
from hqtrio.jobs.job import Job
from hqtrio.jobs.release import release
from hqtrio.jobs.reports import abort_doomed
from hqtrio.jobs.staging import Staged, Staging
from hqtrio.jobs.tables import Tables
from hqtrio.messages.client import SubmitPart
from hqtrio.messages.records import (
    JobOpened,
    SubmitBegun,
    SubmitCommitted,
    SubmitContinued,
    SubmitDropped,
)
from hqtrio.model.job import JobHead, Submit

_BLOCKS_SLICE: Final = 500  # announced before others get a turn


class Submitting:
    """Takes submits in. Whatever is refused has changed nothing."""

    __slots__ = ("_server_uid", "_staging", "_submissions", "_tables")

    def __init__(self, tables: Tables, server_uid: str, submissions: int = 0) -> None:
        self._tables = tables
        self._server_uid = server_uid
        self._staging = Staging()
        self._submissions = counter(submissions + 1)

    def open(self, head: JobHead, at: float) -> Job:
        """A new open job without tasks."""
        check_head(head)
        job = self._new_job(JobHead(head.name, head.max_fails, True), at)
        self._tables.out.record(JobOpened(job.id, job.head, at))
        return job

    def submit(self, submit: Submit, at: float) -> int:
        """Create the tasks; says their job. A key that made a job before says that one again."""
        check_key(submit.key)
        if submit.key and submit.key in self._tables.keys:
            return self._tables.keys[submit.key]
        draft = self._draft(submit)
        self._check(draft)
        submission = next(self._submissions)
        self._tables.out.record(SubmitBegun(submission, submit))
        return self._commit(submission, draft, at)

    def begin(self, session: int, submit: Submit) -> None:
        """Stage a submit; one with the same key that this session has begun is dropped."""
        check_key(submit.key)
        self._drop(session, submit.key)
        if submit.key in self._tables.keys:
            self._staging.begin(session, submit.key, Staged(0, None))
            return
        staged = Staged(next(self._submissions), self._draft(submit))
        self._staging.begin(session, submit.key, staged)
        self._tables.out.record(SubmitBegun(staged.submission, submit))

    def add(self, session: int, part: SubmitPart) -> None:
        """Add a part to a staged submit; a part that is refused ends the whole submit."""
        staged = self._staging.find(session, part.key)
        try:
            self._staging.add(staged, part)
        except InputError:
            self._drop(session, part.key)
            raise
        if staged.draft is not None:
            self._tables.out.record(
                SubmitContinued(
                    staged.submission,
                    part.array,
                    part.entries,
                    part.entry_ends,
                    part.graph,
                    part.arrays,
                )
            )

    def commit(self, session: int, key: bytes, at: float) -> int:
        """Create the tasks of a staged submit; says their job."""
        staged = self._staging.find(session, key)
        draft = staged.draft
        if key in self._tables.keys or draft is None:
            self._drop(session, key)
            if key not in self._tables.keys:
                raise InputError("The job of this submit has been forgotten.")
            return self._tables.keys[key]
        try:
            self._check(draft)
        except InputError:
            self._drop(session, key)
            raise
        self._staging.drop(session, key)
        return self._commit(staged.submission, draft, at)

    def end_session(self, session: int) -> None:
        """What the session has not committed never existed."""
        for key in self._staging.keys(session):
            self._drop(session, key)

    def check(self) -> None:
        self._staging.check()

    # --- inside

    def _draft(self, submit: Submit) -> Draft:
        if submit.head is not None:
            return Draft(submit, None)
        return Draft(submit, self._job(submit.job))

    def _job(self, number: int) -> Job:
        job = self._tables.jobs.get(number)
        if job is None:
            raise InputError(f"Job {number} not found.")
        return job

    def _check(self, draft: Draft) -> None:
        if draft.submit.head is None:
            self._job(draft.submit.job)
        draft.check()

    def _drop(self, session: int, key: bytes) -> None:
        staged = self._staging.drop(session, key)
        if staged is not None and staged.draft is not None:
            self._tables.out.record(SubmitDropped(staged.submission))

    def _new_job(self, head: JobHead, at: float) -> Job:
        tables = self._tables
        tables.last_job += 1
        job = Job(tables.last_job, head, at)
        tables.jobs[job.id] = job
        tables.changed[job.id] = None
        return job

    def _commit(self, submission: int, draft: Draft, at: float) -> int:
        tables, submit = self._tables, draft.submit
        if submit.head is not None:
            job = self._new_job(submit.head, at)
        else:
            job = self._job(submit.job)
            tables.changed[job.id] = None
        if submit.key:
            tables.keys[submit.key] = job.id
            job.keys.append(submit.key)
        blocks, doomed, numbers = draft.create(job, self._server_uid, tables.bodies)
        job.submit_dates.append(at)
        tables.out.record(SubmitCommitted(submission, job.id, numbers, at))
        if doomed:
            abort_doomed(tables, job, doomed, at)
        tables.start(self._release(job, blocks))
        return job.id

    def _release(self, job: Job, blocks: Sequence[Block]) -> Iterator[None]:
        """Announce what waits for nothing, so many blocks at a time."""
        tables = self._tables
        free = [b for b in blocks if b.count and not (isinstance(b, ArrayBlock) and b.waits)]
        for index, block in enumerate(free, 1):
            if not block.dead:
                yield from release(job, block, tables.bodies, tables.out)
            if not index % _BLOCKS_SLICE:
                yield
