"""Servers and their journals: killed, resumed, full, damaged."""

from __future__ import annotations

import resource
import shlex

from process_cluster import PATIENCE_S, wait_until

WAIT = "while [ ! -e go ]; do sleep 0.05; done"


def size_limit(pid: int, size: int) -> int:
    """The process can make files of `size` bytes; the limit before."""
    soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))
    return soft


def kill(server) -> None:
    server.kill()
    server.wait()


def test_s4_12_jobs_of_killed_servers_are_there_and_the_next_start_names_the_way(cluster) -> None:
    server = cluster.start_server()
    journal = cluster.server_dir / "001" / "journal"
    assert cluster.submit("--name", "first", "true") == 1
    kill(server)
    server = cluster.start_server(name="other")
    assert f"server start --journal {shlex.quote(str(journal))}" in cluster.log("other")
    assert cluster.json("job", "list") == []
    cluster.run("server", "stop")
    server.wait()

    server = cluster.start_server("--journal", str(journal), name="resumed")
    assert cluster.submit("--name", "second", "true") == 2
    kill(server)
    cluster.start_server("--journal", str(journal), name="again")
    assert [row["name"] for row in cluster.json("job", "list")] == ["first", "second"]
    assert cluster.json("server", "info")["journal_path"] == str(journal)


def test_b14_a_journal_has_one_server(cluster) -> None:
    journal = cluster.root / "journal"
    cluster.start_server("--journal", str(journal))
    refused = cluster.run(
        "--server-dir", str(cluster.root / "other"), "server", "start", "--journal", str(journal),
        check=1,
    )  # fmt: skip
    assert "in use by another server" in refused.stderr


def test_b13_a_journal_that_cannot_grow_is_told_and_nothing_running_is_lost(cluster) -> None:
    server = cluster.start_server()
    journal = cluster.server_dir / "001" / "journal"
    cluster.start_worker()
    job = cluster.submit("sh", "-c", WAIT)
    cluster.wait_counts(job, running=1)
    cluster.run("journal", "flush")

    before = size_limit(server.pid, journal.stat().st_size)
    waiting = cluster.start("submit", "true", name="waiting")
    wait_until(lambda: cluster.json("server", "info").get("trouble"))
    assert "(degraded: File too large" in cluster.run("server", "info").stdout
    assert waiting.wait(PATIENCE_S) == 1
    assert "This is not recorded yet: File too large (since 2" in cluster.log("waiting")
    refused = cluster.run("submit", "true", check=1)
    assert "The server cannot record this now" in refused.stderr
    (cluster.work / "go").touch()

    size_limit(server.pid, before)
    cluster.wait_counts(job, finished=1)
    cluster.wait_counts(2, finished=1)
    wait_until(lambda: "trouble" not in cluster.json("server", "info"))
    assert cluster.submit("true") == 3
    kill(server)
    assert "Journal is fine" in cluster.run("journal", "check", str(journal)).stderr


def test_b21_a_damaged_journal_is_refused_checked_and_repaired(cluster) -> None:
    server = cluster.start_server()
    journal, saved = cluster.server_dir / "001" / "journal", cluster.root / "saved"
    first_end = 0
    for number in (1, 2, 3):
        cluster.submit("--name", f"job{number}", "true")
        cluster.run("journal", "flush")
        first_end = first_end or journal.stat().st_size
    kill(server)
    data = bytearray(journal.read_bytes())
    data[first_end + 100] ^= 1
    journal.write_bytes(data)

    resume = cluster.run("server", "start", "--journal", str(journal), check=1)
    assert f"damaged at byte {first_end}" in resume.stderr
    assert f"journal repair {journal}" in resume.stderr
    assert "is damaged: 1 gaps" in cluster.run("journal", "check", str(journal), check=1).stderr
    assert f"bytes at {first_end} cannot be read" in cluster.run(
        "journal", "repair", str(journal), str(saved)
    ).stderr  # fmt: skip
    assert "Journal is fine" in cluster.run("journal", "check", str(saved)).stderr
    cluster.start_server("--journal", str(saved), name="repaired")
    assert [row["name"] for row in cluster.json("job", "list")] == ["job1", "job3"]


def test_s4_19_a_pruned_journal_is_smaller_and_reuses_no_id(cluster) -> None:
    server = cluster.start_server()
    journal = cluster.server_dir / "001" / "journal"
    cluster.start_worker()
    done = cluster.submit("--env", f"LONG={'x' * 10_000}", "true")
    cluster.wait_counts(done, finished=1)
    cluster.submit("sleep", "1000")
    before = journal.stat().st_size
    cluster.run("journal", "prune")
    assert journal.stat().st_size < before - 10_000
    kill(server)
    cluster.start_server("--journal", str(journal), name="resumed")
    assert [row["id"] for row in cluster.json("job", "list")] == [2]
    assert cluster.submit("true") == 3
