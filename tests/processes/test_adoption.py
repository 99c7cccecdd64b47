"""Servers die, or networks do, while hundreds of tasks run: all go on, and each ends once."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from itertools import permutations
from pathlib import Path

import pytest
from flaky_network import FlakyNetwork
from process_cluster import PATIENCE_S, Cluster, lives, wait_until

# Cuts of 5, 60 and 200 seconds, and a grace of two minutes; otherwise a twentieth and a tenth.
IS_LONG = os.environ.get("HQTRIO_LONG") == "1"
CUT, GRACE_S, HEARTBEAT = (1.0, 120, "8s") if IS_LONG else (0.05, 12, "800ms")
JOURNAL = ("--journal", "journal")
QUICK = "echo $HQ_JOB_ID.$HQ_TASK_ID.$HQ_INSTANCE_ID >> ran"
GATED = f"{QUICK}; read -r _ < gate; echo $HQ_JOB_ID.$HQ_TASK_ID.$HQ_INSTANCE_ID >> ended"


class Gate:
    """What gated tasks wait for, without using the processor."""

    def __init__(self, place: Path) -> None:
        self._path = place / "gate"
        os.mkfifo(self._path)
        self._fd = os.open(self._path, os.O_RDWR)

    def open(self) -> None:
        if self._fd >= 0:
            open_gate = self._path.with_name("open gate")
            open_gate.touch()
            open_gate.replace(self._path)
            os.close(self._fd)
            self._fd = -1


@pytest.fixture
def gate(cluster: Cluster) -> Iterator[Gate]:
    made = Gate(cluster.work)
    try:
        yield made
    finally:
        made.open()


def lines(cluster: Cluster, name: str = "ran") -> list[str]:
    path = cluster.work / name
    return sorted(path.read_text().split()) if path.exists() else []


def once_each(job: int, count: int) -> list[str]:
    """What tasks 1 to `count` write if each of them runs once."""
    return sorted(f"{job}.{number}.0" for number in range(1, count + 1))


def worker_rows(cluster: Cluster) -> list[str]:
    """Id and state of every worker."""
    done = cluster.run("--output-mode=quiet", "worker", "list", "--all")
    return done.stdout.splitlines()


def wait_workers(cluster: Cluster, *rows: str) -> None:
    wait_until(lambda: worker_rows(cluster) == list(rows), lambda: str(worker_rows(cluster)))


def submit_gated(cluster: Cluster, count: int) -> int:
    return cluster.submit(
        "--array", f"1-{count}", "--stdout=none", "--stderr=none", "--", "sh", "-c", GATED
    )


def submit_quick(cluster: Cluster, count: int) -> int:
    return cluster.submit(
        "--array", f"1-{count}", "--stdout=none", "--stderr=none", "--", "sh", "-c", QUICK
    )


@pytest.mark.parametrize("death", [signal.SIGKILL, signal.SIGTERM])
def test_two_hundred_running_tasks_and_their_backlog_outlive_two_servers(cluster, gate, death):
    """Their ends, and the whole backlog, happen while there is no server at all."""
    server = cluster.start_server(*JOURNAL, name="server 0")
    for number in range(4):
        cluster.start_worker("--cpus", "50", name=f"w{number}")
    gated = submit_gated(cluster, 200)
    wait_until(lambda: len(lines(cluster)) == 200)
    cluster.wait_counts(gated, running=200)
    quick = submit_quick(cluster, 1500)
    for number in (1, 2):
        server.send_signal(death)
        server.wait(PATIENCE_S)
        if number == 2:
            gate.open()
            wait_until(lambda: len(lines(cluster, "ended")) == 200)
        server = cluster.start_server(*JOURNAL, name=f"server {number}")
        if number == 1:
            assert cluster.counts(gated) == {"running": 200}
            wait_workers(cluster, *(f"{worker} RUNNING" for worker in (1, 2, 3, 4)))
    cluster.run("job", "wait", "all")
    assert cluster.counts(gated) == {"finished": 200}
    assert cluster.counts(quick) == {"finished": 1500}
    assert Counter(lines(cluster)) == Counter(once_each(gated, 200) + once_each(quick, 1500))
    wait_workers(cluster, *(f"{worker} RUNNING" for worker in (1, 2, 3, 4)))


def test_workers_come_back_in_every_order(cluster, gate):
    """Each time with running tasks, tasks in their backlog, and ends that nobody has heard of."""
    server = cluster.start_server(*JOURNAL, "--worker-grace", "60s", name="server")
    with ExitStack() as stack:
        networks = [
            stack.enter_context(closing(FlakyNetwork(cluster, f"via-{number}")))
            for number in range(3)
        ]
        for number, network in enumerate(networks):
            place = ("--server-dir", str(network.server_dir))
            cluster.start_worker(*place, "--cpus", "4", name=f"w{number}")
        gated = submit_gated(cluster, 12)
        wait_until(lambda: len(lines(cluster)) == 12)
        cluster.wait_counts(gated, running=12)
        quick = submit_quick(cluster, 200)
        for turn, order in enumerate(permutations(range(3))):
            for network in networks:
                network.cut()
            server.kill()
            server.wait(PATIENCE_S)
            if turn == 5:
                gate.open()
                wait_until(lambda: len(lines(cluster, "ended")) == 12)
            server = cluster.start_server(*JOURNAL, "--worker-grace", "60s", name=f"server {turn}")
            back: list[int] = []
            for number in order:
                networks[number].mend()
                back.append(number)
                wait_until(
                    lambda back=back: all(f"{n + 1} RUNNING" in worker_rows(cluster) for n in back),
                    lambda: str(worker_rows(cluster)),
                )
        cluster.run("job", "wait", "all")
        assert Counter(lines(cluster)) == Counter(once_each(gated, 12) + once_each(quick, 200))
        assert cluster.counts(gated) == {"finished": 12}
        wait_workers(cluster, *(f"{worker} RUNNING" for worker in (1, 2, 3)))


@pytest.mark.parametrize(("cut_s", "is_inside"), [(5, True), (60, True), (200, False)])
def test_a_network_that_is_cut_for_a_while(cluster, gate, cut_s, is_inside):
    """Nothing arrives, neither is anything closed: as if a switch were off."""
    cluster.start_server("--worker-grace", f"{GRACE_S}s")
    with closing(FlakyNetwork(cluster)) as network:
        place = ("--server-dir", str(network.server_dir), "--heartbeat", HEARTBEAT)
        cluster.start_worker(*place, "--cpus", "4")
        gated = submit_gated(cluster, 4)
        wait_until(lambda: len(lines(cluster)) == 4)
        cluster.wait_counts(gated, running=4)
        quick = submit_quick(cluster, 10)
        network.stall()
        time.sleep(cut_s * CUT)
        if is_inside:
            assert cluster.counts(gated) == {"running": 4}
            gate.open()
            wait_until(lambda: len(lines(cluster, "ended")) == 4)
            network.flow()
        else:
            wait_until(lambda: worker_rows(cluster) == ["1 HEARTBEAT LOST"])
            cluster.wait_counts(gated, waiting=4)
            network.flow()
            # The worker hears that its tasks are not its own any more, and gets them anew.
            wait_until(lambda: len(lines(cluster)) == 8)
            gate.open()
        cluster.run("job", "wait", "all")
        assert cluster.counts(gated) == {"finished": 4}
        assert cluster.counts(quick) == {"finished": 10}
        if is_inside:
            assert Counter(lines(cluster)) == Counter(once_each(gated, 4) + once_each(quick, 10))
            wait_workers(cluster, "1 RUNNING")
        else:
            assert lines(cluster, "ended") == [f"{gated}.{number}.1" for number in range(1, 5)]


def test_nothing_of_another_history_is_mistaken_for_ones_own(cluster, gate):
    """Servers with the same keys and without a journal count from one again."""
    full = cluster.root / "access.json"
    ports = ("--client-port", "0", "--worker-port", "0")
    cluster.run("server", "generate-access", str(full), *ports, "--host", "127.0.0.1")
    start = ("--access-file", str(full), "--journal", "none")
    server = cluster.start_server(*start, name="first")
    worker = cluster.start_worker("--cpus", "2")
    script = f"echo $$ >> pids; {GATED}"
    assert cluster.submit("--array", "1-4", "--", "sh", "-c", script) == 1
    wait_until(lambda: lines(cluster) == ["1.1.0", "1.2.0"])
    cluster.wait_counts(1, running=2, waiting=2)
    old = [int(pid) for pid in (cluster.work / "pids").read_text().split()]
    server.kill()
    server.wait(PATIENCE_S)
    cluster.start_server(*start, name="second")
    assert cluster.submit("--array", "1-4", "--", "sh", "-c", "echo new.$HQ_TASK_ID >> new") == 1
    cluster.run("job", "wait", "1")
    assert lines(cluster, "new") == [f"new.{number}" for number in range(1, 5)]
    wait_until(lambda: not any(map(lives, old)))
    gate.open()
    assert lines(cluster, "ended") == []
    assert lines(cluster) == ["1.1.0", "1.2.0"]
    assert worker.poll() is None
    wait_workers(cluster, "1 RUNNING")
