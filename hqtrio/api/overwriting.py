"""Which files the outputs of a client's jobs go to, so that one job's do not replace another's."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from typing import Final

from hqtrio.api.job import Job
from hqtrio.api.output import stdio_of
from hqtrio.placeholders import fill, names

__all__ = ["Written"]

_FILES_MAX: Final = 100_000  # remembered; nobody misses the warning who submits that many
_NO_NUMBER: Final = -1


class Written:
    """The output files of the jobs so far: numbers of tasks by path."""

    def __init__(self) -> None:
        self._numbers: dict[str, set[int]] = {}
        self._room = _FILES_MAX

    def clash(self, job: Job, submit_dir: str) -> str | None:
        """A file that an earlier job writes as well, if there is one."""
        for path, number in _files(job, submit_dir):
            if number in self._numbers.get(path, ()):
                return fill(path, {"TASK_ID": str(number)})
        return None

    def add(self, job: Job, submit_dir: str) -> None:
        """The job was submitted."""
        for path, number in _files(job, submit_dir):
            if self._room <= 0:
                return
            known = self._numbers.setdefault(path, set())
            if number not in known:
                known.add(number)
                self._room -= 1


def _files(job: Job, submit_dir: str) -> Iterator[tuple[str, int]]:
    """Paths that hold `%{TASK_ID}` at most, and the number that this stands for."""
    for task in job.tasks:
        common = task.common
        cwd = posixpath.join(submit_dir, common.cwd or job.default_workdir or "")
        for channel, wanted in (("stdout", common.stdout), ("stderr", common.stderr)):
            path = stdio_of(wanted, channel, streamed=common.stream is not None).path
            if path is None:
                continue
            filled = fill(path, {"CWD": cwd, "SUBMIT_DIR": submit_dir})
            whole = posixpath.normpath(posixpath.join(cwd, filled))
            others = names(whole)
            if "JOB_ID" not in others and "INSTANCE_ID" not in others:
                yield whole, task.task_id if "TASK_ID" in others else _NO_NUMBER
