"""A cluster whose servers, workers, launchers, clients and connections die while it works."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections import Counter
from contextlib import suppress
from heapq import heappop, heappush
from itertools import count
from pathlib import Path
from typing import Final

from chaos_history import Fault, History, Mark, Outcome, Task
from chaos_jobs import Jobs
from chaos_schedule import GRACE_S, WORKERS, Break, breaks, orders
from flaky_network import FlakyNetwork
from process_cluster import PATIENCE_S, Cluster, processes_with

CLIENTS: Final = 2
COMMAND_S: Final = 100.0  # no command takes longer, whatever happens
SETTLE_S: Final = 300.0  # until all jobs have ended, once nothing is broken any more
DYING_S: Final = 1.0  # what was killed may still write a line
_OUTCOMES: Final = ("finished", "failed", "canceled", "aborted")


def now() -> float:
    """As tasks read it from /proc/uptime, where it is cut off after two digits."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Chaos:
    """`run` makes a history of `length_s` and some; the same `seed` orders and breaks the same."""

    def __init__(self, root: Path, seed: int, length_s: float) -> None:
        self.seed, self.length_s = seed, length_s
        self.cluster = Cluster(root)
        self.history = History(GRACE_S)
        self._server: subprocess.Popen[str] | None = None
        self._servers = count(1)
        self._names = (f"w{number}" for number in count(1))
        self._workers: list[tuple[str, subprocess.Popen[str], FlakyNetwork]] = []
        self._networks: list[FlakyNetwork] = []
        self._mends: list[tuple[float, int, Break, str, FlakyNetwork, float]] = []
        self._clients: list[subprocess.Popen[str]] = []
        self._clients_lock = threading.Lock()
        self._commands = count(1)
        self._over = threading.Event()
        self._marker = f"CHAOS_RUN={os.getpid()}.{time.monotonic_ns()}"
        name, _, value = self._marker.partition("=")
        self.cluster.env[name] = value
        self._failures: list[BaseException] = []

    def run(self) -> History:
        try:
            self._start_server()
            for _ in range(WORKERS):
                self._start_worker()
            clients = [
                threading.Thread(target=self._guarded, args=(self._submit, number), daemon=True)
                for number in range(CLIENTS)
            ]
            for client in clients:
                client.start()
            self._guarded(self._break_things)
            self._over.set()
            for client in clients:
                client.join(SETTLE_S)
            if self._failures:
                raise self._failures[0]
            self._settle()
        finally:
            self._over.set()
            self.cluster.stop()
            for network in self._networks:
                network.close()
        self._look_back()
        return self.history

    def _guarded(self, work, *args) -> None:
        try:
            work(*args)
        except BaseException as failure:
            self._failures.append(failure)

    # --- what is ordered

    def _submit(self, client: int) -> None:
        jobs = Jobs(self.cluster.work, self._ask, self.history, client)
        for order in orders(self.seed, client):
            if self._over.wait(order.pause_s):
                return
            jobs.carry_out(order)

    def _ask(self, *words: str) -> str | None:
        """What the command printed; None if it failed or was killed."""
        name = f"command {next(self._commands)}"
        process = self.cluster.start("--output-mode=quiet", *words, name=name)
        with self._clients_lock:
            self._clients.append(process)
        try:
            code = process.wait(COMMAND_S)
        finally:
            with self._clients_lock:
                self._clients.remove(process)
                self.cluster.processes.remove(process)
        return None if code else (self.cluster.root / f"{name}.out").read_text().strip()

    # --- what is broken

    def _break_things(self) -> None:
        begin = now()
        for one in breaks(self.seed, self.length_s):
            self._wait_until(begin + one.at_s)
            self._break(one)
        self._wait_until(begin + self.length_s)
        for *_, network, _ in self._mends:
            network.mend()
            network.flow()
        while self._mends:
            self._mend(*heappop(self._mends)[2:])

    def _wait_until(self, moment: float) -> None:
        """What is broken for some time is mended in time."""
        while self._mends and self._mends[0][0] <= moment:
            at, _, *what = heappop(self._mends)
            time.sleep(max(0.0, at - now()))
            self._mend(*what)
        time.sleep(max(0.0, moment - now()))

    def _break(self, one: Break) -> None:
        begin, name = now(), ""
        name, process, network = self._workers[one.target]
        match one.what:
            case "kill server" | "terminate server":
                assert self._server is not None
                self._server.send_signal(_signal(one.what))
                self._server.wait(PATIENCE_S)
                time.sleep(one.duration_s)
                self._start_server()
                self._note(one.what, "", begin, now())
            case "kill worker" | "terminate worker":
                process.send_signal(_signal(one.what))
                process.wait(PATIENCE_S)
                self._note(one.what, name, begin, now() + DYING_S)
                self._start_worker(one.target)
            case "kill launcher":
                launchers = _launchers(process.pid)
                if launchers:
                    with suppress(ProcessLookupError):
                        os.kill(launchers[int(begin * 100) % len(launchers)], signal.SIGKILL)
                    self._note(one.what, name, begin, now() + DYING_S)
            case "kill client":
                with self._clients_lock:
                    if self._clients:
                        self._clients[0].kill()
                        self._note(one.what, "", begin, begin)
            case "cut" | "long cut":
                network.cut()
                self._mend_later(one, name, network, begin)
            case "stall" | "long stall":
                network.stall()
                self._mend_later(one, name, network, begin)
            case "forget":
                network.forget()
                self._note(one.what, name, begin, begin)

    def _mend_later(self, one: Break, name: str, network: FlakyNetwork, begin: float) -> None:
        entry = (begin + one.duration_s, len(self.history.faults), one, name, network, begin)
        heappush(self._mends, entry)

    def _mend(self, one: Break, name: str, network: FlakyNetwork, begin: float) -> None:
        network.mend()
        network.flow()
        self._note(one.what.removeprefix("long "), name, begin, now())

    def _note(self, what: str, worker: str, begin: float, end: float) -> None:
        self.history.faults.append(Fault(what, worker, begin, end))

    def _start_server(self) -> None:
        self._server = self.cluster.start_server(
            "--journal", str(self.cluster.root / "journal"), "--worker-grace", f"{GRACE_S:g}s",
            name=f"server {next(self._servers)}",
        )  # fmt: skip

    def _start_worker(self, place: int | None = None) -> None:
        name = next(self._names)
        network = FlakyNetwork(self.cluster, f"via-{name}")
        self._networks.append(network)
        process = self.cluster.start_worker(
            "--server-dir", str(network.server_dir), "--cpus", "4", "--heartbeat", "1s",
            "--hostname", name, name=name, CHAOS_WORKER=name,
        )  # fmt: skip
        if place is None:
            self._workers.append((name, process, network))
        else:
            self._workers[place] = (name, process, network)

    # --- the end

    def _settle(self) -> None:
        """Every job comes to its end; then the server is stopped, and the workers end with it."""
        give_up_at = now() + SETTLE_S
        while self._ask("job", "close", "all") is None or self._ask("job", "list"):
            if now() > give_up_at:
                self.history.left.append(f"jobs never end: {self._ask('job', 'list')!r}")
                break
            time.sleep(0.3)
        for name, process, _ in self._workers:
            if process.poll() is not None:
                self.history.left.append(f"worker {name} has ended with {process.returncode}")
        assert self._server is not None
        if self._ask("server", "stop") is None or self._server.wait(PATIENCE_S):
            self.history.left.append(f"`server stop` failed, {self._server.poll()}")
        for name, process, _ in self._workers:
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                self.history.left.append(f"worker {name} does not end with its server")
        give_up_at = now() + PATIENCE_S
        while left := processes_with(self._marker):
            if now() > give_up_at:
                self.history.left += [f"process {pid}: {_words(pid)}" for pid in left]
                break
            time.sleep(0.1)

    def _look_back(self) -> None:
        marks = self.cluster.work / "marks"
        self.history.marks = marks_in(marks.read_text() if marks.exists() else "")
        journal = str(self.cluster.root / "journal")
        checked = self.cluster.run("journal", "check", journal, check=None)
        if checked.returncode:
            self.history.journal_fault = checked.stdout + checked.stderr
        exported = self.cluster.run("journal", "export", journal)
        for line in exported.stdout.splitlines():
            self._look_at(json.loads(line)["event"])
        for path in sorted(self.cluster.root.glob("*.err")):
            text = path.read_text(errors="replace")
            if "Traceback" in text:
                self.history.left.append(f"`{path.stem}` printed a traceback")

    def _look_at(self, event: dict) -> None:
        history = self.history
        match event["type"]:
            case "job-open":
                history.names.append((event["job_id"], event["name"]))
            case "job-created":
                job, body = event["job"], event["submit_desc"]["task_desc"]
                if event["closed_job"]:
                    history.names.append((job, event["job_desc"]["name"]))
                for part in body.get("arrays", [body]):
                    for run in part["ids"]["ranges"]:
                        first, step = run["start"], run["step"]
                        numbers = range(first, first + run["count"] * step, step)
                        history.tasks += [Task(job, number) for number in numbers]
            case "task-canceled" | "task-aborted" as kind:
                history.outcomes += [
                    Outcome(Task(row["job_id"], row["job_task_id"]), kind[5:])
                    for row in event["tasks"]
                ]
            case "task-finished" | "task-failed" as kind:
                task = Task(event["job"], event["task"])
                history.outcomes.append(Outcome(task, kind[5:], event.get("error", "")))


def marks_in(text: str) -> list[Mark]:
    """The lines that tasks wrote, in their order."""
    found = []
    for line in text.splitlines():
        what, label, job, task, instance, worker, at = line.split()
        found.append(Mark(what, label, Task(int(job), int(task)), int(instance), worker, float(at)))
    return found


def summary(history: History, restarts: Counter[str], violations: list[str]) -> str:
    """What a run was like, in some lines."""
    kinds = Counter(fault.what for fault in history.faults)
    outcomes = Counter(outcome.state for outcome in history.outcomes)
    begun = sum(mark.what == "begin" for mark in history.marks)
    answered = sum(1 for submit in history.submits if submit.job)
    lines = [
        f"broken: {_counts(kinds)}",
        f"submits: {len(history.submits)}, answered {answered}; jobs: {len(history.names)}",
        f"tasks: {len(history.tasks)} ({_counts(outcomes)}); executions begun: {begun}",
        f"run again: {_counts(restarts) or 'none'}",
        f"violations: {len(violations)}",
        *(f"  {line}" for line in violations[:50]),
    ]
    return "\n".join(lines)


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{what} {number}" for what, number in sorted(counts.items()))


def _signal(what: str) -> int:
    return signal.SIGKILL if what.startswith("kill") else signal.SIGTERM


def _launchers(worker: int) -> list[int]:
    """Processes of the worker that start its tasks."""
    children = Path(f"/proc/{worker}/task/{worker}/children")
    with suppress(OSError):
        return [pid for pid in map(int, children.read_text().split()) if "launcher" in _words(pid)]
    return []


def _words(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return ""
