"""What becomes of running tasks when their worker goes, as a user sees it."""

from __future__ import annotations

import signal

from process_cluster import wait_until

GATED = "while ! test -e gate; do sleep 0.05; done; "


def terminate(worker) -> None:
    """End a worker as a batch manager does."""
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(60) == 0


def error_of(cluster, job: int) -> str:
    (row,) = cluster.json("task", "info", str(job), "0")
    return row["error"]


def test_s1_14_the_task_of_a_terminated_worker_runs_again_on_the_other(cluster):
    cluster.start_server()
    workers = {}
    for number in (1, 2):
        cluster.submit("--", "sh", "-c", f"{GATED} echo $HQ_INSTANCE_ID >> ran-{number}")
        workers[number] = cluster.start_worker("--cpus", "1", name=f"w{number}")
        cluster.wait_counts(number, running=1)
    terminate(workers[1])
    cluster.wait_counts(1, waiting=1)
    assert cluster.counts(2) == {"running": 1}
    (cluster.work / "gate").touch()
    cluster.run("job", "wait", "all")
    assert [cluster.counts(job) for job in (1, 2)] == [{"finished": 1}, {"finished": 1}]
    assert (cluster.work / "ran-1").read_text() == "1\n", "the first execution was ended"
    assert (cluster.work / "ran-2").read_text() == "0\n"
    (row,) = cluster.json("task", "info", "1", "0")
    assert row["worker"] == 2


def test_s1_15_all_tasks_of_the_only_worker_wait_for_the_next(cluster):
    cluster.start_server()
    first = cluster.start_worker("--cpus", "2", name="w1")
    job = cluster.submit("--array", "1-4", "--", "sh", "-c", GATED)
    cluster.wait_counts(job, running=2, waiting=2)
    terminate(first)
    cluster.wait_counts(job, waiting=4)
    (cluster.work / "gate").touch()
    cluster.start_worker("--cpus", "2", name="w2")
    cluster.run("job", "wait", "last")
    assert cluster.counts(job) == {"finished": 4}


def test_s1_16_and_s1_19_tasks_fail_in_their_nth_crash_and_never_come_back(cluster):
    """Jobs with different limits lose the same workers; at last the program could succeed."""
    cluster.start_server()
    jobs = {
        cluster.submit(*limit, "--", "sh", "-c", f"{GATED} touch reached"): crashes
        for limit, crashes in ((["--crash-limit=1"], 1), (["--crash-limit=2"], 2), ([], 5))
    }

    def wait_states(states: dict[int, str]) -> None:
        lines = [f"{job} {state}" for job, state in states.items()]
        command = ("--output-mode=quiet", "job", "list", "--all")
        wait_until(lambda: cluster.run(*command).stdout.splitlines() == lines)

    for crash in range(1, 6):
        worker = cluster.start_worker("--cpus", "3", name=f"w{crash}")
        wait_states({job: "RUNNING" if crash <= n else "FAILED" for job, n in jobs.items()})
        terminate(worker)
        wait_states({job: "WAITING" if crash < n else "FAILED" for job, n in jobs.items()})
    for job, crashes in jobs.items():
        assert "running on a worker that was lost" in error_of(cluster, job)
        assert str(crashes if crashes > 1 else "once") in error_of(cluster, job)
    (cluster.work / "gate").touch()
    cluster.start_worker("--cpus", "3", name="last")
    cluster.run("submit", "--wait", "--", "true")
    assert not (cluster.work / "reached").exists()


def two_on_one_worker(cluster):
    """A task that must never run twice, and one that may crash once; their worker."""
    cluster.start_server()
    worker = cluster.start_worker("--cpus", "2")
    for limit in ("never-restart", "1"):
        cluster.submit("--crash-limit", limit, "--", "sleep", "1000")
    for job in (1, 2):
        cluster.wait_counts(job, running=1)
    return worker


def test_s1_17_a_stopped_worker_fails_only_what_must_never_restart(cluster):
    worker = two_on_one_worker(cluster)
    cluster.run("worker", "stop", "1")
    assert worker.wait(60) == 0
    cluster.wait_counts(2, waiting=1)
    cluster.wait_counts(1, failed=1)
    expected = "Task was running on a lost worker while never restart flag was set."
    assert error_of(cluster, 1) == expected


def test_s1_18_a_terminated_worker_is_a_crash_for_both(cluster):
    terminate(two_on_one_worker(cluster))
    for job in (1, 2):
        cluster.wait_counts(job, failed=1)


def test_s1_20_tasks_within_their_time_limit_finish(cluster):
    cluster.start_server()
    cluster.start_worker("--cpus", "3")
    short, long, none = (
        cluster.submit(*limit, "--", "sleep", "1")
        for limit in (["--time-limit=500ms"], ["--time-limit=1min"], [])
    )
    cluster.run("job", "wait", "all")
    assert cluster.counts(short) == {"failed": 1}
    assert error_of(cluster, short) == "Time limit reached"
    assert cluster.counts(long) == cluster.counts(none) == {"finished": 1}
    (row,) = cluster.json("task", "info", str(short), "0")
    assert row["finished_at"] > row["started_at"]


def test_s1_34_all_workers_of_a_graph_go_and_the_server_carries_on(cluster):
    cluster.start_server()
    workers = [cluster.start_worker("--cpus", "4", name=f"w{number}") for number in (1, 2)]
    (cluster.work / "job.yaml").write_text(
        "tasks:\n"
        f"  many: {{array: 1-16, command: sh -c '{GATED}'}}\n"
        "  last: {needs: many, command: touch reached}\n"
    )
    cluster.run("submit", "job.yaml")
    cluster.wait_counts(1, running=8, waiting=9)
    for worker in workers:
        terminate(worker)
    cluster.wait_counts(1, waiting=17)
    (cluster.work / "gate").touch()
    cluster.start_worker("--cpus", "4", name="w3")
    cluster.run("job", "wait", "1")
    assert cluster.counts(1) == {"finished": 17}
    assert (cluster.work / "reached").exists()


def test_b47_wait_fails_when_the_server_is_killed(cluster):
    server = cluster.start_server()
    job = cluster.submit("--", "true")
    waiting = cluster.start("job", "wait", str(job), name="wait")
    progress = cluster.start("submit", "--wait", "--", "true", name="submit")
    wait_until(lambda: "job ID: 2" in (cluster.root / "submit.out").read_text())
    server.kill()
    assert waiting.wait(60) == 1
    assert progress.wait(60) == 1
    assert cluster.log("submit").startswith("The connection to the server was lost")
