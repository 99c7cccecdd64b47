"""Connections between server and worker break, and no task notices."""

from __future__ import annotations

import signal
from contextlib import closing

import pytest
from flaky_network import FlakyNetwork
from process_cluster import lives, wait_until

GATED = "echo $HQ_TASK_ID.$HQ_INSTANCE_ID >> ran; while ! test -e gate; do sleep 0.05; done; "


@pytest.fixture
def network(cluster):
    """Between a server that puts up with long absences and its workers."""
    cluster.start_server("--worker-grace", "60s")
    with closing(FlakyNetwork(cluster)) as network:
        yield network


def join(cluster, network, *args: str, name: str = "worker"):
    return cluster.start_worker("--server-dir", str(network.server_dir), *args, name=name)


def workers(cluster) -> list[str]:
    """The state of every worker, by id; LOST is what has lost its connection."""
    done = cluster.run("--output-mode=quiet", "worker", "list", "--all")
    lines = done.stdout.replace("CONNECTION LOST", "LOST").splitlines()
    return [line.split(maxsplit=1)[1] for line in lines]


def wait_workers(cluster, *states: str) -> None:
    wait_until(lambda: workers(cluster) == list(states), lambda: str(workers(cluster)))


def ran(cluster) -> list[str]:
    """Task and instance of every start."""
    path = cluster.work / "ran"
    return sorted(path.read_text().split()) if path.exists() else []


def running(cluster, network, *args: str, tasks: int = 4):
    """A worker with two of the job's tasks running and the others in its backlog."""
    worker = join(cluster, network, "--cpus", "2", *args)
    job = cluster.submit("--array", f"1-{tasks}", "--", "sh", "-c", GATED)
    wait_until(lambda: ran(cluster) == ["1.0", "2.0"])
    cluster.wait_counts(job, running=2, **({"waiting": tasks - 2} if tasks > 2 else {}))
    return worker, job


def test_b1_a_cut_inside_the_grace_costs_nothing(cluster, network):
    _, job = running(cluster, network)
    network.cut()
    wait_workers(cluster, "LOST")
    assert cluster.counts(job) == {"running": 2, "waiting": 2}
    (cluster.work / "gate").touch()  # they end while nobody hears of it
    network.mend()
    cluster.run("job", "wait", str(job))
    assert cluster.counts(job) == {"finished": 4}
    assert ran(cluster) == ["1.0", "2.0", "3.0", "4.0"]
    wait_workers(cluster, "RUNNING")


def test_b1_a_worker_that_is_back_gets_new_work_and_can_be_stopped(cluster, network):
    worker, job = running(cluster, network, tasks=2)
    network.cut()
    wait_workers(cluster, "LOST")
    network.mend()
    wait_workers(cluster, "RUNNING")
    (cluster.work / "gate").touch()
    cluster.run("job", "wait", str(job))
    cluster.run("submit", "--wait", "--", "true")
    cluster.run("worker", "stop", "1")
    assert worker.wait(60) == 0
    wait_workers(cluster, "STOPPED")


def test_b24_a_cut_outside_the_grace_is_a_lost_worker_that_comes_back_as_a_new_one(cluster):
    cluster.start_server("--worker-grace", "300ms")
    with closing(FlakyNetwork(cluster)) as network:
        worker = join(cluster, network, "--cpus", "1")
        job = cluster.submit("--", "sh", "-c", f"echo $$ >> pids; {GATED}")
        wait_until(lambda: ran(cluster) == ["0.0"])
        cluster.wait_counts(job, running=1)
        network.cut()
        cluster.wait_counts(job, waiting=1)
        cluster.start_worker("--cpus", "1", name="other")
        wait_until(lambda: ran(cluster) == ["0.0", "0.1"])
        network.mend()
        wait_workers(cluster, "LOST", "RUNNING", "RUNNING")
        first, second = map(int, (cluster.work / "pids").read_text().split())
        wait_until(lambda: not lives(first))
        assert lives(second) and worker.poll() is None
        (cluster.work / "gate").touch()
        cluster.run("job", "wait", str(job))
        assert ran(cluster) == ["0.0", "0.1"]


def test_a_connection_that_only_seems_to_be_there_is_noticed_by_both(cluster, network):
    _, job = running(cluster, network, "--heartbeat", "300ms")
    network.forget()
    wait_until(lambda: network.made == 2)
    wait_workers(cluster, "RUNNING")
    (cluster.work / "gate").touch()
    cluster.run("job", "wait", str(job))
    assert ran(cluster) == ["1.0", "2.0", "3.0", "4.0"]
    wait_workers(cluster, "RUNNING")


def test_an_idle_worker_notices_that_nobody_hears_it(cluster, network):
    join(cluster, network, "--heartbeat", "300ms")
    network.forget()
    wait_until(lambda: network.made == 2)
    wait_workers(cluster, "RUNNING")
    cluster.run("submit", "--wait", "--", "true")


def test_a_cancel_that_was_lost_in_the_cut_is_carried_out(cluster, network):
    join(cluster, network, "--cpus", "1")
    job = cluster.submit("--", "sh", "-c", f"echo $$ > pid; {GATED}")
    wait_until(lambda: ran(cluster) == ["0.0"])
    cluster.wait_counts(job, running=1)
    network.cut()
    wait_workers(cluster, "LOST")
    cluster.run("job", "cancel", str(job))
    cluster.wait_counts(job, canceled=1)
    network.mend()
    pid = int((cluster.work / "pid").read_text())
    wait_until(lambda: not lives(pid))
    cluster.run("submit", "--wait", "--", "true")
    wait_workers(cluster, "RUNNING")


def test_a_drain_that_was_lost_in_the_cut_is_still_wanted(cluster, network):
    join(cluster, network, "--cpus", "2")
    low = cluster.submit("--array", "1-200", "--", "sleep", "0.2")
    wait_until(lambda: cluster.counts(low).get("finished"))
    network.cut()
    wait_workers(cluster, "LOST")
    high = cluster.submit("--cpus", "2", "--priority", "5", "--", "true")
    network.mend()
    cluster.run("job", "wait", str(high))
    assert cluster.counts(low)["waiting"] > 0
    cluster.run("job", "cancel", str(low))


def test_a_killed_worker_is_lost_at_once_and_its_task_runs_again_after_the_grace(cluster):
    cluster.start_server("--worker-grace", "1s")
    worker = cluster.start_worker("--cpus", "1")
    job = cluster.submit("--", "sh", "-c", GATED)
    cluster.wait_counts(job, running=1)
    worker.kill()
    wait_workers(cluster, "LOST")
    cluster.wait_counts(job, waiting=1)
    (cluster.work / "gate").touch()
    cluster.start_worker("--cpus", "1", name="w2")
    cluster.run("job", "wait", str(job))
    assert ran(cluster) == ["0.0", "0.1"]


def test_r22_a_worker_that_finishes_what_runs_tells_how_it_ended(cluster, network):
    worker, job = running(cluster, network, "--on-server-lost", "finish-running", tasks=3)
    network.cut()
    wait_workers(cluster, "LOST")
    network.mend()
    wait_workers(cluster, "RUNNING")
    (cluster.work / "gate").touch()
    assert worker.wait(60) == 1
    cluster.wait_counts(job, finished=2, waiting=1)
    assert ran(cluster) == ["1.0", "2.0"]


def test_b26_signals_and_the_time_limit_end_a_worker_that_has_no_server(cluster, network):
    first = join(cluster, network, name="w1")
    second = join(cluster, network, "--time-limit", "3s", name="w2")
    network.cut()
    first.send_signal(signal.SIGTERM)
    assert first.wait(60) == 0
    assert second.wait(60) == 0


def test_a_worker_with_nothing_to_do_does_not_look_for_its_server_for_ever(cluster):
    server = cluster.start_server()
    worker = cluster.start_worker("--reconnect-timeout", "300ms")
    server.kill()
    assert worker.wait(60) == 1
    assert "the server did not come back" in cluster.log("worker")


def test_another_server_in_the_place_of_the_lost_one_ends_the_wait_at_once(cluster):
    server = cluster.start_server()
    worker = cluster.start_worker()
    server.kill()
    server.wait()
    cluster.start_server(name="another")
    assert worker.wait(60) == 1
    assert "another server" in cluster.log("worker")
    assert workers(cluster) == []
