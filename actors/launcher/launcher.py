"""The launcher's loop: obey the socket, start what lanes hold, reap, and tell.

An end that leaves its lane without successor is told at once, as the worker has to refill it;
everything else waits a few milliseconds for company.
"""

from __future__ import annotations

import os
import signal
import sys
import time

from actors.launcher import frames
from actors.launcher.bodies import Body
from actors.launcher.files import ERROR_FILE, read_error_text, read_result, remove_tree
from actors.launcher.frames import Frames, frame
from actors.launcher.interpreters import NO_ANSWER, Interpreters
from actors.launcher.lanes import Lane
from actors.launcher.processes import (
    Hunt,
    Process,
    families,
    kill_descendants,
    own_peak_kib,
    signal_session,
)
from actors.launcher.starts import Refusal, Started, Starter
from actors.launcher.streams import Streams
from actors.launcher.waiting import Waiter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from actors.launcher.bodies import OpenPairs, Output, Pairs, Stream, Template
    from actors.launcher.lanes import Files

_COMPANY_S = 0.005
# A lane with this many tasks ahead needs no answer soon, and each one costs the worker as much as
# a tenth of a task's start.
_MORE_COMPANY_S = 0.02
_ENOUGH_AHEAD = 8
_MEASURE_S = 1.0  # between two looks at our own peak
_REAP_MAX = 16  # in one go: each may start a successor, and answers must not wait for all of them
_HUNT_PAUSE_S = 0.002
_HUNT_MAX_S = 5.0  # whoever lives longer cannot be killed by us
_SIGNALLED_MAX = 10_000
_NEVER = float("inf")


class Run:
    """One execution that is not over: its process lives, or its stream is not written yet.

    `ending` is what is told of it, once its process was reaped.
    """

    __slots__ = (
        "ending",
        "failure",
        "family",
        "instance",
        "lane",
        "started",
        "started_at",
        "stream",
        "task",
    )

    def __init__(
        self, task: int, instance: int, lane: Lane, started_at: float, started: Started
    ) -> None:
        self.task, self.instance, self.lane = task, instance, lane
        self.started_at, self.started = started_at, started
        self.family: list[Process] = []
        self.stream = started.stream  # 0: nothing is streamed, or everything is written
        self.failure = ""
        self.ending: tuple[float, int, float, int, str, bytes] | None = None


class Launcher:
    """Everything that one launcher knows."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._streams = Streams()
        self._interpreters = Interpreters()
        self._starter = Starter(self._streams, self._interpreters)
        self._bodies: dict[int, Body] = {}
        self._lanes: dict[int, Lane] = {}
        self._running: dict[int, Run] = {}  # by pid
        self._tasks: dict[int, Run] = {}
        self._streaming: dict[int, Run] = {}  # by the number of the stream
        self._waiting: dict[int, list[Lane]] = {}  # for the end of a task's earlier instance
        # Tasks that ended after a signal of ours: a kill may still be ordered for what they left.
        self._signalled: dict[int, Run] = {}
        self._ended_signalled: dict[int, Run] = {}
        self._own_peak_kib, self._measure_at = 0, 0.0
        self._hunt = Hunt()
        self._hunt_at = self._hunt_until = _NEVER
        self._send_at = _NEVER
        self._started: dict[int, tuple[int, int, int, float]] = {}
        self._ended: list[tuple[int, int, int, float, float, int, float, int, str, bytes]] = []
        self._refused: list[tuple[int, int, bool, str, float]] = []
        self._taken: list[tuple[int, tuple[int, ...]]] = []
        self._obeyed = 0  # frames
        self._verbs: dict[str, Callable[..., None]] = {
            frames.BODY: self._use_body,
            frames.DROP: self._drop_body,
            frames.OPEN: self._open_lane,
            frames.CLOSE: self._close_lane,
            frames.RUN: self._run,
            frames.TAKE: self._take_back,
            frames.SIGNAL: self._signal,
            frames.KILL: self._kill,
        }

    def serve(self) -> None:
        """Obey until the worker is gone; then no process and no task directory is left."""
        wake, wake_up = _pipe()
        signal.set_wakeup_fd(wake_up, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _wake)  # only the byte in the pipe matters
        waiter = Waiter()
        waiter.add(wake)
        waiter.add(self._fd)
        self._streams.watch(waiter)
        self._interpreters.watch(waiter)
        received = Frames()
        dead = False  # somebody may be
        try:
            self._tell()
            while True:
                at = 0.0 if dead else min(self._send_at, self._hunt_at, self._interpreters.due_at)
                wait_s = -1 if at == _NEVER else max(0.0, at - time.monotonic())
                for fd, _ in waiter.wait(wait_s):
                    if fd == wake:
                        os.read(wake, 4096)  # before reaping: a later child writes again
                        dead = True
                    elif fd != self._fd:
                        if self._interpreters.owns(fd):
                            self._hear_interpreter(fd)
                        else:
                            self._hear_streams()
                    else:
                        data = os.read(self._fd, frames.READ_BYTES)
                        if not data:
                            return
                        for orders in received.feed(data):
                            for verb, *arguments in orders:
                                self._verbs[verb](*arguments)
                            self._obeyed += 1
                            self._send_within(time.monotonic(), _ENOUGH_AHEAD)
                if dead:
                    dead = self._reap()
                now = time.monotonic()
                if now >= self._send_at:
                    self._tell()
                if now >= self._hunt_at:
                    self._go_hunting(now)
                self._interpreters.let_go_idle(now)
        except ConnectionError:
            return
        finally:
            all_gone = kill_descendants()
            for run in self._running.values():
                if run.started.task_dir:
                    remove_tree(run.started.task_dir)
            self._interpreters.remove_directories()
            if not all_gone:
                sys.exit("launcher: some processes of its tasks would not die")

    # --- orders

    def _use_body(
        self,
        key: int,
        args: tuple[bytes | Template, ...],
        env: OpenPairs,
        submit_dir: str,
        cwd: Template,
        stdout: Output | None,
        stderr: Output | None,
        stdin: bytes | Template,
        task_dir_root: str,
        script: bytes,
        stream: Stream | None,
        function_calls: int,
    ) -> None:
        self._bodies[key] = Body(
            args, env, submit_dir, cwd, stdout, stderr, stdin, task_dir_root, script, stream,
            function_calls,
        )  # fmt: skip

    def _drop_body(self, key: int) -> None:
        self._bodies.pop(key, None)  # tasks that are queued keep it alive

    def _open_lane(
        self,
        lane: int,
        env: Pairs,
        user_wins: Pairs,
        prefix: tuple[bytes, ...],
        task_dir_root: str,
        files: Files,
    ) -> None:
        self._lanes[lane] = Lane(lane, env, user_wins, prefix, task_dir_root, files)

    def _close_lane(self, lane: int) -> None:
        self._lanes.pop(lane, None)  # what it runs keeps it alive

    def _run(
        self,
        lane_number: int,
        key: int,
        tasks: tuple[int, ...],
        instances: tuple[int, ...],
        entries: tuple[bytes, ...],
        tokens: tuple[bytes, ...],
        values: tuple[tuple[bytes, ...], ...],
    ) -> None:
        lane, body = self._lanes.get(lane_number), self._bodies.get(key)
        if lane is None or body is None:
            what = f"lane {lane_number}" if lane is None else f"body {key}"
            for task in tasks:
                self._refuse(task, lane_number, Refusal(False, f"Internal error: no {what}"))
            return
        for index, task in enumerate(tasks):
            entry = entries[index] if entries else None
            token = tokens[index] if tokens else b""
            given = values[index] if values else ()
            lane.queue.append((body, task, instances[index], entry, token, given))
        self._advance(lane)

    def _take_back(self, seq: int, tasks: tuple[int, ...]) -> None:
        wanted = frozenset(tasks)
        taken: list[int] = []
        for lane in self._lanes.values():
            taken += lane.take_back(wanted)
        self._taken.append((seq, tuple(taken)))
        for lane in self._lanes.values():
            self._advance(lane)  # it may have waited for a task that is no longer its next
        self._send_at = 0.0

    def _signal(self, number: int, tasks: Iterable[int]) -> None:
        signalled = [run for task in tasks if (run := self._tasks.get(task))]
        # Who belongs to a task has to be known before the signal: a parent that obeys it leaves
        # children that may have nothing in common with the task any more.
        of_task = families([run.started.pid for run in signalled if run.ending is None])
        for run in signalled:
            self._signalled[run.task] = run
            self._interpreters.spoil(run.started.pid)
            if run.ending is None:
                run.family = of_task[run.started.pid]
                _signal_group(run.started.pid, number)
            else:
                # The number may be another process's by now. Those of its session that hold the
                # stream open and are ours can be told apart.
                signal_session(run.started.pid, number)

    def _kill(self, tasks: Iterable[int]) -> None:
        now = time.monotonic()
        for task in tasks:
            # A run that was not signalled is a later one under the same number, and not meant.
            if run := self._signalled.get(task):
                if run.ending is None:
                    _signal_group(run.started.pid, signal.SIGKILL)
                if run.stream:
                    self._cut(run)
            elif task in self._ended_signalled:
                run = self._ended_signalled.pop(task)
            else:
                continue
            self._hunt.add(run.started.pid, _markers(run), run.family)
            self._hunt_at, self._hunt_until = now, now + _HUNT_MAX_S

    # --- tasks

    def _advance(self, lane: Lane) -> None:
        """The lane runs its next task, unless it runs one already."""
        queue = lane.queue
        while queue and not lane.pid:
            body, task, instance, entry, token, given = queue[0]
            if task in self._tasks:
                self._waiting.setdefault(task, []).append(lane)
                return
            queue.popleft()
            try:
                plan = lane.plan_for(body)
                started = self._starter.start(plan, task, instance, entry, token, given)
            except Refusal as refusal:
                self._refuse(task, lane.number, refusal)
                continue
            except Exception as error:
                # One task's oddity must not cost the others their lives.
                why = f"Internal error: {type(error).__name__}: {error}"
                self._refuse(task, lane.number, Refusal(False, why))
                continue
            now = time.monotonic()
            pid = lane.pid = started.pid
            run = self._running[pid] = self._tasks[task] = Run(task, instance, lane, now, started)
            if run.stream:
                self._streaming[run.stream] = run
            self._started[task] = (task, lane.number, pid, now)
            self._send_within(now, len(queue))

    def _refuse(self, task: int, lane: int, refusal: Refusal) -> None:
        now = time.monotonic()
        self._refused.append((task, lane, refusal.prepared, refusal.words, now))
        self._send_at = 0.0

    def _reap(self) -> bool:
        """Bury a number of dead children; False if there are no more."""
        now = time.monotonic()
        if now >= self._measure_at:
            self._own_peak_kib, self._measure_at = own_peak_kib(), now + _MEASURE_S
        own_peak = self._own_peak_kib
        try:
            for _ in range(_REAP_MAX):
                pid, status, usage = os.wait4(-1, os.WNOHANG)
                if not pid:
                    return False
                cpu_s = usage.ru_utime + usage.ru_stime
                peak = usage.ru_maxrss if usage.ru_maxrss > own_peak else 0
                ended = os.waitstatus_to_exitcode(status), cpu_s, peak, "", b""
                run = self._running.pop(pid, None)  # or a leftover that we adopted
                if run is None or run.started.is_warm:
                    ended = self._interpreters.reaped(pid, *ended[:3]) or ended
                if run is not None:
                    self._end(run, *ended)
        except ChildProcessError:
            return False
        return True

    def _hear_interpreter(self, fd: int) -> None:
        """A call may be over."""
        heard = self._interpreters.hear(fd)
        if heard is None:
            return
        pid, ended = heard
        run = self._running.pop(pid)
        self._interpreters.rest(pid, run.started.function_calls, time.monotonic())
        self._end(run, *ended)

    def _end(
        self, run: Run, status: int, cpu_s: float, peak_kib: int, error: str, result: bytes
    ) -> None:
        """The process is gone, or the call over; so is the execution if nothing of its output is
        on the way."""
        now = time.monotonic()
        started = run.started
        if started.task_dir:
            if status:
                error = read_error_text(started.task_dir + b"/" + ERROR_FILE)
            if started.function_calls:
                told = read_result(started.task_dir)
                result = told or b""
                if told is None and not status:
                    status, error = 1, error or NO_ANSWER
            remove_tree(started.task_dir)
        run.ending = now, status, cpu_s, peak_kib, error, result
        if not run.stream:
            self._settle(run)

    def _settle(self, run: Run) -> None:
        """Tell the end, and let the lane go on."""
        assert run.ending is not None
        now = time.monotonic()
        ended_at, status, cpu_s, peak_kib, error, result = run.ending
        if run.failure:
            status, error = status if status > 0 else 1, run.failure
        task, lane, started = run.task, run.lane, run.started
        if not status:
            for path in started.removable:
                _unlink(path)
        del self._tasks[task]
        lane.pid = 0
        if self._signalled.pop(task, None):
            self._ended_signalled[task] = run
            if len(self._ended_signalled) > _SIGNALLED_MAX:
                del self._ended_signalled[next(iter(self._ended_signalled))]
        self._started.pop(task, None)
        self._ended.append(
            (
                task,
                lane.number,
                started.pid,
                run.started_at,
                ended_at,
                status,
                cpu_s,
                peak_kib,
                error,
                result,
            )
        )
        waiting = self._waiting.pop(task, [])
        if waiting or (lane.queue and lane.queue[0][1] == task):
            self._tell()  # no answer may hold the end of one instance and the start of the next
        self._advance(lane)
        if lane.queue:
            self._send_within(now, len(lane.queue))
        else:
            self._send_at = 0.0
        for other in waiting:
            self._advance(other)

    def _go_hunting(self, now: float) -> None:
        """Kill another generation of what killed tasks were made of."""
        more = self._hunt.round(self._running.__contains__)
        if more and now < self._hunt_until:
            took_s = time.monotonic() - now  # on a crowded node: leave time for everything else
            self._hunt_at = now + max(_HUNT_PAUSE_S, 3 * took_s)
        else:
            self._hunt = Hunt()
            self._hunt_at = _NEVER

    # --- streams

    def _hear_streams(self) -> None:
        """Of some streams everything is written, or something never will be."""
        for number, failure in self._streams.hear():
            run = self._streaming.pop(number, None)
            if run is None:
                continue  # it was cut, or its process could not be made
            run.stream = 0
            if failure:
                self._break(run, failure)
            if run.ending is not None:
                self._settle(run)

    def _break(self, run: Run, failure: str) -> None:
        """What the task prints is lost, so that it cannot succeed any more, and is killed."""
        run.failure = f"Streaming: {failure}"
        now = time.monotonic()
        self._interpreters.spoil(run.started.pid)
        if run.ending is None:
            run.family = families([run.started.pid])[run.started.pid]
            _signal_group(run.started.pid, signal.SIGKILL)
        self._hunt.add(run.started.pid, _markers(run), run.family)
        self._hunt_at, self._hunt_until = now, now + _HUNT_MAX_S

    def _cut(self, run: Run) -> None:
        """Nobody waits for the stream any more: whoever still holds it is being killed."""
        del self._streaming[run.stream]
        self._streams.cut(run.stream)
        run.stream = 0
        if run.ending is not None:
            self._settle(run)

    # --- answers

    def _send_within(self, now: float, ahead: int = 0) -> None:
        """An answer goes after a while, if none goes before; `ahead` tasks wait in the lane."""
        due = now + (_MORE_COMPANY_S if ahead >= _ENOUGH_AHEAD else _COMPANY_S)
        self._send_at = min(self._send_at, due)

    def _tell(self) -> None:
        answer = (
            tuple(self._started.values()),
            tuple(self._ended),
            tuple(self._refused),
            tuple(self._taken),
            self._obeyed,
        )
        self._started.clear()
        self._ended.clear()
        self._refused.clear()
        self._taken.clear()
        self._send_at = _NEVER
        os.chdir("/")  # nobody's directory is held because its task ran here last
        left = memoryview(frame(answer))
        while left:
            left = left[os.write(self._fd, left) :]


def _pipe() -> tuple[int, int]:
    """Both ends are ours alone and never block."""
    ends = os.pipe()
    for end in ends:
        os.set_blocking(end, False)
    return ends


def _wake(number: int, stack: object) -> None:
    """A handler has to exist for the wake-up pipe to be written to."""


def _markers(run: Run) -> tuple[bytes, ...]:
    return (
        b"HQ_JOB_ID=%d" % (run.task >> 32),
        b"HQ_TASK_ID=%d" % (run.task & 0xFFFFFFFF),
        b"HQ_INSTANCE_ID=%d" % run.instance,
    )


def _signal_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except OSError:
        pass  # every member belongs to another user (a set-uid program)


def _unlink(path: bytes) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass  # the task has removed or moved it
