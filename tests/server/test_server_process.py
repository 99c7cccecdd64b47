"""How a server begins and ends inside its process, and what it leaves there."""

from __future__ import annotations

import gc
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import suppress

import pytest
import trio

from actors.kit.drive import Poisoned
from actors.server.main import ServerSettings, _obeyed, run_server
from hqtrio.client import open_client
from hqtrio.errors import InputError, Unreachable
from hqtrio.local import cluster as local
from hqtrio.messages.client import Done, ServerDetails, ServerInfo, StopServer


def settings(tmp_path, **more):
    return ServerSettings(server_dir=tmp_path / "server", host="localhost", loopback=True, **more)


async def start(nursery, tmp_path, **more):
    """A server that serves."""
    stop = trio.Event()

    async def run(task_status):
        await run_server(
            settings(tmp_path), on_ready=task_status.started, stop=stop, signals=False, **more
        )

    return await nursery.start(run), stop


def can_listen(port):
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", port))
    return True


async def test_a_failing_on_ready_leaves_nothing_behind(tmp_path):
    ports = []

    def on_ready(details):
        ports.extend([details.client_port, details.worker_port])
        raise BrokenPipeError

    with pytest.RaisesGroup(BrokenPipeError, flatten_subgroups=True):
        await run_server(settings(tmp_path), on_ready=on_ready, signals=False)
    assert not (tmp_path / "server").exists()
    assert all(map(can_listen, ports))


async def test_a_taken_port_is_named_and_nothing_is_left(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port}.*--worker-port"):
            await run_server(settings(tmp_path, worker_port=port), on_ready=print, signals=False)
    assert not (tmp_path / "server").exists()


async def test_a_link_that_cannot_be_made_leaves_nothing_behind(tmp_path):
    (tmp_path / "server/hq-current").mkdir(parents=True)
    (tmp_path / "server/hq-current/precious").touch()
    with pytest.raises(InputError, match="remove what stands there"):
        await run_server(settings(tmp_path), on_ready=print, signals=False)
    assert [path.name for path in (tmp_path / "server").iterdir()] == ["hq-current"]


async def test_a_vanished_server_directory_does_not_keep_the_server_from_ending(tmp_path):
    async with trio.open_nursery() as nursery:
        _, stop = await start(nursery, tmp_path)
        async with open_client(tmp_path / "server") as client:
            shutil.rmtree(tmp_path / "server")
            assert await client.ask(ServerInfo(), ServerDetails)
            stop.set()


async def test_a_stop_is_answered_and_the_link_removed(tmp_path):
    async with trio.open_nursery() as nursery:
        await start(nursery, tmp_path)
        async with open_client(tmp_path / "server") as client:
            await client.ask(StopServer(), Done)
    assert [path.name for path in (tmp_path / "server").iterdir()] == ["001"]


async def test_a_crash_leaves_the_link_for_the_next_start(tmp_path, monkeypatch):
    monkeypatch.setattr("hqtrio.jobs.machine.JobBook._asked", lambda *a, **k: 1 / 0)

    with pytest.RaisesGroup(Poisoned, flatten_subgroups=True):
        async with trio.open_nursery() as nursery:
            await start(nursery, tmp_path)
            with suppress(Unreachable):
                async with open_client(tmp_path / "server") as client:
                    await client.ask(ServerInfo(), ServerDetails)
    assert (tmp_path / "server/hq-current").is_symlink()


async def test_a_guest_changes_nothing_that_belongs_to_the_process(tmp_path):
    def state():
        return (
            resource.getrlimit(resource.RLIMIT_NOFILE),
            gc.isenabled(), gc.get_threshold(), gc.get_freeze_count(),
            [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)],
        )  # fmt: skip

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, hard - 1), hard))
    try:
        before = state()
        async with trio.open_nursery() as nursery:
            _, stop = await start(nursery, tmp_path)
            assert state() == before
            stop.set()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_hangup_that_nohup_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup may run the tests, too
    try:
        assert signal.SIGHUP in _obeyed()
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        assert signal.SIGHUP not in _obeyed()
    finally:
        signal.signal(signal.SIGHUP, before)


async def test_an_interrupted_run_ends_its_worker_while_the_server_still_answers(
    tmp_path, monkeypatch
):
    """Else a worker would kill its tasks for want of a server, before their grace is over."""
    heard = tmp_path / "heard"
    code = (
        "import signal, sys; from pathlib import Path\n"
        "import trio; from hqtrio.client import open_client\n"
        "from hqtrio.messages.client import ServerInfo, ServerDetails\n"
        "async def ask():\n"
        "    async with open_client(Path(sys.argv[1])) as client:\n"
        "        with open(sys.argv[2], 'w') as ready:\n"
        "            print('ready', file=ready, flush=True)\n"
        "            signal.sigwait([signal.SIGTERM])\n"
        "            print(type(await client.ask(ServerInfo(), ServerDetails)).__name__,\n"
        "                  file=ready)\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\n"
        "trio.run(ask)\n"
    )

    def start_worker(root, log, args):
        os.mkfifo(heard)
        return subprocess.Popen([sys.executable, "-c", code, str(root), str(heard)])

    monkeypatch.setattr(local, "start_worker", start_worker)
    with trio.CancelScope() as interrupted:
        async with local.open_local():
            answers = await trio.to_thread.run_sync(open, heard)
            assert await trio.to_thread.run_sync(answers.readline) == "ready\n"
            interrupted.cancel()
            await trio.sleep_forever()
    with answers:
        assert answers.read() == "ServerDetails\n"
