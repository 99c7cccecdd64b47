"""hqtrio, driven through its commands as a user would."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.util import find_spec
from statistics import median
from typing import Final

from benchmarks import functions, journal, streams
from benchmarks.cluster import STOP_S, Cluster, hqtrio, open_cluster, stall_in
from benchmarks.peers import bare_import
from benchmarks.peers.peer import Figures, Peer
from benchmarks.sandbox import (
    TIMEOUT_S,
    Failed,
    Sandbox,
    cpu_seconds,
    expect_files,
    resident_bytes,
)
from benchmarks.scheduling import rows
from benchmarks.workloads import (
    BARE_IMPORT,
    CLI_FILE,
    CLI_LIST,
    CLI_PROGRAM,
    HQTRIO,
    START_UP_OFF,
    WHOLE_COMMAND,
    WORKER_AT_WORK,
    Workload,
)

SMALL_FILE: Final = "tasks:\n  only: {command: /bin/true}\n"
NO_FILES: Final = ("--stdout", "none", "--stderr", "none")
LAYERS: Final = 100
CHAIN_RUNS: Final = 3
IDLE_S: Final = 20.0
TASKS_OF_FORGOTTEN: Final = 10_000  # of each job
FORGOTTEN_AT_ONCE: Final = 10
SETTLE_S: Final = 3.0
SPANS: Final = (
    "a worker without processes ends a run of consecutive tasks as one span with one date; "
    "what the worker spends on a real task is not in this figure"
)


def missing() -> str:
    return "" if find_spec("hqtrio.__main__") else "no hqtrio.__main__ in this checkout"


def start_up_seconds(cluster: Cluster, *submit: str) -> float:
    """A whole `submit --wait` of a single task; also warms everything up."""
    return median(cluster.command(*submit) for _ in range(3))


def beyond(start_up_s: float, seconds: float) -> float:
    """What the work itself took."""
    if seconds <= start_up_s:
        raise Failed("the work took no longer than a command's start-up: noise, or too few tasks")
    return seconds - start_up_s


# --- real processes


def real(*options: str, files: int) -> Callable[[Workload, Sandbox], Figures]:
    def measure(workload: Workload, sandbox: Sandbox) -> Figures:
        submit = ["submit", "--wait", *options]
        with open_cluster(sandbox) as cluster:
            cluster.start_workers(1, "--cpus", "2")
            start_up_s = start_up_seconds(cluster, *submit, "/bin/true")
            array = ["--array", f"1-{workload.tasks}"]
            with cluster.noting_cpu(workload.tasks):
                seconds = cluster.command(*submit, *array, "/bin/true")
            cluster.expect_finished(4, workload.tasks)
        expect_files(sandbox.work, files * (workload.tasks + 3))
        return {
            HQTRIO: workload.tasks / beyond(start_up_s, seconds),
            WHOLE_COMMAND: workload.tasks / seconds,
        }

    return measure


def chain(workload: Workload, sandbox: Sandbox) -> Figures:
    """What each further link adds: the whole chain less a chain of one link."""
    single, whole = sandbox.home / "single.yaml", sandbox.home / "chain.yaml"
    single.write_text(chain_file(1))
    whole.write_text(chain_file(workload.tasks))
    with open_cluster(sandbox) as cluster:
        cluster.start_workers(1, "--cpus", "2")
        start_up_s = start_up_seconds(cluster, "submit", "--wait", str(single))
        seconds = median(cluster.command("submit", "--wait", str(whole)) for _ in range(CHAIN_RUNS))
        cluster.expect_finished(4, workload.tasks)
    expect_files(sandbox.work, 2 * (3 + CHAIN_RUNS * workload.tasks))
    return {
        HQTRIO: 1e3 * beyond(start_up_s, seconds) / (workload.tasks - 1),
        WHOLE_COMMAND: 1e3 * seconds / workload.tasks,
    }


def chain_file(links: int) -> str:
    lines = ["tasks:"]
    for link in range(links):
        needs = f"needs: t{link - 1}, " if link else ""
        lines.append(f"  t{link}: {{{needs}command: /bin/true}}")
    return "\n".join(lines) + "\n"


# --- tasks without processes


def zero_array(workload: Workload, sandbox: Sandbox) -> Figures:
    array = ["--array", f"1-{workload.tasks}"]
    return zero(workload, sandbox, ["submit", "--wait", *NO_FILES, *array, "/bin/true"])


def zero_graph(workload: Workload, sandbox: Sandbox) -> Figures:
    lines = ["defaults: {stdout: none, stderr: none}", "tasks:"]
    for layer in range(LAYERS):
        needs = f"needs: layer{layer - 1}, " if layer else ""
        array = f'array: "1-{workload.tasks // LAYERS}"'
        lines.append(f"  layer{layer}: {{{needs}{array}, command: /bin/true}}")
    return zero(workload, sandbox, submit_lines(sandbox, lines))


def zero_graph_named(workload: Workload, sandbox: Sandbox) -> Figures:
    lines = ["defaults: {stdout: none, stderr: none}", "tasks:"]
    for number in range(workload.tasks):
        needs = f"needs: t{number - LAYERS}, " if number >= LAYERS else ""
        lines.append(f"  t{number}: {{{needs}command: /bin/true}}")
    return zero(workload, sandbox, submit_lines(sandbox, lines))


def submit_lines(sandbox: Sandbox, lines: Sequence[str]) -> list[str]:
    path = sandbox.home / "graph.yaml"
    path.write_text("\n".join(lines) + "\n")
    return ["submit", "--wait", str(path)]


def zero(workload: Workload, sandbox: Sandbox, submit: Sequence[str]) -> Figures:
    with open_cluster(sandbox) as cluster:
        cluster.start_workers(1, "--cpus", "2", "--zero-worker")
        start_up_s = start_up_seconds(cluster, "submit", "--wait", *NO_FILES, "/bin/true")
        with cluster.noting_cpu(workload.tasks):
            seconds = cluster.command(*submit)
        cluster.expect_finished(4, workload.tasks)
        sandbox.notes.append(SPANS)
    return {
        HQTRIO: 1e6 * seconds / workload.tasks,
        START_UP_OFF: 1e6 * (seconds - start_up_s) / workload.tasks,
    }


# --- the server


def submit_only(workload: Workload, sandbox: Sandbox) -> Figures:
    with open_cluster(sandbox) as cluster:
        start_up_s = start_up_seconds(cluster, "submit", "/bin/true")
        seconds = cluster.command("submit", "--array", f"0-{workload.tasks - 1}", "/bin/true")
    return {HQTRIO: seconds, START_UP_OFF: seconds - start_up_s}


def memory_waiting(workload: Workload, sandbox: Sandbox) -> Figures:
    with open_cluster(sandbox) as cluster:
        cluster.command("submit", "--array", "0-9", "/bin/true")
        before = resident_bytes(cluster.server.pid)
        sleep = ["/bin/sleep", "3600"]
        cluster.command("submit", "--array", f"0-{workload.tasks - 1}", *sleep)
        grown = resident_bytes(cluster.server.pid) - before
        cluster.start_workers(1, "--cpus", "2")
        time.sleep(SETTLE_S)
        grown_at_work = resident_bytes(cluster.server.pid) - before
    return {HQTRIO: grown / workload.tasks, WORKER_AT_WORK: grown_at_work / workload.tasks}


def memory_finished(workload: Workload, sandbox: Sandbox) -> Figures:
    with open_cluster(sandbox) as cluster:
        cluster.start_workers(1, "--cpus", "2", "--zero-worker")
        cluster.command("submit", "--wait", *NO_FILES, "/bin/true")
        before = resident_bytes(cluster.server.pid)
        array = ["--array", f"0-{workload.tasks - 1}"]
        cluster.command("submit", "--wait", *NO_FILES, *array, "/bin/true")
        cluster.expect_finished(2, workload.tasks)
        after = resident_bytes(cluster.server.pid)
    return {HQTRIO: after / 2**20, "hqtrio (growth by these tasks)": (after - before) / 2**20}


def memory_forgotten(workload: Workload, sandbox: Sandbox) -> Figures:
    submit = ["submit", "--wait", *NO_FILES, "--array", f"1-{TASKS_OF_FORGOTTEN}", "/bin/true"]
    with open_cluster(sandbox) as cluster:
        cluster.start_workers(1, "--cpus", "2", "--zero-worker")
        cluster.command(*submit)
        cluster.command("job", "forget", "all")
        before = resident_bytes(cluster.server.pid)
        for job in range(workload.tasks):
            cluster.command(*submit)
            if job % FORGOTTEN_AT_ONCE == FORGOTTEN_AT_ONCE - 1:
                cluster.command("job", "forget", "all")
        cluster.command("job", "forget", "all")
        after = resident_bytes(cluster.server.pid)
        journal = cluster.server_dir / "001" / "journal"
        unpruned = journal.stat().st_size
        cluster.command("journal", "prune")
        sandbox.notes.append(
            f"{before / 2**20:.1f} MiB before, {after / 2**20:.1f} after; journal "
            f"{unpruned / 2**20:.1f} MiB, pruned {journal.stat().st_size} bytes"
        )
    return {HQTRIO: 100 * (after - before) / before}


def stall(workload: Workload, sandbox: Sandbox) -> Figures:
    log = sandbox.home / "stall.json"
    with open_cluster(sandbox, stall_log=log) as cluster:
        cluster.start_workers(1, "--cpus", "2", "--zero-worker")
        array = ["--array", f"0-{workload.tasks - 1}"]
        busy = sandbox.start(hqtrio("submit", "--wait", *NO_FILES, *array, "/bin/true"))
        give_up_at = time.monotonic() + TIMEOUT_S
        while busy.poll() is None:
            if time.monotonic() > give_up_at:
                raise Failed(f"the tasks had not ended after {TIMEOUT_S:g} s")
            cluster.command("job", "list", "--all")
            time.sleep(0.3)
        cluster.expect_finished(1, workload.tasks)
        cluster.command("server", "stop")
        with suppress(subprocess.TimeoutExpired):
            cluster.server.wait(STOP_S)
    longest_ms, handler = stall_in(log)
    sandbox.notes.append(f"longest in {handler}")
    return {HQTRIO: longest_ms}


def idle(workload: Workload, sandbox: Sandbox) -> Figures:
    with open_cluster(sandbox) as cluster:
        cluster.start_workers(workload.tasks, "--cpus", "1", "--zero-worker")
        time.sleep(SETTLE_S)  # greetings are not idleness
        before, begin = cpu_seconds(cluster.server.pid), time.perf_counter()
        time.sleep(IDLE_S)
        used = cpu_seconds(cluster.server.pid) - before
        return {HQTRIO: 100 * used / (time.perf_counter() - begin)}


def cli(workload: Workload, sandbox: Sandbox) -> Figures:
    """All commands in turn, so that a slow moment of the machine meets each of them."""
    path = sandbox.home / "job.yaml"
    path.write_text(SMALL_FILE)
    commands = {
        BARE_IMPORT: list(bare_import.COMMAND),
        CLI_PROGRAM: hqtrio("submit", "/bin/true"),
        CLI_LIST: hqtrio("job", "list"),
        CLI_FILE: hqtrio("submit", str(path)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    with open_cluster(sandbox):
        for command in commands.values():
            sandbox.run(command)
        for _ in range(workload.tasks):
            for name, command in commands.items():
                seconds[name].append(sandbox.run(command).seconds)
    return {name: 1e3 * median(values) for name, values in seconds.items()}


PEER = Peer(
    HQTRIO,
    missing,
    {
        "real_files": real(files=2),
        "real_files_disk": real(files=2),
        "real_no_files": real(*NO_FILES, files=0),
        "chain": chain,
        "zero_array_10k": zero_array,
        "zero_array_100k": zero_array,
        "zero_array_1m": zero_array,
        "zero_graph": zero_graph,
        "zero_graph_named": zero_graph_named,
        "submit_1m": submit_only,
        "memory_waiting": memory_waiting,
        "memory_finished": memory_finished,
        "memory_forgotten": memory_forgotten,
        "cli": cli,
        "stall": stall,
        "idle": idle,
        **journal.MEASURES,
        **streams.MEASURES,
        **functions.MEASURES,
        **rows.MEASURES,
    },
)
