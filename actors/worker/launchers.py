"""Launcher processes: an edge for each, which turns orders into frames and frames into answers."""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, assert_never

import trio

from actors.kit.mailbox import Mailbox
from actors.launcher import frames
from actors.launcher.frames import Frames, frame
from actors.launcher.processes import processes
from actors.worker.children import spawn_child
from actors.worker.reaper import Reaper, wait_gone
from actors.worker.silence import Silence
from hqtrio.worker.orders import (
    Answer,
    CloseLane,
    DropBody,
    KillTasks,
    LauncherDied,
    LauncherReady,
    LauncherSaid,
    OpenLane,
    Order,
    Output,
    RunTasks,
    SignalTasks,
    Stream,
    TakeBack,
    TaskRan,
    TaskRefused,
    Template,
    UseBody,
)

log = logging.getLogger(__name__)

SILENCE_S: Final = 10.0  # so long may an order stay without answer
STOP_S: Final = 6.0  # a launcher gives what it kills 5 s
_KILL_S: Final = 1.0
_CORES_PER_LAUNCHER: Final = 16
_LAUNCHERS_MIN: Final = 2
_LAUNCHERS_MAX: Final = 8
_CHUNK: Final = 1000  # orders in one frame: the answers to the first need not wait for the rest
# A slot has a handful of orders under way (bodies, lane, tasks); 100,000 unsent ones mean that
# the launcher has long been hanging.
_OUTBOX_MAX: Final = 100_000

Receive = Callable[[], Awaitable[Sequence[Order]]]
Say = Callable[[Answer], None]


def count_launchers(cores: int) -> int:
    """How many launchers keep that many cores busy."""
    return min(max(cores // _CORES_PER_LAUNCHER, _LAUNCHERS_MIN), _LAUNCHERS_MAX)


class Launchers:
    """The launchers of one worker, by number. Nothing here waits."""

    def __init__(
        self, nursery: trio.Nursery, reaper: Reaper, say: Say, *, silence_s: float = SILENCE_S
    ) -> None:
        self._nursery, self._reaper, self._say = nursery, reaper, say
        self._silence_s = silence_s
        self._outboxes: dict[int, Mailbox[Order]] = {}

    def start(self, launcher: int) -> None:
        """A process under a number never used before; LauncherReady or LauncherDied follows."""
        assert launcher not in self._outboxes, launcher
        hanging = trio.Event()
        outbox: Mailbox[Order] = Mailbox(
            f"launcher {launcher}", soft_max=_OUTBOX_MAX, hard_max=_OUTBOX_MAX, on_full=hanging.set
        )
        self._outboxes[launcher] = outbox
        self._nursery.start_soon(self._run, launcher, outbox, hanging, name=outbox.name)

    def tell(self, order: Order) -> None:
        """Pass the order on; the dead get none."""
        outbox = self._outboxes.get(order.launcher)
        if outbox is not None:
            outbox.tell(order)

    async def _run(self, launcher: int, outbox: Mailbox[Order], hanging: trio.Event) -> None:
        try:
            await run_launcher(
                launcher,
                outbox.receive,
                self._say,
                reaper=self._reaper,
                hanging=hanging,
                silence_s=self._silence_s,
            )
        finally:
            outbox.end()
            del self._outboxes[launcher]


@asynccontextmanager
async def open_launchers(
    say: Say, *, reaper: Reaper | None = None, silence_s: float = SILENCE_S
) -> AsyncIterator[Launchers]:
    """Room for launchers; leaving ends them all, and with them every process that they started."""
    async with trio.open_nursery() as nursery:
        try:
            yield Launchers(nursery, reaper or Reaper(), say, silence_s=silence_s)
        finally:
            nursery.cancel_scope.cancel()


async def run_launcher(
    launcher: int,
    receive: Receive,
    say: Say,
    *,
    reaper: Reaper,
    hanging: trio.Event,
    silence_s: float = SILENCE_S,
    stop_s: float = STOP_S,
) -> None:
    """Run one launcher process until it dies or the caller cancels; nothing of it is left then.

    What a dead launcher had started is killed before LauncherDied is said. A launcher that hangs,
    because it is silent for `silence_s` or `hanging` is set, is killed itself.
    """
    edge = _Edge(launcher, say)
    ours, theirs = socket.socketpair()
    try:
        with theirs:
            pid = _spawn(theirs)
    except OSError as error:
        ours.close()
        log.error("launcher %d cannot be started: %s", launcher, error)
        say(LauncherDied(launcher))
        return
    reaper.spare(pid)
    died = False
    try:
        with trio.socket.from_stdlib_socket(ours) as link:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(edge.send, link, receive)
                nursery.start_soon(edge.watch, hanging, silence_s, nursery)
                await edge.hear(link)
                nursery.cancel_scope.cancel()
            died = True
    finally:
        # The closed socket tells the launcher to kill its tasks and end.
        with trio.CancelScope(shield=True):
            code = None
            if not edge.hangs:
                with trio.move_on_after(stop_s):
                    code = await wait_gone(pid)
            if code is None:
                code = await _kill(launcher, pid)
            if code is not None:
                reaper.forget(pid)
            if (died or code != 0) and not await reaper.sweep():
                log.warning("launcher %d: processes of its tasks would not die", launcher)
    log.error("launcher %d died; what it had started was killed", launcher)
    say(LauncherDied(launcher))
    if code is None:
        await wait_gone(pid)
        reaper.forget(pid)
        await reaper.sweep()


class _Edge:
    """One launcher's socket, seen from the worker."""

    def __init__(self, launcher: int, say: Say) -> None:
        self._launcher, self._say = launcher, say
        self._silence = Silence()
        self._is_ready = False
        self.hangs = False

    async def send(self, link: trio.socket.SocketType, receive: Receive) -> None:
        """Pass on all orders, until there will be no more or the launcher is gone."""
        try:
            while orders := await receive():
                for begin in range(0, len(orders), _CHUNK):
                    chunk = [_encode(order) for order in orders[begin : begin + _CHUNK]]
                    self._silence.sent()
                    await _send_all(link, frame(chunk))
        except OSError:
            return  # `hear` sees the end as well

    async def hear(self, link: trio.socket.SocketType) -> None:
        """Say what the launcher says, until it is gone."""
        received = Frames()
        while True:
            try:
                data = await link.recv(frames.READ_BYTES)
            except OSError:
                return
            if not data:
                return
            for answer in received.feed(data):
                if self._is_ready:
                    self._answer(*answer)
                else:
                    self._is_ready = True
                    self._silence.answered(0)
                    self._say(LauncherReady(self._launcher))

    async def watch(self, full: trio.Event, silence_s: float, nursery: trio.Nursery) -> None:
        """End the edge once orders wait too long or are too many."""
        async with trio.open_nursery() as either:

            async def overflow() -> None:
                await full.wait()
                either.cancel_scope.cancel()

            either.start_soon(overflow)
            await self._silence.too_long(silence_s)
            either.cancel_scope.cancel()
        self.hangs = True
        log.error("launcher %d does not answer; a file system may hang", self._launcher)
        nursery.cancel_scope.cancel()

    def _answer(
        self,
        started: tuple[Any, ...],
        ended: tuple[Any, ...],
        refused: tuple[Any, ...],
        taken: tuple[tuple[int, tuple[int, ...]], ...],
        obeyed: int,
    ) -> None:
        self._silence.answered(obeyed)
        if not (started or ended or refused or taken):
            return
        now = time.monotonic()
        self._say(
            LauncherSaid(
                self._launcher,
                tuple([TaskRan(task, lane, pid, now - at) for task, lane, pid, at in started]),
                tuple(
                    [
                        TaskRan(task, lane, pid, now - begin, now - end, *rest)
                        for task, lane, pid, begin, end, *rest in ended
                    ]
                ),
                tuple(
                    [
                        TaskRefused(task, lane, prepared, text, now - at)
                        for task, lane, prepared, text, at in refused
                    ]
                ),
                taken,
            )
        )


def _spawn(theirs: socket.socket) -> int:
    """Start a launcher that holds this end of a socket; its pid."""
    return spawn_child(
        f"from actors.launcher.main import main; main({frames.SOCKET_FD})", theirs.fileno()
    )


async def _kill(launcher: int, pid: int) -> int | None:
    """Kill a launcher that does not end, and its tasks before; None if it does not even die.

    While its parent hangs nobody reaps a task, so the numbers of its children are still theirs.
    """
    log.warning("launcher %d is killed", launcher)
    for process in processes():
        if process.parent == pid:
            _signal(os.killpg if process.session == process.pid else os.kill, process.pid)
    _signal(os.kill, pid)
    with trio.move_on_after(_KILL_S):
        return await wait_gone(pid)
    return None


def _signal(send: Callable[[int, int], None], pid: int) -> None:
    try:
        send(pid, signal.SIGKILL)
    except OSError:
        pass  # gone, or of another user


async def _send_all(link: trio.socket.SocketType, data: bytes) -> None:
    with memoryview(data) as left:
        sent = 0
        while sent < len(data):
            sent += await link.send(left[sent:])


def _encode(order: Order) -> tuple[object, ...]:
    match order:
        case RunTasks(_, lane, key, tasks, instances, entries, tokens, values):
            return frames.RUN, lane, key, tasks, instances, entries, tokens, values
        case UseBody():
            return (
                frames.BODY,
                order.key,
                tuple(map(_text, order.args)),
                tuple((name, _text(value)) for name, value in order.env),
                order.submit_dir,
                _plain(order.cwd),
                _output(order.stdout),
                _output(order.stderr),
                _text(order.stdin),
                order.task_dir_root,
                order.script,
                _stream(order.stream),
                order.function_calls,
            )
        case DropBody(_, key):
            return frames.DROP, key
        case OpenLane(_, lane, env, user_wins, prefix, task_dir_root, files):
            texts = tuple((file.variable, file.name, file.content) for file in files)
            return frames.OPEN, lane, env, user_wins, prefix, task_dir_root, texts
        case CloseLane(_, lane):
            return frames.CLOSE, lane
        case TakeBack(_, seq, tasks):
            return frames.TAKE, seq, tasks
        case SignalTasks(_, number, tasks):
            return frames.SIGNAL, int(number), tasks
        case KillTasks(_, tasks):
            return frames.KILL, tasks
        case _:
            assert_never(order)


def _plain(template: Template) -> Template:
    """Fields as plain numbers: marshal knows no enumerations."""
    return tuple(item if isinstance(item, str) else int(item) for item in template)


def _text(text: bytes | Template) -> bytes | Template:
    return text if isinstance(text, bytes) else _plain(text)


def _stream(stream: Stream | None) -> tuple[str, str, str, int, int] | None:
    if stream is None:
        return None
    return stream.socket, stream.directory, stream.server_uid, stream.worker, stream.mask


def _output(output: Output | None) -> tuple[Template, bool] | None:
    return None if output is None else (_plain(output.path), output.remove_if_finished)
