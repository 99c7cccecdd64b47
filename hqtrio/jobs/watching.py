"""Who wants to hear of which changes; one notice per watched job however much has changed."""

from __future__ import annotations

from hqtrio.jobs.effects import EVERYBODY, Notify
from hqtrio.jobs.job import Job
from hqtrio.jobs.listing import job_row
from hqtrio.messages.client import JobNotice, JobRow, TaskNotice, WorkerNotice


class Subscriptions:
    """Sessions by what they watch, in the order in which they asked."""

    __slots__ = (
        "_by_job",
        "_by_session",
        "_changed",
        "_connected",
        "_gone",
        "_listeners",
        "_notes",
        "_of_workers",
        "hears_all",
    )

    def __init__(self) -> None:
        self._by_job: dict[int, dict[int, None]] = {}
        self._by_session: dict[int, dict[int, None]] = {}
        self._of_workers: dict[int, None] = {}
        self._connected = 0
        self._changed: dict[int, Job] = {}
        self._gone: dict[int, JobRow] = {}
        self._listeners: dict[int, dict[int, None]] = {}  # by job: who hears what its tasks say
        self._notes: list[Notify] = []
        self.hears_all = False  # somebody listens to whatever any task says

    def watch(self, session: int, job: int) -> None:
        self._by_job.setdefault(job, {})[session] = None
        self._by_session.setdefault(session, {})[job] = None

    def listen(self, session: int, job: int) -> None:
        """From now on the session hears what the job's tasks say."""
        self._listeners.setdefault(job, {})[session] = None

    def noted(self, notice: TaskNotice) -> None:
        """Keep it for those who listen now."""
        listeners = self._listeners.get(notice.job, ())
        self._notes += [Notify(session, notice) for session in listeners]
        if self.hears_all:
            self._notes.append(Notify(EVERYBODY, notice))

    def watch_workers(self, session: int) -> None:
        self._of_workers[session] = None

    def end(self, session: int) -> None:
        """The session hears nothing more."""
        self._of_workers.pop(session, None)
        for job in self._by_session.pop(session, {}):
            watchers = self._by_job[job]
            del watchers[session]
            if not watchers:
                del self._by_job[job]
        for job, listeners in list(self._listeners.items()):
            listeners.pop(session, None)
            if not listeners:
                del self._listeners[job]

    def changed(self, job: Job) -> None:
        if job.id in self._by_job:
            self._changed[job.id] = job

    def forgotten(self, job: Job) -> None:
        self._listeners.pop(job.id, None)
        if job.id in self._by_job:
            self._changed.pop(job.id, None)
            self._gone[job.id] = job_row(job)

    def take(self, connected: int) -> list[Notify]:
        """What has to be said now; workers first, since the fate of tasks follows from theirs."""
        notices: list[Notify] = []
        if connected != self._connected:
            self._connected = connected
            notices += [Notify(session, WorkerNotice(connected)) for session in self._of_workers]
        # Before the jobs: a job's last word is that it is complete.
        notices += self._notes
        self._notes = []
        changed, self._changed = self._changed, {}
        for job in changed.values():
            notice = JobNotice(job_row(job))
            notices += [Notify(session, notice) for session in self._by_job.get(job.id, ())]
        gone, self._gone = self._gone, {}
        for number, row in gone.items():
            notice = JobNotice(row, gone=True)
            for session in self._by_job.pop(number, {}):
                notices.append(Notify(session, notice))
                self._by_session[session].pop(number, None)
        return notices

    def check(self) -> None:
        """Both directions agree."""
        pairs = {(s, j) for j, sessions in self._by_job.items() for s in sessions}
        assert pairs == {(s, j) for s, jobs in self._by_session.items() for j in jobs}, pairs
