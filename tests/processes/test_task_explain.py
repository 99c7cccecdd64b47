"""`task explain` against a real server with workers of different kinds."""

from __future__ import annotations

from pathlib import Path

JOB = """
name: explained
tasks:
  first: {command: sh -c "until test -e go; do sleep 0.02; done"}
  second: {needs: first, command: "true", request: {cpus: 2}}
  huge: {command: "true", request: {cpus: 10, time: 1h}}
  either: {command: "true", request: [{cpus: 3}, {cpus: 1, gpus: 4}]}
  nodes: {command: "true", request: {nodes: 3}}
"""


def test_why_tasks_do_not_run(cluster):
    cluster.start_server()
    cluster.start_worker("--cpus", "1", "--detect-resources=none", name="one")
    limited = ("--cpus", "2", "--resource", "gpus=[a,b]", "--time-limit=30m", "--group=other")
    cluster.start_worker(*limited, "--detect-resources=none", name="two")
    Path(cluster.work, "job.yaml").write_text(JOB)
    job = cluster.submit("job.yaml")
    cluster.wait_counts(job, running=1, waiting=4)
    ids = sorted(cluster.states(job))

    def explain(which, *more):
        return cluster.run("task", "explain", "last", str(ids[which]), *more).stdout.splitlines()

    head, where, *_ = explain(0)
    assert head == f"Task {job}@{ids[0]} is ready to run because it has no dependencies."
    assert where == "The task can run on 2 workers: 1-2"

    head, where, *table = explain(1)
    waits = "is not ready to run, because 1/1 dependencies are not finished."
    assert head == f"Task {job}@{ids[1]} {waits}"
    assert where == "The task can run on 1 worker: 2"
    assert table[3:5] == [
        "| 1         | No       | 0       | cpus | 1        | 2       |",
        "| 2         | Yes      | 0       | cpus | 2        | 2       |",
    ]

    _, where, *table = explain(2)
    assert where == "There is no worker where the task can run."
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table[3:-1]]
    assert cells[:2] == [["1", "No", "0", "time", "unknown", "1h"], ["", "", "", "cpus", "1", "10"]]
    assert cells[2][:4] == ["2", "No", "0", "time"]
    assert cells[2][4].startswith("29m ")

    assert [line.split("|")[2].strip() for line in explain(3)[5:-1]] == ["No", "", ""] * 2
    assert "| nodes | group size 1 | 3 " in explain(4)[5]

    value = cluster.json("task", "explain", str(job), str(ids[1]))
    assert value["explanation"]["n_task_deps"] == value["explanation"]["n_waiting_deps"] == 1
    assert [row["worker_id"] for row in value["explanation"]["workers"]] == [1, 2]
    assert explain(1, "--output-mode=quiet") == []

    Path(cluster.work, "go").touch()
    cluster.wait_counts(job, finished=2, waiting=3)
    done = cluster.run("task", "explain", "last", str(ids[0]), check=1)
    assert "Explain command works only for tasks in WAITING or RUNNING state" in done.stderr
    assert "Task not found" in cluster.run("task", "explain", "1", "99", check=1).stderr
    assert "Job not found" in cluster.run("task", "explain", "9", "0", check=1).stderr
