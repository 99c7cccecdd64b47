"""Tasks on several nodes: three workers of one group on this machine."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field

import pytest
from process_cluster import Cluster, wait_until

HOSTS = ("cn1.cluster.org", "cn2.cluster.org", "10.0.0.3")
SHORT = {"cn1.cluster.org": "cn1", "cn2.cluster.org": "cn2", "10.0.0.3": "10.0.0.3"}
HOLD = "touch up-$HQ_INSTANCE_ID; while ! test -e go; do sleep 0.05; done; "
TELL = (
    "echo $HQ_NUM_NODES; echo nodes; cat $HQ_NODE_FILE; echo hosts; cat $HQ_HOST_FILE; echo rest;"
    " basename $HQ_NODE_FILE; basename $HQ_HOST_FILE; ls $HQ_TASK_DIR; env | grep -E"
    " '^HQ_(RESOURCE|CPUS|PIN)' || echo none; dirname $HQ_NODE_FILE $HQ_HOST_FILE;"
    " echo $HQ_TASK_DIR"
)


@dataclass
class Nodes:
    """A server and its three workers; worker ids are those of the order in `hosts`."""

    cluster: Cluster
    workers: dict[int, subprocess.Popen[str]] = field(default_factory=dict)

    def start(self, *args: str) -> None:
        """At once, so that none waits for the others to start."""
        begun = {
            host: self.cluster.start(
                "worker", "start", "--cpus", "1", "--group", "g", "--hostname", host, *args,
                name=f"worker-{host}",
            )
            for host in HOSTS
        }  # fmt: skip
        self.cluster.run("worker", "wait", "3")
        ids = {row["configuration"]["hostname"]: row["id"] for row in self.rows()}
        self.workers = {ids[host]: process for host, process in begun.items()}

    def rows(self, *args: str) -> list[dict]:
        return self.cluster.json("worker", "list", *args)

    def parts(self) -> dict[int, dict]:
        """What each connected worker says of what it runs."""
        rows = self.cluster.json("worker", "info", "all")
        return {row["id"]: row["runtime_info"] for row in rows if row["ended"] is None}

    def host(self, worker: int) -> str:
        (row,) = self.cluster.json("worker", "info", str(worker))
        return row["configuration"]["hostname"]

    def submit(self, nodes: int, script: str) -> int:
        return self.cluster.submit("--nodes", str(nodes), "--", "sh", "-c", script)

    def task(self, job: int) -> dict:
        (row,) = self.cluster.json("task", "list", str(job))[str(job)]
        return row

    def up(self, instance: int) -> bool:
        return (self.cluster.work / f"up-{instance}").exists()

    def until_up(self, job: int, instance: int) -> list[int]:
        """The workers of that execution, as soon as it runs."""
        wait_until(lambda: self.up(instance), lambda: str(self.task(job)))
        wait_until(lambda: self.task(job)["state"] == "running", lambda: str(self.task(job)))
        return self.task(job)["workers"]

    def go(self) -> None:
        (self.cluster.work / "go").touch()


@pytest.fixture
def nodes(cluster: Cluster) -> Nodes:
    cluster.start_server()
    return Nodes(cluster)


def test_s7_01_s7_09_a_task_is_told_its_nodes_as_the_worker_column_shows_them(nodes):
    nodes.start()
    job = nodes.submit(2, TELL)
    nodes.cluster.run("job", "wait", str(job))
    lines = (nodes.cluster.work / f"job-{job}/0.stdout").read_text().splitlines()
    workers = nodes.task(job)["workers"]
    hosts = [nodes.host(worker) for worker in workers]
    assert len(set(workers)) == 2
    assert lines[0] == "2"
    assert lines[1:4] == ["nodes", *(SHORT[host] for host in hosts)]
    assert lines[4:7] == ["hosts", *hosts]
    assert lines[7:13] == [
        "rest",
        "hq-nodefile",
        "hq-hostfile",
        "hq-hostfile",
        "hq-nodefile",
        "none",
    ]
    assert len(set(lines[13:])) == 1
    assert not list(nodes.cluster.root.glob("hq-worker*/*/t*"))
    listed = nodes.cluster.run("task", "list", str(job)).stdout
    shown = [line.split("|")[3].strip() for line in listed.splitlines() if "|" in line][1:]
    assert shown == hosts
    table = nodes.cluster.run("job", "info", str(job)).stdout
    assert "nodes: 2" in table
    assert ",".join(nodes.host(worker) for worker in sorted(workers)) in table


def test_s7_05_s103_a_killed_root_restarts_the_task_on_others(nodes):
    nodes.start()
    job = nodes.submit(2, HOLD)
    root, other = nodes.until_up(job, 0)
    nodes.workers[root].kill()
    again = nodes.until_up(job, 1)
    assert len(again) == 2
    assert root not in again
    assert other in again
    nodes.go()
    nodes.cluster.wait_counts(job, finished=1)
    assert nodes.task(job)["workers"] == again


def test_s7_05_s103_a_killed_node_leaves_the_task_running_on_the_rest(nodes):
    nodes.start()
    job = nodes.submit(3, HOLD)
    root, second, third = nodes.until_up(job, 0)
    nodes.workers[second].kill()
    wait_until(lambda: nodes.task(job)["workers"] == [root, third], lambda: str(nodes.task(job)))
    assert nodes.task(job)["state"] == "running"
    assert nodes.parts() == {
        root: {"MultiNodeTask": {"main_node": True}},
        third: {"MultiNodeTask": {"main_node": False}},
    }
    nodes.go()
    nodes.cluster.wait_counts(job, finished=1)
    assert nodes.task(job)["workers"] == [root, third]
    assert not nodes.up(1)
    after = nodes.submit(2, "true")
    nodes.cluster.wait_counts(after, finished=1)


def test_s7_04_s102_cancel_frees_all_nodes_and_the_next_task_has_them(nodes):
    nodes.start()
    first, second = nodes.submit(3, HOLD), nodes.submit(3, "true")
    assert len(nodes.until_up(first, 0)) == 3
    assert nodes.task(second) == {"id": 0, "state": "waiting"}
    nodes.cluster.run("job", "cancel", str(first))
    nodes.cluster.wait_counts(second, finished=1)
    assert sorted(nodes.task(second)["workers"]) == sorted(nodes.workers)
    assert nodes.cluster.counts(first) == {"canceled": 1}
    wait_until(
        lambda: all("SingleNodeTasks" in part for part in nodes.parts().values()),
        lambda: str(nodes.parts()),
    )


def test_s7_02_s101_idle_workers_leave_but_not_while_the_task_runs(nodes):
    nodes.start("--idle-timeout", "5s")
    job = nodes.submit(3, "sleep 7")
    nodes.cluster.wait_counts(job, finished=1)
    row = nodes.task(job)
    assert len(row["workers"]) == 3
    for process in nodes.workers.values():
        assert process.wait(60) == 0
    ends = [worker["ended"]["at"] for worker in nodes.rows("--all")]
    assert len(ends) == 3
    assert min(ends) > row["finished_at"]


def test_s7_01_s7_03_s7_10_too_few_nodes_are_explained_and_more_of_them_are_all_listed(nodes):
    """Two of one group and one of another are no three nodes; the group grows, and the task runs
    to its bad end on three."""
    job = nodes.submit(3, "exit 1")
    begun = [
        nodes.cluster.start(
            "worker", "start", "--cpus", "1", "--group", group, "--detect-resources", "none",
            name=f"worker{n}",
        )
        for n, group in enumerate("AAB")
    ]  # fmt: skip
    nodes.cluster.run("worker", "wait", "3")
    assert "nodes: 3" in nodes.cluster.run("job", "info", str(job)).stdout
    explained = nodes.cluster.run("task", "explain", str(job), "0").stdout
    cells = [line.split("|")[1:-1] for line in explained.splitlines() if line.startswith("|")][1:]
    told = sorted([cell.strip() for cell in row[1:]] for row in cells)
    assert told == [
        ["No", "0", "nodes", "group size 1", "3"],
        ["No", "0", "nodes", "group size 2", "3"],
        ["No", "0", "nodes", "group size 2", "3"],
    ]
    assert nodes.cluster.counts(job) == {"waiting": 1}
    nodes.cluster.start_worker("--cpus", "1", "--group", "A", name="more")
    nodes.cluster.wait_counts(job, failed=1)
    workers = nodes.task(job)["workers"]
    groups = {row["id"]: row["configuration"]["group"] for row in nodes.rows()}
    assert [groups[worker] for worker in workers] == ["A", "A", "A"]
    assert len(set(workers)) == 3
    assert all(process.poll() is None for process in begun)


def test_s7_13_a_job_file_asks_for_nodes(nodes):
    nodes.start()
    (nodes.cluster.work / "job.toml").write_text(
        "[[task]]\ncommand = ['sh', '-c', 'echo $HQ_NUM_NODES; test -d $HQ_TASK_DIR']\n"
        "[[task.request]]\nn_nodes = 2\n"
    )
    nodes.cluster.run("job", "submit-file", "job.toml")
    nodes.cluster.run("job", "wait", "1")
    assert nodes.cluster.counts(1) == {"finished": 1}
    assert nodes.cluster.run("job", "cat", "1", "stdout").stdout == "2\n"
