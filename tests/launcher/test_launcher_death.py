"""Whoever dies, worker or launcher, leaves no process of any task."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from launcher_node import Node, gone, lives, marked, open_node, true
from test_launcher_end import FAMILY, family_is_up

from actors.worker.launchers import count_launchers
from hqtrio.ids import task_id
from hqtrio.worker.orders import LauncherDied, LauncherReady, RunTasks

ROOT = Path(__file__).parents[2]


def test_launchers_grow_with_the_node() -> None:
    assert [count_launchers(cores) for cores in (1, 2, 47, 48, 128, 512)] == [2, 2, 2, 3, 8, 8]


async def launcher_of(node: Node) -> int:
    """The pid of the launcher process."""
    node.run(node.body("sh", "-c", "echo $PPID > launcher"), 1000, lane=1000)
    return int(await node.text("launcher"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP])
async def test_the_launcher_obeys_only_its_socket(node: Node, number: int) -> None:
    os.kill(await launcher_of(node), number)
    node.run(node.body("sh", "-c", "exit 2"), 2)
    assert (await node.end_of(2)).status == 2


async def test_the_end_of_the_worker_kills_every_descendant(tmp_path: Path) -> None:
    async with open_node(tmp_path) as node:
        node.run(node.body("sh", "-c", FAMILY, task_dir=True), 1)
        nameless = await family_is_up(node)
        assert len(node.alive()) > 4
        assert len(list((tmp_path / "desk").iterdir())) == 1
    assert marked(node.mark) == []
    assert not lives(nameless)
    assert list((tmp_path / "desk").iterdir()) == []


async def test_a_killed_launcher_takes_its_tasks_along_and_another_goes_on(node: Node) -> None:
    launcher = await launcher_of(node)
    node.run(node.body("sh", "-c", FAMILY), 1)
    nameless = await family_is_up(node)
    node.launchers.start(2)
    await node.until(lambda: LauncherReady(2) in node.said)
    own = subprocess.Popen(["sleep", "1000"])
    try:
        os.kill(launcher, signal.SIGKILL)
        await node.until(lambda: LauncherDied(1) in node.said)
        assert node.alive() == []
        assert not lives(nameless)
        assert own.poll() is None
    finally:
        own.kill()
        own.wait()
    node.tell(RunTasks(1, 1, 1, (task_id(1, 5),), (0,)))  # the dead get no mail
    node.launchers.start(3)
    await node.until(lambda: LauncherReady(3) in node.said)


async def test_a_launcher_that_does_not_answer_is_given_up(tmp_path: Path) -> None:
    """A stopped launcher stands for one that a file system does not let go."""
    async with open_node(tmp_path, silence_s=2.0) as node:
        launcher = await launcher_of(node)
        node.run(node.body("sh", "-c", FAMILY), 1)
        await family_is_up(node)
        os.kill(launcher, signal.SIGSTOP)
        node.run(node.body("true"), 2)
        await node.until(lambda: LauncherDied(1) in node.said)
        assert node.alive() == []


async def test_a_launcher_that_cannot_be_started_is_told_as_dead(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    node.launchers.start(2)
    await node.until(lambda: LauncherDied(2) in node.said)


WORKER = """
import sys
from pathlib import Path
import trio
sys.path[:0] = sys.argv[1:3]
from launcher_node import Node, open_launchers

async def main():
    said = []
    async with open_launchers(said.append) as launchers:
        launchers.start(1)
        node = Node(launchers, Path(sys.argv[3]), sys.argv[4])
        node.run(node.body("sh", "-c", sys.argv[5]), 1)
        node.run(node.body("sh", "-c", "echo $PPID > launcher"), 2, lane=2)
        await trio.sleep_forever()

trio.run(main)
"""


@pytest.mark.parametrize("group", [False, True])
async def test_s2_18_a_killed_worker_leaves_no_process(node: Node, group: bool) -> None:
    """Grandchildren and daemons included; killing its whole process group changes nothing."""
    mark = f"HQ_TEST_MARK={uuid.uuid4().hex}"
    node.mark = mark
    command = [sys.executable, "-B", "-c", WORKER, str(ROOT), str(Path(__file__).parent)]
    worker = subprocess.Popen(
        [*command, str(node.place), mark, FAMILY], stdin=subprocess.DEVNULL, start_new_session=True
    )
    try:
        nameless = await family_is_up(node)
        launcher = int(await node.text("launcher"))
        assert len(marked(mark)) > 4
        (os.killpg if group else os.kill)(worker.pid, signal.SIGKILL)
        await gone(mark)
        await true(lambda: not lives(nameless) and not lives(launcher))
    finally:
        worker.kill()
        worker.wait()
