"""Server and worker processes: how they start, what they leave, how they end."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat

import pytest
from process_cluster import wait_until


def test_server_directory_access_file_and_link(cluster):
    server = cluster.start_server("--host", "localhost")
    instance = cluster.server_dir / "001"
    assert (cluster.server_dir / "hq-current").resolve() == instance
    access = instance / "access.json"
    assert stat.S_IMODE(access.stat().st_mode) == 0o400
    assert stat.S_IMODE(instance.stat().st_mode) == 0o700
    record = json.loads(access.read_text())
    assert sorted(record) == ["client", "server_uid", "version", "worker"]
    assert sorted(record["client"]) == ["host", "port", "secret_key"]
    info = cluster.json("server", "info")
    assert info["pid"] == server.pid
    assert info["client_port"] == record["client"]["port"]
    cluster.run("server", "stop")
    assert server.wait(30) == 0
    assert not (cluster.server_dir / "hq-current").is_symlink()
    assert access.exists()


def test_sigint_stops_the_server_in_good_order(cluster):
    server = cluster.start_server()
    worker = cluster.start_worker("--cpus", "1")
    server.send_signal(signal.SIGINT)
    assert server.wait(30) == 0
    assert not (cluster.server_dir / "hq-current").is_symlink()
    assert worker.wait(30) == 1


def test_sigterm_to_the_server_leaves_the_link(cluster):
    server = cluster.start_server()
    server.send_signal(signal.SIGTERM)
    assert server.wait(30) == 0
    assert (cluster.server_dir / "hq-current").is_symlink()
    cluster.start_server(name="second")
    assert cluster.json("server", "info")["server_dir"] is None
    assert (cluster.server_dir / "hq-current").resolve().name == "002"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signalled_worker_ends_gracefully(cluster, number):
    cluster.start_server()
    worker = cluster.start_worker("--cpus", "1")
    job = cluster.submit("--", "sh", "-c", "trap 'echo int >> got; exit 0' INT; sleep 1000 & wait")
    cluster.wait_counts(job, running=1)
    worker.send_signal(number)
    assert worker.wait(30) == 0
    cluster.wait_counts(job, waiting=1)
    assert (cluster.work / "got").read_text() == "int\n"
    listed = cluster.run("--output-mode=quiet", "worker", "list", "--all").stdout
    assert listed == "1 CONNECTION LOST\n"


def test_s3_03_worker_stop_verdicts(cluster):
    cluster.start_server()
    worker = cluster.start_worker("--cpus", "1")
    assert "Worker 1 stopped" in cluster.run("worker", "stop", "1").stderr
    assert worker.wait(30) == 0
    wait_until(
        lambda: "STOPPED" in cluster.run("--output-mode=quiet", "worker", "list", "--all").stdout
    )
    done = cluster.run("worker", "stop", "1-2")
    assert "Stopping worker 1 failed; worker is already stopped" in done.stderr
    assert "Stopping worker 2 failed; worker not found" in done.stderr


def test_worker_wait_list_info_and_address(cluster):
    cluster.start_server()
    waiting = cluster.start("worker", "wait", "2", name="wait")
    cluster.start_worker("--cpus", "1", "--hostname", "one", name="w1")
    cluster.start_worker("--cpus", "2", "--hostname", "two", name="w2")
    assert waiting.wait(30) == 0
    assert cluster.run("worker", "address", "2").stdout == "two\n"
    first, second = cluster.json("worker", "list")
    assert (first["id"], second["configuration"]["hostname"]) == (1, "two")
    info = cluster.run("worker", "info", "1").stdout
    assert "assigned tasks: 0" in info


def test_s3_07_worker_time_limit(cluster):
    cluster.start_server()
    worker = cluster.start_worker("--cpus", "1", "--time-limit", "1s 200ms")
    assert "1s 200ms" in cluster.run("worker", "info", "1").stdout
    assert worker.wait(60) == 0
    wait_until(
        lambda: (
            "TIME LIMIT REACHED"
            in cluster.run("--output-mode=quiet", "worker", "list", "--all").stdout
        )
    )


def test_s3_05_idle_timeout(cluster):
    cluster.start_server("--idle-timeout", "1s")
    worker = cluster.start_worker("--cpus", "1", "--heartbeat", "500ms")
    assert worker.wait(60) == 0
    listed = cluster.run("--output-mode=quiet", "worker", "list", "--all").stdout
    assert listed == "1 IDLE TIMEOUT\n"


def test_s3_08_a_frozen_worker_is_lost_and_its_task_runs_elsewhere(cluster):
    cluster.start_server("--worker-grace", "1s")
    frozen = cluster.start_worker("--cpus", "1", "--heartbeat", "200ms", name="w1")
    job = cluster.submit("--", "sh", "-c", "test $HQ_INSTANCE_ID -gt 0 || sleep 1000")
    cluster.wait_counts(job, running=1)
    frozen.send_signal(signal.SIGSTOP)
    cluster.start_worker("--cpus", "1", name="w2")
    cluster.run("job", "wait", str(job))
    listed = cluster.run("--output-mode=quiet", "worker", "list", "--all").stdout
    assert listed == "1 HEARTBEAT LOST\n2 RUNNING\n"


def test_s4_01_the_names_and_ports_that_were_asked_for_are_shown(cluster):
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("", 0)) as other:
        ports = [str(listener.getsockname()[1]) for listener in (one, other)]
    options = ("--host", "abcd123", "--client-port", ports[0], "--worker-port", ports[1])
    cluster.start_server(*options)
    table = (cluster.root / "server.out").read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    shown = {row[0]: row[1] for row in rows if len(row) == 2}
    assert (shown["Client port"], shown["Worker port"]) == tuple(ports)
    assert shown["Client host"] == shown["Worker host"] == "abcd123"


def test_s4_03_server_info_tells_nine_things_of_the_process(cluster):
    server = cluster.start_server()
    info = cluster.json("server", "info")
    assert info["pid"] == server.pid
    assert len(info["server_uid"]) == 6
    assert info["server_uid"].isalnum()
    table = cluster.run("server", "info").stdout.splitlines()
    rows = [line.split("|")[1].strip() for line in table if line.startswith("|")]
    assert rows == [
        "Server UID", "Client host", "Client port", "Worker host", "Worker port", "Version", "Pid",
        "Start date", "Journal path",
    ]  # fmt: skip


def test_s4_06_server_wait(cluster):
    done = cluster.run("server", "wait", "--timeout", "1s", check=1)
    assert "Could not connect to server" in done.stderr
    waiting = cluster.start("server", "wait", name="wait")
    cluster.start_server()
    assert waiting.wait(60) == 0
    cluster.run("server", "wait")


def test_generated_access_files_split_the_roles(cluster):
    full, client, worker = (cluster.work / name for name in ("full", "client", "worker"))
    cluster.run(
        "server", "generate-access", str(full), "--client-port", "0", "--worker-port", "0",
        "--client-file", str(client), "--worker-file", str(worker), "--host", "localhost",
    )  # fmt: skip
    assert sorted(json.loads(client.read_text())) == ["client", "version"]
    assert sorted(json.loads(worker.read_text())) == ["version", "worker"]
    cluster.start_server("--access-file", str(full))
    info = cluster.json("server", "info")
    assert info["server_uid"] == json.loads(full.read_text())["server_uid"]


def test_a_server_has_at_most_two_threads(cluster):
    """Login nodes count threads. Name look-ups borrow one more for some seconds."""
    server = cluster.start_server()
    cluster.start_worker("--cpus", "1")
    cluster.run("submit", "--wait", "--array", "1-100", "--", "true")
    wait_until(lambda: len(os.listdir(f"/proc/{server.pid}/task")) <= 2)


def test_of_two_servers_that_start_at_once_one_runs(cluster):
    both = [cluster.start("server", "start", name=f"server{n}") for n in (1, 2)]
    wait_until(lambda: any(server.poll() is not None for server in both))
    (refused,) = (n for n, server in enumerate(both, 1) if server.poll() is not None)
    assert "is already online" in cluster.log(f"server{refused}")
    survivor = both[2 - refused]
    assert cluster.json("server", "info")["pid"] == survivor.pid


def test_a_worker_inside_a_task_does_not_pass_on_what_its_task_was_told(cluster):
    cluster.start_server()
    outer = {"HQ_ENTRY": "outer", "HQ_PIN": "taskset", "HQ_RESOURCE_VALUES_gpus": "7"}
    cluster.start_worker("--cpus", "1", **outer)
    cluster.run("submit", "--wait", "--", "sh", "-c", "env | grep ^HQ_ | cut -d= -f1 | sort")
    seen = (cluster.work / "job-1/0.stdout").read_text().split()
    assert not set(seen) & set(outer)
    assert "HQ_JOB_ID" in seen


def test_more_cpus_than_a_registration_can_hold_are_refused_at_once(cluster):
    done = cluster.run("worker", "start", "--cpus", "300000", check=2)
    assert "too many items" in done.stderr
