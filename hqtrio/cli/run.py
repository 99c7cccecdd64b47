"""`run`: a job on this machine, with a server and a worker that live only as long as it."""

from __future__ import annotations

import os
import secrets
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from logging import ERROR, getLogger
from typing import TYPE_CHECKING, Any, Final

from hqtrio.cli.bar import follow
from hqtrio.cli.parsing import argument, command, flag, option
from hqtrio.cli.render.reports import JobReport
from hqtrio.cli.session import Session
from hqtrio.cli.submit import (
    KEY_BYTES,
    check_file_options,
    is_job_file,
    program_options,
)
from hqtrio.cli.submitting import program_submit, submit_warnings
from hqtrio.cli.task_options import task_options
from hqtrio.client import Client, Task
from hqtrio.errors import InputError
from hqtrio.messages.client import (
    JobDetails,
    JobInfo,
)
from hqtrio.model.job import Submit
from hqtrio.model.task import TaskState

if TYPE_CHECKING:
    import trio

    from hqtrio.local.cluster import RunCluster

log = getLogger(__name__)

USAGE: Final = "PROGRAM [ARGS]... | JOB_FILE"
EXIT_FAILED: Final = 1
EXIT_SIGNALLED: Final = 128  # plus the number of the signal
FAILED_SHOWN_MAX: Final = 20
RUN_FILE_OPTIONS: Final = frozenset(
    {"name", "max_fails", "priority", "stream", "cpus", "no_progress"}
)


def machine_cpus(text: str) -> str:
    """The definition as it was given, if a worker could use it."""
    from hqtrio.model.descriptors import check_pool
    from hqtrio.worker.definitions import parse_cpus

    check_pool(parse_cpus(text))
    return text


@command("run", conflicts=[("each_line", "from_json")], trailing=True, usage=USAGE)
@argument("words", read=str, nargs=-1, required=True, metavar="PROGRAM")
@option("--cpus", read=machine_cpus, help="CPUs of this machine: 8, 2x4, [0,1] (default: all).")
@task_options
@flag("--no-progress", help="Show only the result.")
def run(
    session: Session, words: tuple[str, ...], cpus: str | None, no_progress: bool, **task: Any
) -> int:
    """Run a job file or a program here and now; no server is needed.

    CPUs of each task are given by `--resource cpus=N`. The exit code is 0 if every task finished,
    1 if one did not, 130 after Ctrl-C.
    """
    import trio

    if not session.debug:
        # What a server and a worker say of each other is not what the user came for.
        getLogger("actors").setLevel(ERROR)
    submit = _read(session, words, task)
    worker_args = ["--cpus", cpus] if cpus is not None else []
    work = _Run(session, submit, worker_args, shows_progress=not no_progress)
    return trio.run(work.run)


def _read(session: Session, words: tuple[str, ...], task: dict[str, Any]) -> Submit:
    if is_job_file(words):
        check_file_options(RUN_FILE_OPTIONS)
        from hqtrio.cli.jobfiles import read_jobfile

        head = {name: task[name] for name in ("name", "max_fails", "priority", "stream")}
        return read_jobfile(words[0], **head)
    options = program_options(session, words, None, task)
    for warning in submit_warnings(options):
        log.warning("%s", warning)
    return program_submit(options, secrets.token_bytes(KEY_BYTES))


@dataclass
class _Run:
    """One run: what it needs, and how it is interrupted."""

    session: Session
    submit: Submit
    worker_args: Sequence[str]
    shows_progress: bool
    scope: trio.CancelScope | None = None
    cluster: RunCluster | None = None
    signalled: int = 0

    async def run(self) -> int:
        """Do everything; the exit code."""
        import trio

        code = EXIT_FAILED
        async with trio.open_nursery() as nursery:
            self.scope = trio.CancelScope()
            await nursery.start(self._obey_signals)
            with self.scope:
                code = await self._run()
            nursery.cancel_scope.cancel()
        return EXIT_SIGNALLED + self.signalled if self.signalled else code

    async def _run(self) -> int:
        import trio

        from hqtrio.local.cluster import open_local

        before = _last_job_in(self.submit.submit_dir)
        async with (
            open_local(self.worker_args, jobs_before=before) as cluster,
            trio.open_nursery() as nursery,
        ):
            self.cluster = cluster
            nursery.start_soon(cluster.wait_worker_failed)
            job = await cluster.client.submit(self.submit)
            await _refuse_impossible(cluster.client, job)
            await self._wait(cluster.client, job)
            report = await _report(cluster.client, job)
            await self.session.render.run_result(report, now=time.time())
            nursery.cancel_scope.cancel()
        counts = report.details.row.counts
        return EXIT_FAILED if counts.failed or counts.cancelled or counts.aborted else 0

    async def _obey_signals(self, task_status: trio.TaskStatus[None]) -> None:
        """Once: tasks get their grace. Twice: they are killed."""
        import trio

        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as received:
            task_status.started()
            async for number in received:
                if self.signalled and self.cluster is not None:
                    self.cluster.kill()
                elif not self.signalled:
                    log.warning("Interrupted; tasks are being ended (again: kill them at once)")
                    self.signalled = number
                    assert self.scope is not None
                    self.scope.cancel()

    async def _wait(self, client: Client, job: int) -> None:
        if not self.shows_progress or self.session.output_mode != "cli":
            await client.wait_for_jobs([job])
            return
        await follow(self.session, client, [job])


def _last_job_in(directory: str) -> int:
    """The highest N of the directories job-N there: a run does not write over an earlier one."""
    try:
        names = os.listdir(directory)
    except OSError:
        return 0
    numbers = (name.removeprefix("job-") for name in names if name.startswith("job-"))
    return max((int(n) for n in numbers if n.isascii() and n.isdigit() and len(n) < 10), default=0)


async def _refuse_impossible(client: Client, job: int) -> None:
    """InputError if tasks ask for what this machine does not have."""
    from hqtrio.local.lacks import find_lack

    details = await client.ask(JobInfo(job), JobDetails)
    arrays = [array for submit in details.submits for array in submit.arrays if array.ranges]
    for array in {array.variants: array for array in reversed(arrays)}.values():
        lack = await find_lack(client, array.variants)
        if lack:
            raise InputError(f"Task {array.ranges[0][0]} can never run here: {lack}")


async def _report(client: Client, job: int) -> JobReport:
    details = await client.ask(JobInfo(job), JobDetails)
    failed: Sequence[Task] = ()
    if details.row.counts.failed:
        states = (int(TaskState.FAILED),)
        failed, _ = await client.tasks(job, states=states, most=FAILED_SHOWN_MAX)
    return JobReport(details, failed, partial(client.task_lists, job))
