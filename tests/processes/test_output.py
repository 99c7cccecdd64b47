"""What real processes print: progress on a terminal and in a pipe, dumps, the end of a server."""

from __future__ import annotations

import json
import os
import pty
import re
import stat
import subprocess

ERASE_LINE = "\r\x1b[2K"


def on_a_terminal(cluster, *args):
    """Everything that a command prints whose output is a terminal of 200 columns."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        cluster.command(*args),
        cwd=cluster.work,
        env={**cluster.env, "COLUMNS": "200"},
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=subprocess.PIPE,
    )
    os.close(theirs)
    text = b""
    try:
        while chunk := os.read(ours, 4096):
            text += chunk
    except OSError:
        pass  # a terminal that nobody has open any more
    os.close(ours)
    process.communicate()
    assert process.returncode == 0
    return text.decode()


def test_progress_is_redrawn_on_a_terminal_and_printed_in_lines_elsewhere(cluster):
    cluster.start_server()
    cluster.start_worker("--cpus", "2")

    drawn = on_a_terminal(cluster, "submit", "--progress", "--array", "1-20", "true")
    printed = cluster.run("submit", "--progress", "--array", "1-20", "true").stdout

    frames = [re.sub("\x1b\\[[0-9;]*m", "", frame) for frame in drawn.split(ERASE_LINE)[1:]]
    assert frames[-1].startswith(f"[{'#' * 40}] 1/1 jobs, 20/20 tasks 20 FINISHED")
    assert all(int(re.search(r"(\d+)/20 tasks", frame)[1]) <= 20 for frame in frames)
    assert "\x1b" not in printed
    assert printed.splitlines()[-1].startswith(f"[{'#' * 40}] 1/1 jobs, 20/20 tasks 20 FINISHED")


def test_run_shows_progress_on_a_terminal(cluster):
    drawn = on_a_terminal(cluster, "run", "--array", "1-5", "--", "true")

    assert "5/5 tasks" in drawn.split(ERASE_LINE)[-1]
    assert "Job `true`: 5 finished in " in drawn


def test_the_server_writes_its_state_into_a_file_for_its_user_only(cluster):
    cluster.start_server()
    cluster.start_worker("--cpus", "1", "--group", "blue")
    running = cluster.submit("sleep", "600")
    cluster.wait_counts(running, running=1)
    waiting = cluster.submit("--array", "3-4", "--cpus", "100", "true")

    result = cluster.run("server", "debug-dump", "state.json")

    path = cluster.work / "state.json"
    state = json.loads(path.read_text())["tako"]
    assert state["worker_groups"] == [{"name": "blue", "workers": [1]}]
    (worker,) = state["workers"]
    assert (worker["id"], worker["config"]["group"], worker["running_tasks"]) == (1, "blue", 1)
    assert [(t["job"], t["task"], t["state"], t["workers"]) for t in state["tasks"]] == [
        (running, 0, "running", [1]),
        (waiting, 3, "waiting", []),
        (waiting, 4, "waiting", []),
    ]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    texts = [line.partition(" ")[2] for line in result.stderr.splitlines()]
    assert texts == ["INFO Dumping server state ...", "INFO Dump finished"]


def test_a_dump_that_cannot_be_written_is_refused_and_harms_nobody(cluster):
    server = cluster.start_server()
    os.mkfifo(cluster.work / "unread")

    for path in ("missing/state.json", ".", "unread"):
        result = cluster.run("server", "debug-dump", path, check=1)
        assert result.stderr.splitlines()[-1].startswith("Error: Could not write debug dump into")

    assert cluster.json("job", "list") == []
    cluster.run("server", "stop")
    assert server.wait(60) == 0


def test_b20_a_deliberate_stop_is_told_as_such_and_logs_no_error(cluster):
    server = cluster.start_server()
    worker = cluster.start_worker()
    job = cluster.submit("sleep", "600")
    cluster.wait_counts(job, running=1)

    cluster.run("server", "stop")

    assert (server.wait(60), worker.wait(60)) == (0, 1)
    assert "ERROR" not in cluster.log("server") + cluster.log("worker")
    assert "worker ends: the server stops" in cluster.log("worker")


def test_a_server_that_vanishes_is_an_error_told_once(cluster):
    server = cluster.start_server()
    worker = cluster.start_worker("--on-server-lost", "stop")

    server.kill()

    assert worker.wait(60) == 1
    (line,) = [line for line in cluster.log("worker").splitlines() if "ERROR" in line]
    assert "ERROR worker ends: the server is lost: " in line
