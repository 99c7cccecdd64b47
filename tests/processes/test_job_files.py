"""Native job files on a real server with real workers: matrix, pairs, cleanups and retries."""

from __future__ import annotations

import json
from textwrap import dedent

from process_cluster import wait_until


def submit(cluster, text, *options):
    (cluster.work / "job.yaml").write_text(dedent(text))
    return cluster.submit(*options, "job.yaml")


def task(cluster, job, number):
    (row,) = cluster.json("task", "info", str(job), str(number))
    return row


def test_a_matrix_names_its_outputs_and_job_cat_finds_them(cluster):
    cluster.start_server()
    cluster.start_worker("--cpus", "2")
    text = """\
        tasks:
          sim:
            matrix: {word: [a, "b c", 007], n: 1-2, exclude: [{word: a, n: 2}]}
            command: [printf, "%s|", "%{word}", "%{n}"]
            stdout: "out/%{word}/%{n}.txt"
        """
    job = submit(cluster, text, "--wait")
    assert cluster.counts(job) == {"finished": 5}
    assert (cluster.work / "out/b c/2.txt").read_text() == "b c|2|"
    assert (cluster.work / "out/007/1.txt").read_text() == "007|1|"
    assert not (cluster.work / "out/a/2.txt").exists()
    shown = cluster.run("job", "cat", str(job), "--tasks", "1-2", "stdout").stdout
    assert "b c|1|" in shown
    assert "b c|2|" in shown
    row = task(cluster, job, 4)
    assert (row["group"], json.loads(row["entry"])) == ("sim", {"word": "007", "n": 2})
    assert row["stdout"] == str(cluster.work / "out/007/2.txt")


def test_a_pausing_task_says_why_it_waits_and_a_cancel_ends_the_pause(cluster):
    cluster.start_server()
    cluster.start_worker()
    text = """\
        tasks:
          a: {command: [sh, -c, "exit 7"], retry: {times: 3, on: 7, backoff: 1h}}
        """
    job = submit(cluster, text)
    wait_until(lambda: task(cluster, job, 0).get("failed_tries") == 1)
    row = task(cluster, job, 0)
    assert row["state"] == "waiting"
    assert row["next_try_at"] > row.get("started_at", "")
    explained = cluster.run("task", "explain", str(job), "0").stdout
    assert "has failed once and waits until" in explained
    assert "exit code 7" in explained
    assert "failed 1 time, waits until" in cluster.run("task", "info", str(job), "0").stdout
    cluster.run("job", "cancel", str(job))
    assert cluster.counts(job) == {"canceled": 1}
    assert "1 job" in cluster.run("job", "forget", str(job)).stderr


def test_signals_and_time_limits_are_retried_where_they_are_named(cluster):
    cluster.start_server()
    cluster.start_worker("--cpus", "2")
    text = """\
        tasks:
          killed:
            retry: {times: 1, on: [KILL]}
            command: [sh, -c, 'test "$HQ_INSTANCE_ID" = 1 || kill -9 $$']
          late:
            retry: {times: 1, on: [timeout]}
            time_limit: 500ms
            command: [sh, -c, 'test "$HQ_INSTANCE_ID" = 1 || sleep 1000']
          other:
            retry: {times: 1, on: [timeout]}
            command: [sh, -c, 'test "$HQ_INSTANCE_ID" = 1']
        """
    job = submit(cluster, text, "--wait")
    assert [task(cluster, job, n)["state"] for n in range(3)] == ["finished", "finished", "failed"]


def test_what_always_starts_runs_after_too_many_failures(cluster):
    cluster.start_server()
    cluster.start_worker("--cpus", "2")
    text = """\
        max_fails: 0
        tasks:
          make: {array: 0-2, command: [sh, -c, "touch made.$HQ_TASK_ID; test $HQ_TASK_ID != 1"]}
          use: {needs: make, command: touch used}
          clean: {needs: [make, use], when: always, command: [sh, -c, "rm -f made.*; touch clean"]}
        """
    job = submit(cluster, text, "--wait")
    assert task(cluster, job, 4)["state"] == "finished"
    assert task(cluster, job, 3)["state"] == "aborted"
    assert (cluster.work / "clean").exists()
    assert not (cluster.work / "used").exists()


def test_pairs_go_on_when_one_of_them_fails(cluster):
    cluster.start_server()
    cluster.start_worker("--cpus", "2")
    text = """\
        tasks:
          make:
            entries: [{n: 1}, {n: 2}, {n: 3}]
            command: [test, "%{n}", -ne, "2"]
          use: {needs: {make: each}, command: [echo, "%{n}"], stdout: "%{n}.txt"}
        """
    job = submit(cluster, text, "--wait")
    assert cluster.counts(job) == {"finished": 4, "failed": 1, "aborted": 1}
    assert sorted(path.name for path in cluster.work.glob("?.txt")) == ["1.txt", "3.txt"]


def test_four_thousand_named_tasks_are_taken_in_one_file(cluster):
    cluster.start_server()
    lines = ["tasks:", *(f"  t{n}: {{command: [echo, '{n}']}}" for n in range(4000))]
    job = submit(cluster, "\n".join(lines))
    assert cluster.counts(job) == {"waiting": 4000}
