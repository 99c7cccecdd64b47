"""The job book: jobs and tasks, what follows from what happens to them, and who hears of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from math import inf, nextafter
from typing import Final, assert_never

from msgspec.structs import replace

from hqtrio.errors import InputError
from hqtrio.jobs import audit
from hqtrio.jobs.blocks import GraphBlock
from hqtrio.jobs.checks import REASON_BYTES_MAX
from hqtrio.jobs.effects import (
    Answer,
    ClientAsked,
    Effect,
    Notify,
    Receipted,
    ServerEnds,
    SessionEnded,
    StopServer,
    TaskSetAside,
)
from hqtrio.jobs.ends import ends_page
from hqtrio.jobs.explain import explain_task
from hqtrio.jobs.gangs import Gangs, drop_node, part_in_gang
from hqtrio.jobs.history import remembered
from hqtrio.jobs.job import CANCELLED, RUNNING, WAITING, Job
from hqtrio.jobs.listing import job_details, job_row, task_page
from hqtrio.jobs.notes import notices_of
from hqtrio.jobs.replay import Replay
from hqtrio.jobs.reports import active, apply_ended, apply_loss, apply_started
from hqtrio.jobs.resume import resume, skip_forgotten
from hqtrio.jobs.returns import kept, returning, unheard
from hqtrio.jobs.select import chosen, page
from hqtrio.jobs.selection import numbers_page
from hqtrio.jobs.setting_aside import set_aside
from hqtrio.jobs.state import counts_of
from hqtrio.jobs.submitting import Submitting
from hqtrio.jobs.tables import Tables
from hqtrio.jobs.variants import choose_variants, stated
from hqtrio.jobs.watching import Subscriptions
from hqtrio.jobs.workers import refusal
from hqtrio.messages import client as ask
from hqtrio.messages.client import Response, Verdict, VerdictKind, Which, job_state
from hqtrio.messages.records import (
    JobCancelled,
    JobClosed,
    JobsForgotten,
    Record,
    ServerStarted,
    VariantsChosen,
    WorkerConnected,
    WorkerLost,
    WorkerStopping,
    WorkerTold,
)
from hqtrio.messages.scheduling import (
    AdmitWorker,
    FromScheduler,
    NodeLost,
    Receipt,
    RefuseWorker,
    StopWorker,
    TasksBounced,
    TasksDropped,
    TasksReported,
    WorkerAbsent,
    WorkerArrived,
    WorkerBusy,
    WorkerGone,
)
from hqtrio.messages.worker import Ended, Started
from hqtrio.model.resources import Variants
from hqtrio.model.worker import CRASHES, LossReason
from hqtrio.now import Now

Event = FromScheduler | ClientAsked | SessionEnded | ServerEnds | TaskSetAside

_JOBS_SLICE: Final = 100  # jobs that one request changes before others get a turn
_WATCHED_MAX: Final = 5000


class JobBook:
    """Machine 1. `history` names the journal that workers' promises belong to.

    With `replayed`, what that has restored are its tables from now on.
    """

    def __init__(
        self,
        server_uid: str,
        history: bytes,
        details: ask.ServerDetails,
        idle_timeout_s: float | None = None,
        *,
        jobs_before: int = 0,
        replayed: Replay | None = None,
    ) -> None:
        self._server_uid = server_uid
        self._history = history
        self._details = replace(details, history=history)
        self._idle_timeout_s = idle_timeout_s
        self._replayed = replayed
        self._tables = Tables() if replayed is None else replayed.tables
        self._tables.last_job = max(self._tables.last_job, jobs_before)
        submissions = 0 if replayed is None else replayed.submissions
        self._submitting = Submitting(self._tables, server_uid, submissions)
        self._subscriptions = Subscriptions()
        self._tick_at = inf

    # --- the machine

    def begin(self, now: Now, grace_s: float) -> Sequence[Effect]:
        """Say what comes before any event. Workers of before have `grace_s` to come back."""
        tables = self._tables
        if self._replayed is not None:
            skip_forgotten(self._replayed)
        tables.out.record(ServerStarted(self._server_uid, self._details.version, now.wall))
        if self._replayed is not None:
            resume(self._replayed, grace_s, now)
            self._replayed = None
        return self._settled(now)

    def handle(self, event: Event, now: Now) -> Sequence[Effect]:
        """Change the tables, and say what has to be done about it."""
        match event:
            case TasksReported():
                self._reported(event, now)
            case ClientAsked():
                self._asked(event, now)
            case WorkerArrived():
                self._arrived(event, now)
            case WorkerGone():
                self._lost(event, now)
            case WorkerBusy(worker, load):
                if self._tables.workers.busy(worker, load, now.wall):
                    self._tables.out.record(WorkerTold(worker, load, now.wall))
            case NodeLost():
                drop_node(self._tables, event)
            case TasksDropped():
                self._dropped(event, now)
            case WorkerAbsent(worker, reason):
                self._tables.workers.missed(worker, reason, now.wall)
            case TasksBounced():
                pass  # the scheduler has them again, and for users they never stopped waiting
            case SessionEnded(session):
                self._submitting.end_session(session)
                self._subscriptions.end(session)
            case ServerEnds():
                self._tables.workers.all_stop()
            case TaskSetAside(task, text):
                set_aside(self._tables, task, text, now.wall)
            case _:
                assert_never(event)
        return self._settled(now)

    def tick(self, now: Now) -> Sequence[Effect]:
        """Do one slice of the long work that is left, and start what has waited long enough."""
        self._tables.start_repeated(now.monotonic)
        slices = self._tables.slices
        if slices:
            work = slices.popleft()
            for _ in work:
                slices.append(work)
                break
        return self._settled(now)

    def next_deadline(self) -> float:
        """As soon as possible while long work is left, else at the next retry."""
        return self._tick_at

    def end_batch(self, now: Now) -> list[Notify]:
        """What subscribers are told about everything since the last time."""
        return self._subscriptions.take(self._tables.workers.connected)

    def remember(self) -> Iterator[list[Record]]:
        """What is known of the past, as records, job by job; as it is now, however slowly read."""
        details = self._details
        return remembered(
            self._tables, ServerStarted(self._server_uid, details.version, details.start_date)
        )

    def waiting_variants(self) -> tuple[Variants, ...]:
        """What tasks of jobs ask for in which any task waits, for whatever."""
        found: dict[Variants, None] = {}
        for job in self._tables.jobs.values():
            if job.counts[WAITING]:
                for block in job.blocks:
                    if isinstance(block, GraphBlock):
                        found.update(dict.fromkeys(block.variants))
                    elif block.active:
                        found[block.variants] = None
        return tuple(found)

    def hear_all(self, wanted: bool) -> None:
        """Whether there is somebody to be told of whatever any task says."""
        self._subscriptions.hears_all = wanted

    def check(self) -> None:
        """Assert what must hold between events."""
        audit.check(self._tables)
        self._submitting.check()
        self._subscriptions.check()

    def _settled(self, now: Now) -> Sequence[Effect]:
        tables = self._tables
        for number in tables.changed:
            job = tables.jobs.get(number)
            if job is not None:
                tables.settle(job, now.wall)
                self._subscriptions.changed(job)
        tables.changed.clear()
        tables.retries.settle(now.monotonic)
        self._tick_at = tables.retries.next_at
        if tables.slices or self._tick_at <= now.monotonic:
            self._tick_at = nextafter(now.monotonic, inf)
        return tables.out.take()

    # --- workers

    def _arrived(self, event: WorkerArrived, now: Now) -> None:
        hello, out = event.hello, self._tables.out
        reason = refusal(hello.config)
        if reason:
            out.command(RefuseWorker(event.link, reason))
            return
        entry = returning(self._tables, hello, self._history)
        if entry is not None and entry.stopping is not None:
            out.command(RefuseWorker(event.link, "it was told to stop"))
            return
        if entry is None:
            entry = self._tables.workers.arrived(hello.worker_key, 1, hello.config, now.wall)
        else:
            attachment = max(entry.attachment, hello.attachment) + 1
            self._tables.workers.back(entry, attachment, hello.config)
        attachment = entry.attachment
        returns = attachment > 1
        out.record(WorkerConnected(entry.id, entry.key, attachment, entry.config, now.wall))
        for report in unheard(hello.held, event.seen) if returns else ():
            started = [fact for fact in report.facts if isinstance(fact, Started)]
            ended = [fact for fact in report.facts if isinstance(fact, Ended)]
            if hello.held is not None:
                self._choose(stated(hello.held, [*started, *ended]))
            self._take_in(entry.id, started, ended, event.gangs, now)
        idle_timeout_s = hello.config.idle_timeout_s
        out.command(
            AdmitWorker(
                event.link,
                entry.id,
                attachment,
                hello.config,
                self._server_uid,
                self._history,
                self._idle_timeout_s if idle_timeout_s is None else idle_timeout_s,
                kept(self._tables, hello.held) if returns else (),
            )
        )
        if returns and hello.held is not None and hello.held.reports:
            receipt = Receipt(entry.id, attachment, hello.held.reports[-1].seq)
            out.effects.append(Receipted(receipt))

    def _lost(self, event: WorkerGone, now: Now) -> None:
        reason = self._tables.workers.gone(event.worker, event.reason, now.wall)
        if reason is None:
            return
        self._tables.out.record(WorkerLost(event.worker, reason, now.wall))
        crashed = reason in CRASHES
        rows = event.running, event.shipped
        apply_loss(self._tables, event.worker, *rows, crashed, event.heard_out, now.wall)

    def _dropped(self, event: TasksDropped, now: Now) -> None:
        """What the worker is back without waits again; nobody has crashed."""
        ran = [job for job, p in active(self._tables, event.tasks) if job.states[p] == RUNNING]
        self._tables.workers.released(event.worker, len(ran))
        apply_loss(self._tables, event.worker, (), event.tasks, False, True, now.wall)

    def _take_in(
        self,
        worker: int,
        started: Sequence[Started],
        ended: Sequence[Ended],
        gangs: Gangs,
        now: Now,
    ) -> None:
        for start in started:
            apply_started(self._tables, worker, start, now.wall, gangs)
            for notice in notices_of(self._tables, worker, start.notes):
                self._subscriptions.noted(notice)
        for end in ended:
            apply_ended(self._tables, worker, end, now.wall, gangs)

    def _choose(self, variants: Sequence[tuple[int, int]]) -> None:
        if variants and (chosen := choose_variants(self._tables, variants)):
            self._tables.out.record(VariantsChosen(chosen))

    def _reported(self, event: TasksReported, now: Now) -> None:
        self._choose(event.variants)
        self._take_in(event.worker, event.started, event.ended, event.gangs, now)
        receipt = Receipt(event.worker, event.attachment, event.report)
        self._tables.out.effects.append(Receipted(receipt))

    # --- clients

    def _asked(self, call: ClientAsked, now: Now) -> None:
        try:
            self._respond(call, now)
        except InputError as error:
            self._answer(call, ask.Failure(str(error)))

    def _answer(self, call: ClientAsked, response: Response, durable: bool = False) -> None:
        self._tables.out.effects.append(Answer(call.session, call.number, response, durable))

    def _respond(self, call: ClientAsked, now: Now) -> None:
        tables, request = self._tables, call.request
        match request:
            case ask.ServerInfo():
                self._answer(call, self._details)
            case ask.StopServer():
                self._answer(call, ask.Done(), durable=True)
                tables.out.effects.append(StopServer())
            case ask.SubmitJob(submit, notes):
                job = self._submitting.submit(submit, now.wall)
                if notes:
                    self._subscriptions.listen(call.session, job)
                self._answer(call, ask.Submitted(job), durable=True)
            case ask.SubmitBegin(submit):
                self._submitting.begin(call.session, submit)
                self._answer(call, ask.Done())
            case ask.SubmitPart():
                self._submitting.add(call.session, request)
                self._answer(call, ask.Done())
            case ask.SubmitCommit(key, notes):
                job = self._submitting.commit(call.session, key, now.wall)
                if notes:
                    self._subscriptions.listen(call.session, job)
                self._answer(call, ask.Submitted(job), durable=True)
            case ask.OpenJob(head):
                opened = self._submitting.open(head, now.wall)
                self._answer(call, ask.Submitted(opened.id), durable=True)
            case ask.CloseJobs():
                tables.start(self._close(call, request, now.wall))
            case ask.CancelJobs():
                tables.start(self._cancel(call, request, now.wall))
            case ask.ForgetJobs():
                tables.start(self._forget(call, request))
            case ask.ListJobs():
                self._answer(call, self._list_jobs(request))
            case ask.JobInfo(number):
                self._answer(call, job_details(self._job(number), tables.workers, now.wall))
            case ask.ListTasks():
                self._answer(call, task_page(self._job(request.job), request, tables.workers))
            case ask.ListEnds():
                self._answer(call, ends_page(self._job(request.job), request))
            case ask.ListNumbers():
                self._answer(call, numbers_page(self._job(request.job), request))
            case ask.Watch():
                self._answer(call, self._watch(call.session, request))
            case ask.ListWorkers():
                self._answer(call, self._list_workers(request))
            case ask.StopWorkers():
                self._answer(call, self._stop_workers(request), durable=True)
            case ask.WatchWorkers():
                self._subscriptions.watch_workers(call.session)
                self._answer(call, ask.WorkerNotice(tables.workers.connected))
            case ask.ExplainTask():
                self._answer(call, self._explain(request))
            case _:
                assert_never(request)

    def _job(self, number: int) -> Job:
        job = self._tables.jobs.get(number)
        if job is None:
            raise InputError(f"Job {number} not found.")
        return job

    def _chosen(self, selector: ask.Selector, matters: Callable[[Job], bool]) -> Sequence[int]:
        tables = self._tables
        everything: list[int] = []
        if selector.which == Which.ALL:
            everything = [job.id for job in tables.jobs.values() if matters(job)]
        return chosen(selector, tables.last_job, everything)

    def _close(self, call: ClientAsked, request: ask.CloseJobs, at: float) -> Iterator[None]:
        def close(job: Job) -> Verdict:
            if not job.is_open:
                return Verdict(job.id, VerdictKind.ALREADY)
            job.is_open, job.closed_at = False, at
            self._tables.changed[job.id] = None
            self._tables.out.record(JobClosed(job.id, at))
            return Verdict(job.id, VerdictKind.OK)

        return self._judge(call, self._chosen(request.jobs, lambda job: job.is_open), close)

    def _cancel(self, call: ClientAsked, request: ask.CancelJobs, at: float) -> Iterator[None]:
        if len(request.reason.encode(errors="surrogatepass")) > REASON_BYTES_MAX:
            raise InputError(f"Cancel reason must be shorter than {REASON_BYTES_MAX}")

        def cancel(job: Job) -> Verdict:
            active = job.active
            ended = job.count - active
            if not active:
                return Verdict(job.id, VerdictKind.ALREADY, 0, ended)
            job.cancel_reason = request.reason or None
            self._tables.out.record(JobCancelled(job.id, request.reason, at))
            self._tables.sweep(job, CANCELLED, at)
            return Verdict(job.id, VerdictKind.OK, active, ended)

        chosen_jobs = self._chosen(request.jobs, lambda job: job.active > 0)
        return self._judge(call, chosen_jobs, cancel)

    def _judge(
        self, call: ClientAsked, numbers: Sequence[int], judge: Callable[[Job], Verdict]
    ) -> Iterator[None]:
        """One verdict for each job; answered when all are there, however many slices it takes."""
        verdicts: list[Verdict] = []
        left = iter(numbers)
        while True:
            for number in islice(left, _JOBS_SLICE):
                job = self._tables.jobs.get(number)
                if job is None:
                    verdicts.append(Verdict(number, VerdictKind.NOT_FOUND))
                else:
                    verdicts.append(judge(job))
            if len(verdicts) == len(numbers):
                break
            yield
        self._answer(call, ask.Verdicts(tuple(verdicts)), durable=True)

    def _forget(self, call: ClientAsked, request: ask.ForgetJobs) -> Iterator[None]:
        states = frozenset(request.states)
        numbers = self._chosen(request.jobs, lambda job: True)
        forgotten = looked_at = 0
        left = iter(numbers)
        while True:
            gone: list[int] = []
            for number in islice(left, _JOBS_SLICE):
                looked_at += 1
                job = self._tables.jobs.get(number)
                if job is not None and job.terminated and _state(job) in states:
                    self._remove(job)
                    gone.append(number)
                    # The tables of a large job take a while to free.
                    if job.count > _JOBS_SLICE:
                        break
            if gone:
                forgotten += len(gone)
                self._tables.out.record(JobsForgotten(tuple(gone)))
            if looked_at == len(numbers):
                break
            yield
        answer = ask.Forgotten(forgotten, len(numbers) - forgotten)
        self._answer(call, answer, durable=True)

    def _remove(self, job: Job) -> None:
        self._subscriptions.forgotten(job)
        del self._tables.jobs[job.id]
        self._tables.changed.pop(job.id, None)
        for key in job.keys:
            self._tables.keys.pop(key, None)
        self._tables.slices.append(_dismantle(job))

    def _list_jobs(self, request: ask.ListJobs) -> ask.JobRows:
        jobs = self._tables.jobs
        numbers, more, unknown = page(
            request.jobs, self._tables.last_job, list(jobs), request.after, request.limit
        )
        rows = tuple(job_row(jobs[number]) for number in numbers)
        return ask.JobRows(rows, len(jobs), more, unknown)

    def _watch(self, session: int, request: ask.Watch) -> ask.JobRows:
        if len(request.jobs) > _WATCHED_MAX:
            raise InputError(f"At most {_WATCHED_MAX} jobs can be watched with one request.")
        rows, unknown = [], []
        for number in dict.fromkeys(request.jobs):
            job = self._tables.jobs.get(number)
            if job is None:
                unknown.append(number)
                continue
            self._subscriptions.watch(session, number)
            if request.notes:
                self._subscriptions.listen(session, number)
            rows.append(job_row(job))
        return ask.JobRows(tuple(rows), len(self._tables.jobs), False, tuple(unknown))

    def _list_workers(self, request: ask.ListWorkers) -> ask.WorkerRows:
        tables, workers = self._tables, self._tables.workers
        numbers, more, unknown = page(
            request.workers, workers.last, list(workers.entries), request.after, request.limit
        )
        entries = workers.fitting(numbers)
        rows = tuple(entry.row(part_in_gang(tables, entry)) for entry in entries)
        return ask.WorkerRows(rows, more or len(rows) < len(numbers), unknown)

    def _explain(self, request: ask.ExplainTask) -> ask.TaskExplained:
        jobs = self._tables.jobs
        numbers = chosen(request.job, self._tables.last_job, ())
        if len(numbers) != 1 or numbers[0] not in jobs:
            raise InputError("Job not found")
        return explain_task(jobs[numbers[0]], request.number, request.after)

    def _stop_workers(self, request: ask.StopWorkers) -> ask.Verdicts:
        workers, out = self._tables.workers, self._tables.out
        connected = [entry.id for entry in workers.entries.values() if entry.reason is None]
        verdicts = []
        for number in chosen(request.workers, workers.last, connected):
            entry = workers.entries.get(number)
            if entry is None:
                verdicts.append(Verdict(number, VerdictKind.NOT_FOUND))
            elif entry.reason is not None:
                verdicts.append(Verdict(number, VerdictKind.ALREADY))
            else:
                verdicts.append(Verdict(number, VerdictKind.OK))
                if entry.stopping is None:
                    entry.stopping = LossReason.STOPPED
                    out.record(WorkerStopping(number, LossReason.STOPPED))
                    out.command(StopWorker(number, LossReason.STOPPED))
        return ask.Verdicts(tuple(verdicts))


def _state(job: Job) -> int:
    return job_state(counts_of(job.counts), job.is_open)


def _dismantle(job: Job) -> Iterator[None]:
    """Free the tables of a forgotten job bit by bit."""
    for block in job.blocks:
        bodies = getattr(block, "bodies", [])
        while bodies:
            del bodies[-2000:]
            yield
    job.blocks.clear()
    for words in (job.errors, job.results):
        while words:
            for position in list(islice(words, 20_000)):
                del words[position]
            yield
