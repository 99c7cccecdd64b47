"""What is measured: names, units, sizes and budgets. Data only; the peers know how."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

HQTRIO: Final = "hqtrio"
WHOLE_COMMAND: Final = "hqtrio (whole command)"
START_UP_OFF: Final = "hqtrio (start-up taken off)"
WORKER_AT_WORK: Final = "hqtrio (with a worker at work)"
HYPERQUEUE: Final = "HyperQueue"
BARE_LOOPS: Final = "two spawn loops"
BARE_LOOPS_WITH_FILES: Final = "two spawn loops, files and sessions"
BARE_IMPORT: Final = "import trio_websocket"
CLI_PROGRAM: Final = "hqtrio submit PROGRAM"
CLI_LIST: Final = "hqtrio job list"
CLI_FILE: Final = "hqtrio submit job.yaml"
LOST_WORK_ORDERED: Final = "hqtrio (lost work taken as ordered)"
ARRAY_JOURNALED: Final = "array, journal on disk"
ARRAY_UNJOURNALED: Final = "array, --journal none"
GRAPH_JOURNALED: Final = "graph, journal on disk"
GRAPH_UNJOURNALED: Final = "graph, --journal none"
COMPACTION: Final = "hqtrio journal prune"
STREAMED: Final = "hqtrio --stream"
PLAIN_FILES: Final = "hqtrio, a file per task"
EXECUTOR: Final = "hqtrio.Executor"
JOB_OF_FUNCTIONS: Final = "hqtrio.Job.function"
DASK: Final = "Dask"
# The scheduling machine among pretended workers:
KINDS: Final = ("3 s tasks", "20 s tasks")
ROUNDS: Final = ("median round", "worst round")
LONGEST_BATCH: Final = "classes: longest batch"
FEW: Final = "10 workers"
MANY: Final = "many workers"
EVENTS: Final = ("no event", "one more task waits", "an end with successor")
SMALL: Final = "10 workers, 1,000 waiting"
LARGE: Final = "1,000 workers, many waiting"
ONE_ARRAY: Final = "one array"
IN_PIECES: Final = "submitted in pieces"


@dataclass(frozen=True, slots=True)
class Budget:
    """A bound on a series' median: absolute, or as a multiple of another series."""

    series: str
    limit: float
    against: str = ""


@dataclass(frozen=True, slots=True)
class Workload:
    name: str
    title: str
    unit: str
    tasks: int
    quick_tasks: int
    more_is_better: bool = False
    counted: str = "tasks"
    bare: str = ""  # the series that stands for doing it without any runtime
    budgets: tuple[Budget, ...] = ()
    on_disk: bool = False
    rounds_max: int = 1000

    def quick(self) -> Workload:
        return replace(self, tasks=self.quick_tasks)


ALL: Final = (
    Workload(
        "real_files",
        "/bin/true with new stdout and stderr files in memory, 2 slots",
        "tasks/s",
        tasks=4000,
        quick_tasks=600,
        more_is_better=True,
        bare=BARE_LOOPS_WITH_FILES,
        budgets=(
            Budget(HQTRIO, 4.5, against=HYPERQUEUE),
            Budget(HQTRIO, 0.85, against=BARE_LOOPS_WITH_FILES),
        ),
    ),
    Workload(
        "real_files_disk",
        "/bin/true with new stdout and stderr files on disk, 2 slots",
        "tasks/s",
        tasks=2000,
        quick_tasks=400,
        more_is_better=True,
        bare=BARE_LOOPS_WITH_FILES,
        on_disk=True,
    ),
    Workload(
        "real_no_files",
        "/bin/true without output files, 2 slots",
        "tasks/s",
        tasks=4000,
        quick_tasks=600,
        more_is_better=True,
        bare=BARE_LOOPS,
    ),
    Workload(
        "chain",
        "a chain of /bin/true, each needing the one before, output files in memory",
        "ms/link",
        tasks=100,
        quick_tasks=30,
        counted="links",
        budgets=(Budget(HQTRIO, 4),),
    ),
    Workload("zero_array_10k", "an array without processes", "us/task", 10_000, 10_000),
    Workload("zero_array_100k", "an array without processes", "us/task", 100_000, 20_000),
    Workload(
        "zero_array_1m",
        "an array without processes",
        "us/task",
        tasks=1_000_000,
        quick_tasks=50_000,
        budgets=(Budget(HQTRIO, 10),),
    ),
    Workload(
        "zero_graph",
        "100 layers without processes, each needing all of the layer before",
        "us/task",
        tasks=100_000,
        quick_tasks=10_000,
        budgets=(Budget(HQTRIO, 50),),
    ),
    Workload(
        "zero_graph_named",
        "tasks without processes, each with its own name in the job file, each needing another",
        "us/task",
        tasks=2_000,
        quick_tasks=1_000,
    ),
    Workload(
        "submit_1m",
        "submit of an array, no worker",
        "s",
        tasks=1_000_000,
        quick_tasks=1_000_000,
        budgets=(Budget(HQTRIO, 0.5),),
    ),
    Workload(
        "memory_waiting",
        "growth of the server's memory by waiting tasks",
        "B/task",
        tasks=1_000_000,
        quick_tasks=200_000,
        budgets=(Budget(HQTRIO, 64), Budget(WORKER_AT_WORK, 64)),
        rounds_max=1,
    ),
    Workload(
        "memory_finished",
        "the server's memory once the tasks have finished",
        "MiB",
        tasks=200_000,
        quick_tasks=20_000,
        budgets=(Budget(HQTRIO, 120),),
        rounds_max=1,
    ),
    Workload(
        "memory_forgotten",
        "growth of the server's memory by jobs of 10,000 tasks that ended and were forgotten",
        "%",
        tasks=1000,
        quick_tasks=20,
        counted="jobs",
        budgets=(Budget(HQTRIO, 10),),
        rounds_max=1,
    ),
    Workload(
        "cli",
        "command start-up on a small server",
        "ms",
        tasks=7,
        quick_tasks=3,
        counted="runs of each per round, in turn",
        bare=BARE_IMPORT,
        budgets=(
            Budget(CLI_PROGRAM, 1.5, against=BARE_IMPORT),
            Budget(CLI_LIST, 1.5, against=BARE_IMPORT),
            Budget(CLI_FILE, 1.75, against=BARE_IMPORT),
        ),
    ),
    Workload(
        "stall",
        "longest time the server's event loop was held, array without processes, lists meanwhile",
        "ms",
        tasks=1_000_000,
        quick_tasks=50_000,
        budgets=(Budget(HQTRIO, 50),),
    ),
    Workload(
        "idle",
        "CPU of a server with nothing to do",
        "% of a core",
        tasks=100,
        quick_tasks=4,
        counted="connected workers",
        budgets=(Budget(HQTRIO, 0.5),),
        rounds_max=1,
    ),
    Workload(
        "journal_cost",
        "tasks without processes with a journal and without; the graph has a tenth of the tasks",
        "us/task",
        tasks=1_000_000,
        quick_tasks=50_000,
        budgets=(
            # 15 % of the throughput.
            Budget(ARRAY_JOURNALED, 1 / 0.85, against=ARRAY_UNJOURNALED),
            Budget(GRAPH_JOURNALED, 1 / 0.85, against=GRAPH_UNJOURNALED),
        ),
        on_disk=True,
    ),
    Workload(
        "journal_replay",
        "a server's start from the journal of finished tasks of an open job",
        "s",
        tasks=1_000_000,
        quick_tasks=50_000,
        budgets=(Budget(HQTRIO, 5),),
        on_disk=True,
    ),
    Workload(
        "functions",
        "Python functions that do nothing, on 2 CPUs, with their results",
        "calls/s",
        tasks=20_000,
        quick_tasks=2000,
        more_is_better=True,
        counted="calls",
        budgets=(
            Budget(EXECUTOR, 3000),
            Budget(EXECUTOR, 100, against=HYPERQUEUE),
            Budget(EXECUTOR, 1.5, against=DASK),
        ),
    ),
    Workload(
        "functions_wait",
        "from the end of a job's last task to the return of wait_for_jobs",
        "ms",
        tasks=20,
        quick_tasks=20,
        counted="jobs",
        budgets=(Budget(HQTRIO, 10),),
    ),
    Workload(
        "functions_memory",
        "the server's memory at its peak while an executor calls functions",
        "MiB",
        tasks=100_000,
        quick_tasks=10_000,
        counted="calls",
        budgets=(Budget(HQTRIO, 120),),
        rounds_max=1,
    ),
    Workload(
        "stream_small",
        "tasks that print 10 KB each, streamed and into files of their own",
        "tasks/s",
        tasks=10_000,
        quick_tasks=1000,
        more_is_better=True,
        budgets=(Budget(STREAMED, 1.0, against=PLAIN_FILES),),
        on_disk=True,
    ),
    Workload(
        "stream_large",
        "one task that prints 1 GiB, streamed and into a file",
        "MiB/s",
        tasks=1024,
        quick_tasks=256,
        more_is_better=True,
        counted="MiB",
        budgets=(Budget(STREAMED, 1.0, against=PLAIN_FILES),),
        on_disk=True,
    ),
    Workload(
        "sim_uniform",
        "simulation: equal tasks of 30 s, in virtual time",
        "x bound",
        tasks=1_000_000,
        quick_tasks=20_000,
        budgets=(Budget(HQTRIO, 1.03),),
        rounds_max=1,
    ),
    Workload(
        "sim_uniform_short",
        "simulation: tasks of about a second, in virtual time",
        "x bound",
        tasks=1_000_000,
        quick_tasks=20_000,
        budgets=(Budget(HQTRIO, 1.03),),
        rounds_max=1,
    ),
    Workload(
        "sim_heavy_tails",
        "simulation: heavy-tailed durations in mixed shapes, in virtual time",
        "x bound",
        tasks=1_000_000,
        quick_tasks=20_000,
        budgets=(Budget(HQTRIO, 1.10),),
        rounds_max=1,
    ),
    Workload(
        "sim_churn",
        "simulation: 20 classes, workers join, leave and die, in virtual time",
        "x bound",
        tasks=1_000_000,
        quick_tasks=20_000,
        budgets=(Budget(LOST_WORK_ORDERED, 1.10),),
        rounds_max=1,
    ),
    Workload(
        "round_steady",
        "one scheduling round of a full cluster, 20 classes",
        "ms",
        tasks=1000,
        quick_tasks=50,
        counted="workers",
        budgets=tuple(Budget(f"{kind}: {which}", 10) for kind in KINDS for which in ROUNDS),
    ),
    Workload(
        "round_fill",
        "filling idle workers of 128 cpus",
        "ms",
        tasks=1000,
        quick_tasks=50,
        counted="workers",
        budgets=tuple(Budget(f"{n} {LONGEST_BATCH}", 50) for n in (1, 20)),
    ),
    Workload(
        "round_idle",
        "a round with nothing to do",
        "us",
        tasks=1_000_000,
        quick_tasks=50_000,
        counted="waiting tasks",
        budgets=tuple(
            Budget(f"{event}: {LARGE}", 2, against=f"{event}: {SMALL}") for event in EVENTS
        ),
    ),
    Workload(
        "task_cost",
        "the scheduling machine's part in each task of a full cluster, 20 classes",
        "us/task",
        tasks=1000,
        quick_tasks=50,
        counted="workers",
        budgets=tuple(Budget(f"{kind}, {MANY}", 2, against=f"{kind}, {FEW}") for kind in KINDS),
    ),
    Workload(
        "queue_memory",
        "the scheduling machine's memory for waiting tasks",
        "B/task",
        tasks=1_000_000,
        quick_tasks=100_000,
        budgets=(Budget(ONE_ARRAY, 64), Budget(IN_PIECES, 64)),
        rounds_max=1,
    ),
    Workload(
        "envelope",
        "CPU of a server with workers of 128 slots, tasks of 3 s, at the full rate",
        "% of a core",
        tasks=1000,
        quick_tasks=50,
        counted="workers",
        budgets=(Budget(HQTRIO, 50),),
        rounds_max=1,
    ),
)
