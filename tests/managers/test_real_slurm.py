"""Queues on a real Slurm, from the first submission to the end of the last allocation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

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


# --- from one end to the other


@pytest.mark.parametrize(("tasks", "most"), [(11, 1), (101, 2)])
def test_42_to_45_a_queue_is_tried_submits_works_and_ends(
    site: Site, slurm: Slurm, tasks: int, most: int
) -> None:
    added = site.cluster.run(
        "alloc", "add", "slurm", "--time-limit", "5m", "--cpus", "2", "-m", str(most),
        "--idle-timeout", "2s",
    )  # fmt: skip
    assert "Allocation queue 1 successfully created" in added.stderr
    job = site.cluster.submit("--array", f"1-{tasks}", "sleep", "0.1")
    site.wait_finished(job, tasks)
    wait_until(lambda: set(site.statuses()) == {"finished"}, lambda: str(site.allocations()))
    wait_until(lambda: not slurm.jobs())
    notes = {row["note"] for row in site.allocations()}
    assert notes <= {"all its workers have left", "all its workers have left: COMPLETED",
                     "completed: COMPLETED"}, notes  # fmt: skip
    hours = site.queue()["node_hours"]
    assert hours["committed"] == 0
    assert 0 < hours["spent"] < 1
    place = Path(site.allocations()[0]["workdir"])
    assert (place / "jobid").read_text() == ids(site)[0]
    printed = site.cluster.run("alloc", "log", ids(site)[0], "stdout").stdout
    assert "Working directory" in printed


def test_an_allocation_of_several_nodes_runs_tasks_of_several_nodes(site: Site) -> None:
    site.add(
        "-m", "2",
        "--worker-start-cmd", "echo begin > $SLURM_SUBMIT_DIR/b$SLURM_PROCID",
        "--worker-stop-cmd", "echo it\\'s over > $SLURM_SUBMIT_DIR/e$SLURM_PROCID",
        "--idle-timeout", "2s",
    )  # fmt: skip
    job = site.cluster.submit("--nodes", "2", "--array", "1-2", "sleep", "0.5")
    site.wait_finished(job, 2)
    wait_until(lambda: set(site.statuses()) == {"finished"}, lambda: str(site.allocations()))
    assert {row["target_worker_count"] for row in site.allocations()} == {2}
    for row in site.allocations():
        place = Path(row["workdir"])
        assert sorted(path.name for path in place.glob("[be]?")) == ["b0", "b1", "e0", "e1"]
        assert (place / "e1").read_text() == "it's over\n"


def test_a_worker_knows_its_manager_its_time_limit_and_its_group(site: Site) -> None:
    site.add("--idle-timeout", "1m", args=("--mem=512",), time_limit="7m")
    job = site.cluster.submit("sleep", "100")
    wait_running(site, job)
    (worker,) = site.cluster.json("worker", "info", "all")
    (allocation,) = ids(site)
    assert worker["allocation"] == {"manager": "Slurm", "id": allocation}
    assert worker["configuration"]["group"] == allocation
    assert 400 < worker["configuration"]["time_limit"] <= 420
    sizes = {
        one["name"]: one["size"]
        for one in worker["configuration"]["resources"]["resources"]
        if one["kind"] == "sum"
    }
    assert sizes["mem"] == 512 * 10_000  # MiB


# --- what can go wrong


def test_a_wrong_partition_is_refused_with_the_words_of_slurm(site: Site, slurm: Slurm) -> None:
    words = ("alloc", "add", "slurm", "--time-limit", "5m")
    refused = site.cluster.run(*words, "--", "--partition=nosuch", check=1)
    assert "Dry-run (test allocation submission) has failed" in refused.stderr
    assert "invalid partition specified: nosuch" in refused.stderr.lower()
    assert site.queues() == []
    site.add(args=("--partition=nosuch",))
    site.cluster.submit("true")
    site.wait_note("nvalid partition")
    assert site.queue()["state"] == "Paused"
    assert not slurm.jobs()
    site.cluster.run("alloc", "edit", "1", "--idle-timeout", "2s", "--", "--partition=main")
    site.cluster.run("alloc", "resume", "1")
    site.wait_finished(1, 1)


def test_a_job_that_can_never_run_is_shown_with_its_reason(site: Site) -> None:
    site.add(args=("--partition=tiny",), time_limit="30m")
    site.cluster.submit("true")
    site.wait_note("PartitionTimeLimit")
    (row,) = site.allocations()
    assert (row["status"], row["note"]) == ("queued", "PartitionTimeLimit")


def test_scancel_from_outside_costs_no_task(site: Site, slurm: Slurm) -> None:
    site.add("--cpus", "1", "--idle-timeout", "2s")
    job = site.cluster.submit("--array", "1-2", "sleep", "2")
    wait_running(site, job)
    (first,) = ids(site)[:1]
    slurm.run("scancel", first)
    site.wait_finished(job, 2)
    wait_until(
        lambda: site.allocations()[0]["note"] == "cancelled by somebody else: CANCELLED",
        lambda: str(site.allocations()),
    )
    assert site.allocations()[0]["status"] == "finished"


def test_a_waiting_job_that_is_cancelled_outside_has_failed(site: Site, slurm: Slurm) -> None:
    site.add(args=("--hold",))
    site.cluster.submit("true")
    site.wait_statuses("queued")
    slurm.run("scancel", ids(site)[0])
    wait_until(lambda: site.statuses()[:1] == ["failed"], lambda: str(site.allocations()))
    assert "cancelled by somebody else" in site.allocations()[0]["note"]


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


def test_a_controller_that_is_down_for_a_while_costs_nothing(site: Site, slurm: Slurm) -> None:
    site.add("--cpus", "1", "--backlog", "2", "--idle-timeout", "3s")
    job = site.cluster.submit("--array", "1-2", "sleep", "1")
    wait_running(site, job)
    slurm.fault("stop-ctld")
    try:
        site.wait_finished(job, 2)
        known = ids(site)
        later = site.cluster.submit("true")
        wait_until(lambda: "cannot be asked" in site.log(), lambda: site.log())
        wait_until(lambda: "nable to contact slurm controller" in site.log())
        assert ids(site) == known
        assert site.queue()["state"] == "Active"
    finally:
        slurm.fault("start-ctld")
    wait_until(lambda: set(slurm.states()) == {"idle"} or slurm.jobs())
    # Sooner than after the minute that it waits by itself.
    site.cluster.run("alloc", "pause", "1")
    site.cluster.run("alloc", "resume", "1")
    site.wait_finished(later, 1)
    wait_until(lambda: set(site.statuses()) == {"finished"}, lambda: str(site.allocations()))


def test_a_submission_that_timed_out_is_found_by_its_name(cluster: Cluster, slurm: Slurm) -> None:
    site = Site(cluster, "slurm", {**slurm.environment, "HQTRIO_MANAGER_TIMEOUT_MS": "2000"})
    site.start()
    site.add("--cpus", "1", "--idle-timeout", "3s")
    slurm.fault("hang-ctld")
    try:
        job = cluster.submit("true")
        wait_until(lambda: "it may exist" in site.log(), lambda: site.log())
        (row,) = site.allocations()
        assert row["status"] == "queued"
    finally:
        slurm.fault("cont-ctld")
    site.wait_finished(job, 1)
    wait_until(lambda: set(site.statuses()) == {"finished"}, lambda: str(site.allocations()))
    # Once, and not once more by the one that timed out.
    jobs = slurm.run("squeue", "-h", "-t", "all", "--me", "-o", "%i|%Z").splitlines()
    first = site.allocations()[0]
    assert [job for job in jobs if job.endswith(f"|{first['workdir']}")] == [
        f"{first['id']}|{first['workdir']}"
    ]
    site.stop()


# --- the server


def test_a_killed_server_goes_on_with_what_waits_and_what_runs(site: Site, slurm: Slurm) -> None:
    site.add("--cpus", "2", "--backlog", "3", "--idle-timeout", "3s", args=("--exclusive",))
    job = site.cluster.submit("--cpus", "2", "--array", "1-7", "sleep", "3")
    wait_until(lambda: sorted(slurm.jobs().values()).count("RUNNING") == 4)
    wait_until(lambda: site.statuses().count("running") == 4)
    wait_until(lambda: site.statuses().count("queued") == 3, lambda: str(site.allocations()))
    before = site.allocations()
    site.kill()
    site.start()
    after = {row["id"]: row for row in site.allocations()}
    for row in before:
        assert row["id"] in after
        assert after[row["id"]]["workdir"] == row["workdir"]
    site.wait_finished(job, 7)
    for number in range(1, 8):  # what ran was not begun again
        (task,) = site.cluster.json("task", "info", str(job), str(number))
        assert task["instance_id"] == 0 if "instance_id" in task else True
    wait_until(lambda: set(site.statuses()) == {"finished"}, lambda: str(site.allocations()))
    wait_until(lambda: not slurm.jobs())


def test_a_server_that_is_killed_while_it_submits_makes_no_second_job(
    cluster: Cluster, slurm: Slurm, tmp_path: Path
) -> None:
    # An sbatch that does its work and takes its time to say so.
    programs = tmp_path / "programs"
    programs.mkdir()
    slow = programs / "sbatch"
    slow.write_text(
        f'#!/bin/bash\nout=$(/usr/bin/sbatch "$@")\ntouch {tmp_path}/made\nsleep 30\necho $out\n'
    )
    slow.chmod(0o755)
    environment = {**slurm.environment, "PATH": f"{programs}:{slurm.environment['PATH']}"}
    site = Site(cluster, "slurm", environment)
    site.start()
    site.add("--cpus", "1", "--idle-timeout", "30s")
    job = cluster.submit("sleep", "5")
    wait_until((tmp_path / "made").exists)
    site.kill()
    slow.unlink()
    site.start()
    site.wait_statuses("running")
    assert list(slurm.jobs()) == ids(site)
    site.wait_finished(job, 1)
    site.stop()
    wait_until(lambda: not slurm.jobs())


def test_34_the_end_of_the_server_cancels_everything(site: Site, slurm: Slurm) -> None:
    site.add("--cpus", "2", "--backlog", "2", args=("--exclusive",))
    site.cluster.submit("--cpus", "2", "--array", "1-6", "sleep", "100")
    wait_until(lambda: site.statuses().count("running") == 4)
    wait_until(lambda: site.statuses().count("queued") == 2, lambda: str(site.allocations()))
    site.stop()
    assert site.server.returncode == 0
    wait_until(lambda: not slurm.jobs(), lambda: str(slurm.jobs()))


def test_sigterm_leaves_allocations_alone_and_the_next_server_has_them(
    site: Site, slurm: Slurm
) -> None:
    site.add("--cpus", "2", "--idle-timeout", "3s")
    job = site.cluster.submit("--cpus", "2", "sleep", "4")
    wait_running(site, job)
    site.server.terminate()
    assert site.server.wait() == 0
    assert len(slurm.jobs()) == 1
    site.start()
    site.wait_finished(job, 1)
    site.wait_statuses("finished")


def test_36_removing_a_queue_cancels_what_it_has(site: Site, slurm: Slurm) -> None:
    site.add("--cpus", "2", "--backlog", "2", args=("--exclusive",))
    site.cluster.submit("--cpus", "2", "--array", "1-6", "sleep", "100")
    wait_until(lambda: site.statuses().count("running") == 4)
    refused = site.cluster.run("alloc", "remove", "1", check=1)
    assert "--force" in refused.stderr
    assert site.statuses().count("running") == 4
    site.cluster.run("alloc", "remove", "1", "--force")
    assert site.queues() == []
    wait_until(lambda: not slurm.jobs(), lambda: str(slurm.jobs()))


# --- limits


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


def test_a_budget_of_node_hours_is_never_exceeded(site: Site, slurm: Slurm) -> None:
    # Of 10 minutes each: two of them fit.
    site.add(
        "--cpus", "1", "--backlog", "4", "--max-node-hours", "0.4", "--idle-timeout", "1m",
    )  # fmt: skip
    site.cluster.submit("--array", "1-8", "sleep", "100")
    wait_until(lambda: site.statuses().count("running") == 2, lambda: str(site.allocations()))
    site.wait_note("node hours are spent or committed")
    assert len(slurm.jobs()) == 2
    shown = site.cluster.run("alloc", "info", "1").stdout
    assert "0.4 allowed" in shown
    site.cluster.run("alloc", "edit", "1", "--max-node-hours", "unlimited")
    wait_until(lambda: site.statuses().count("running") > 2, lambda: str(site.allocations()))
