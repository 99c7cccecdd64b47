"""A server that is stopped or killed, and another one that goes on from its journal."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest
from process_cluster import PATIENCE_S, Cluster

JOURNAL = ("--journal", "journal")


class Resuming:
    """One server after another, all on one journal."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.count = 0
        self.server = self.start()

    def start(self, *args: str) -> subprocess.Popen[str]:
        self.count += 1
        name = f"server {self.count}"
        self.server = self.cluster.start_server(*JOURNAL, *args, name=name)
        return self.server

    def stop(self) -> None:
        self.cluster.run("server", "stop")
        assert self.server.wait(PATIENCE_S) == 0

    def end(self, number: int) -> None:
        self.server.send_signal(number)
        self.server.wait(PATIENCE_S)

    def listed(self) -> list[int]:
        return [row["id"] for row in self.cluster.json("job", "list", "--all")]


@pytest.fixture
def resuming(cluster: Cluster) -> Resuming:
    return Resuming(cluster)


def test_s4_07_after_a_restart_no_id_is_used_again(cluster, resuming):
    cluster.start_worker("--cpus", "1")
    for _ in range(2):
        cluster.run("submit", "--wait", "--", "true")
    resuming.stop()
    resuming.start()
    assert resuming.listed() == []
    cluster.start_worker("--cpus", "1", name="second")
    assert cluster.submit("--", "true") == 3
    (worker,) = cluster.json("worker", "list")
    assert worker["id"] == 3


@pytest.mark.parametrize("death", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_s4_08_waiting_jobs_are_run_after_the_restart(cluster, resuming, death):
    cluster.submit("--name", "sweep", "--array", "1-3", "--", "true")
    cluster.submit("--name", "single", "--", "true")
    resuming.end(death)
    resuming.start()
    rows = cluster.json("job", "list", "--all")
    assert [(row["id"], row["name"]) for row in rows] == [(1, "sweep"), (2, "single")]
    assert [cluster.counts(job) for job in (1, 2)] == [{"waiting": 3}, {"waiting": 1}]
    cluster.start_worker("--cpus", "2")
    cluster.run("job", "wait", "all")
    assert [cluster.counts(job) for job in (1, 2)] == [{"finished": 3}, {"finished": 1}]


def test_s4_09_what_ran_at_server_stop_runs_again_and_the_rest_does_not(cluster, resuming):
    script = "echo $HQ_INSTANCE_ID >> runs-$HQ_TASK_ID; "
    script += "[ $HQ_TASK_ID -lt 2 ] || [ -e go ] || exec sleep 1000"
    cluster.submit("--array", "0-4", "--", "bash", "-c", script)
    worker = cluster.start_worker("--cpus", "5")
    cluster.wait_counts(1, finished=2, running=3)
    resuming.stop()
    worker.wait(PATIENCE_S)
    (cluster.work / "go").touch()
    resuming.start()
    assert cluster.counts(1) == {"finished": 2, "waiting": 3}
    cluster.start_worker("--cpus", "5", name="second")
    cluster.run("job", "wait", "1")
    runs = [(cluster.work / f"runs-{number}").read_text().split() for number in range(5)]
    assert runs == [["0"], ["0"], *[["0", "1"]] * 3]


def test_a_running_task_does_not_notice_that_its_server_was_killed(cluster, resuming):
    script = "echo $HQ_INSTANCE_ID >> runs; while [ ! -e go ]; do sleep 0.05; done"
    cluster.submit("--", "bash", "-c", script)
    cluster.submit("--array", "1-20", "--", "true")
    worker = cluster.start_worker("--cpus", "1")
    cluster.wait_counts(1, running=1)
    for _ in range(2):
        resuming.end(signal.SIGKILL)
        resuming.start()
        assert cluster.counts(1) == {"running": 1}
    (cluster.work / "go").touch()
    cluster.run("job", "wait", "all")
    assert (cluster.work / "runs").read_text().split() == ["0"]
    assert cluster.counts(2) == {"finished": 20}
    (row,) = cluster.json("worker", "list")
    assert row["id"] == 1
    assert worker.poll() is None


@pytest.mark.parametrize("lives", ["one", "two"])
def test_after_the_death_of_its_machine_what_runs_goes_on_and_what_waits_is_renumbered(
    cluster, resuming, lives
):
    script = "echo $HQ_INSTANCE_ID >> runs-$HQ_TASK_ID; while [ ! -e go ]; do sleep 0.05; done"
    cluster.start_worker("--cpus", "1")
    cluster.submit("--array", "0-1", "--", "bash", "-c", script)
    cluster.wait_counts(1, running=1, waiting=1)
    cluster.submit("--cpus", "2", "--", "bash", "-c", "echo $HQ_INSTANCE_ID > late")
    if lives == "two":
        resuming.end(signal.SIGKILL)
        resuming.start()
    resuming.end(signal.SIGKILL)
    lock = cluster.work / "journal.lock"
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    lock.write_text(lock.read_text().replace(boot, "of before the power cut"))
    resuming.start()
    assert cluster.counts(1) == {"running": 1, "waiting": 1}
    (cluster.work / "go").touch()
    cluster.start_worker("--cpus", "2", name="second")
    cluster.run("job", "wait", "all")
    assert [(cluster.work / f"runs-{n}").read_text().split() for n in (0, 1)] == [["0"], ["0"]]
    assert (cluster.work / "late").read_text().split() == ["1"]


def test_s4_13_a_journal_whose_last_byte_is_gone_can_be_used(cluster, resuming):
    cluster.submit("--", "true")
    resuming.stop()
    journal = cluster.work / "journal"
    journal.write_bytes(journal.read_bytes()[:-1])
    resuming.start()
    assert "cut off" in cluster.log("server 2")
    assert cluster.submit("--", "true") == 2
    resuming.end(signal.SIGKILL)
    resuming.start()
    assert resuming.listed() == [1, 2]


def test_s4_14_open_jobs_stay_open(cluster, resuming):
    for _ in range(3):
        cluster.run("job", "open")
    cluster.run("job", "close", "2-3")
    resuming.end(signal.SIGKILL)
    resuming.start()
    assert resuming.listed() == [1]
    # Whoever has a copy of the access file, or knows only the first instance, finds it as well.
    first, second = ((cluster.server_dir / n / "access.json").read_text() for n in ("001", "002"))
    assert first == second
    cluster.run("submit", "--job", "1", "--", "true")
    assert cluster.counts(1) == {"waiting": 1}


def test_b16_and_s4_20_what_was_answered_is_in_the_journal_of_a_server_that_is_terminated(
    cluster, resuming
):
    cluster.submit("--array", "1-3", "--", "true")
    cluster.run("job", "cancel", "1")
    resuming.end(signal.SIGTERM)
    lines = cluster.run("journal", "export", "journal").stdout.splitlines()
    kinds = [json.loads(line)["event"]["type"] for line in lines]
    assert [kind for kind in kinds if kind.startswith(("job-cr", "task-c"))] == [
        "job-created",
        "task-canceled",
    ]


def test_b12_jobs_that_are_over_are_no_longer_listed_but_in_the_history(cluster, resuming):
    cluster.start_worker("--cpus", "1")
    cluster.run("submit", "--wait", "--name", "over", "--", "true")
    resuming.end(signal.SIGKILL)
    resuming.start()
    assert resuming.listed() == []
    lines = cluster.run("journal", "export", "journal").stdout.splitlines()
    events = [json.loads(line)["event"] for line in lines]
    assert [event["job_desc"]["name"] for event in events if event["type"] == "job-created"] == [
        "over"
    ]
    assert [event["job"] for event in events if event["type"] == "job-completed"] == [1]


def test_b21_a_damaged_journal_is_refused_and_left_alone(cluster, resuming):
    for _ in range(3):
        cluster.submit("--", "true")
    resuming.stop()
    journal = cluster.work / "journal"
    data = bytearray(journal.read_bytes())
    data[len(data) // 2] ^= 0xFF
    journal.write_bytes(data)
    refused = cluster.run("server", "start", *JOURNAL, check=1)
    (line,) = [line for line in refused.stderr.splitlines() if "corrupted" in line]
    assert "byte" in line
    assert "hqtrio journal repair" in line
    assert journal.read_bytes() == data
    assert not (cluster.server_dir / "hq-current").exists()
