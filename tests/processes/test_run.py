"""`hqtrio run`: a job on this machine, without a server to start or to clean up."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from process_cluster import processes_with, wait_until

from hqtrio.cli.jobfiles import read_jobfile

CONFIGS = Path(__file__).parents[2] / "configs" / "jobs"


def test_a_job_file_runs_and_leaves_nothing_behind(cluster):
    done = cluster.run("run", str(CONFIGS / "hello.yaml"))
    assert "13 finished" in done.stdout
    assert f"Outputs: {cluster.work}/job-1" in done.stdout
    assert not (cluster.home / ".hqtrio-server").exists()
    assert [path for path in cluster.root.iterdir() if path.name.startswith("hq")] == []


def test_a_program_and_an_array(cluster):
    cluster.run("run", "--cpus", "2", "--array", "3-5", "--", "sh", "-c", "echo $HQ_TASK_ID")
    assert sorted(p.name for p in (cluster.work / "job-1").glob("*.stdout")) == [
        "3.stdout",
        "4.stdout",
        "5.stdout",
    ]
    assert (cluster.work / "job-1/4.stdout").read_text() == "4\n"


def test_a_failed_task_is_named_with_its_output(cluster):
    done = cluster.run("run", "--", "sh", "-c", "echo why >&2; exit 3", check=1)
    text = done.stdout + done.stderr
    assert "Program terminated with exit code 3." in text
    assert str(cluster.work / "job-1/0.stderr") in text


def test_ctrl_c_ends_with_130_and_no_process_is_left(cluster):
    marker = f"HQTRIO_TEST_MARK={cluster.root.name}-{os.getpid()}"
    name, _, value = marker.partition("=")
    script = "trap '' INT; (setsid sleep 1000 &); touch started; sleep 1000"
    process = cluster.start("run", "--", "sh", "-c", script, name="run", **{name: value})
    wait_until((cluster.work / "started").exists)
    assert len(processes_with(marker)) >= 4
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    wait_until(lambda: not processes_with(marker), lambda: str(processes_with(marker)))


def test_killed_with_sigkill_no_process_is_left(cluster):
    marker = f"HQTRIO_TEST_MARK={cluster.root.name}-{os.getpid()}"
    name, _, value = marker.partition("=")
    script = "(setsid sleep 1000 &); touch started; sleep 1000"
    process = cluster.start("run", "--", "sh", "-c", script, name="run", **{name: value})
    wait_until((cluster.work / "started").exists)
    process.kill()
    wait_until(lambda: not processes_with(marker), lambda: str(processes_with(marker)))


def test_a_task_reaches_its_own_server(cluster):
    script = 'HQ="$HQ" && $HQ --output-mode=quiet job list > list'
    cluster.run("run", "--", "sh", "-c", script)
    assert (cluster.work / "list").read_text() == "1 RUNNING\n"


def test_a_bad_job_file_says_where_and_changes_nothing(cluster):
    Path(cluster.work, "bad.yaml").write_text("tasks:\n  a:\n    comand: echo\n")
    done = cluster.run("run", "bad.yaml", check=1)
    assert "bad.yaml:3:5" in done.stderr
    assert "command" in done.stderr
    assert os.listdir(cluster.work) == ["bad.yaml"]


def nodes_of(example: Path) -> int:
    """How many workers its largest task takes at once."""
    job = read_jobfile(str(example))
    alike = [array.variants for array in job.arrays] + list(job.graph.variants if job.graph else ())
    return max(request.nodes for variants in alike for request in variants)


# What some of the examples leave in their directory: file, lines that must be in it.
SHOWN = {
    "matrix.yaml": [
        ("deep net/0.1/2.txt", '{"model":"deep net","rate":0.1,"seed":2}'),
        ("constant/0/0.txt", "constant at 0, seed 0:"),
        ("tree/0.01/2.txt", "tree at 0.01, seed 2:"),
    ],
    "entries.yaml": [
        ("pear.txt", "12 pears, from 1"),
        ("4.stdout", "the line is: two words"),
        ("6.stdout", "large has size 10000"),
        ("9.stdout", "Washington, D.C. (US) lies at 7 m"),
    ],
    "stream.yaml": [("log.txt", "kept beside")],
    "each.yaml": [("report.txt", "1110 a"), ("report.txt", "1110 b")],
    "always.yaml": [("result.txt", "part 3")],
    "retry.yaml": [("3.stdout", "done at try 2")],
    "inputs.yaml": [("Grace.txt", "Dear Grace,\n"), ("sorted.txt", "1\n2\n3\n")],
    "array-compatible.yaml": [("20.txt", "20 is green")],
}
MISSING = {"matrix.yaml": ["linear/0.01", "tree/0.1/3.txt"], "always.yaml": ["scratch"]}
EXAMPLES = sorted(path for path in CONFIGS.iterdir() if path.is_file())


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_every_example_job_runs_to_its_end(cluster, example):
    """On this machine alone, unless a task takes several workers."""
    nodes = nodes_of(example)
    if nodes <= 1:
        cluster.run("run", str(example))
        outputs = cluster.work / "job-1"
        for name, text in SHOWN.get(example.name, []):
            assert text in (outputs / name).read_text()
        assert not [name for name in MISSING.get(example.name, []) if (outputs / name).exists()]
        return
    cluster.start_server()
    for number in range(nodes):
        cluster.start_worker("--group", "example", name=f"worker-{number}")
    cluster.run("submit", "--wait", str(example))


def test_a_second_run_does_not_write_over_the_first(cluster):
    for word in ("first", "second"):
        cluster.run("run", "--", "echo", word)
    assert (cluster.work / "job-1/0.stdout").read_text() == "first\n"
    assert (cluster.work / "job-2/0.stdout").read_text() == "second\n"


def test_a_task_that_can_never_run_here_is_refused_with_the_reason(cluster):
    done = cluster.run("run", "--cpus", "2", "--resource", "cpus=3", "--", "true", check=1)
    assert "Task 0 can never run here: it needs cpus 3, and there are 2" in done.stderr


def test_cpus_that_no_worker_could_have_are_a_usage_error(cluster):
    assert "invalid value 'abc'" in cluster.run("run", "--cpus", "abc", "true", check=2).stderr
