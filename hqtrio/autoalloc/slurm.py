"""How to speak to Slurm; what it does in which case was observed with Slurm 22.05.

`squeue --json` is not used: its layout changes between versions, and it ends with exit code 0 when
the controller is down. `sacct` is not there on every site. Times are asked for in Unix seconds.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Final

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
from hqtrio.autoalloc.script import (
    allocation_files,
    clock,
    submit_path,
    worker_path,
)
from hqtrio.model.allocation import Cause, Rejection

__all__ = ["FORMAT", "Slurm", "parse_squeue"]

FORMAT: Final = "%i|%T|%r|%S|%e|%Z"  # the directory last: it may hold anything
_LIST: Final = ("squeue", "-h", "-a", "-t", "all")
_OURS: Final = ("SLURM_", "SBATCH_", "SQUEUE_", "SCANCEL_", "SALLOC_", "SRUN_")
_ACCEPTED: Final = "submitted batch job"
_IDS_MAX: Final = 500  # in one command line

_WAITING: Final = (
    "PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD",
    "SPECIAL_EXIT",
)  # fmt: skip
_RUNNING: Final = (
    "RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING",
)  # fmt: skip
_ENDED: Final = {
    "COMPLETED": Cause.COMPLETED,
    "REVOKED": Cause.COMPLETED,
    "FAILED": Cause.FAILED,
    "CANCELLED": Cause.CANCELLED,
    "TIMEOUT": Cause.TIME_LIMIT,
    "DEADLINE": Cause.TIME_LIMIT,
    "NODE_FAIL": Cause.NODE_FAILED,
    "BOOT_FAIL": Cause.NODE_FAILED,
    "PREEMPTED": Cause.PREEMPTED,
    "OUT_OF_MEMORY": Cause.OUT_OF_MEMORY,
}
# What the controller says, in small letters, and what it means. The first that fits counts.
_REJECTIONS: Final = (
    ("socket timed out", None),
    ("message timeout", None),
    ("zero bytes were transmitted", None),
    ("unable to contact slurm controller", Rejection.UNREACHABLE),
    ("connection refused", Rejection.UNREACHABLE),
    ("communication connection failure", Rejection.UNREACHABLE),
    ("temporarily unable to accept job", Rejection.LIMITS),
    ("job submit limit", Rejection.LIMITS),
    ("maxsubmit", Rejection.LIMITS),
    ("submitjobs", Rejection.LIMITS),
    ("accounting/qos policy", Rejection.LIMITS),
    ("job violates", Rejection.LIMITS),
    ("invalid", Rejection.ARGUMENTS),
    ("unrecognized option", Rejection.ARGUMENTS),
    ("requested", Rejection.ARGUMENTS),
    ("more processors", Rejection.ARGUMENTS),
    ("does not look like a batch script", Rejection.ARGUMENTS),
    ("unable to open file", Rejection.ARGUMENTS),
)


class Slurm:
    """Text for `sbatch`, `squeue` and `scancel`, and what their answers mean."""

    def environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        """Without what a server inside a Slurm job has inherited, and what changes defaults."""
        kept = {
            name: value
            for name, value in variables.items()
            if name == "SLURM_CONF" or not name.startswith(_OURS)
        }
        return {**kept, "SLURM_TIME_FORMAT": "%s", "LC_ALL": "C"}

    def files(self, submission: Submission) -> dict[str, str]:
        nodes, directory = submission.nodes, submission.directory
        headers = [
            f"--nodes={nodes}",
            f"--job-name={submission.name}",
            f"--output={shlex.quote(directory + '/stdout')}",
            f"--error={shlex.quote(directory + '/stderr')}",
            f"--time={clock(submission.params.time_limit_s)}",
            # The same allocation twice would be counted once.
            "--no-requeue",
        ]
        if submission.trial:
            headers.append("--hold")
        path = shlex.quote(worker_path(directory))
        spread = f"srun --overlap --ntasks={nodes} --nodes={nodes} {path}"
        return allocation_files(submission, "#SBATCH", headers, spread)

    def submit(self, submission: Submission) -> Dialogue[SubmitAnswer]:
        path = submit_path(submission.directory)
        result = yield Command(("sbatch", path), submission.directory)
        match result:
            case TimedOut():
                return Unsure(why("sbatch", result))
            case NotStarted():
                return refused("sbatch", result, Rejection.NO_PROGRAM)
            case Completed(0, stdout):
                for line in text_of(stdout).splitlines():
                    words = line.split()
                    if line.strip().lower().startswith(_ACCEPTED) and len(words) > 3:
                        return Accepted(words[3].partition(";")[0])
                # It says that all is well, so there is a job, whatever it is.
                return Unsure(f"sbatch: no job id in {text_of(stdout)[:200]!r}")
        return _rejection(result)

    def check(self, submission: Submission) -> Dialogue[Accepted | Rejected]:
        path = submit_path(submission.directory)
        result = yield Command(("sbatch", "--test-only", path), submission.directory)
        match result:
            case TimedOut():
                return Rejected(Rejection.UNREACHABLE, why("sbatch", result))
            case NotStarted():
                return refused("sbatch", result, Rejection.NO_PROGRAM)
            case Completed(0):
                return Accepted("")
        answer = _rejection(result)
        if isinstance(answer, Unsure):
            return Rejected(Rejection.UNREACHABLE, answer.words)
        return answer

    def find(self, name: str, directory: str) -> Dialogue[Found | Unanswered]:
        result = yield Command((*_LIST, "--me", f"--name={name}", "-o", FORMAT))
        if not isinstance(result, Completed) or result.code:
            return Unanswered(why("squeue", result))
        jobs = (
            Other(job, place, status)
            for job, (status, place) in parse_squeue(result.stdout).items()
        )
        return Found(tuple(job for job in jobs if job.directory == directory))

    def statuses(self, ids: Sequence[str]) -> Dialogue[Answered | Unanswered]:
        result = yield Command((*_LIST, "--me", "-o", FORMAT))
        if not isinstance(result, Completed) or result.code:
            return Unanswered(why("squeue", result))
        jobs = parse_squeue(result.stdout)
        others = tuple(
            Other(job, place, status) for job, (status, place) in jobs.items() if job not in ids
        )
        # The list of one user's jobs may lack what the site hides; who asks by id is told.
        missing = [job for job in ids if job not in jobs]
        for first in range(0, len(missing), _IDS_MAX):
            some = missing[first : first + _IDS_MAX]
            # With one id an unknown one is an error, which looks like any other.
            asked = some if len(some) > 1 else some * 2
            result = yield Command((*_LIST, "-j", ",".join(asked), "-o", FORMAT))
            if not isinstance(result, Completed) or result.code:
                return Unanswered(why("squeue", result))
            jobs.update(parse_squeue(result.stdout))
        unknown: Status = Unknown()
        return Answered({job: jobs[job][0] if job in jobs else unknown for job in ids}, others)

    def cancel(self, job_id: str, directory: str) -> Dialogue[CancelAnswer]:
        result = yield Command(("scancel", job_id), directory)
        if isinstance(result, NotStarted):  # its directory may be gone
            result = yield Command(("scancel", job_id))
        # For ids that are unknown or have ended it says nothing, or this.
        if isinstance(result, Completed) and (
            not result.code or "invalid job id specified" in text_of(result.stderr).lower()
        ):
            return Cancelled()
        return NotCancelled(why("scancel", result))


def _rejection(result: Completed) -> Rejected | Unsure:
    """What a command that failed has said."""
    text = f"{text_of(result.stderr)}\n{text_of(result.stdout)}".lower()
    for words, rejection in _REJECTIONS:
        if words in text:
            if rejection is None:
                return Unsure(why("sbatch", result))
            return refused("sbatch", result, rejection)
    return refused("sbatch", result, Rejection.OTHER)


def parse_squeue(data: bytes) -> dict[str, tuple[Status, str]]:
    """Status and directory by id; lines that are none of a job are left out."""
    jobs: dict[str, tuple[Status, str]] = {}
    for line in data.decode("utf-8", "surrogateescape").split("\n"):
        fields = line.split("|", 5)
        job_id = fields[0].strip()
        if not job_id[:1].isdigit():
            continue
        if len(fields) < 6:
            jobs[job_id] = Unclear(line[:200]), ""
            continue
        state, reason, start, end = (field.strip() for field in fields[1:5])
        jobs[job_id] = _status(state, reason, start, end), fields[5]
    return jobs


def _status(state: str, reason: str, start: str, end: str) -> Status:
    reason = "" if reason in ("None", "(null)") else reason
    if state in _WAITING:
        return Waiting(reason)
    if state in _RUNNING:
        return Running(_instant(start))
    if state in _ENDED:
        words = f"{state} ({reason})" if reason else state
        started_at, ended_at = _instant(start), _instant(end)
        # What was cancelled before it started has "started" and ended at the same instant.
        if started_at is not None and started_at == ended_at and state == "CANCELLED":
            started_at = None
        return Ended(_ENDED[state], words, started_at, ended_at)
    return Unclear(state)


def _instant(text: str) -> float | None:
    return float(text) if text.isascii() and text.isdigit() and len(text) < 15 else None
