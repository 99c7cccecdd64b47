"""Which commands print a result in which output mode."""

from __future__ import annotations

import json

import pytest

from hqtrio.messages.allocations import (
    AddQueue,
    AllocationRow,
    AllocationRows,
    AllocationState,
    EditQueue,
    ListAllocations,
    ListQueues,
    PauseQueue,
    QueueAnswer,
    QueueRow,
    QueueRows,
    RemoveQueue,
    ResumeQueue,
    TryQueue,
)
from hqtrio.messages.client import (
    ArrayPart,
    CancelJobs,
    CloseJobs,
    Counts,
    DebugDump,
    Done,
    ExplainTask,
    ForgetJobs,
    Forgotten,
    JobDetails,
    JobInfo,
    JobRow,
    JobRows,
    ListJobs,
    ListNumbers,
    ListTasks,
    ListWorkers,
    OpenJob,
    ServerDetails,
    ServerInfo,
    StopServer,
    StopWorkers,
    SubmitJob,
    SubmitPartInfo,
    Submitted,
    TaskExplained,
    TaskNumbers,
    TaskRow,
    TaskRows,
    Verdict,
    VerdictKind,
    Verdicts,
    Watch,
    WatchWorkers,
    WorkerNotice,
    WorkerRow,
    WorkerRows,
)
from hqtrio.model.allocation import Manager, QueueParams
from hqtrio.model.resources import CPUS, ONE_CPU, Descriptor, single_pool
from hqtrio.model.task import Stdio, TaskBody, TaskSettings, TaskState
from hqtrio.model.worker import WorkerConfig

# Does quiet mode print something, and has json mode a value of its own?
BOTH, JSON_ONLY, NEITHER, RAW = (True, True), (False, True), (False, False), None
COMMANDS = {
    "submit ls": BOTH,
    "job submit ls": BOTH,
    "job open": BOTH,
    "job list --all": BOTH,
    "job summary": BOTH,
    "worker list": BOTH,
    "server info": JSON_ONLY,
    "worker info 1": JSON_ONLY,
    "worker hwdetect": JSON_ONLY,
    "job info 1": JSON_ONLY,
    "job task-ids 1": JSON_ONLY,
    "task list 1": JSON_ONLY,
    "task info 1 0": JSON_ONLY,
    "task explain 1 0": JSON_ONLY,
    "server stop": NEITHER,
    "server wait": NEITHER,
    "server debug-dump dump.json": NEITHER,
    "worker stop 1": NEITHER,
    "worker wait 1": NEITHER,
    "job cancel 1": NEITHER,
    "job forget 1": NEITHER,
    "job close 1": NEITHER,
    "job wait 1": NEITHER,
    "alloc list": JSON_ONLY,
    "alloc info 1": JSON_ONLY,
    "alloc add slurm -t 1h": NEITHER,
    "alloc dry-run pbs -t 1h": NEITHER,
    "alloc edit 1 --backlog 2": NEITHER,
    "alloc pause 1": NEITHER,
    "alloc resume 1": NEITHER,
    "alloc remove 1": NEITHER,
    "worker address 1": RAW,
    "job progress 1": RAW,
    "doc": RAW,
    "generate-completion zsh": RAW,
}


@pytest.fixture
def everything(server):
    """A server that has one worker, one finished job and one allocation."""
    job = JobRow(1, "j", Counts(finished=1), False, None, True)
    body = TaskBody((b"x",), (), "/", Stdio(None), Stdio(None), "/")
    part = ArrayPart(body, ((0, 1, 1),), ONE_CPU, TaskSettings())
    submits = (SubmitPartInfo("/", (part,)),)
    config = WorkerConfig("n", "n:1", "/w", "g", Descriptor((single_pool(CPUS, ("0",)),)))
    task = TaskRow(0, TaskState.FINISHED, 0, (1,), 1.0, 2.0)
    fine = Verdicts((Verdict(1, VerdictKind.OK),))
    server.answers = {
        ServerInfo: ServerDetails("abc123", "h", 1, "h", 2, "0", 7, 0.0),
        ListWorkers: WorkerRows((WorkerRow(1, config, 0.0),)),
        ListJobs: JobRows((job,), 1),
        JobInfo: JobDetails(job, None, 0.0, 1.0, submits, ((0, 1, 1),), (1,), ("n",)),
        ListTasks: TaskRows((task,), (body,), (ONE_CPU,), (TaskSettings(),), ((1, "n"),)),
        ListNumbers: TaskNumbers(((0, 1),)),
        ExplainTask: TaskExplained(1, 0, 0, 0, ONE_CPU),
        Watch: JobRows((job,), 1),
        WatchWorkers: WorkerNotice(1),
        ForgetJobs: Forgotten(1, 0),
        **dict.fromkeys((SubmitJob, OpenJob), Submitted(1)),
        AddQueue: QueueAnswer(1),
        ListQueues: QueueRows((QueueRow(1, QueueParams(Manager.SLURM, 3600.0)),)),
        ListAllocations: AllocationRows(
            (AllocationRow(1, 1, "7", AllocationState.QUEUED, 1, "/w", 0.0),)
        ),
        **dict.fromkeys((EditQueue, PauseQueue, RemoveQueue, ResumeQueue, TryQueue), Done()),
        **dict.fromkeys((StopServer, DebugDump), Done()),
        **dict.fromkeys((CancelJobs, CloseJobs, StopWorkers), fine),
    }


@pytest.mark.parametrize("words", [words for words, kind in COMMANDS.items() if kind is not RAW])
def test_what_is_printed_in_each_mode(hq, everything, words):
    quiet_prints, has_value = COMMANDS[words]

    tables, quiet, as_json = (
        hq(*f"--output-mode {mode} {words}".split()) for mode in ("cli", "quiet", "json")
    )

    assert (tables.code, quiet.code, as_json.code) == (0, 0, 0)
    assert bool(tables.out) == has_value
    assert bool(quiet.out) == quiet_prints
    assert (json.loads(as_json.out) != {}) == has_value
    assert tables.err.count("\n") == quiet.err.count("\n") == as_json.err.count("\n")


@pytest.mark.parametrize("words", [words for words, kind in COMMANDS.items() if kind is RAW])
def test_raw_data_are_the_same_in_every_mode(hq, everything, words):
    outputs = {
        hq(*f"--output-mode {mode} {words}".split()).out for mode in ("cli", "quiet", "json")
    }

    assert len(outputs) == 1


@pytest.mark.parametrize("words", [words for words in COMMANDS if words.split()[0] != "doc"])
def test_a_refusal_is_told_in_the_form_of_its_mode(hq, server, words):
    """Of a server that refuses everything; commands that need none succeed."""
    alone = words.startswith(("worker hwdetect", "generate-completion", "server wait"))

    results = {
        mode: hq(*f"--output-mode {mode} {words}".split()) for mode in ("cli", "quiet", "json")
    }

    if alone:
        assert {result.code for result in results.values()} == {0}
        return
    assert {result.code for result in results.values()} == {1}
    for mode in ("cli", "quiet"):
        assert results[mode].err.splitlines()[-1].startswith("Error: no answer for ")
    assert (results["cli"].out, results["quiet"].out) == ("", "")
    assert json.loads(results["json"].out)["error"].startswith("Error: no answer for ")
