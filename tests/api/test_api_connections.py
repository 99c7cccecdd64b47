"""Connections of clients: how they end, and what their users see meanwhile."""

from __future__ import annotations

import gc
import io
import signal
import subprocess
import sys
import threading
import types

import pytest
from process_cluster import PATIENCE_S, wait_until

from hqtrio import Client, Job
from hqtrio.errors import HqError


def test_a_client_that_nobody_has_any_more_ends_its_thread(shared, place):
    before = set(threading.enumerate())
    client = Client(shared.server_dir)
    (thread,) = [
        thread for thread in set(threading.enumerate()) - before if thread.name == "hqtrio client"
    ]
    job = Job()
    job.program(["true"])
    submitted = client.submit(job)
    client.wait_for_jobs(submitted)
    del client, submitted
    gc.collect()

    thread.join(PATIENCE_S)
    assert not thread.is_alive()


def test_a_script_may_end_without_closing_its_client(shared, place):
    code = (
        "import hqtrio, sys\n"
        "client = hqtrio.Client(sys.argv[1])\n"
        "job = hqtrio.Job()\n"
        "job.program(['true'])\n"
        "assert client.wait_for_jobs([client.submit(job)])\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(shared.server_dir)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_ctrl_c_ends_a_wait_and_leaves_the_job(shared, client, place):
    code = (
        "import hqtrio, sys\n"
        "client = hqtrio.Client(sys.argv[1])\n"
        "job = hqtrio.Job()\n"
        "job.program(['sleep', '1000'])\n"
        "submitted = client.submit(job)\n"
        "print(submitted.id, flush=True)\n"
        "try:\n"
        "    client.wait_for_jobs([submitted])\n"
        "except KeyboardInterrupt:\n"
        "    print(sum(client.cancel(submitted) for _ in range(2)))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code, str(shared.server_dir)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    number = int(process.stdout.readline())
    wait_until(lambda: shared.counts(number) == {"running": 1})
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE_S)

    assert (process.returncode, out, err) == (0, "1\n", "")
    shared.wait_counts(number, canceled=1)


def test_a_client_finds_a_server_that_was_started_again(cluster, place):
    journal = str(cluster.root / "journal")
    server = cluster.start_server("--journal", journal)
    with Client(cluster.server_dir) as client:
        job = Job()
        job.program(["true"])
        submitted = client.submit(job)
        server.kill()
        server.wait()
        with pytest.raises(HqError):
            client.get_failed_tasks(submitted)
        cluster.start_server("--journal", journal, name="again")
        cluster.start_worker("--cpus", "1")

        assert client.wait_for_jobs([submitted])
        assert client.results(submitted) == [None]


def test_progress_is_drawn_for_people_only(client, place, monkeypatch):
    drawn = []

    class Bar:
        def __init__(self, **options):
            self.n = self.total = 0

        def update(self, more):
            self.n += more
            drawn.append((self.n, self.total))

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setitem(sys.modules, "tqdm", types.SimpleNamespace(tqdm=Bar))
    for stderr, is_drawn in ((io.StringIO(), False), (Terminal(), True)):
        monkeypatch.setattr(sys, "stderr", stderr)
        job = Job()
        for _ in range(3):
            job.program(["true"], stdout=None, stderr=None)
        assert client.wait_for_jobs([client.submit(job)])
        assert (drawn[-1:] == [(3, 3)]) is is_drawn
        assert stderr.getvalue() == ""
