"""Queues from the first submission to the end of the last allocation, on either manager: a real
Slurm and a stand-in for PBS. Numbers are those of the scenarios that HyperQueue's users know."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest
from alloc_site import Site
from pbs_cluster import Pbs
from process_cluster import Cluster, wait_until
from slurm_cluster import Slurm

pytestmark = pytest.mark.slow

Outside = Slurm | Pbs


def ids(site: Site, queue: int = 1) -> list[str]:
    return [row["id"] for row in site.allocations(queue)]


def wait_running(site: Site, job: int) -> None:
    wait_until(lambda: "running" in site.cluster.counts(job), lambda: site.log())


def wait_all_finished(site: Site, outside: Outside) -> None:
    """No allocation is left, and none has failed."""
    wait_until(lambda: set(site.statuses()) == {"finished"}, lambda: str(site.allocations()))
    wait_until(lambda: not outside.jobs(), lambda: str(outside.jobs()))


# --- from one end to the other


@pytest.mark.parametrize(("tasks", "most"), [(11, 1), (101, 2)])
def test_42_to_45_a_queue_is_tried_submits_works_and_ends(
    site: Site, outside: Outside, tasks: int, most: int
) -> None:
    added = site.cluster.run(
        "alloc", "add", outside.manager, "--time-limit", "5m", "--cpus", "2", "-m", str(most),
        "--idle-timeout", "2s",
    )  # fmt: skip
    assert "A trial allocation was submitted successfully" in added.stderr
    assert "Allocation queue 1 successfully created" in added.stderr
    job = site.cluster.submit("--array", f"1-{tasks}", "sleep", "0.1")
    site.wait_finished(job, tasks)
    wait_all_finished(site, outside)
    hours = site.queue()["node_hours"]
    assert hours["committed"] == 0
    assert 0 < hours["spent"] < 1
    place = Path(site.allocations()[0]["workdir"])
    assert (place / "jobid").read_text() == ids(site)[0]
    printed = site.cluster.run("alloc", "log", ids(site)[0], "stdout").stdout
    assert "Working directory" in printed
    events = [line for line in site.cluster.run("journal", "replay").stdout.splitlines()
              if "autoalloc" in line]  # fmt: skip
    for kind in ("queue-created", "allocation-queued", "allocation-started", "allocation-finished"):
        assert any(f'"autoalloc-{kind}"' in line for line in events), kind


def test_several_nodes_run_what_precedes_and_follows_their_workers(
    site: Site, outside: Outside
) -> None:
    place = site.cluster.root
    site.add(
        "-m", "2",
        "--worker-start-cmd", f"echo here >> {place}/begun",
        "--worker-stop-cmd", f"echo it\\'s over >> {place}/ended",
        "--idle-timeout", "2s",
    )  # fmt: skip
    job = site.cluster.submit("--nodes", "2", "--array", "1-2", "sleep", "0.5")
    site.wait_finished(job, 2)
    wait_all_finished(site, outside)
    # One that was not needed any more may have been withdrawn before it started.
    rows = [row for row in site.allocations() if row["started_at"] is not None]
    nodes = [row["target_worker_count"] for row in rows]
    assert set(nodes) == {2}
    wait_until(lambda: len((place / "ended").read_text().splitlines()) == sum(nodes))
    assert (place / "begun").read_text() == "here\n" * sum(nodes)
    assert (place / "ended").read_text() == "it's over\n" * sum(nodes)


def test_24_a_worker_knows_its_manager_its_time_limit_and_its_group(
    site: Site, outside: Outside
) -> None:
    site.add("--idle-timeout", "1m", time_limit="7m")
    job = site.cluster.submit("sleep", "100")
    wait_running(site, job)
    (worker,) = site.cluster.json("worker", "info", "all")
    (allocation,) = ids(site)
    assert worker["allocation"] == {"manager": outside.shown, "id": allocation}
    assert worker["configuration"]["group"] == allocation
    assert 400 < worker["configuration"]["time_limit"] <= 420
    # S4.24, B19: a restart finds queue, allocation and known resources again.
    before = site.queue()
    site.kill()
    site.start()
    after = site.queue()
    for changing in ("node_hours", "not_submitting"):
        before.pop(changing), after.pop(changing)
    assert after == before
    assert after["known_worker_resources"] is not None
    assert ids(site) == [allocation]


# --- what can go wrong


def test_a_wrong_queue_is_refused_with_the_managers_words(site: Site, outside: Outside) -> None:
    words = ("alloc", "add", outside.manager, "--time-limit", "5m")
    refused = site.cluster.run(*words, "--", *outside.wrong_queue, check=1)
    assert "Dry-run (test allocation submission) has failed" in refused.stderr
    assert f"{outside.wrong_queue_words}" in refused.stderr
    assert "You can find the submitted script at" in refused.stderr
    assert site.queues() == []
    site.add(args=outside.wrong_queue)
    site.cluster.submit("true")
    site.wait_note(outside.wrong_queue_words)
    assert site.queue()["state"] == "Paused"
    assert not outside.jobs()
    site.cluster.run("alloc", "edit", "1", "--idle-timeout", "2s", "--no-manager-args")
    site.cluster.run("alloc", "resume", "1")
    site.wait_finished(1, 1)


def test_a_cancel_from_outside_costs_no_task(site: Site, outside: Outside) -> None:
    site.add("--cpus", "1", "--idle-timeout", "2s")
    job = site.cluster.submit("--array", "1-2", *site.gated)
    wait_running(site, job)
    first = ids(site)[0]
    outside.cancel(first)
    site.open_gate()
    site.wait_finished(job, 2)
    wait_until(
        lambda: (site.allocations()[0]["note"] or "").startswith("cancelled by somebody else: "),
        lambda: str(site.allocations()),
    )
    assert site.allocations()[0]["status"] == "finished"


def test_what_waits_and_is_cancelled_outside_has_failed(site: Site, outside: Outside) -> None:
    held = "--hold" if outside.manager == "slurm" else "-h"
    site.add(args=(held,))
    site.cluster.submit("true")
    site.wait_statuses("queued")
    outside.cancel(ids(site)[0])
    wait_until(lambda: site.statuses()[:1] == ["failed"], lambda: str(site.allocations()))
    assert "cancelled by somebody else" in site.allocations()[0]["note"]


def test_28_a_worker_that_is_killed_soon_is_a_failure(site: Site, outside: Outside) -> None:
    site.add("--cpus", "1", "--idle-timeout", "5s")
    site.cluster.submit("sleep", "30")
    wait_running(site, 1)
    shown = site.cluster.run("worker", "info", "all").stdout
    pid = re.search(r"Process pid +\| (\d+)", shown)
    assert pid is not None, shown
    os.kill(int(pid[1]), signal.SIGKILL)
    wait_until(lambda: site.statuses()[0] == "failed", lambda: str(site.allocations()))
    site.wait_note("waits")


def test_a_manager_that_is_down_for_a_while_costs_nothing(site: Site, outside: Outside) -> None:
    site.add("--cpus", "1", "--backlog", "2", "--idle-timeout", "3s")
    job = site.cluster.submit("--array", "1-2", "sleep", "1")
    wait_running(site, job)
    outside.stop()
    try:
        site.wait_finished(job, 2)
        # Else one of the workers that are there takes what comes next.
        wait_until(lambda: site.cluster.json("worker", "list") == [])
        known = ids(site)
        later = site.cluster.submit("true")
        wait_until(lambda: "cannot be asked" in site.log(), lambda: site.log())
        wait_until(lambda: "could not be submitted" in site.log(), lambda: site.log())
        assert ids(site) == known
        assert site.queue()["state"] == "Active"
    finally:
        outside.start()
    # Sooner than after the minute that it waits by itself.
    site.cluster.run("alloc", "pause", "1")
    site.cluster.run("alloc", "resume", "1")
    site.wait_finished(later, 1)
    wait_all_finished(site, outside)


def test_a_submission_that_timed_out_is_found_and_not_repeated(
    cluster: Cluster, outside: Outside
) -> None:
    site = Site(
        cluster, outside.manager, {**outside.environment, "HQTRIO_MANAGER_TIMEOUT_MS": "2000"}
    )
    site.start()
    site.add("--cpus", "1", "--idle-timeout", "3s")
    outside.lose_answers()
    try:
        job = cluster.submit("true")
        wait_until(lambda: "it may exist" in site.log(), lambda: site.log())
        assert site.allocations()[0]["status"] == "queued"
    finally:
        outside.answer_again()
    site.wait_finished(job, 1)
    wait_all_finished(site, outside)
    assert len(site.allocations()) == 1
    site.stop()


# --- the server


def test_a_killed_server_goes_on_with_what_waits_and_what_runs(
    site: Site, outside: Outside
) -> None:
    nodes = outside.nodes
    site.add("--cpus", "2", "--backlog", "3", "--idle-timeout", "3s", args=outside.whole_nodes)
    job = site.cluster.submit("--cpus", "2", "--array", f"1-{nodes + 3}", *site.gated)
    wait_until(lambda: site.statuses().count("running") == nodes, lambda: site.log())
    wait_until(lambda: site.statuses().count("queued") == 3, lambda: str(site.allocations()))
    before = site.allocations()
    site.kill()
    site.start()
    after = {row["id"]: row for row in site.allocations()}
    for row in before:
        assert row["id"] in after
        assert after[row["id"]]["workdir"] == row["workdir"]
    site.open_gate()
    site.wait_finished(job, nodes + 3)
    wait_all_finished(site, outside)


def test_a_server_that_is_killed_while_it_submits_makes_no_second_job(
    cluster: Cluster, outside: Outside, tmp_path: Path
) -> None:
    # A program that does its work and takes its time to say so.
    programs, name = tmp_path / "slow", "sbatch" if outside.manager == "slurm" else "qsub"
    programs.mkdir()
    slow = programs / name
    slow.write_text(
        f"#!/bin/bash\nPATH={outside.environment['PATH']}\n"
        f'out=$({name} "$@")\ntouch {tmp_path}/made\nsleep 30\necho $out\n'
    )
    slow.chmod(0o755)
    environment = {**outside.environment, "PATH": f"{programs}:{outside.environment['PATH']}"}
    site = Site(cluster, outside.manager, environment)
    site.start()
    site.add("--cpus", "1", "--idle-timeout", "30s")
    job = cluster.submit("sleep", "5")
    wait_until((tmp_path / "made").exists)
    site.kill()
    slow.unlink()
    site.start()
    site.wait_statuses("running")
    assert list(outside.jobs()) == ids(site)
    site.wait_finished(job, 1)
    site.stop()
    wait_until(lambda: not outside.jobs())


def test_34_the_end_of_the_server_cancels_everything(site: Site, outside: Outside) -> None:
    nodes = outside.nodes
    site.add("--cpus", "2", "--backlog", "2", args=outside.whole_nodes)
    site.cluster.submit("--cpus", "2", "--array", f"1-{nodes + 2}", "sleep", "100")
    wait_until(lambda: site.statuses().count("running") == nodes, lambda: site.log())
    wait_until(lambda: site.statuses().count("queued") == 2, lambda: str(site.allocations()))
    site.stop()
    assert site.server.returncode == 0
    wait_until(lambda: not outside.jobs(), lambda: str(outside.jobs()))


def test_sigterm_leaves_allocations_alone_and_the_next_server_has_them(
    site: Site, outside: Outside
) -> None:
    site.add("--cpus", "2", "--idle-timeout", "3s")
    job = site.cluster.submit("--cpus", "2", *site.gated)
    wait_running(site, job)
    site.server.terminate()
    assert site.server.wait() == 0
    assert len(outside.jobs()) == 1
    site.start()
    site.open_gate()
    site.wait_finished(job, 1)
    site.wait_statuses("finished")


def test_35_36_removing_a_queue_cancels_what_it_has(site: Site, outside: Outside) -> None:
    nodes = outside.nodes
    site.add("--cpus", "2", "--backlog", "2", args=outside.whole_nodes)
    site.cluster.submit("--cpus", "2", "--array", f"1-{nodes + 2}", "sleep", "100")
    wait_until(lambda: site.statuses().count("running") == nodes, lambda: site.log())
    refused = site.cluster.run("alloc", "remove", "1", check=1)
    assert "--force" in refused.stderr
    assert site.statuses().count("running") == nodes
    site.cluster.run("alloc", "remove", "1", "--force")
    assert site.queues() == []
    wait_until(lambda: not outside.jobs(), lambda: str(outside.jobs()))


def test_a_budget_of_node_hours_is_never_exceeded(site: Site, outside: Outside) -> None:
    # Of 10 minutes each: two of them fit.
    site.add(
        "--cpus", "1", "--backlog", "4", "--max-node-hours", "0.4", "--idle-timeout", "1m",
    )  # fmt: skip
    site.cluster.submit("--array", "1-8", "sleep", "100")
    wait_until(lambda: site.statuses().count("running") == 2, lambda: str(site.allocations()))
    site.wait_note("node hours are spent or committed")
    assert len(outside.jobs()) == 2
    assert "0.4 allowed" in site.cluster.run("alloc", "info", "1").stdout
    site.cluster.run("alloc", "edit", "1", "--max-node-hours", "unlimited")
    wait_until(lambda: site.statuses().count("running") > 2, lambda: str(site.allocations()))


def test_a_worker_that_can_do_nothing_of_what_waits_leaves_at_once(
    site: Site, outside: Outside
) -> None:
    # What its queue claims to have no worker of it has.
    site.add("--cpus", "1", "--idle-timeout", "1h")
    job = site.cluster.submit("--resource", "gpus=1", "true")
    probing = site.cluster.submit("true")
    site.wait_finished(probing, 1)
    wait_until(lambda: site.statuses() == ["finished"], lambda: str(site.allocations()))
    assert site.cluster.counts(job) == {"waiting": 1}
    assert "IDLE TIMEOUT" in site.cluster.run("worker", "list", "--all").stdout


def test_workers_may_start_from_a_program_of_the_users(site: Site, outside: Outside) -> None:
    # As with the single file, or with an environment that was copied to the node.
    program = site.cluster.root / "copied"
    words = " ".join(site.cluster.command())
    program.write_text(f'#!/bin/sh\necho "$HQ_UNPACK_DIR" > {program}.ran\nexec {words} "$@"\n')
    program.chmod(0o755)
    site.add(
        "--worker-program", str(program), "--worker-start-cmd", "export HQ_UNPACK_DIR=/local/me",
        "--idle-timeout", "2s",
    )  # fmt: skip
    site.wait_finished(site.cluster.submit("true"), 1)
    assert Path(f"{program}.ran").read_text() == "/local/me\n"
