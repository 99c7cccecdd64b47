"""Jobs, as a user runs them: every command against a real server and a real worker."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from process_cluster import wait_until


def test_a_job_runs_and_leaves_its_outputs(cluster):
    cluster.start_server()
    done = cluster.run("submit", "--", "sh", "-c", "echo out; echo err >&2")
    assert done.stdout == "Job submitted successfully, job ID: 1\n"
    assert cluster.run("--output-mode=quiet", "job", "list").stdout == "1 WAITING\n"
    cluster.start_worker("--cpus", "2")
    cluster.run("job", "wait", "1")
    assert (cluster.work / "job-1/0.stdout").read_text() == "out\n"
    assert (cluster.work / "job-1/0.stderr").read_text() == "err\n"
    assert cluster.run("--output-mode=quiet", "job", "list", "--all").stdout == "1 FINISHED\n"


def test_submit_wait_array_and_cat(cluster):
    cluster.start_server()
    cluster.start_worker("--cpus", "4")
    out = cluster.run(
        "submit", "--wait", "--array", "1-20", "--", "sh", "-c", "echo task $HQ_TASK_ID"
    )
    assert out.stdout == "Job submitted successfully, job ID: 1\n"
    assert cluster.counts(1) == {"finished": 20}
    cat = cluster.run("job", "cat", "1", "stdout")
    assert cat.stdout == "".join(f"task {i}\n" for i in range(1, 21))
    header = cluster.run("job", "cat", "--tasks", "2-3", "--print-task-header", "last", "stdout")
    assert header.stdout == "# Job 1, task 2\ntask 2\n# Job 1, task 3\ntask 3\n"


def test_s2_01_three_kinds_of_ends(cluster):
    cluster.start_server()
    cluster.start_worker("--cpus", "1")
    for program in (["echo", "hello"], ["ls", "/non-existent"], ["/non-existent-program"]):
        cluster.run("submit", "--wait", "--", *program)
    listed = cluster.run("--output-mode=quiet", "job", "list", "--all").stdout
    assert listed == "1 FINISHED\n2 FAILED\n3 FAILED\n"
    read = {f"{j}": (cluster.work / f"job-{j}/0.stderr").read_text() for j in (1, 2, 3)}
    assert read["1"] == read["3"] == ""
    assert read["2"].startswith("ls:")
    (task,) = cluster.json("task", "info", "3", "0")
    assert task["error"].startswith(
        'Cannot execute "/non-existent-program": No such file or directory (os error 2)'
    )
    (task,) = cluster.json("task", "info", "2", "0")
    assert task["error"] == "Program terminated with exit code 2."


def test_s1_20_time_limit(cluster):
    cluster.start_server()
    cluster.start_worker("--cpus", "1")
    cluster.run("submit", "--wait", "--time-limit=500ms", "--", "sleep", "100")
    (task,) = cluster.json("task", "info", "1", "0")
    assert (task["state"], task["error"]) == ("failed", "Time limit reached")


def test_cpu_seconds_and_peak_memory_of_a_task_are_shown(cluster):
    cluster.start_server()
    cluster.start_worker("--cpus", "1")
    burn = "x = bytearray(64 << 20)\nfor i in range(2_000_000): pass"
    cluster.run("submit", "--wait", "--", "python3", "-c", burn)
    text = cluster.run("task", "info", "1", "0").stdout
    assert "CPU time" in text
    assert "Peak memory" in text
    (task,) = cluster.json("task", "info", "1", "0")
    assert task["cpu_time"] > 0
    assert task["peak_memory"] >= 64 << 20


def test_cancel_of_a_running_and_a_waiting_task(cluster):
    cluster.start_server()
    cluster.start_worker("--cpus", "1")
    job = cluster.submit("--array", "1-3", "--", "sleep", "1000")
    cluster.wait_counts(job, running=1, waiting=2)
    done = cluster.run("job", "cancel", "last")
    assert "Job 1 canceled (3 tasks canceled, 0 tasks already finished)" in done.stderr
    assert cluster.counts(job) == {"canceled": 3}
    assert "Canceling job 1 failed" in cluster.run("job", "cancel", "1").stderr
    # The worker's only cpu is free again once the process is gone.
    cluster.run("submit", "--wait", "--", "true")


def test_a_native_job_file_gates_on_needs_and_a_failure_aborts_consumers(cluster):
    cluster.start_server()
    cluster.start_worker("--cpus", "2")
    Path(cluster.work, "job.yaml").write_text(
        """
name: gates
tasks:
  first: {command: sh -c "sleep 0.2; echo 1 >> log"}
  second: {needs: first, array: 1-3, command: sh -c "echo 2 >> log"}
  third: {needs: [second], command: sh -c "echo 3 >> log; exit 7"}
  fourth: {needs: third, command: sh -c "echo 4 >> log"}
  beside: {command: "true"}
"""
    )
    cluster.run("submit", "--wait", "job.yaml")
    assert (cluster.work / "log").read_text().split() == ["1", "2", "2", "2", "3"]
    assert cluster.counts(1) == {"finished": 5, "failed": 1, "aborted": 1}
    assert cluster.run("--output-mode=quiet", "job", "list", "--all").stdout == "1 FAILED\n"


def test_priorities_decide_the_order(cluster):
    cluster.start_server()
    for level in (1, 3, -2, 5):
        cluster.submit(f"--priority={level}", "--", "sh", "-c", f"echo {level} >> order")
    cluster.start_worker("--cpus", "1")
    cluster.run("job", "wait", "all")
    assert (cluster.work / "order").read_text().split() == ["5", "3", "1", "-2"]


def test_environment_and_working_directory(cluster):
    cluster.start_server()
    cluster.start_worker("--cpus", "2")
    script = "echo $A $B $HQ_JOB_ID $HQ_TASK_ID $HQ_INSTANCE_ID $HQ_SUBMIT_DIR $HQ_CPUS; pwd"
    cluster.run(
        "submit", "--wait", "--env", "A=1", "--env", "B=x y", "--cwd", "deep/%{TASK_ID}",
        "--stdout", "%{CWD}/o-%{JOB_ID}", "--array", "7", "--cpus", "2", "--", "sh", "-c", script,
    )  # fmt: skip
    lines = (cluster.work / "deep/7/o-1").read_text().splitlines()
    assert lines == [f"1 x y 1 7 0 {cluster.work} 0,1", str(cluster.work / "deep/7")]


def test_job_summary_task_ids_and_list(cluster):
    cluster.start_server()
    cluster.start_worker("--cpus", "4")
    cluster.run("submit", "--wait", "--array", "1-9", "--", "sh", "-c", "test $HQ_TASK_ID -lt 7")
    assert cluster.run("job", "task-ids", "1", "--filter", "failed").stdout == "7-9\n"
    assert cluster.json("job", "summary")["Failed"] == 1
    listing = cluster.run("job", "list", "--all").stdout
    assert "| FAILED | 9 " in listing
    tasks = cluster.run("task", "list", "1", "--task-status", "failed").stdout
    assert tasks.count("FAILED") == 3


def test_a_job_survives_the_loss_of_a_worker_with_a_higher_instance(cluster):
    cluster.start_server()
    first = cluster.start_worker("--cpus", "2", name="w1")
    script = "echo $HQ_INSTANCE_ID >> run-$HQ_TASK_ID; test $HQ_INSTANCE_ID -gt 0 || sleep 1000"
    job = cluster.submit("--array", "1-4", "--", "sh", "-c", script)
    cluster.wait_counts(job, running=2, waiting=2)
    first.kill()
    cluster.wait_counts(job, waiting=4)
    cluster.start_worker("--cpus", "2", name="w2")
    cluster.run("job", "cancel", "99")  # an unknown job is only a line in the log
    wait_until(lambda: cluster.counts(job).get("finished", 0) >= 2)
    assert (cluster.work / "run-1").read_text().split()[:2] == ["0", "1"]
    listed = cluster.run("--output-mode=quiet", "worker", "list", "--all").stdout
    assert listed == "1 CONNECTION LOST\n2 RUNNING\n"


def test_s1_16_the_crash_limit_fails_a_task_that_loses_its_workers(cluster):
    cluster.start_server()
    job = cluster.submit("--crash-limit", "2", "--", "sleep", "1000")
    for number in (1, 2):
        worker = cluster.start_worker("--cpus", "1", name=f"w{number}")
        cluster.wait_counts(job, running=1)
        os.kill(worker.pid, signal.SIGKILL)
        cluster.wait_counts(job, **({"waiting": 1} if number == 1 else {"failed": 1}))
    (task,) = cluster.json("task", "info", str(job), "0")
    assert "running on a worker that was lost" in task["error"]


def test_exit_codes_of_bad_commands(cluster):
    done = cluster.run("job", "list", check=1)
    assert "No running instance of" in done.stderr
    assert "server start" in done.stderr
    cluster.start_server()
    second = cluster.run("server", "start", check=1)
    assert "is already online, please stop it first" in second.stderr
    assert cluster.run("submit", check=2).stderr.startswith("error:")
    assert "Job 5 not found" in cluster.run("job", "info", "5").stderr
    assert cluster.json("job", "list") == []
