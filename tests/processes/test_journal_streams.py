"""What users see of a running server as a stream, on real processes."""

import json
import signal

import pytest
from process_cluster import PATIENCE_S, wait_until


def events(text):
    return [json.loads(line)["event"] for line in text.splitlines()]


def lines_of(cluster, name):
    return (cluster.root / f"{name}.out").read_text()


@pytest.mark.parametrize("journal", ["none", "kept"])
def test_s4_21_a_stream_ends_with_the_server_and_has_lost_nothing(cluster, journal):
    server = cluster.start_server("--journal", journal)
    cluster.submit("--", "true")
    stream = cluster.start("journal", "stream", name="stream")
    killed = cluster.start("journal", "stream", name="killed")
    for name in ("stream", "killed"):
        wait_until(lambda name=name: lines_of(cluster, name).count("\n") == 2)
    cluster.submit("--", "true")
    for name in ("stream", "killed"):
        wait_until(lambda name=name: lines_of(cluster, name).count("\n") == 3)
    killed.kill()
    killed.wait(PATIENCE_S)
    cluster.run("server", "stop")
    assert stream.wait(PATIENCE_S) == 0, cluster.log("stream")
    assert server.wait(PATIENCE_S) == 0
    for name in ("stream", "killed"):
        types = [event["type"] for event in events(lines_of(cluster, name))]
        assert types == ["server-start", "job-created", "job-created"]


def test_s4_22_s6_04_without_a_journal_memory_tells_of_workers(cluster):
    cluster.start_server("--journal", "none")
    for name in ("one", "two"):
        cluster.start_worker("--cpus", "1", name=name)
    cluster.run("worker", "stop", "1")
    wait_until(lambda: len(events(cluster.run("journal", "replay").stdout)) == 4)
    told = events(cluster.run("journal", "replay").stdout)
    assert [(event["type"], event.get("id")) for event in told] == [
        ("server-start", None),
        ("worker-connected", 1),
        ("worker-connected", 2),
        ("worker-lost", 1),
    ]
    assert told[3]["reason"] == "Stopped"


def test_s6_05_the_chosen_variant_is_in_the_event_of_the_start(cluster):
    (cluster.work / "job.toml").write_text(
        "[[task]]\nid = 1\ncommand = ['true']\n"
        + "".join(
            f"[[task.request]]\nresources = {{ {needs} }}\n"
            for needs in ("cpus = '8'", "x = '2'", "cpus = '4'", "y = '1'")
        )
        + "[[task]]\nid = 2\ndeps = [1]\ncommand = ['true']\n"
    )
    cluster.start_server()
    cluster.start_worker("--cpus", "4")
    cluster.run("submit", "--wait", "job.toml")
    told = events(cluster.run("journal", "replay").stdout)
    assert [event for event in told if event["type"] == "task-started"] == [
        {
            "type": "task-started", "job": 1, "task": 1, "instance": 0, "worker": 1, "variant": 2
        },
        {"type": "task-started", "job": 1, "task": 2, "instance": 0, "worker": 1},
    ]  # fmt: skip


def test_a_suspended_viewer_hears_everything_once_it_goes_on(cluster):
    cluster.start_server()
    cluster.start_worker("--cpus", "2", "--zero-worker")
    stream = cluster.start("journal", "stream", name="stream")
    wait_until(lambda: "worker-connected" in lines_of(cluster, "stream"))
    stream.send_signal(signal.SIGSTOP)
    cluster.run("submit", "--wait", "--array", "1-20000", "--", "true")
    stream.send_signal(signal.SIGCONT)
    wait_until(lambda: '"job-completed"' in lines_of(cluster, "stream"))
    told = events(lines_of(cluster, "stream"))
    finished = [event["task"] for event in told if event["type"] == "task-finished"]
    assert sorted(finished) == list(range(1, 20_001))


def test_s4_19_a_pruned_journal_tells_of_what_still_matters(cluster):
    cluster.start_server("--journal", "kept")
    file = cluster.work / "kept"
    one = cluster.start_worker("--cpus", "1", name="one")
    cluster.run("job", "open")
    cluster.run("submit", "--wait", "--", "true")
    cluster.run("worker", "stop", "1")
    one.wait(PATIENCE_S)
    cluster.start_worker("--cpus", "1", name="two")
    cluster.submit("--cpus", "100", "--", "true")
    cluster.run("journal", "flush")
    before, size = exported(cluster), file.stat().st_size
    assert before == ({1, 2, 3}, {1, 2})
    cluster.run("journal", "prune")
    assert exported(cluster) == ({1, 3}, {2})
    assert file.stat().st_size < size
    # A stream that begins after that has the same past.
    told = events(cluster.run("journal", "replay").stdout)
    assert {event["job"] for event in told if event["type"] == "job-created"} == {3}


def exported(cluster):
    """The jobs and the workers that the journal tells of."""
    told = events(cluster.run("journal", "export", "kept").stdout)
    jobs = {event.get("job", event.get("job_id")) for event in told}
    workers = {event["id"] for event in told if event["type"] == "worker-connected"}
    return jobs - {None}, workers
