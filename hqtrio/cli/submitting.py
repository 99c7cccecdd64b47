"""From the options of `submit` to what the server is asked for."""

from __future__ import annotations

import os
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from hqtrio.errors import InputError
from hqtrio.ids import IdArray
from hqtrio.messages.columns import u64
from hqtrio.model.job import ArraySpec, JobHead, Submit
from hqtrio.model.requests import add_default_cpus, make_request
from hqtrio.model.resources import CPUS, MEM, UNIT, Need, Request
from hqtrio.model.task import DEFAULT_CRASH_LIMIT, PinMode, Stdio, TaskBody, TaskSettings
from hqtrio.placeholders import names, unknown
from hqtrio.units import format_mem_amount

DEFAULT_STDOUT: Final = "%{CWD}/job-%{JOB_ID}/%{TASK_ID}.stdout"
DEFAULT_STDERR: Final = "%{CWD}/job-%{JOB_ID}/%{TASK_ID}.stderr"
CWD_NAMES: Final = ("JOB_ID", "TASK_ID", "INSTANCE_ID", "SUBMIT_DIR", "SERVER_UID")
OUTPUT_NAMES: Final = (*CWD_NAMES, "CWD")
STREAM_NAMES: Final = ("JOB_ID", "SUBMIT_DIR", "SERVER_UID")
MANY_FILES: Final = 1000
MUCH_MEMORY: Final = 2**24 * UNIT  # 16 TiB


@dataclass(frozen=True, slots=True)
class ProgramOptions:
    """What the command line says about tasks that run one program."""

    words: Sequence[str]
    submit_dir: str
    name: str | None = None
    max_fails: int | None = None
    cpus: Need | None = None
    resources: Sequence[Need] = ()
    nodes: int = 0
    time_request_s: float = 0.0
    weight: int = UNIT
    pin: PinMode | None = None
    env: Sequence[tuple[str, str]] = ()
    cwd: str | None = None
    stdout: Stdio | None = None
    stderr: Stdio | None = None
    stream: str | None = None
    priority: int = 0
    time_limit_s: float | None = None
    crash_limit: int = DEFAULT_CRASH_LIMIT
    task_dir: bool = False
    ids: IdArray | None = None
    entries: Sequence[bytes] | None = None
    stdin: bytes = b""
    job: int | None = None


def program_submit(options: ProgramOptions, key: bytes) -> Submit:
    """The submit that these options describe."""
    if options.cwd is not None and "CWD" in names(options.cwd):
        raise InputError(
            "Working directory path cannot contain the working directory placeholder `%{CWD}`."
        )
    if options.stream is not None:
        check_stream(options.stream)
    body = TaskBody(
        args=tuple(os.fsencode(word) for word in options.words),
        env=tuple((os.fsencode(k), os.fsencode(v)) for k, v in dict(options.env).items()),
        cwd=options.submit_dir if options.cwd is None else options.cwd,
        stdout=options.stdout or _default_output(options, DEFAULT_STDOUT),
        stderr=options.stderr or _default_output(options, DEFAULT_STDERR),
        submit_dir=options.submit_dir,
        stdin=options.stdin,
        time_limit_s=options.time_limit_s or 0.0,
        pin=options.pin or PinMode.NONE,
        task_dir=options.task_dir,
        stream_dir=options.stream or "",
    )
    ids, entries = chosen_tasks(options.ids, options.entries)
    spec = ArraySpec(
        body=body,
        count=len(ids) if ids is not None else len(entries) if entries is not None else 1,
        ranges=() if ids is None else ids.ranges,
        variants=(_request(options),),
        settings=TaskSettings(options.priority, options.crash_limit),
        entries=b"".join(entries or ()),
        entry_ends=_ends(entries or ()),
    )
    if options.job is not None:
        return Submit(key, options.submit_dir, job=options.job, arrays=(spec,))
    name = checked_name(options.name or "") or default_name(options.words[0])
    head = JobHead(name, options.max_fails)
    return Submit(key, options.submit_dir, head=head, arrays=(spec,))


def check_stream(path: str) -> None:
    """Refuse a directory that no task could stream to."""
    if not path:
        raise InputError("--stream: the directory is missing")
    late = [name for name in names(path) if name in ("TASK_ID", "INSTANCE_ID", "CWD")]
    if late:
        raise InputError(
            f"--stream: `%{{{late[0]}}}` is a task's own; its tasks share the directory, which may"
            f" hold {', '.join(f'`%{{{name}}}`' for name in STREAM_NAMES)}"
        )


def _default_output(options: ProgramOptions, path: str) -> Stdio:
    return Stdio(path) if options.stream is None else Stdio(None, stream=True)


def chosen_tasks(
    ids: IdArray | None, entries: Sequence[bytes] | None
) -> tuple[IdArray | None, Sequence[bytes] | None]:
    """The ids (None: the server numbers them) and the entry of each."""
    if entries is None:
        return ids, None
    if ids is not None:
        chosen = _below(ids, len(entries))
        if not chosen:
            raise InputError("No tasks selected: no id of `--array` has an entry")
        return chosen, [entries[number] for number in chosen]
    return None, entries


def _below(ids: IdArray, limit: int) -> IdArray:
    """The ids below the limit in ascending order, in few ranges if they came in few."""
    ranges = []
    for start, count, step in sorted(ids.ranges):
        fitting = min(count, max(0, -(-(limit - start) // step)))
        if fitting:
            ranges.append((start, fitting, 1 if fitting == 1 else step))
    if all(step == 1 for _, _, step in ranges):
        return IdArray.of_runs((start, count) for start, count, _ in ranges)
    if all(one[0] + (one[1] - 1) * one[2] < other[0] for one, other in pairwise(ranges)):
        return IdArray(ranges)
    return IdArray.of(number for number in IdArray(ranges))


def refuse_head_options(name: str | None, max_fails: int | None) -> None:
    """Refuse what only a new job can have: the open job has a name and a limit already."""
    for option, value in (("--name", name), ("--max-fails", max_fails)):
        if value is not None:
            raise InputError(f"Parameter {option} is not allowed when submitting to an open job.")


def _request(options: ProgramOptions) -> Request:
    """What each task needs; one cpu unless something is said about cpus."""
    needs = list(options.resources)
    if options.cpus is not None:
        if any(need.resource == CPUS for need in needs):
            raise InputError("--cpus and --resource cpus=... cannot be combined")
        needs.append(options.cpus)
    return make_request(
        add_default_cpus(needs, nodes=options.nodes),
        nodes=options.nodes,
        time_s=options.time_request_s,
        weight=options.weight,
    )


def default_name(program: str) -> str:
    """The last part of the program's path."""
    name = os.path.basename(program.rstrip("/"))
    return checked_name(name if name not in ("", ".", "..") else "job")


def checked_name(name: str) -> str:
    """The name, if a job may have it."""
    if "\n" in name or "\t" in name:
        raise InputError("name cannot have a newline or a tab: give another one with --name")
    return name


def submit_warnings(options: ProgramOptions) -> list[str]:
    """What looks like a mistake but is done all the same."""
    warnings = []
    keys = [key for key, _ in options.env]
    repeated = list(dict.fromkeys(key for key in keys if keys.count(key) > 1))
    if repeated:
        warnings.append(
            "Some environment variables were ignored, because they are set more than once: "
            + ", ".join(repeated)
        )
    for channel, given in (("stdout", options.stdout), ("stderr", options.stderr)):
        path = None if given is None else given.path
        if path is None:
            continue
        if options.ids is not None and len(options.ids) > 1 and not _names_task(path, options.cwd):
            warnings.append(
                f"You have submitted an array job, but the `{channel}` path does not contain the "
                "task ID placeholder."
            )
        warnings += _unknown_names(path, OUTPUT_NAMES, f"{channel} path")
    if options.cwd is not None:
        warnings += _unknown_names(options.cwd, CWD_NAMES, "working directory path")
    if options.stream is not None:
        warnings += _unknown_names(options.stream, STREAM_NAMES, "log path")
    return warnings + _much_memory(options) + _many_files(options)


def _names_task(path: str, cwd: str | None) -> bool:
    if "TASK_ID" in names(path):
        return True
    return not path.startswith("/") and cwd is not None and "TASK_ID" in names(cwd)


def _unknown_names(path: str, known: Sequence[str], where: str) -> list[str]:
    strange = unknown(path, known)
    if not strange:
        return []
    plural = "s" if len(strange) > 1 else ""
    return [f"Found unknown placeholder{plural} `{', '.join(strange)}` in {where}"]


def _much_memory(options: ProgramOptions) -> list[str]:
    """Requests in bytes, as HyperQueue counted memory before 0.17, would wait for ever."""
    return [
        f"The tasks ask for {format_mem_amount(need.amount)} of memory each:"
        f" `{MEM}` is counted in MiB"
        for need in options.resources
        if need.resource == MEM and need.amount >= MUCH_MEMORY
    ]


def _many_files(options: ProgramOptions) -> list[str]:
    ids, entries = chosen_tasks(options.ids, options.entries)
    count = len(ids) if ids is not None else len(entries) if entries is not None else 1
    channels = [
        channel
        for channel, stdio in (("stdout", options.stdout), ("stderr", options.stderr))
        if (options.stream is None if stdio is None else stdio.path is not None)
    ]
    files = count * len(channels)
    if files < MANY_FILES:
        return []
    return [f"The job will create {files} files for {' and '.join(channels)}"]


def _ends(entries: Sequence[bytes]) -> bytes:
    ends, end = array("Q"), 0
    for entry in entries:
        end += len(entry)
        ends.append(end)
    return u64(ends)
