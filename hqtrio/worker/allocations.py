"""How long an allocation lasts, from what its batch manager says of it."""

from __future__ import annotations

import json
import re
from typing import Final

from hqtrio.errors import InputError

_CLOCK: Final = re.compile(r"(?:(\d+)-)?(\d+):(\d+)(?::(\d+))?")
_SLURM: Final = re.compile(r"\b(RunTime|TimeLimit)=(\S+)")


def pbs_remaining_s(text: str, job_id: str) -> float | None:
    """From `qstat -f JOB -F json`: walltime less what is used; None if there is no limit.

    InputError if it says nothing of the job.
    """
    try:
        # The server's name behind the number may be written in two ways.
        jobs = json.loads(text)["Jobs"]
        number = job_id.partition(".")[0]
        (job,) = (job for name, job in jobs.items() if name.partition(".")[0] == number)
        limit = job["Resource_List"].get("walltime")
        used = job.get("resources_used", {}).get("walltime", "00:00:00")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise InputError(f"qstat says nothing of job {job_id}") from None
    return None if limit is None else _remaining_s(limit, used)


def slurm_remaining_s(text: str) -> float | None:
    """From `scontrol show job`: time limit less run time; None if there is no limit.

    InputError if it says neither.
    """
    found = dict(_SLURM.findall(text))
    if "TimeLimit" not in found or "RunTime" not in found:
        raise InputError("scontrol says neither TimeLimit nor RunTime")
    if found["TimeLimit"] == "UNLIMITED":
        return None
    return _remaining_s(found["TimeLimit"], found["RunTime"])


def _remaining_s(limit: object, used: object) -> float:
    return max(0.0, clock_s(limit) - clock_s(used))


def clock_s(text: object) -> float:
    """`MM:SS`, `HH:MM:SS` or `D-HH:MM:SS` in seconds."""
    match = _CLOCK.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise InputError(f"'{str(text)[:40]}' is no time such as 01:30:00")
    days, *fields = (int(field) for field in match.groups(default="0"))
    if match[4] is None:
        fields = [0, *fields[:2]]
    hours, minutes, seconds = fields
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)
