"""Clusters inside a script."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from process_cluster import lives, processes_with, wait_until

from hqtrio import Job, LocalCluster, ResourceRequest, ValidationException, WorkerConfig
from hqtrio.errors import HqError


@pytest.fixture(autouse=True)
def own_temporary_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Whatever is left behind can be seen."""
    directory = tmp_path / "temporary"
    directory.mkdir()
    monkeypatch.setenv("TMPDIR", str(directory))
    monkeypatch.setattr("tempfile.tempdir", None)
    return directory


def command(cluster, *args):
    """What a command prints that knows the server's directory only."""
    words = [sys.executable, "-P", "-m", "hqtrio", "--server-dir", str(cluster.server_dir)]
    done = subprocess.run(
        [*words, "--output-mode=json", *args],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return json.loads(done.stdout)


def test_s8_13_stopping_twice(own_temporary_directory):
    before = threading.active_count()
    cluster = LocalCluster()
    cluster.stop()

    with pytest.raises(Exception, match="was stopped"):
        cluster.stop()
    with pytest.raises(Exception, match="was stopped"):
        cluster.start_worker()
    with pytest.raises(Exception, match="was stopped"):
        cluster.client()
    assert list(own_temporary_directory.iterdir()) == []
    assert threading.active_count() == before


def test_s8_13_a_cluster_with_a_worker_and_a_task(place, own_temporary_directory):
    with LocalCluster() as cluster:
        cluster.start_worker()
        client = cluster.client()
        job = Job()
        job.program(["echo", "hello"])
        assert client.wait_for_jobs([client.submit(job)])
        assert stat.S_IMODE(os.stat(cluster.server_dir).st_mode) == 0o700
        pids = processes_with(str(cluster.server_dir))
        assert pids

    assert (place / "0.stdout").read_text() == "hello\n"
    assert [pid for pid in pids if lives(pid)] == []
    assert list(own_temporary_directory.iterdir()) == []
    with pytest.raises(RuntimeError, match="closed"):
        client.wait_for_jobs([1])


def test_s8_13_the_command_line_works_on_it(place, tmp_path):
    with LocalCluster(tmp_path / "server", WorkerConfig(cores=4)) as cluster:
        assert cluster.server_dir == tmp_path / "server"
        (worker,) = command(cluster, "worker", "list")
        assert worker["configuration"]["resources"]["resources"] == [
            {"name": "cpus", "kind": "range", "start": 0, "end": 3}
        ]
        assert worker["configuration"]["heartbeat_interval"] == 3600.0
        (info,) = [command(cluster, "server", "info")]
        assert "127.0.0.1" in json.dumps(info)

    assert not (tmp_path / "server" / "hq-current").exists()


def test_several_workers_and_their_ends(place):
    with LocalCluster(worker_config=WorkerConfig(1)) as cluster:
        cluster.start_worker(WorkerConfig(cores=2))
        cluster.start_worker(WorkerConfig(cores=3))
        workers = command(cluster, "worker", "list")
        ends = [w["configuration"]["resources"]["resources"][0]["end"] for w in workers]
        assert sorted(ends) == [0, 1, 2]

        client = cluster.client()
        job = Job()
        job.program(["sleep", "1000"], resources=ResourceRequest(cpus=3))
        client.submit(job)
        wait_until(lambda: command(cluster, "job", "list")[0]["task_stats"]["running"] == 1)
        pids = processes_with(str(cluster.server_dir))

    assert [pid for pid in pids if lives(pid)] == []


def test_what_is_no_worker_is_refused(own_temporary_directory):
    with LocalCluster() as cluster, pytest.raises(ValidationException, match="config has to be"):
        cluster.start_worker(4)
    with pytest.raises(ValidationException, match="WorkerConfig"):
        LocalCluster(worker_config=4)
    with pytest.raises(ValidationException, match="server_dir"):
        LocalCluster(5)
    assert list(own_temporary_directory.iterdir()) == []


def test_a_directory_that_is_none_is_an_error_and_leaves_nothing(own_temporary_directory, tmp_path):
    (tmp_path / "file").write_text("")
    before = threading.active_count()

    with pytest.raises(HqError, match="Cannot use server directory"):
        LocalCluster(tmp_path / "file")

    assert list(own_temporary_directory.iterdir()) == []
    assert threading.active_count() == before


def test_a_worker_that_cannot_start_says_why(monkeypatch):
    with LocalCluster() as cluster:
        monkeypatch.setattr(WorkerConfig, "args", ["--cpus", "none"])
        with pytest.raises(RuntimeError, match=r"(?s)ended with exit code 2\n.*--cpus"):
            cluster.start_worker()
        monkeypatch.undo()
        cluster.start_worker(WorkerConfig(1))


def test_two_clusters_do_not_know_of_each_other(place):
    with LocalCluster() as one, LocalCluster() as other:
        job = Job()
        job.program(["true"])
        client = one.client()
        client.submit(job)
        assert len(command(one, "job", "list", "--all")) == 1
        assert command(other, "job", "list", "--all") == []


def test_a_script_that_ends_without_a_word_leaves_nothing(own_temporary_directory):
    code = (
        "import hqtrio, sys\n"
        "cluster = hqtrio.LocalCluster(worker_config=hqtrio.WorkerConfig(1))\n"
        "client = cluster.client()\n"
        "job = hqtrio.Job(default_workdir=sys.argv[1])\n"
        "job.program(['sleep', '1000'])\n"
        "client.submit(job)\n"
        "print(cluster.server_dir)\n"
    )
    work = own_temporary_directory.parent
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(work / "work")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    wait_until(lambda: processes_with(done.stdout.strip()) == [])
    assert list(own_temporary_directory.iterdir()) == []


# --- what fits on a worker


def test_s8_08_only_what_fits_runs(place):
    with LocalCluster(worker_config=WorkerConfig(cores=1)) as cluster:
        client = cluster.client()
        job = Job(max_fails=None)
        for cpus in ("1", "2", "all"):
            job.program(["true"], resources=ResourceRequest(cpus=cpus))
        job.program(["true"], resources=ResourceRequest(resources={"gpus": 1}))
        submitted = client.submit(job)

        def states():
            rows = command(cluster, "task", "list", str(submitted.id))[str(submitted.id)]
            return [row["state"] for row in rows]

        wanted = ["finished", "waiting", "finished", "waiting"]
        wait_until(lambda: states() == wanted, lambda: str(states()))


def test_s8_08_generic_resources(cluster, place):
    from hqtrio import Client

    cluster.start_server()
    cluster.start_worker("--cpus", "1", "--resource", "gpus=[0,1]", "--resource", "sum=sum(10)")
    with Client(cluster.server_dir) as client:
        job = Job(max_fails=None)
        for resources in ({"gpus": 1}, {"gpus": "2"}, {"gpus": 3}, {"sum": 9.5}, {"sum": 11}):
            job.program(["true"], resources=resources)
        submitted = client.submit(job)
        cluster.wait_counts(submitted.id, finished=3, waiting=2)

    states = cluster.states(submitted.id)
    assert [states[n] for n in range(5)] == [
        "finished", "finished", "waiting", "finished", "waiting",
    ]  # fmt: skip


def test_s8_15_a_job_waits_when_its_workers_are_ended(cluster, place):
    """And runs again, wholly, as soon as there are others."""
    import signal

    from hqtrio import Client

    cluster.start_server()
    workers = [cluster.start_worker("--cpus", "4", name=f"worker-{n}") for n in range(2)]
    os.mkfifo("gate")
    with Client(cluster.server_dir) as client:
        job = Job()
        gate = os.open("gate", os.O_RDWR)
        tasks = [
            job.program(["sh", "-c", "read x < gate"], cwd=place, stdout=None, stderr=None)
            for _ in range(8)
        ]
        job.program(["true"], deps=tasks)
        submitted = client.submit(job)
        cluster.wait_counts(submitted.id, running=8, waiting=1)
        for worker in workers:
            worker.send_signal(signal.SIGTERM)
        cluster.wait_counts(submitted.id, waiting=9)
        cluster.start_worker("--cpus", "8", name="another")
        os.write(gate, b"\n" * 8)
        assert client.wait_for_jobs(submitted)
        os.close(gate)


def test_a_worker_whose_process_is_killed_before_they_are_connected_ends(own_temporary_directory):
    script = """
import os, signal, subprocess
from hqtrio import LocalCluster

class Deadly(subprocess.Popen):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)

cluster = LocalCluster()
subprocess.Popen = Deadly
cluster.start_worker()
"""
    done = subprocess.run([sys.executable, "-c", script], timeout=60)

    assert done.returncode == -signal.SIGKILL
    wait_until(lambda: not processes_with(str(own_temporary_directory)))
