"""One value of every kind of record, and of all that they hold, as `golden_records.txt` has them.

Never change a value that stands here, nor its line there: journals with such bytes exist. Who
appends a kind or a field appends a value that uses it, and the line that the test asks for.
"""

from __future__ import annotations

from msgspec.structs import replace

from hqtrio.messages.columns import f32, f64, u32, u64
from hqtrio.messages.records import (
    AllocationCancelling,
    AllocationEnded,
    AllocationPlanned,
    AllocationQueued,
    AllocationsForgotten,
    AllocationStarted,
    IdsUsed,
    InstancesRaised,
    JobCancelled,
    JobClosed,
    JobCompleted,
    JobOpened,
    JobsForgotten,
    NodeDropped,
    QueueAdded,
    QueueEdited,
    QueuePaused,
    QueueRemoved,
    QueueResumed,
    QueuesUsed,
    Record,
    ResourcesLearned,
    ServerStarted,
    ServerStopped,
    SubmissionFailed,
    SubmitBegun,
    SubmitCommitted,
    SubmitContinued,
    SubmitDropped,
    TasksEnded,
    TasksRepeated,
    TasksRequeued,
    TasksShipped,
    TasksStarted,
    TasksTakenBack,
    VariantsChosen,
    WorkerConnected,
    WorkerJoined,
    WorkerLeft,
    WorkerLost,
    WorkerStopping,
    WorkerTold,
)
from hqtrio.model.allocation import Cause, Manager, QueueParams, Rejection, WorkerOptions
from hqtrio.model.job import ArraySpec, GraphSpec, GraphTask, JobHead, Submit
from hqtrio.model.load import DeviceLoad, NodeLoad
from hqtrio.model.matrix import Axis, Matrix
from hqtrio.model.resources import Descriptor, Link, Need, Policy, Pool, Request
from hqtrio.model.retry import Retry
from hqtrio.model.task import PinMode, Stdio, TaskBody, TaskSettings
from hqtrio.model.worker import LossReason, OnServerLost, WorkerConfig

NOW = 1_700_000_000.25
HEAD = JobHead("näme", 3, True)
BODY = TaskBody(
    (b"./run", b"\xff"),
    ((b"MODE", b"fast"),),
    "/work",
    Stdio("%{CWD}/%{TASK_ID}.out", True),
    Stdio(None, stream=True),
    "/submit",
    b"input",
    3600.0,
    PinMode.TASKSET,
    True,
    "/streams",
    b"#!/bin/sh\n",
    (b"bash", b"-e"),
    ("case",),
    True,
    Matrix((Axis("a", ("1", '"x"')), Axis("b", (), ((0, 5, 2),))), ((0, -1),), (("9", "8"),)),
    7,
)
SETTINGS = TaskSettings(-5, 2, Retry(3, False, (1, 75), (9,), True, 1.5, 3.0, 60.0))
VARIANTS = (
    Request((Need("cpus", 20_000, Policy.FORCE_TIGHT), Need("gpus/x", 5_000)), 0, 60.0, 25_000),
    Request((), 2),
)
ARRAY = ArraySpec(
    BODY,
    3,
    ((10, 3, 2),),
    VARIANTS,
    SETTINGS,
    b"onetwothree",
    b"".join(end.to_bytes(8, "little") for end in (3, 6, 11)),
    "group",
    (0,),
    (1,),
    True,
)
GRAPH = GraphSpec(
    (BODY,), (VARIANTS,), (SETTINGS,), (GraphTask(4, 0, 0, 0), GraphTask(5, 0, 0, 0, (4,)))
)
CONFIG = WorkerConfig(
    "node-1",
    "node-1.cluster:4000",
    "/scratch/w",
    "group",
    Descriptor(
        (Pool("cpus", (("0", "1"), ("2", "3")), 40_000, True), Pool("mem", (), 1 << 40)),
        (Link(0, 0, 0, 1, 128),),
    ),
    4.0,
    300.0,
    7200.0,
    30.0,
    OnServerLost.FINISH_RUNNING,
    0.5,
    15.0,
    4242,
    "SLURM",
    "123456",
    "0.1",
    True,
)
QUEUE = QueueParams(
    Manager.SLURM,
    3600.0,
    "näme",
    4,
    2,
    8,
    100.5,
    0.5,
    ("--partition=main", "--comment", "two words"),
    WorkerOptions(
        "2x8",
        ("x=sum(100)",),
        "cpus[0]:x",
        "group",
        True,
        "cpus,mem",
        10.0,
        OnServerLost.STOP,
        1800.0,
        60.0,
        "module load x",
        "clean",
        "podman run",
        "/opt/hqtrio",
    ),
    Descriptor((Pool("cpus", (("0", "1"),), 20_000),)),
)
LOAD = NodeLoad(
    (12.5, 99.0), 1 << 36, 1 << 30, 1, 2, 3, 4, 5, 6, (DeviceLoad("GPU-1", 50.0, 25.0),),
    (DeviceLoad("card0", 1.0, 2.0),),
)  # fmt: skip
T1, T2 = 1 << 32 | 4, 1 << 32 | 5
GANG = ((T1, (2, 3)),)

VALUES: tuple[Record, ...] = (
    JobOpened(1, HEAD, NOW),
    JobClosed(1, NOW),
    JobCancelled(1, "enough", NOW),
    JobsForgotten((1, 2, 70_000)),
    JobCompleted(1, NOW),
    SubmitBegun(3, Submit(b"0123456789abcdef", "/submit", HEAD, 0, (ARRAY,), GRAPH)),
    SubmitBegun(4, Submit(b"", "/submit", job=1)),
    SubmitContinued(3, 0, b"four", b"\4\0\0\0\0\0\0\0", GRAPH, (ARRAY,)),
    SubmitCommitted(3, 1, (((10, 3, 2),), ()), NOW),
    SubmitDropped(4),
    TasksStarted(2, u64([T1, T2]), u32([0, 1]), f64([NOW, NOW + 1]), GANG),
    TasksEnded(
        2, NOW, u64([T1, T2]), u32([0, 1]), b"\2\3", f64([0.0, NOW]), f64([NOW, NOW + 9]),
        f32([-1.0, 0.5]), u32([0, 4096]), ((1, "exit code 1"),), u64([T2 + 1]), u32([10]), (7,),
        GANG,
    ),
    TasksRequeued(u64([T1]), u32([1]), u32([2])),
    WorkerConnected(2, b"fedcba9876543210", 3, CONFIG, NOW),
    WorkerStopping(2, LossReason.TIME_LIMIT_REACHED),
    WorkerLost(2, LossReason.HEARTBEAT_LOST, NOW),
    TasksShipped(2, u64([T1]), u32([2]), u32([1])),
    TasksTakenBack(2, u64([T1, T2])),
    NodeDropped(T1, 1, 3),
    TasksRepeated(u64([T1]), u32([2]), u32([1]), f64([NOW + 60]), ((0, "exit code 75"),)),
    ServerStarted("uid123", "0.1.0", NOW),
    ServerStopped(NOW),
    IdsUsed(9, 8, 7, ((b"0123456789abcdef", 5),)),
    InstancesRaised(NOW),
    InstancesRaised(NOW, workers_keep=True),
    WorkerTold(2, LOAD, NOW),
    VariantsChosen(((T1, 1),)),
    QueueAdded(3, QUEUE, NOW),
    QueueAdded(4, QueueParams(Manager.PBS, 60.0), NOW),
    QueueEdited(3, QUEUE, NOW),
    QueueRemoved(3, NOW),
    QueuePaused(3, "3 allocations failed", NOW),
    QueueResumed(3, NOW),
    ResourcesLearned(3, CONFIG.descriptor),
    AllocationPlanned(3, 7, 2, 3600.0, "näme-7", "/home/u/.hqtrio-server/001/autoalloc/3/007", NOW),
    AllocationQueued(3, 7, "123456", NOW),
    SubmissionFailed(3, 7, Rejection.LIMITS, "sbatch: error: no", NOW),
    AllocationStarted(3, 7, NOW),
    AllocationEnded(3, 7, Cause.NODE_FAILED, "NODE_FAIL", NOW, NOW - 60),
    AllocationEnded(3, 8, Cause.CANCELLED_HERE, "", NOW),
    AllocationCancelling(3, 7, NOW),
    WorkerJoined(3, 7, 2, NOW),
    WorkerLeft(3, 7, 2, LossReason.IDLE_TIMEOUT, NOW),
    QueuesUsed(9),
    AllocationEnded(3, 9, Cause.TIME_LIMIT, "TIMEOUT", NOW, NOW - 60, 120.5),
    AllocationsForgotten(3, 6, 7200.5),
    SubmitContinued(9, graph=GraphSpec((replace(BODY, function_calls=1000),), (), (), ())),
    TasksEnded(
        2, NOW, u64([T1, T2]), u32([0, 1]), b"\2\3", f64([0.0, NOW]), f64([NOW, NOW + 9]),
        f32([-1.0, 0.5]), u32([0, 4096]), ((1, "exit code 1"),), b"", b"", (), (),
        ((0, b"Vvalue"), (1, b"Eerror")),
    ),
)  # fmt: skip
