"""How jobs end on real workers: too many failures, cancels, graphs that run to their end."""

from __future__ import annotations

from process_cluster import wait_until

GATED = "while ! test -e gate; do sleep 0.05; done; "


def test_s1_03_one_failure_ends_what_runs_beside_it(cluster):
    cluster.start_server()
    cluster.start_worker("--cpus", "2")
    script = "test $HQ_TASK_ID = 2 || { while ! test -e up; do sleep 0.05; done; exit 1; }; "
    job = cluster.submit(
        "--array", "1-2", "--max-fails", "0", "--", "sh", "-c", f"{script} touch up; exec sleep 999"
    )
    cluster.wait_counts(job, failed=1, aborted=1)
    state = cluster.run("job", "info", str(job)).stdout
    assert "FAILED (1)" in state
    assert "ABORTED (1)" in state
    cluster.run("submit", "--wait", "--cpus", "2", "--", "true")  # both cpus are free again


def test_s1_05_exactly_one_failure_more_than_max_fails(cluster):
    cluster.start_server()
    cluster.start_worker("--cpus", "1")
    job = cluster.submit("--wait", "--array", "1-10", "--max-fails", "3", "--", "false")
    assert cluster.counts(job) == {"failed": 4, "aborted": 6}


def test_s1_12_and_s1_13_cancel_spares_what_has_finished_and_nothing_else(cluster):
    cluster.start_server()
    cluster.start_worker("--cpus", "4")
    script = f"test $HQ_TASK_ID -gt 4 && {{ touch up-$HQ_TASK_ID; {GATED} }}; exit 0"
    some = cluster.submit("--array", "1-10", "--", "sh", "-c", script)
    wait_until(lambda: len(list(cluster.work.glob("up-*"))) == 4)
    cluster.wait_counts(some, finished=4, running=4, waiting=2)
    many = cluster.submit("--array", "1-20000", "--stdout=none", "--stderr=none", "--", "true")
    done = cluster.run("job", "cancel", "all")
    assert f"Job {some} canceled (6 tasks canceled, 4 tasks already finished)" in done.stderr
    assert f"Job {many} canceled (20000 tasks canceled, 0 tasks already finished)" in done.stderr
    listed = cluster.run("--output-mode=quiet", "job", "list", "--all").stdout
    assert listed == "1 CANCELED\n2 CANCELED\n"
    assert cluster.counts(some) == {"finished": 4, "canceled": 6}
    cluster.run("submit", "--wait", "--cpus", "4", "--", "true")


def test_s1_35_long_chains_and_many_pairs_run_to_their_end(cluster):
    cluster.start_server()
    cluster.start_worker("--cpus", "4")
    nowhere = 'command = ["true"]\nstdout = "none"\nstderr = "none"\n'
    chain = [f"[[task]]\nid = {n}\n{nowhere}" + f"deps = [{n - 1}]\n" * (n > 0) for n in range(51)]
    pairs = [f"[[task]]\nid = {n}\n{nowhere}" + f"deps = [{n - 1}]\n" * (n % 2) for n in range(300)]
    for name, tasks in (("chain", chain), ("pairs", pairs)):
        (cluster.work / f"{name}.toml").write_text("".join(tasks))
        cluster.run("job", "submit-file", f"{name}.toml")
    cluster.run("job", "wait", "all")
    assert cluster.counts(1) == {"finished": 51}
    assert cluster.counts(2) == {"finished": 300}


def test_s1_36_tasks_wait_for_dependencies_and_for_resources_that_come_later(cluster):
    cluster.start_server()
    cluster.start_worker("--cpus", "2", name="plain")
    (cluster.work / "job.toml").write_text(
        f'[[task]]\nid = 1\ncommand = ["sh", "-c", "{GATED}"]\n'
        '[[task]]\nid = 2\ndeps = [1]\ncommand = ["true"]\n'
        '[[task.request]]\nresources = { "foo" = 1 }\n'
    )
    for _ in range(2):
        cluster.run("job", "submit-file", "job.toml")
    for job in (1, 2):
        cluster.wait_counts(job, running=1, waiting=1)
    (cluster.work / "gate").touch()
    for job in (1, 2):
        cluster.wait_counts(job, finished=1, waiting=1)
    cluster.start_worker("--cpus", "1", "--resource", "foo=[1]", name="fitting")
    cluster.run("job", "wait", "all")
    assert [cluster.counts(job) for job in (1, 2)] == [{"finished": 2}, {"finished": 2}]
