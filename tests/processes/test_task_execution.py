"""What a task finds and leaves on its worker, submitted as users do it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from process_cluster import Cluster, lives, wait_until

HOLD = "while ! test -e go; do sleep 0.05; done"


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Iterator[Cluster]:
    """A server and a worker for all tests that need nothing special.

    Job 1 takes so long that it runs beside all of them, on a cpu of its own.
    """
    made = Cluster(tmp_path_factory.mktemp("shared"))
    try:
        made.start_server()
        assert made.submit("--", "sleep", "16") == 1
        made.start_worker("--cpus", "5", "--resource", "x=[a]")
        yield made
    finally:
        made.stop()


@pytest.fixture
def here(shared, tmp_path) -> Cluster:
    """The shared cluster, with a directory of the test's own to submit from."""
    shared.work = tmp_path
    return shared


def run(cluster: Cluster, *args: str, stdin: str | None = None) -> int:
    """Submit, wait, and tell the job."""
    return int(cluster.run("--output-mode=quiet", "submit", "--wait", *args, stdin=stdin).stdout)


def output(cluster: Cluster, job: int, channel: str = "stdout") -> str:
    (path,) = (cluster.work / f"job-{job}").glob(f"*.{channel}")
    return path.read_text()


def error_of(cluster, job: int | str = "last") -> str:
    (row,) = cluster.json("task", "info", str(job), "0")
    return row["error"]


# --- directories and outputs


def test_s2_02_and_s2_06_directories_of_outputs_and_of_the_task_are_made(here):
    out, err = "--stdout=foo/1/job.out", "--stderr=foo/2/job.err"
    run(here, "--cwd", "deep/er", out, err, "--", "sh", "-c", "pwd; pwd >&2")
    assert (here.work / "deep/er/foo/1/job.out").read_text() == f"{here.work}/deep/er\n"
    assert (here.work / "deep/er/foo/2/job.err").read_text() == f"{here.work}/deep/er\n"


def test_s2_03_a_task_without_streams_has_none_to_show(here):
    job = run(here, "--stdout=none", "--stderr=none", "--", "echo", "x")
    assert list(here.work.iterdir()) == []
    done = here.run("job", "cat", str(job), "stdout")
    assert "Task 0 has no `stdout` stream associated with it" in done.stderr


def test_s2_04_the_program_and_its_default_outputs_are_in_the_directory_given(here):
    there = here.root / "there"
    there.mkdir()
    job = run(here, "--cwd", str(there), "--", "sh", "-c", "pwd; pwd > where")
    assert (there / "where").read_text() == f"{there}\n"
    assert (there / f"job-{job}/0.stdout").read_text() == f"{there}\n"
    assert (there / f"job-{job}/0.stderr").read_text() == ""
    assert list(here.work.iterdir()) == []
    assert str(there) in here.run("job", "info", str(job)).stdout
    (row,) = here.json("task", "info", str(job), "0")
    assert row["cwd"] == str(there)


def test_s2_05_paths_are_known_once_the_task_has_started(cluster):
    cluster.start_server()
    cluster.run(
        "submit", "--cwd", "%{INSTANCE_ID}-dir", "--stdout", "%{INSTANCE_ID}.out", "--", "pwd"
    )
    (row,) = cluster.json("task", "info", "1", "0")
    assert row.get("cwd") in (None, "")
    cluster.start_worker("--cpus", "1")
    cluster.run("job", "wait", "1")
    (row,) = cluster.json("task", "info", "1", "0")
    there = cluster.work / "0-dir"
    assert (row["cwd"], row["stdout"]) == (str(there), str(there / "0.out"))
    assert (there / "0.out").read_text() == f"{there}\n"


def test_s2_07_an_impossible_output_fails_the_task_before_it_starts(here):
    job = run(here, "--stdout=/dev/null/foo.txt", "--", "ls")
    (row,) = here.json("task", "info", str(job), "0")
    assert row["state"] == "failed"
    assert row["error"].startswith("Cannot create stdout directory")
    assert not row.get("started_at") and not row.get("worker")
    assert here.counts(run(here, "--", "true")) == {"finished": 1}


def test_s2_08_a_missing_program_is_named_with_what_may_have_been_meant(here):
    command = ("--", "foo", "--bar", "--baz=5")
    missing = (
        'Cannot execute "foo --bar --baz=5": No such file or directory (os error 2)\n'
        "The program that you have tried to execute (`foo`) was not found."
    )
    run(here, *command)
    assert error_of(here) == missing
    (here.work / "foo").write_text("")
    run(here, *command)
    hint = f"The file `{here.work}/foo` exists, maybe you have meant `./foo` instead?"
    assert error_of(here) == f"{missing}\n{hint}"


def test_b29_parents_of_outputs_are_made_below_the_directory_of_the_task(here):
    """Also where a placeholder is none that is known."""
    done = here.run(
        "submit", "--wait", "--cwd", "there", "--stdout", "%{FOO}/out", "--", "echo", "x"
    )
    assert "Found unknown placeholder `FOO` in stdout path" in done.stderr
    assert (here.work / "there/%{FOO}/out").read_text() == "x\n"
    assert [path.name for path in here.work.iterdir()] == ["there"]


@pytest.mark.parametrize("channel", ["stdout", "stderr"])
def test_s2_20_b28_an_output_goes_when_the_task_has_finished_and_only_then(here, channel):
    other = "stderr" if channel == "stdout" else "stdout"
    paths = (f"--{channel}=foo.txt:rm-if-finished", f"--{other}=kept")
    named = here.submit(*paths, "--", "sh", "-c", HOLD)
    usual = here.submit(f"--{channel}=:rm-if-finished", "--", "sh", "-c", HOLD)
    default = here.work / f"job-{usual}/0.{channel}"
    wait_until(lambda: (here.work / "foo.txt").exists() and default.exists())
    (here.work / "go").touch()
    here.run("job", "wait", f"{named},{usual}")
    assert not (here.work / "foo.txt").exists() and not default.exists()
    assert (here.work / "kept").exists() and (here.work / f"job-{usual}/0.{other}").exists()
    run(here, f"--{channel}=foo.txt:rm-if-finished", "--", "false")
    assert (here.work / "foo.txt").exists()


# --- task directory and error file

ENDS = {
    "success": ("exit 0", "finished"),
    "failure": ("exit 1", "failed"),
    "cancel": ("sleep 1000", "canceled"),
    "a stubborn task": ("trap '' INT; while :; do sleep 1; done", "canceled"),
    "time limit": ("sleep 1000", "failed"),
}


@pytest.mark.parametrize("how", ENDS)
def test_s2_13_the_task_directory_lives_as_long_as_the_task(here, how):
    script, state = ENDS[how]
    limit = ("--time-limit", "2s") if how == "time limit" else ()
    script = f"touch $HQ_TASK_DIR/mine; echo $HQ_TASK_DIR > d; mv d dir; {HOLD}; {script}"
    job = here.submit("--task-dir", *limit, "--", "sh", "-c", script)
    wait_until((here.work / "dir").exists)
    directory = Path((here.work / "dir").read_text().strip())
    assert directory.parent.name == "work" and directory.name.startswith("t")
    if how != "time limit":
        assert (directory / "mine").exists()
        assert directory.stat().st_mode & 0o077 == 0
        (here.work / "go").touch()
    if state == "canceled":
        here.run("job", "cancel", str(job))
    here.wait_counts(job, **{state: 1})
    wait_until(lambda: not directory.exists())


def test_without_the_option_there_is_no_task_directory(here):
    job = run(here, "--", "sh", "-c", "echo -$HQ_TASK_DIR-$HQ_ERROR_FILENAME-")
    assert output(here, job) == "---\n"


@pytest.mark.parametrize("name", ["job.toml", "job.yaml"])
def test_both_kinds_of_job_files_give_task_directories(here, name):
    texts = {
        "job.toml": "[[task]]\ntask_dir = true\n"
        "command = ['sh', '-c', 'test -d $HQ_TASK_DIR && echo $HQ_ERROR_FILENAME']\n",
        "job.yaml": "tasks:\n  one:\n    task_dir: true\n"
        "    command: [sh, -c, 'test -d $HQ_TASK_DIR && echo $HQ_ERROR_FILENAME']\n",
    }
    (here.work / name).write_text(texts[name])
    job = run(here, name)
    assert here.counts(job) == {"finished": 1}
    assert output(here, job).endswith("/hq-error\n")


@pytest.mark.parametrize(
    ("write", "text"),
    [
        ("printf 'Testing message' > $HQ_ERROR_FILENAME", "Testing message"),
        (
            "head -c 10000 /dev/zero | tr '\\0' a > $HQ_ERROR_FILENAME",
            "a" * 2048 + "\n[The message was truncated]",
        ),
        (": > $HQ_ERROR_FILENAME", "Task created an error file, but it is empty"),
    ],
)
def test_s2_14_a_task_says_itself_why_it_failed(here, write, text):
    run(here, "--task-dir", "--", "sh", "-c", f"{write}; exit 1")
    assert error_of(here) == text


def test_s2_14_the_time_limit_is_told_instead_of_an_error_file(here):
    script = "echo mine > $HQ_ERROR_FILENAME; sleep 1000"
    run(here, "--task-dir", "--time-limit", "500ms", "--", "sh", "-c", script)
    assert error_of(here) == "Time limit reached"


# --- what a task is told


def test_s2_10_variables_are_seen_by_the_task_and_in_its_details(here):
    job = run(here, "--env", "A=1", "--env", "B=2", "--", "sh", "-c", "echo $A $B")
    assert output(here, job) == "1 2\n"
    table = here.run("job", "info", str(job)).stdout
    assert "A=1" in table and "B=2" in table


def test_s2_11_a_task_reads_standard_input_only_if_it_was_handed_over(here):
    assert output(here, run(here, "--", "bash", stdin="echo heard\n")) == ""
    assert output(here, run(here, "--stdin", "--", "bash", stdin="echo heard\n")) == "heard\n"


def test_s2_12_a_task_need_not_read_what_it_is_handed(here):
    text = "line\n" * 20_000
    for script in ("read first; echo $first", "exec <&-; echo line"):
        job = run(here, "--stdin", "--", "sh", "-c", script, stdin=text)
        assert output(here, job) == "line\n"


def test_s2_21_the_number_of_threads_is_that_of_the_cpus_unless_the_user_says_it(here):
    show = ("--cpus", "4", "--", "sh", "-c", "echo $OMP_NUM_THREADS")
    assert output(here, run(here, *show)) == "4\n"
    assert output(here, run(here, "--env", "OMP_NUM_THREADS=100", *show)) == "100\n"


def test_s2_31_the_variant_that_fits_is_told(here):
    (here.work / "job.toml").write_text(
        "[[task]]\n"
        "command = ['sh', '-c', 'echo $HQ_RESOURCE_REQUEST_cpus; echo $HQ_RESOURCE_REQUEST_x;"
        " echo -$HQ_RESOURCE_REQUEST_y-; echo $HQ_RESOURCE_VARIANT']\n"
        "[[task.request]]\nresources = { cpus = '8' }\n"
        "[[task.request]]\nresources = { cpus = '4', x = '1' }\n"
    )
    told = output(here, run(here, "job.toml")).splitlines()
    assert told == ["4 compact", "1 compact", "--", "1"]


def test_s6_05_the_chosen_variant_is_told_where_there_is_a_choice(here):
    (here.work / "job.toml").write_text(
        "[[task]]\nid = 1\ncommand = ['sh', '-c', 'echo $HQ_RESOURCE_VARIANT > chosen']\n"
        + "".join(
            f"[[task.request]]\nresources = {{ {needs} }}\n"
            for needs in ("cpus = '8'", "x = '2'", "cpus = '4'", "y = '1'")
        )
        + "[[task]]\nid = 2\ndeps = [1]\n"
        "command = ['sh', '-c', 'echo -$HQ_RESOURCE_VARIANT- > none']\n"
    )
    job = run(here, "job.toml")
    assert (here.work / "chosen").read_text() == "2\n"
    assert (here.work / "none").read_text() == "--\n"
    rows = here.json("task", "info", str(job), "1-2")
    assert [row["worker"] for row in rows] == [1, 1]


def test_s2_32_one_cpu_runs_tasks_strictly_by_priority(cluster):
    levels = [(n * 17) % 40 - 20 for n in range(40)]  # all from -20 to 19, shuffled
    assert sorted(levels) == list(range(-20, 20))
    (cluster.work / "job.toml").write_text(
        "".join(
            f"[[task]]\npriority = {level}\ncommand = ['sh', '-c', 'echo {level} >> order']\n"
            for level in levels
        )
    )
    cluster.start_server()
    cluster.run("submit", "job.toml")
    cluster.start_worker("--cpus", "1")
    cluster.run("job", "wait", "1")
    order = [int(level) for level in (cluster.work / "order").read_text().split()]
    assert order == sorted(levels, reverse=True)


# --- how tasks end


def test_s2_15_a_task_killed_from_outside_has_its_signal_named(here):
    job = here.submit("--", "sh", "-c", "echo $$ > p; mv p pid; sleep 1000")
    wait_until((here.work / "pid").exists)
    os.kill(int((here.work / "pid").read_text()), signal.SIGKILL)
    here.wait_counts(job, failed=1)
    killed = "Program terminated with exit code -1. Received signal 9 (SIGKILL)."
    assert error_of(here) == killed


def test_s2_18_a_signalled_worker_takes_its_task_along(cluster):
    cluster.start_server()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        worker = cluster.start_worker("--cpus", "1", name=number.name)
        tell = f"echo $$ > p; mv p {number.name}"
        job = cluster.submit("--", "sh", "-c", f"trap '' TERM; {tell}; sleep 1000; sleep 1000")
        told = cluster.work / number.name
        wait_until(told.exists)
        pid = int(told.read_text())
        worker.send_signal(number)
        assert worker.wait(60) == (-9 if number == signal.SIGKILL else 0)
        wait_until(lambda pid=pid: not lives(pid))
        cluster.run("job", "cancel", str(job))


def test_s2_19_a_task_of_many_seconds_is_left_alone(here):
    """An idle worker's threads come and go; none of them may take a task along."""
    here.run("job", "wait", "1")
    assert here.counts(1) == {"finished": 1}


def test_b22_the_grace_can_be_chosen(cluster):
    """This task needs two seconds to tidy up; with the usual grace it would be killed before."""
    cluster.start_server()
    cluster.start_worker("--cpus", "1", "--grace", "30s")
    script = "trap 'sleep 2; touch tidy; exit 0' INT; touch up; sleep 1000 & wait"
    job = cluster.submit("--", "sh", "-c", script)
    wait_until((cluster.work / "up").exists)
    cluster.run("job", "cancel", str(job))
    wait_until((cluster.work / "tidy").exists)


def test_b22_what_a_cancelled_task_leaves_is_killed_after_the_grace(here):
    stubborn = 'trap "" INT; echo $$ > p; mv p pid; while :; do sleep 1; done'
    job = here.submit("--", "bash", "-c", f"sh -c '{stubborn}' & wait")
    wait_until((here.work / "pid").exists)
    pid = int((here.work / "pid").read_text())
    here.run("job", "cancel", str(job))
    wait_until(lambda: not lives(pid))


def test_b27_nothing_of_a_worker_is_left_that_ends_in_good_order(cluster):
    cluster.start_server()
    scratch = cluster.root / "scratch"
    ends = {
        "stop": lambda worker: cluster.run("worker", "stop", "all"),
        "SIGINT": lambda worker: worker.send_signal(signal.SIGINT),
        "SIGHUP": lambda worker: worker.send_signal(signal.SIGHUP),
    }
    for how, end in ends.items():
        (cluster.work / "up").unlink(missing_ok=True)
        place = ("--work-dir", str(scratch)) if how == "stop" else ()
        worker = cluster.start_worker("--cpus", "1", *place, name=how)
        job = cluster.submit("--task-dir", "--", "sh", "-c", "touch $HQ_TASK_DIR/x up; sleep 1000")
        wait_until((cluster.work / "up").exists)
        end(worker)
        assert worker.wait(60) == 0
        assert list(cluster.root.glob("hq-worker*")) == []
        assert list(scratch.iterdir()) == []
        cluster.run("job", "cancel", str(job))
