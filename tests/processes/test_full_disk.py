"""A file system that fills up under a running server, as its users see it."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from process_cluster import PATIENCE_S, Cluster, wait_until

GATED = "while ! test -e gate; do sleep 0.05; done; echo $HQ_TASK_ID.$HQ_INSTANCE_ID >> ran"
LONG = "x" * 6000  # does not fit into what is left of a page


class SmallDisk:
    """A file system of 8 MiB of which a test takes what it wants."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._fillers = 0

    def fill(self) -> None:
        """Not a byte is left."""
        self._fillers += 1
        with (self.place / f"fill {self._fillers}").open("wb", buffering=0) as file:
            for size in (65536, 4096, 1):
                try:
                    while file.write(bytes(size)) == size:
                        pass
                except OSError:
                    pass

    def free(self) -> None:
        for path in self.place.glob("fill *"):
            path.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no `mount`")
    if done.returncode:
        pytest.skip(f"mounting is not allowed: {done.stderr.strip()}")
    try:
        yield SmallDisk(place)
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def start(cluster: Cluster, disk: SmallDisk, name: str = "server"):
    return cluster.start_server("--journal", str(disk.place / "journal"), name=name)


def trouble(cluster: Cluster) -> str:
    """What `server info` says of the journal, beside its path."""
    done = cluster.run("server", "info")
    (row,) = (line for line in done.stdout.splitlines() if "Journal path" in line)
    return row.partition("degraded: ")[2]


def failure(cluster: Cluster, *args: str) -> str:
    """The last line of a command that fails."""
    return cluster.run(*args, check=1).stderr.splitlines()[-1]


def all_ran(cluster: Cluster, count: int) -> bool:
    ran = (cluster.work / "ran").read_text().split()
    return sorted(ran) == sorted(f"{number}.0" for number in range(1, count + 1))


def test_b13_a_full_disk_costs_nothing_and_is_over_when_there_is_space(cluster, disk):
    start(cluster, disk)
    cluster.start_worker("--cpus", "2")
    job = cluster.submit("--array", "1-200", "--", "sh", "-c", GATED)
    cluster.wait_counts(job, running=2, waiting=198)
    disk.fill()
    # The reserve takes what nobody could know that it does not fit.
    assert cluster.submit("--", "echo", LONG) == 2
    assert "No space left on device (since 2" in trouble(cluster)
    assert "cannot record this now" in failure(cluster, "submit", "--", "true")
    (cluster.work / "gate").touch()
    cluster.run("job", "wait", str(job))
    assert cluster.counts(job) == {"finished": 200}
    disk.free()
    wait_until(lambda: not trouble(cluster))
    assert cluster.submit("--", "true") == 3
    cluster.run("job", "wait", "all")
    assert all_ran(cluster, 200)


def test_without_the_reserve_nothing_is_recorded_and_everybody_who_asks_is_answered(cluster, disk):
    server = start(cluster, disk)
    cluster.start_worker("--cpus", "2")
    job = cluster.submit("--array", "1-400", "--", "sh", "-c", GATED)
    cluster.wait_counts(job, running=2, waiting=398)
    disk.fill()
    assert cluster.submit("--", "echo", LONG) == 2
    disk.fill()  # others take what the server gave back
    (cluster.work / "gate").touch()
    ran = cluster.work / "ran"
    wait_until(lambda: ran.exists() and len(ran.read_text().split()) > 2)
    assert cluster.json("job", "list")[0]["id"] == job
    assert len(cluster.json("worker", "list")) == 1
    assert "No space left on device" in trouble(cluster)
    for words in (("submit", "--", "true"), ("job", "cancel", "all")):
        assert "cannot record this now" in failure(cluster, *words)
    assert server.poll() is None
    disk.free()
    cluster.run("job", "wait", "all")
    assert cluster.counts(job) == {"finished": 400}
    assert cluster.counts(2) == {"finished": 1}
    assert all_ran(cluster, 400)
    wait_until(lambda: not trouble(cluster))


@pytest.mark.parametrize("is_full", [True, False])
def test_a_server_that_is_killed_on_a_full_disk_has_lost_nothing_that_it_said(
    cluster, disk, is_full
):
    server = start(cluster, disk)
    cluster.start_worker("--cpus", "1")
    job = cluster.submit("--array", "1-50", "--", "sh", "-c", GATED)
    cluster.wait_counts(job, running=1, waiting=49)
    disk.fill()
    assert cluster.submit("--", "echo", LONG) == 2
    disk.fill()
    (cluster.work / "gate").touch()
    server.send_signal(signal.SIGKILL)
    server.wait(PATIENCE_S)
    journal = disk.place / "journal"
    cluster.run("journal", "check", str(journal))
    if is_full:
        # What a start needs is room for a copy of the journal.
        size = journal.stat().st_size
        said = failure(cluster, "server", "start", "--journal", str(journal))
        assert "No space left on device" in said
        assert journal.stat().st_size == size
        assert not list(disk.place.glob("*.new"))
    disk.free()
    start(cluster, disk, name="second")
    cluster.run("job", "wait", "all")
    assert cluster.counts(job) == {"finished": 50}
    assert cluster.counts(2) == {"finished": 1}
    assert all_ran(cluster, 50)


def test_a_journal_cannot_begin_where_there_is_no_space(cluster, disk):
    disk.fill()
    said = failure(cluster, "server", "start", "--journal", str(disk.place / "journal"))
    assert "No space left on device" in said
    assert not (cluster.server_dir / "hq-current").exists()


def test_a_task_whose_output_does_not_fit_fails_and_the_worker_goes_on(cluster, disk):
    cluster.start_server()
    cluster.start_worker("--cpus", "1")
    disk.fill()
    path = disk.place / "out"
    script = "head -c 1000000 /dev/zero || exit 9"
    job = cluster.submit("--stdout", str(path), "--", "sh", "-c", script)
    cluster.run("job", "wait", str(job))
    assert cluster.counts(job) == {"failed": 1}
    cluster.run("submit", "--wait", "--", "true")
