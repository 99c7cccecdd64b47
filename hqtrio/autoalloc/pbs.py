"""How to speak to PBS; what it does in which case was observed with OpenPBS 23.06.

Its times are local ones without a zone and are left alone, but for the few that are Unix seconds.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from hqtrio.autoalloc.dialogues import (
    Accepted,
    Answered,
    CancelAnswer,
    Cancelled,
    Command,
    Completed,
    Dialogue,
    Ended,
    Found,
    NotCancelled,
    NotStarted,
    Other,
    Rejected,
    Running,
    Status,
    Submission,
    SubmitAnswer,
    TimedOut,
    Unanswered,
    Unclear,
    Unknown,
    Unsure,
    Waiting,
)
from hqtrio.autoalloc.failing import refused, text_of, why
from hqtrio.autoalloc.script import allocation_files, clock, submit_path, worker_path
from hqtrio.model.allocation import Cause, Rejection

__all__ = ["Pbs"]

_UNKNOWN: Final = 153
_FINISHED: Final = 35
_ANSWERED: Final = (0, _UNKNOWN, _FINISHED)
_NO_HISTORY: Final = "not configured to maintain job history"
_IDS_MAX: Final = 200  # in one command line, and of jobs that nobody has asked about
_KEPT: Final = ("PBS_CONF_FILE", "PBS_EXEC", "PBS_HOME", "PBS_SERVER", "PBS_DEFAULT")

_WAITING: Final = ("Q", "H", "W", "T")
_RUNNING: Final = ("R", "E", "S", "U", "B")
_FINISHED_STATES: Final = ("F", "X")
_WALLTIME: Final = -29
_NODE: Final = -20
_DELETED: Final = 271  # 256 + SIGTERM

# What the server says, in small letters, and what it means. The first that fits counts.
_REJECTIONS: Final = (
    ("cannot connect to server", Rejection.UNREACHABLE),
    ("connection refused", Rejection.UNREACHABLE),
    ("connect to cluster", Rejection.UNREACHABLE),
    ("maximum number of jobs", Rejection.LIMITS),
    ("would exceed", Rejection.LIMITS),
    ("exceed", Rejection.LIMITS),
    ("unknown queue", Rejection.ARGUMENTS),
    ("unknown resource", Rejection.ARGUMENTS),
    ("illegal", Rejection.ARGUMENTS),
    ("directive error", Rejection.ARGUMENTS),
    ("invalid", Rejection.ARGUMENTS),
    ("violates queue and/or server resource limits", Rejection.ARGUMENTS),
    ("cannot be used with", Rejection.ARGUMENTS),
    ("name is too long", Rejection.ARGUMENTS),
    ("script file", Rejection.ARGUMENTS),
)


class Pbs:
    """Text for `qsub`, `qstat`, `qselect` and `qdel`, and what their answers mean."""

    def __init__(self, user: str = "") -> None:
        """Without the user's name nobody looks for jobs that are not known by their id."""
        self._user = user

    def environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        """Without what a server inside a PBS job has inherited."""
        kept = {
            name: value
            for name, value in variables.items()
            if name in _KEPT or not name.startswith("PBS_")
        }
        return {**kept, "LC_ALL": "C"}

    def files(self, submission: Submission) -> dict[str, str]:
        """Of two selections PBS takes the first and ignores the other silently: a user's own one
        stands for itself."""
        nodes, directory = submission.nodes, submission.directory
        args = submission.params.manager_args
        headers = [] if _names(args, "select", "nodes") else [f"-l select={nodes}"]
        headers += [
            f"-N {submission.name}",
            f"-o {directory}/stdout",
            f"-e {directory}/stderr",
            f"-l walltime={clock(submission.params.time_limit_s)}",
        ]
        if nodes > 1 and not _names(args, "place", "nodes"):
            headers.append("-l place=scatter")  # else several chunks may share a host
        headers.append("-r n")  # the same allocation twice would be counted once
        if submission.trial:
            headers.append("-h")
        path = shlex.quote(worker_path(directory)).replace("'", "'\\''")
        spread = f"pbsdsh -- bash -l -c '{path}'"
        return allocation_files(submission, "#PBS", headers, spread)

    def submit(self, submission: Submission) -> Dialogue[SubmitAnswer]:
        path = submit_path(submission.directory)
        result = yield Command(("qsub", path), submission.directory)
        match result:
            case TimedOut():
                return Unsure(why("qsub", result))
            case NotStarted():
                return refused("qsub", result, Rejection.NO_PROGRAM)
            case Completed(0, stdout):
                lines = [line.strip() for line in text_of(stdout).splitlines()]
                for line in reversed(lines):
                    if line[:1].isdigit() and " " not in line:
                        return Accepted(line)
                return Unsure(f"qsub: no job id in {text_of(stdout)[:200]!r}")
        text = f"{text_of(result.stderr)}\n{text_of(result.stdout)}".lower()
        for words, rejection in _REJECTIONS:
            if words in text:
                return refused("qsub", result, rejection)
        return refused("qsub", result, Rejection.OTHER)

    def check(self, submission: Submission) -> Dialogue[Accepted | Rejected]:
        yield from ()  # PBS has no such command
        return Accepted("")

    def find(self, name: str, directory: str) -> Dialogue[Found | Unanswered]:
        if not self._user:
            return Unanswered("the name of the user is not known")
        words = ("qselect", "-u", self._user, "-N", name)
        # Without history `-x` gives an error or nothing.
        found: list[str] = []
        result = yield Command(("qselect", "-x", *words[1:]))
        if isinstance(result, Completed) and not result.code:
            found += _ids_in(result)
        result = yield Command(words)
        if not isinstance(result, Completed) or result.code:
            return Unanswered(why("qselect", result))
        found += _ids_in(result)
        if not found:
            return Found(())
        jobs = yield from self._ask(list(dict.fromkeys(found)))
        if isinstance(jobs, Unanswered):
            return jobs
        others = (Other(job, _directory(entry), _status(entry)) for job, entry in jobs.items())
        return Found(tuple(other for other in others if other.directory == directory))

    def statuses(self, ids: Sequence[str]) -> Dialogue[Answered | Unanswered]:
        jobs = yield from self._ask(ids)
        if isinstance(jobs, Unanswered):
            return jobs
        by_number = {_number(job): entry for job, entry in jobs.items()}
        unknown: Status = Unknown()
        statuses = {
            job: _status(by_number[_number(job)]) if _number(job) in by_number else unknown
            for job in ids
        }
        others = yield from self._others({_number(job) for job in ids})
        return Answered(statuses, others)

    def _ask(self, ids: Sequence[str]) -> Dialogue[dict[str, Any] | Unanswered]:
        """The entries of those of the jobs that PBS knows."""
        jobs: dict[str, Any] = {}
        history, left = ["-x"], list(ids)
        while left:
            some = left[:_IDS_MAX]
            result = yield Command(("qstat", "-f", "-F", "json", *history, *some))
            if isinstance(result, Completed) and _NO_HISTORY in text_of(result.stderr):
                # It says so even of jobs that run. Without `-x` what has ended is unknown.
                history = []
                result = yield Command(("qstat", "-f", "-F", "json", *some))
            if not isinstance(result, Completed) or result.code not in _ANSWERED:
                return Unanswered(why("qstat", result))
            entries = _jobs_in(result.stdout)
            if entries is None:
                return Unanswered(f"qstat: not JSON: {text_of(result.stdout)[:200]!r}")
            jobs.update(entries)
            told = {_number(job) for job in entries}
            told.update(_number(word) for word in text_of(result.stderr).split())
            # Of several jobs it may tell of the first one only, and that all is well: whom it
            # does not mention is asked for again.
            silent = [job for job in left if _number(job) not in told]
            if len(silent) == len(left):
                return Unanswered("qstat says nothing of " + ", ".join(some)[:200])
            left = silent
        return jobs

    def _others(self, known: set[str]) -> Dialogue[tuple[Other, ...]]:
        """Other jobs of the user that have not ended."""
        if not self._user:
            return ()
        result = yield Command(("qselect", "-u", self._user))
        if not isinstance(result, Completed) or result.code:
            return ()
        ids = [job for job in _ids_in(result) if _number(job) not in known][-_IDS_MAX:]
        if not ids:
            return ()
        jobs = yield from self._ask(ids)
        if isinstance(jobs, Unanswered):
            return ()
        return tuple(Other(job, _directory(entry), _status(entry)) for job, entry in jobs.items())

    def cancel(self, job_id: str, directory: str) -> Dialogue[CancelAnswer]:
        result = yield Command(("qdel", job_id), directory)
        if isinstance(result, NotStarted):  # its directory may be gone
            result = yield Command(("qdel", job_id))
        if isinstance(result, Completed) and result.code in _ANSWERED:
            return Cancelled()
        return NotCancelled(why("qdel", result))


def _names(args: Sequence[str], *keys: str) -> bool:
    """Whether the user's own arguments speak of such a resource."""
    parts = [part for word in args for part in word.removeprefix("-l").strip().split(",")]
    return any(part.startswith(f"{key}=") for part in parts for key in keys)


def _ids_in(result: Completed) -> Iterator[str]:
    for line in text_of(result.stdout).splitlines():
        if line[:1].isdigit():
            yield line.strip()


def _number(job_id: str) -> str:
    """Without the server's name, which may be written in several ways."""
    return job_id.partition(".")[0]


def _jobs_in(data: bytes) -> dict[str, Any] | None:
    """The jobs of an answer in JSON; None if it is none."""
    try:
        answer = json.loads(data.decode("utf-8", "surrogateescape"), strict=False)
        jobs = answer.get("Jobs", {})
        return {str(job): entry for job, entry in jobs.items() if isinstance(entry, dict)}
    except (ValueError, AttributeError, RecursionError):
        return None


def _directory(entry: Mapping[str, Any]) -> str:
    """Where it was submitted: as the job is told, or by where its output goes."""
    variables = entry.get("Variable_List")
    if isinstance(variables, dict) and isinstance(place := variables.get("PBS_O_WORKDIR"), str):
        return place
    path = entry.get("Output_Path")
    if isinstance(path, str):
        return path.partition(":")[2].rpartition("/")[0]
    return ""


def _status(entry: Mapping[str, Any]) -> Status:
    state, comment = str(entry.get("job_state", "")), entry.get("comment", "")
    comment = comment if isinstance(comment, str) else str(comment)
    if state in _WAITING:
        return Waiting("held" if state == "H" and not comment else comment[:200])
    if state in _RUNNING:
        return Running()
    if state in _FINISHED_STATES:
        return _ended(entry, comment)
    return Unclear(f"job_state {state[:20]!r}")


def _ended(entry: Mapping[str, Any], comment: str) -> Ended:
    code = entry.get("Exit_status")
    ended_at: Any = entry.get("history_timestamp")
    is_whole = isinstance(ended_at, int) and not isinstance(ended_at, bool)
    at = float(ended_at) if is_whole and abs(ended_at) < 10**15 else None
    if not isinstance(code, int):
        return Ended(Cause.CANCELLED, comment or "deleted before it started", None, at)
    causes = {
        0: Cause.COMPLETED,
        _DELETED: Cause.CANCELLED,
        _WALLTIME: Cause.TIME_LIMIT,
        _NODE: Cause.NODE_FAILED,
    }
    words = f"Exit_status {code}" + (f" ({comment[:200]})" if comment else "")
    return Ended(causes.get(code, Cause.FAILED), words, None, at)
