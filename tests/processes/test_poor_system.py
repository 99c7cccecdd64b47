"""What goes on where there is nothing of Linux, and what is said of the rest."""

from __future__ import annotations

import sys
from pathlib import Path

import poor_system
import pytest
from process_cluster import Cluster, wait_until


class PoorCluster(Cluster):
    def command(self, *args: str) -> list[str]:
        return [sys.executable, "-P", poor_system.__file__, *args]


@pytest.fixture
def poor(tmp_path: Path):
    cluster = PoorCluster(tmp_path)
    yield cluster
    cluster.stop()


def test_b41_tasks_run_are_cancelled_and_told_of_without_anything_of_linux(poor):
    poor.start_server()
    worker = poor.start_worker("--cpus", "2")
    said = poor.log("worker")
    assert "may outlive the task's end by force" in said and said.count("WARN") == 1

    read = poor.submit("--array", "1-3", "--", "sh", "-c", "echo $HQ_TASK_ID")
    poor.run("submit", "--stdin", "--array", "1-3", "--", "cat", stdin="given")
    poor.run("job", "wait", "all")
    assert poor.run("job", "cat", str(read), "stdout").stdout == "1\n2\n3\n"
    assert poor.run("job", "cat", "last", "stdout").stdout == "givengivengiven"

    script = "sleep 1000 & touch up; trap '' INT; while :; do sleep 0.1; done"
    job = poor.submit("--", "sh", "-c", script)
    wait_until((poor.work / "up").exists)
    assert f"Job {job} canceled" in poor.run("job", "cancel", str(job)).stderr
    (row,) = poor.json("worker", "info", "1")
    wait_until(
        lambda: (
            not poor.json("worker", "info", "1")[0]["runtime_info"]["SingleNodeTasks"][
                "assigned_tasks"
            ]
        )
    )

    names = [pool["name"] for pool in row["configuration"]["resources"]["resources"]]
    assert names == ["cpus", "mem"]
    poor.run("worker", "stop", "all")
    assert worker.wait(60) == 0
    assert list(poor.root.glob("hq-worker*")) == []
