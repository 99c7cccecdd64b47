"""A node with real launcher processes, and the words in which the stories here are told."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trio

from actors.worker.launchers import Launchers, open_launchers
from hqtrio.ids import task_id
from hqtrio.worker.orders import (
    Answer,
    Field,
    LauncherDied,
    LauncherReady,
    LauncherSaid,
    OpenLane,
    Order,
    Output,
    RunTasks,
    TaskRan,
    TaskRefused,
    UseBody,
)

PATIENCE_S = 30
OUT = Output((Field.TASK_ID, ".out"))
ERR = Output((Field.TASK_ID, ".err"))


@dataclass
class Node:
    """One launcher, number 1, and everything it has said."""

    launchers: Launchers
    place: Path
    mark: str  # NAME=value that is in the environment of every process of this test
    said: list[Answer] = field(default_factory=list)
    _news: trio.Event = field(default_factory=trio.Event)
    _bodies: int = 0
    _lanes: set[int] = field(default_factory=set)

    def hear(self, answer: Answer) -> None:
        self.said.append(answer)
        self._news.set()

    def tell(self, *orders: Order) -> None:
        for order in orders:
            self.launchers.tell(order)

    async def until(self, condition: Callable[[], bool]) -> None:
        with trio.fail_after(PATIENCE_S):
            while not condition():
                self._news = trio.Event()
                await self._news.wait()

    def body(
        self,
        *args: str | bytes,
        env: dict[str, str] | None = None,
        cwd: tuple[str | int, ...] | None = None,
        stdout: Output | None = OUT,
        stderr: Output | None = ERR,
        stdin: bytes = b"",
        task_dir: bool = False,
        script: bytes = b"",
        submit_dir: str = "",
        calls: int = 0,
    ) -> int:
        """Make a body known; its key. With `calls` the tasks are functions."""
        self._bodies += 1
        name, _, value = self.mark.partition("=")
        whole = {"PATH": os.environ["PATH"], name: value, **(env or {})}
        self.tell(
            UseBody(
                1,
                self._bodies,
                tuple(os.fsencode(arg) for arg in args),
                tuple((key.encode(), text.encode()) for key, text in whole.items()),
                submit_dir or str(self.place),
                (str(self.place),) if cwd is None else cwd,
                stdout,
                stderr,
                stdin,
                str(self.place / "desk") if task_dir else "",
                script,
                function_calls=calls,
            )
        )
        return self._bodies

    def run(
        self,
        key: int,
        *numbers: int,
        lane: int = 1,
        instance: int = 0,
        entries: Sequence[bytes] = (),
    ) -> None:
        """Tasks of job 1, in that lane."""
        if lane not in self._lanes:
            self._lanes.add(lane)
            self.tell(OpenLane(1, lane))
        tasks = tuple(task_id(1, number) for number in numbers)
        self.tell(RunTasks(1, lane, key, tasks, (instance,) * len(tasks), tuple(entries)))

    @property
    def ends(self) -> list[TaskRan]:
        return [end for said in self.said if isinstance(said, LauncherSaid) for end in said.ended]

    @property
    def starts(self) -> list[TaskRan]:
        return [run for said in self.said if isinstance(said, LauncherSaid) for run in said.started]

    @property
    def refusals(self) -> list[TaskRefused]:
        return [no for said in self.said if isinstance(said, LauncherSaid) for no in said.refused]

    async def end_of(self, number: int) -> TaskRan:
        """How task 1@number ended."""
        task = task_id(1, number)
        await self.until(lambda: any(end.task == task for end in self.ends))
        return next(end for end in self.ends if end.task == task)

    async def start_of(self, number: int) -> TaskRan:
        """That task 1@number runs."""
        task = task_id(1, number)
        await self.until(lambda: any(run.task == task for run in self.starts))
        return next(run for run in self.starts if run.task == task)

    async def refusal_of(self, number: int) -> TaskRefused:
        """Why task 1@number did not start."""
        task = task_id(1, number)
        await self.until(lambda: any(no.task == task for no in self.refusals))
        return next(no for no in self.refusals if no.task == task)

    async def output_of(self, number: int) -> str:
        """What task 1@number printed; it finished."""
        end = await self.end_of(number)
        assert end.status == 0, (end, self.read(f"{number}.err"))
        return self.read(f"{number}.out")

    def read(self, name: str) -> str:
        path = self.place / name
        return path.read_text() if path.exists() else ""

    async def text(self, name: str) -> str:
        """A line that a task is about to write."""
        await true(lambda: self.read(name).endswith("\n"))
        return self.read(name).strip()

    def alive(self) -> list[int]:
        """Processes of this test that live."""
        return marked(self.mark)

    async def all_gone(self) -> None:
        await gone(self.mark)


async def true(condition: Callable[[], bool]) -> None:
    """What other processes do, and nobody tells us, is so."""
    with trio.fail_after(PATIENCE_S):
        while not condition():
            await trio.sleep(0.003)


def marked(mark: str) -> list[int]:
    """Living processes with that NAME=value in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if mark.encode() in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def lives(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


async def gone(mark: str) -> None:
    await true(lambda: not marked(mark))


@asynccontextmanager
async def open_node(place: Path, *, silence_s: float = 10.0) -> AsyncIterator[Node]:
    mark = f"HQ_TEST_MARK={uuid.uuid4().hex}"
    node: Node | None = None

    def hear(answer: Answer) -> None:
        assert node is not None
        node.hear(answer)

    async with open_launchers(hear, silence_s=silence_s) as launchers:
        node = Node(launchers, place, mark)
        launchers.start(1)
        await node.until(lambda: LauncherReady(1) in node.said)
        try:
            yield node
        except BaseException:
            print(node.said)
            raise
    if LauncherDied(1) not in node.said:
        assert marked(mark) == []
