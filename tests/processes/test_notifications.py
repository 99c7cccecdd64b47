"""`task notify` and those who listen: tasks, commands and files are real."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

import pytest
from process_cluster import wait_until

RECORD = "sh -c 'echo \"$HQ_JOB_ID $HQ_TASK_ID $HQ_WORKER_ID $0\" >> log'"
TWICE = "$HQ task notify msg1 && while ! test -e go; do sleep 0.05; done; $HQ task notify msg2"
# Says the same until it is told to end.
TALKATIVE = ("--", "sh", "-c", "until test -e go; do $HQ task notify hello; sleep 0.1; done")


def lines(cluster, name="log"):
    path = cluster.work / name
    return path.read_text().splitlines() if path.exists() else []


def error_of(cluster, job: int) -> str:
    return (cluster.work / f"job-{job}/0.stderr").read_text()


def test_s6_01_each_notification_starts_the_command_once_and_in_order(cluster):
    cluster.start_server()
    cluster.start_worker("--cpus", "3")
    waiting = cluster.start(
        "submit", "--wait", "--on-notify", RECORD, "--array", "1-3", "--", "sh", "-c", TWICE,
        name="submit",
    )  # fmt: skip
    wait_until(lambda: len(lines(cluster)) == 3, lambda: str(lines(cluster)))
    (cluster.work / "go").touch()
    assert waiting.wait(60) == 0, cluster.log("submit")
    seen = lines(cluster)
    assert sorted(seen[:3]) == [f"1 {task} 1 msg1" for task in (1, 2, 3)]
    assert sorted(seen[3:]) == [f"1 {task} 1 msg2" for task in (1, 2, 3)]


def test_s6_01_calls_never_overlap_and_their_failure_is_a_warning(cluster):
    cluster.start_server()
    cluster.start_worker("--cpus", "3")
    # A second call while the first one runs would find its directory.
    script = "mkdir busy && sleep 0.3; rmdir busy; echo $0 >> log; exit 3"
    done = cluster.run(
        "submit", "--wait", "--on-notify", f"sh -c '{script}'", "--array", "1-3", "--",
        "sh", "-c", "$HQ task notify m$HQ_TASK_ID",
    )  # fmt: skip
    assert sorted(lines(cluster)) == ["m1", "m2", "m3"]
    assert "mkdir" not in done.stderr
    assert done.stderr.count("on_notify callback ended with exit code 3") == 3


def test_b48_progress_and_existing_jobs_are_listened_to_as_well(cluster):
    cluster.start_server()
    cluster.start_worker("--cpus", "2")
    job = str(cluster.submit(*TALKATIVE))

    def on_notify(name: str) -> tuple[str, str]:
        return "--on-notify", f"sh -c 'echo $0 $HQ_JOB_ID >> {name}'"

    listeners = [
        cluster.start("job", "wait", job, *on_notify("wait"), name="wait"),
        cluster.start("job", "progress", job, *on_notify("progress"), name="progress"),
        cluster.start("submit", "--progress", *on_notify("submit"), *TALKATIVE, name="submit"),
    ]
    wait_until(lambda: all(lines(cluster, name) for name in ("wait", "progress", "submit")))
    (cluster.work / "go").touch()
    for process in listeners:
        assert process.wait(60) == 0
    assert set(lines(cluster, "wait")) == set(lines(cluster, "progress")) == {"hello 1"}
    assert set(lines(cluster, "submit")) == {"hello 2"}


def test_without_waiting_the_option_says_that_it_does_nothing(cluster):
    cluster.start_server()
    done = cluster.run("submit", "--on-notify", "x", "--", "true")
    assert "--on-notify has no effect without --wait or --progress" in done.stderr
    assert cluster.counts(1) == {"waiting": 1}


def test_s6_02_waiting_for_nothing_returns_at_once(cluster):
    cluster.start_server()
    cluster.run("job", "wait", "all")
    job = cluster.submit("--", "sh", "-c", "while ! test -e go; do sleep 0.05; done")
    cluster.start_worker("--cpus", "1")
    waiting = cluster.start("job", "wait", str(job), name="wait")
    cluster.wait_counts(job, running=1)
    assert waiting.poll() is None
    (cluster.work / "go").touch()
    assert waiting.wait(60) == 0
    assert cluster.counts(job) == {"finished": 1}
    cluster.run("job", "wait", "all")


def test_s6_03_waiting_ends_with_0_however_the_tasks_end(cluster):
    cluster.start_server()
    cluster.start_worker("--cpus", "1")
    cluster.run("submit", "--wait", "--", "missing-program")
    assert cluster.counts(1) == {"failed": 1}
    waiting = cluster.start("submit", "--wait", "--", "sleep", "100", name="wait")
    wait_until(lambda: cluster.json("job", "list"))
    cluster.run("job", "cancel", "2")
    assert waiting.wait(60) == 0


def test_b47_waiting_fails_when_the_server_goes(cluster):
    server = cluster.start_server()
    cluster.start_worker("--cpus", "1")
    job = str(cluster.submit(*TALKATIVE))
    waiting = cluster.start("job", "wait", job, "--on-notify", RECORD, name="wait")
    wait_until(lambda: lines(cluster))  # it listens
    server.kill()
    assert waiting.wait(60) == 1
    assert "connection to the server was lost" in cluster.log("wait")


def test_s6_06_what_is_too_long_is_refused_by_the_sender(cluster):
    cluster.start_server()
    cluster.start_worker("--cpus", "1")
    script = (
        "longest=$(printf %01024d 7); $HQ task notify $longest || exit 5;"
        " $HQ task notify 0$longest || echo $? >> refused"
    )
    cluster.run(
        "submit", "--wait", "--on-notify", "sh -c 'echo $0 >> log'", "--", "bash", "-c", script
    )
    assert cluster.counts(1) == {"finished": 1}
    assert lines(cluster) == ["7".zfill(1024)]
    assert lines(cluster, "refused") == ["1"]
    assert "Notify message limit exceeded" in error_of(cluster, 1)


def test_s6_07_a_process_that_outlives_its_task_is_refused(cluster):
    cluster.start_server()
    cluster.start_worker("--cpus", "1")
    script = (
        "(while ! test -e go; do sleep 0.05; done;"
        " $HQ task notify late > said 2>&1; echo $? > code) &"
    )
    cluster.run("submit", "--wait", "--", "sh", "-c", script)
    (cluster.work / "go").touch()
    wait_until(lambda: lines(cluster, "code") == ["1"])
    assert "does not run any more" in (cluster.work / "said").read_text()


def test_outside_a_task_nothing_can_be_said(cluster):
    done = cluster.run("task", "notify", "x", check=1)
    assert "HQ_ACCESS_KEY variable not found" in done.stderr
    done = cluster.run("task", "notify", "x", check=1, HQ_ACCESS_KEY="nonsense")
    assert "has a wrong format" in done.stderr
    done = cluster.run("task", "notify", "x", check=1, HQ_ACCESS_KEY="/nowhere/s:hq0-AAAAAAAA")
    assert "cannot be reached: No such file or directory" in done.stderr


@pytest.fixture
def key(cluster):
    """The access key of a task that goes on running."""
    cluster.start_server()
    cluster.start_worker("--cpus", "1")
    cluster.submit("--", "sh", "-c", "echo $HQ_ACCESS_KEY > key; mv key the-key; sleep 1000")
    wait_until((cluster.work / "the-key").exists)
    path, _, token = (cluster.work / "the-key").read_text().strip().rpartition(":")
    return path, token.encode()


def say(path: str, said: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        connection.sendall(said)
        connection.shutdown(socket.SHUT_WR)
        return connection.recv(1000)


def test_b50_the_worker_itself_refuses_long_texts_and_wrong_tokens(cluster, key):
    path, token = key
    assert say(path, token + b"\n" + b"\0\xff" * 512) == b"ok"
    assert say(path, token + b"\n" + b"x" * 1025).startswith(b"Notify message limit exceeded")
    assert b"does not run any more" in say(path, b"hq0-AAAAAAAA\nhello")
    assert b"does not run any more" in say(path, b"")
    assert os.stat(path).st_mode & 0o077 == 0
    assert os.stat(os.path.dirname(path)).st_mode & 0o077 == 0


def test_silent_connections_keep_nobody_else_from_speaking(cluster, key):
    path, token = key
    silent = []
    for _ in range(30):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(path)
        silent.append(connection)
    assert say(path, token + b"\nhello") == b"ok"
    for connection in silent:
        connection.close()


def test_b27_nothing_is_left_of_socket_and_directories(cluster, key):
    path, _ = key
    assert os.path.exists(path)
    cluster.run("worker", "stop", "all")
    wait_until(lambda: not os.path.exists(path))
    wait_until(lambda: not list(cluster.root.glob("hq-worker*")))


def test_a_long_temporary_directory_is_no_obstacle(cluster):
    deep = cluster.root / ("d" * 120)
    deep.mkdir()
    cluster.start_server()
    cluster.start_worker("--cpus", "1", TMPDIR=str(deep))
    cluster.run(
        "submit",
        "--wait",
        "--on-notify",
        "sh -c 'echo $0 >> log'",
        "--",
        "sh",
        "-c",
        "$HQ task notify far",
    )
    assert lines(cluster) == ["far"]


def test_the_environment_of_another_task_is_not_inherited(cluster):
    """A worker that is started by a task has its own socket."""
    cluster.start_server()
    cluster.start_worker("--cpus", "1", HQ_ACCESS_KEY="/outer:hq0-OUTEROUT")
    cluster.run(
        "submit", "--wait", "--env", "HQ_ACCESS_KEY=mine", "--", "sh", "-c", "echo $HQ_ACCESS_KEY"
    )
    seen = (cluster.work / "job-1/0.stdout").read_text()
    assert re.fullmatch(r"/.*/notify:hq0-[A-Z2-7]{8}\n", seen)


def test_the_example_of_notifications_does_what_it_says(cluster):
    example = Path(__file__).parents[2] / "configs/jobs/notify.yaml"
    cluster.start_server()
    cluster.start_worker("--cpus", "3")
    cluster.run("submit", "--wait", "--on-notify", RECORD, str(example))
    assert cluster.counts(1) == {"finished": 3}
    said = sorted(line.split(" ", 3)[3] for line in lines(cluster))
    assert said == ["half way: 1", "half way: 2", "half way: 3"]
