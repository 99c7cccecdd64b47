"""Output streams of real tasks: what they print, who reads it, and what dies on the way."""

from __future__ import annotations

import os
import signal
import subprocess

from process_cluster import PATIENCE_S, wait_until

BOTH = 'echo "out $HQ_TASK_ID"; echo "err $HQ_TASK_ID" >&2'


def stream_files(cluster, directory):
    return sorted((cluster.work / directory).glob("*.hqs"))


def log(cluster, directory, *args, check=0):
    return cluster.run("output-log", directory, *args, check=check)


def summary(cluster, directory):
    return cluster.json("output-log", directory, "summary")["summary"]


def raw(cluster, directory, *args):
    """What `cat` prints, if it has anything to print by now."""
    done = log(cluster, directory, "cat", *args, check=None)
    return done.stdout if done.returncode == 0 else ""


def streamers():
    """Every streamer process that can be seen."""
    found = set()
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/cmdline", "rb") as file:
                    words = file.read()
            except OSError:
                continue
            if b"actors.streamer.main" in words:
                found.add(int(entry))
    return found


def children(pid):
    """Direct children, by their parent's number in the process table."""
    found = set()
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as file:
                    stat = file.read()
            except OSError:
                continue
            if int(stat.rpartition(")")[2].split()[1]) == pid:
                found.add(int(entry))
    return found


def test_s5_01_many_tasks_of_two_workers_share_two_files(cluster):
    cluster.start_server()
    cluster.start_worker("--cpus", "2", name="one")
    cluster.start_worker("--cpus", "2", name="two")

    cluster.run(
        "submit", "--array", "1-20", "--stream", "mylog", "--wait", "--",
        "bash", "-c", "echo Hello from $HQ_TASK_ID",
    )  # fmt: skip

    shown = log(cluster, "mylog", "show").stdout.splitlines()
    assert sorted(shown) == [f"1.{n:02}:0> Hello from {n}" for n in range(1, 21)]
    assert log(cluster, "mylog", "cat", "1", "stderr").stdout == ""
    lines = log(cluster, "mylog", "summary").stdout
    rows = dict(line.strip("| ").split("|") for line in lines.splitlines()[1:-1])
    rows = {name.strip(): value.strip() for name, value in rows.items()}
    assert rows == {
        "Path": "mylog",
        "Files": str(len(stream_files(cluster, "mylog"))),
        "Jobs": "1",
        "Tasks": "20",
        "Opened streams": "0",
        "Stdout/stderr size": "271 B / 0 B",
        "Superseded streams": "0",
        "Superseded stdout/stderr size": "0 B / 0 B",
    }
    assert log(cluster, "mylog", "jobs").stdout == "1\n"
    everything = "".join(f"Hello from {n}\n" for n in range(1, 21))
    assert log(cluster, "mylog", "cat", "1", "stdout").stdout == everything
    chosen = log(cluster, "mylog", "cat", "1", "stdout", "--task", "3-4,2").stdout
    assert chosen == "Hello from 3\nHello from 4\nHello from 2\n"
    assert cluster.json("output-log", "mylog", "export", "1", "--task", "3-4,2") == [
        {"id": n, "finished": True, "stdout": f"Hello from {n}\n", "stderr": ""} for n in (3, 4, 2)
    ]
    refused = log(cluster, "mylog", "cat", "1", "stdout", "--task", "77", check=1)
    assert "Task 77 not found" in refused.stderr
    assert "Job 5 not found" in log(cluster, "mylog", "export", "5", check=1).stderr


def test_a_long_temporary_directory_is_no_obstacle_to_streams(cluster):
    deep = cluster.root / ("d" * 100)
    deep.mkdir()
    cluster.start_server()
    cluster.start_worker("--cpus", "1", TMPDIR=str(deep))
    cluster.run("submit", "--stream", "mylog", "--wait", "--", "echo", "hello")
    assert log(cluster, "mylog", "cat", "1", "stdout").stdout == "hello\n"


def test_s5_02_what_two_tasks_print_at_the_same_time_is_told_apart(cluster):
    cluster.start_server()
    cluster.start_worker("--cpus", "2")
    meet = "touch here-$HQ_TASK_ID; until test -e here-1 -a -e here-2; do sleep 0.02; done"
    wait_shown = "sleep 1.5"  # longer than anything stays in the streamer's memory

    cluster.run(
        "submit", "--array", "1-2", "--stream", "mylog", "--wait", "--",
        "bash", "-c", f"echo A; {meet}; {wait_shown}; echo B",
    )  # fmt: skip

    shown = log(cluster, "mylog", "show").stdout.splitlines()
    assert sorted(shown[:2]) == ["1.1:0> A", "1.2:0> A"]
    assert sorted(shown[2:]) == ["1.1:0> B", "1.2:0> B"]
    assert log(cluster, "mylog", "cat", "1", "stdout").stdout == "A\nB\nA\nB\n"


def test_s5_03_a_line_of_800_kb_comes_out_as_it_went_in(cluster):
    cluster.start_server()
    cluster.start_worker("--cpus", "2")

    cluster.run(
        "submit", "--array", "1-2", "--stream", "mylog", "--wait", "--",
        "python3", "-c", "import os; print(os.environ['HQ_TASK_ID'] * 800_000, end='')",
    )  # fmt: skip

    text = log(cluster, "mylog", "cat", "1", "stdout").stdout
    assert text == "1" * 800_000 + "2" * 800_000
    pieces = {"1": "", "2": ""}
    for line in log(cluster, "mylog", "show").stdout.splitlines():
        prefix, _, data = line.partition("> ")
        pieces[prefix[2]] += data
    assert pieces == {"1": "1" * 800_000, "2": "2" * 800_000}


def test_s5_04_both_channels_can_be_read_each_for_itself(cluster):
    cluster.start_server()
    cluster.start_worker("--cpus", "2")
    cluster.run("submit", "--stream", "mylog", "--wait", "--", "bash", "-c", BOTH)

    assert sorted(log(cluster, "mylog", "show").stdout.splitlines()) == [
        "1.0:0> out 0",
        "1.0:1> err 0",
    ]
    assert log(cluster, "mylog", "show", "--channel", "stderr").stdout == "1.0:1> err 0\n"
    assert log(cluster, "mylog", "show", "--job", "2").stdout == ""
    assert log(cluster, "mylog", "cat", "1", "stderr").stdout == "err 0\n"


def test_s5_05_the_last_execution_counts_and_earlier_ones_are_superseded(cluster):
    cluster.start_server()
    worker = cluster.start_worker("--cpus", "1", name="one")
    job = cluster.submit(
        "--stream", "mylog", "--", "bash", "-c",
        'echo Start; test $HQ_INSTANCE_ID = 0 && touch begun && sleep 300; echo "End 1"',
    )  # fmt: skip
    wait_until((cluster.work / "begun").exists)

    worker.kill()
    cluster.start_worker("--cpus", "1", name="two")
    cluster.run("job", "wait", str(job))

    assert log(cluster, "mylog", "cat", "1", "stdout").stdout == "Start\nEnd 1\n"
    found = summary(cluster, "mylog")
    assert (found["n_files"], found["n_tasks"], found["n_superseded"]) == (2, 1, 1)
    assert (found["stdout_size"], found["superseded_stdout_size"]) == (12, 6)


def test_s5_06_a_channel_with_a_file_of_its_own_is_not_streamed(cluster):
    cluster.start_server()
    cluster.start_worker("--cpus", "1")
    cluster.run(
        "submit", "--stream", "mylog", "--wait",
        "--stdout=task-%{JOB_ID}-%{TASK_ID}-%{INSTANCE_ID}.out", "--", "bash", "-c", BOTH,
    )  # fmt: skip

    assert (cluster.work / "task-1-0-0.out").read_text() == "out 0\n"
    assert log(cluster, "mylog", "show").stdout == "1.0:1> err 0\n"
    assert not (cluster.work / "job-1").exists()


def test_s5_08_an_unfinished_stream_is_read_only_if_that_is_allowed(cluster):
    cluster.start_server()
    cluster.start_worker("--cpus", "1")
    job = cluster.submit(
        "--stream", "mylog", "--", "bash", "-c",
        "head -c 32000 /dev/zero | tr '\\0' x; until test -e go; do sleep 0.02; done; echo end",
    )  # fmt: skip
    wait_until(lambda: len(raw(cluster, "mylog", "1", "stdout", "--allow-unfinished")) >= 8192)

    refused = log(cluster, "mylog", "cat", "1", "stdout", check=1)
    assert "Stream for task 0 is not finished" in refused.stderr
    (cluster.work / "go").touch()
    cluster.run("job", "wait", str(job))
    assert log(cluster, "mylog", "cat", "1", "stdout").stdout == "x" * 32000 + "end\n"


def test_s5_09_what_was_printed_before_a_bad_end_is_there(cluster):
    cluster.start_server()
    cluster.start_worker("--cpus", "3")
    hang = "echo Start; touch begun-$HQ_JOB_ID; sleep 300"
    failing = cluster.submit("--stream", "mylog", "--", "bash", "-c", "echo Start; exit 1")
    cancelled = cluster.submit("--stream", "mylog", "--", "bash", "-c", hang)
    limited = cluster.submit("--stream", "mylog", "--time-limit=1s", "--", "bash", "-c", hang)
    wait_until((cluster.work / f"begun-{cancelled}").exists)
    cluster.run("job", "cancel", str(cancelled))

    for job in (failing, cancelled, limited):
        wait_until(lambda job=job: raw(cluster, "mylog", str(job), "stdout") == "Start\n")
    cluster.run("job", "wait", str(limited), check=None)
    assert cluster.counts(limited) == {"failed": 1}


def test_s5_10_several_servers_may_share_a_directory(cluster):
    uids = []
    for name in ("one", "two"):
        server = cluster.start_server("--journal", str(cluster.root / name), name=name)
        worker = cluster.start_worker("--cpus", "1", name=f"worker-{name}")
        cluster.run("submit", "--stream", "mylog", "--wait", "--", "echo", name)
        uids.append(cluster.json("server", "info")["server_uid"])
        if name == "one":
            assert log(cluster, "mylog", "cat", "1", "stdout").stdout == "one\n"
        cluster.run("server", "stop")
        server.wait()
        worker.wait()

    refused = log(cluster, "mylog", "summary", check=1).stderr
    assert "Found streams from multiple server instances" in refused
    assert all(uid in refused for uid in uids)
    for name, uid in zip(("one", "two"), uids, strict=True):
        chosen = cluster.run("output-log", "--server-uid", uid, "mylog", "cat", "1", "stdout")
        assert chosen.stdout == f"{name}\n"


def test_s5_10_a_restored_server_is_the_same_one(cluster):
    journal = ("--journal", str(cluster.root / "journal"))
    for run in ("one", "two"):
        server = cluster.start_server(*journal, name=run)
        worker = cluster.start_worker("--cpus", "1", name=f"worker-{run}")
        cluster.run("submit", "--stream", "mylog", "--wait", "--", "echo", run)
        cluster.run("server", "stop")
        server.wait()
        worker.wait()

    assert log(cluster, "mylog", "cat", "1", "stdout").stdout == "one\n"
    assert log(cluster, "mylog", "cat", "2", "stdout").stdout == "two\n"


def test_s5_11_directories_are_named_by_placeholders(cluster):
    cluster.start_server()
    cluster.start_worker("--cpus", "2")
    uid = cluster.json("server", "info")["server_uid"]
    for name in ("log-%{JOB_ID}", "log-%{SERVER_UID}-%{JOB_ID}"):
        cluster.run("submit", "--stream", name, "--array=1-8", "--wait", "--", "bash", "-c", BOTH)

    assert len(stream_files(cluster, "log-1")) == 1
    assert len(stream_files(cluster, f"log-{uid}-2")) == 1


def test_s5_12_a_job_file_names_a_directory_that_is_not_there_yet(cluster):
    cluster.start_server()
    cluster.start_worker("--cpus", "1")
    (cluster.work / "job.toml").write_text(
        'stream = "output"\n[[task]]\ncommand = ["echo", "Hello"]\n'
    )
    (cluster.work / "job.yaml").write_text("stream: output\ntasks: {a: {command: echo Native}}\n")

    cluster.run("submit", "--wait", "job.toml")
    cluster.run("submit", "--wait", "job.yaml")
    cluster.run("submit", "--wait", "--stream", "other", "job.yaml")

    assert log(cluster, "output", "cat", "1", "stdout").stdout == "Hello\n"
    assert log(cluster, "output", "cat", "2", "stdout").stdout == "Native\n"
    assert log(cluster, "other", "cat", "3", "stdout").stdout == "Native\n"


def test_a_directory_that_cannot_be_made_fails_the_task_and_nothing_else(cluster):
    cluster.start_server()
    cluster.start_worker("--cpus", "1")
    job = cluster.submit("--stream", "/dev/null/x", "--", "sleep", "300")
    cluster.run("job", "wait", str(job), check=None)

    (row,) = cluster.json("task", "list", str(job))[str(job)]
    assert row["error"].startswith("Streaming: Creating stream file failed: `/dev/null/x`")
    cluster.run("submit", "--stream", "mylog", "--wait", "--", "echo", "fine")
    assert log(cluster, "mylog", "cat", "2", "stdout").stdout == "fine\n"


def test_a_killed_streamer_costs_only_the_tasks_that_stream(cluster):
    cluster.start_server()
    worker = cluster.start_worker("--cpus", "2")
    plain = cluster.submit("--", "bash", "-c", "until test -e go; do sleep 0.02; done")
    streamed = cluster.submit("--stream", "mylog", "--", "bash", "-c", "echo up; sleep 300")
    # A streamer that dies before it has taken the pipes costs nothing: the next one takes them.
    wait_until(lambda: raw(cluster, "mylog", "2", "stdout", "--allow-unfinished") == "up\n")
    (streamer,) = streamers() & children(worker.pid)

    os.kill(streamer, signal.SIGKILL)

    cluster.wait_counts(streamed, failed=1)
    (row,) = cluster.json("task", "list", str(streamed))[str(streamed)]
    assert row["error"] == "Streaming: the streamer process has died"
    cluster.run("submit", "--stream", "mylog", "--wait", "--", "echo", "again")
    assert log(cluster, "mylog", "cat", "3", "stdout").stdout == "again\n"
    (cluster.work / "go").touch()
    cluster.wait_counts(plain, finished=1)


def test_a_task_runs_until_everybody_has_closed_its_stream(cluster):
    cluster.start_server()
    cluster.start_worker("--cpus", "1")
    job = cluster.submit(
        "--stream", "mylog", "--", "bash", "-c",
        "(touch begun; until test -e go; do sleep 0.02; done; echo late) & echo early",
    )  # fmt: skip
    wait_until((cluster.work / "begun").exists)
    wait_until(lambda: raw(cluster, "mylog", "1", "stdout", "--allow-unfinished") == "early\n")
    assert cluster.counts(job) == {"running": 1}

    (cluster.work / "go").touch()
    cluster.run("job", "wait", str(job))

    assert log(cluster, "mylog", "cat", "1", "stdout").stdout == "early\nlate\n"


def test_a_limit_ends_who_holds_a_stream_in_the_background(cluster):
    cluster.start_server()
    cluster.start_worker("--cpus", "1")
    job = cluster.submit(
        "--stream", "mylog", "--time-limit=1s", "--", "bash", "-c",
        "echo early; (echo $BASHPID > pid; exec sleep 300) & exit 0",
    )  # fmt: skip
    cluster.wait_counts(job, failed=1)

    pid = int((cluster.work / "pid").read_text())
    wait_until(lambda: not os.path.exists(f"/proc/{pid}"))
    assert log(cluster, "mylog", "cat", "1", "stdout").stdout == "early\n"


def test_b43_exports_hold_both_channels_and_nothing_is_loaded_whole(cluster):
    """The commands get less memory than the output has bytes."""
    size = 200_000_000
    cluster.start_server()
    cluster.start_worker("--cpus", "1")
    script = f"head -c {size} /dev/zero | tr '\\0' x; echo problem >&2"
    cluster.run("submit", "--wait", "--stream", "mylog", "--", "bash", "-c", script)
    command = " ".join(cluster.command("output-log", "mylog"))
    for words in ("cat 1 stdout", "export 1", "show"):
        done = subprocess.run(
            ["bash", "-c", f"ulimit -v {size // 1024}; {command} {words} > out"],
            cwd=cluster.work,
            env=cluster.env,
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stderr) == (0, ""), words
        printed = cluster.work / "out"
        assert printed.stat().st_size >= size
        if words == "export 1":
            with printed.open("rb") as file:
                file.seek(-60, os.SEEK_END)
                assert file.read().endswith(b'x", "stderr": "problem\\n"}]\n')


def test_b44_cat_waits_for_the_first_output(cluster):
    """Users start to look before the first worker comes."""
    cluster.start_server()
    cluster.submit("--stream", "mylog", "--", "echo", "one")
    follow = cluster.start("output-log", "mylog", "cat", "1", "stdout", "--follow", name="follow")
    wait_until(lambda: "waiting for some" in cluster.log("follow"))
    cluster.start_worker("--cpus", "1")
    assert follow.wait(PATIENCE_S) == 0
    assert (cluster.root / "follow.out").read_text() == "one\n"


def test_b44_cat_follows_a_task_to_its_end(cluster):
    cluster.start_server()
    cluster.start_worker("--cpus", "1")
    cluster.submit(
        "--stream", "mylog", "--", "bash", "-c",
        "echo one; touch begun; until test -e go; do sleep 0.02; done; echo two",
    )  # fmt: skip
    wait_until(lambda: raw(cluster, "mylog", "1", "stdout", "--allow-unfinished") == "one\n")

    cluster.start("output-log", "mylog", "cat", "1", "stdout", "--follow", name="follow")
    wait_until(lambda: (cluster.root / "follow.out").read_text() == "one\n")
    (cluster.work / "go").touch()

    assert cluster.processes[-1].wait(60) == 0
    assert (cluster.root / "follow.out").read_text() == "one\ntwo\n"


def test_run_streams_without_a_server(cluster):
    cluster.run("run", "--stream", "mylog", "--array", "1-3", "--", "bash", "-c", BOTH)

    assert log(cluster, "mylog", "cat", "1", "stdout").stdout == "out 1\nout 2\nout 3\n"


def test_a_streamer_that_hangs_stops_neither_the_worker_nor_a_cancel(cluster):
    cluster.start_server()
    worker = cluster.start_worker("--cpus", "2")
    cluster.run("submit", "--stream", "mylog", "--wait", "--", "echo", "one")
    (streamer,) = streamers() & children(worker.pid)
    os.kill(streamer, signal.SIGSTOP)
    try:
        job = cluster.submit("--stream", "mylog", "--", "head", "-c", "1000000", "/dev/zero")
        cluster.wait_counts(job, running=1)
        cluster.run("submit", "--wait", "--", "echo", "plain")
        cluster.run("job", "cancel", str(job))
        cluster.run("submit", "--wait", "--cpus", "2", "--", "echo", "both cpus are free again")
    finally:
        os.kill(streamer, signal.SIGCONT)
    cluster.run("submit", "--stream", "mylog", "--wait", "--", "echo", "again")
    assert log(cluster, "mylog", "cat", "5", "stdout").stdout == "again\n"
