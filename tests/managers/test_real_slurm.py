"""What only Slurm does, on a real one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from alloc_site import Site
from process_cluster import Cluster, wait_until
from slurm_cluster import Slurm

pytestmark = pytest.mark.slow


@pytest.fixture
def site(cluster: Cluster, slurm: Slurm) -> Iterator[Site]:
    """A server that knows this Slurm."""
    one = Site(cluster, "slurm", slurm.environment)
    one.start()
    yield one
    if one.server.poll() is None:
        one.stop()


def ids(site: Site, queue: int = 1) -> list[str]:
    return [row["id"] for row in site.allocations(queue)]


def wait_running(site: Site, job: int) -> None:
    wait_until(lambda: "running" in site.cluster.counts(job), lambda: site.log())


def test_memory_is_what_slurm_gives(site: Site) -> None:
    site.add("--idle-timeout", "1m", args=("--mem=512",))
    job = site.cluster.submit("sleep", "100")
    wait_running(site, job)
    (worker,) = site.cluster.json("worker", "info", "all")
    sizes = {
        one["name"]: one["size"]
        for one in worker["configuration"]["resources"]["resources"]
        if one["kind"] == "sum"
    }
    assert sizes["mem"] == 512 * 10_000  # MiB


def test_a_job_that_can_never_run_is_shown_with_its_reason(site: Site) -> None:
    site.add(args=("--partition=tiny",), time_limit="30m")
    site.cluster.submit("true")
    site.wait_note("PartitionTimeLimit")
    (row,) = site.allocations()
    assert (row["status"], row["note"]) == ("queued", "PartitionTimeLimit")


def test_preemption_costs_no_task(site: Site, slurm: Slurm) -> None:
    site.add("--cpus", "2", "--idle-timeout", "5s", args=("--partition=low",))
    job = site.cluster.submit("--cpus", "2", "sleep", "3")
    wait_running(site, job)
    pushing = slurm.run(
        "sbatch", "--parsable", "--partition=main", "--nodes=4", "--exclusive", "--time=1",
        "--output=/dev/null", "--wrap", "sleep 4",
    ).strip()  # fmt: skip
    wait_until(lambda: slurm.jobs().get(pushing) == "RUNNING", lambda: str(slurm.jobs()))
    site.wait_finished(job, 1)
    assert site.allocations()[0]["note"] == "preempted: PREEMPTED"
    assert site.allocations()[0]["status"] == "finished"
    assert site.queue()["state"] == "Active"


def test_a_job_that_reaches_its_limit_costs_no_task(site: Site, slurm: Slurm) -> None:
    site.add("--cpus", "1", "--idle-timeout", "2s")
    job = site.cluster.submit("--array", "1-2", "sleep", "4")
    wait_running(site, job)
    first = ids(site)[0]
    slurm.run("scontrol", "update", f"JobId={first}", "EndTime=now+1")
    site.wait_finished(job, 2)
    wait_until(
        lambda: "reached its time limit: TIMEOUT" in (site.allocations()[0]["note"] or ""),
        lambda: str(site.allocations()),
    )


def test_a_node_that_dies_costs_no_task(site: Site, slurm: Slurm) -> None:
    site.add("--cpus", "2", "--idle-timeout", "5s", args=("--exclusive",))
    job = site.cluster.submit("--cpus", "2", "sleep", "2")
    wait_running(site, job)
    first = ids(site)[0]
    (node,) = slurm.nodes_of(first)
    slurm.fault("kill-node", node)
    try:
        site.wait_finished(job, 1)
        wait_until(
            lambda: "a node failed: NODE_FAIL" in (site.allocations()[0]["note"] or ""),
            lambda: str(site.allocations()),
        )
    finally:
        slurm.fault("start-node", node)


def test_a_job_that_slurm_queues_again_goes_on_under_its_id(site: Site, slurm: Slurm) -> None:
    site.add("--cpus", "2", "--idle-timeout", "5s", args=("--requeue", "--exclusive"))
    job = site.cluster.submit("--cpus", "2", "sleep", "3")
    wait_running(site, job)
    first = ids(site)[0]
    slurm.run("scontrol", "requeue", first)
    site.cluster.wait_counts(job, waiting=1)
    # It is held back for a while by Slurm itself.
    wait_until(lambda: first in ids(site) and site.statuses()[0] == "queued",
               lambda: str(site.allocations()))  # fmt: skip
    slurm.run("scontrol", "update", f"JobId={first}", "StartTime=now")
    site.wait_finished(job, 1)
    assert len(slurm.run("squeue", "-h", "-t", "all", "-j", f"{first},{first}").splitlines()) == 1


def test_hundreds_of_tasks_of_different_shapes_on_two_queues(site: Site, slurm: Slurm) -> None:
    site.add(
        "--name", "small", "--cpus", "1", "--backlog", "3", "--max-worker-count", "4",
        "--idle-timeout", "3s",
    )  # fmt: skip
    site.add(
        "--name", "large", "--cpus", "2", "--resource", "gpus=[a,b]", "--backlog", "2", "-m", "2",
        "--max-worker-count", "4", "--idle-timeout", "3s", args=("--exclusive",),
    )  # fmt: skip
    one = site.cluster.submit("--array", "1-200", "sleep", "0.05")
    two = site.cluster.submit("--array", "1-20", "--cpus", "2", "sleep", "0.2")
    gpu = site.cluster.submit("--array", "1-30", "--resource", "gpus=1", "sleep", "0.1")
    many = site.cluster.submit("--array", "1-3", "--nodes", "2", "sleep", "0.3")
    most = 0
    while site.cluster.json("job", "list"):
        most = max(most, sum(row["running"] + row["queued"] for row in site.queues()))
        for row in site.queues():
            assert row["queued"] <= row["backlog"]
    for job, tasks in ((one, 200), (two, 20), (gpu, 30), (many, 3)):
        site.wait_finished(job, tasks)
    assert most > 1
    for queue in (1, 2):
        assert "failed" not in site.statuses(queue)
    wait_until(lambda: not slurm.jobs(), lambda: str(slurm.jobs()))
