"""Start one execution of a task: its directories, files, environment and process.

The order of the steps decides which failure counts: what fails before the task is prepared means
that it never started; what fails after counts as a start.
"""

from __future__ import annotations

import errno
import os
import signal

from actors.launcher.files import (
    ERROR_FILE,
    SealedInput,
    create_output,
    make_directories,
    make_task_directory,
    remove_tree,
    write_new,
)
from actors.launcher.interpreters import CHILD_FD
from actors.launcher.processes import kill
from actors.launcher.programs import SHELL, Programs, cannot_execute, describe, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from actors.launcher.bodies import Stream
    from actors.launcher.interpreters import Interpreters
    from actors.launcher.lanes import Plan
    from actors.launcher.streams import Streams

_SCRIPT_FILE = b"script"
_ACCESS = b"HQ_ACCESS_KEY"
_OF_EXECUTION = (b"HQ_JOB_ID", b"HQ_TASK_ID", b"HQ_INSTANCE_ID", b"HQ_ENTRY", _ACCESS)
_NUMBER_BITS = 32
_NUMBER_MASK = (1 << _NUMBER_BITS) - 1


class Refusal(Exception):
    """The task cannot start; `prepared` tells whether it counts as started."""

    def __init__(self, prepared: bool, words: str) -> None:
        super().__init__(words)
        self.prepared, self.words = prepared, words


class Started:
    """What has to be known about a process until its end.

    `function_calls` as in Body; the process of a warm call is its interpreter, `is_warm`.
    """

    __slots__ = ("function_calls", "is_warm", "pid", "removable", "stream", "task_dir")

    def __init__(
        self, pid: int, removable: tuple[bytes, ...], task_dir: bytes, stream: int, plan: Plan
    ) -> None:
        self.pid, self.removable, self.task_dir = pid, removable, task_dir
        self.stream = stream  # its number; 0: nothing is streamed
        self.function_calls, self.is_warm = plan.body.function_calls, plan.is_warm


class Starter:
    """Starts tasks; holds what all of them use."""

    __slots__ = ("_interpreters", "_null", "_programs", "_reset", "_streams")

    def __init__(self, streams: Streams, interpreters: Interpreters) -> None:
        self._streams, self._interpreters = streams, interpreters
        self._null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self._programs = Programs()
        # Signals that we catch become the default by exec; those that we ignore would stay so.
        self._reset = tuple(
            number
            for number in signal.valid_signals()
            if signal.getsignal(number) is signal.SIG_IGN
        )

    def start(
        self,
        plan: Plan,
        task: int,
        instance: int,
        entry: bytes | None,
        token: bytes,
        given: tuple[bytes, ...],
    ) -> Started:
        """The task runs in a session of its own; Refusal tells why not."""
        body = plan.body
        try:
            return self._start(plan, task, instance, entry, token, given)
        except Refusal:
            if not body.directories_exist:
                raise
        # Somebody has removed a directory that was there for an earlier task: make them anew.
        body.directories_exist = False
        return self._start(plan, task, instance, entry, token, given)

    def _start(
        self,
        plan: Plan,
        task: int,
        instance: int,
        entry: bytes | None,
        token: bytes,
        given: tuple[bytes, ...],
    ) -> Started:
        body, env = plan.body, plan.env
        number, run = b"%d" % (task & _NUMBER_MASK), b"%d" % instance
        env[b"HQ_JOB_ID"] = b"%d" % (task >> _NUMBER_BITS)
        env[b"HQ_TASK_ID"], env[b"HQ_INSTANCE_ID"] = number, run
        if entry is not None:
            env[b"HQ_ENTRY"] = entry
        if token:
            env[_ACCESS] = body.access + token
        cwd = body.cwd.fixed or body.cwd.fill((number, run, b"", *given))
        values = (number, run, cwd, *given)
        stdout = body.stdout.fill(values) if body.stdout else b""
        stderr = body.stderr.fill(values) if body.stderr else b""
        task_dir = b""
        argv = plan.argv
        if plan.open_words:
            argv = list(argv)
            for at, word in plan.open_words:
                argv[at] = word.fill(values)
        for name, value in plan.open_env:
            env[name] = value.fill(values)
        files: list[int] = []
        try:
            if (plan.task_dir_root or body.script) and not plan.is_warm:
                task_dir = self._make_task_dir(plan)
                if body.script:
                    argv = [*argv, task_dir + b"/" + _SCRIPT_FILE]
            if not body.directories_exist:
                _make_parent(stdout, "stdout")
                _make_parent(stderr, "stderr")
            if not argv:
                raise Refusal(True, "No command arguments")
            _enter(cwd)
            stdin = self._null
            if body.stdin:
                stdin = body.stdin.open()
                files.append(stdin)
            elif body.open_stdin:
                stdin = SealedInput(body.open_stdin.fill(values)).open()
                files.append(stdin)
            out = err = self._null
            if stdout:
                out = _create(stdout, "stdout")
                files.append(out)
            if stderr:
                if stderr == stdout:
                    err = out  # one file, written to in turn
                else:
                    err = _create(stderr, "stderr")
                    files.append(err)
            stream = 0
            if body.stream:
                stream, pipes = self._open_stream(body.stream, task, instance)
                files += pipes.values()
                out, err = pipes.get(0, out), pipes.get(1, err)
            try:
                if plan.is_warm:
                    pid = self._call(plan, task, argv, cwd, (stdin, out, err))
                else:
                    pid = self._spawn(plan, argv, _actions(stdin, out, err))
            except (OSError, ValueError) as error:
                raise Refusal(True, cannot_execute(argv, cwd, error)) from None
        except Refusal:
            if task_dir:
                remove_tree(task_dir)
            raise
        finally:
            for fd in files:
                os.close(fd)
        body.directories_exist = body.directories_fixed
        removable: tuple[bytes, ...] = ()
        if body.remove_stdout or body.remove_stderr:
            removable = (stdout,) * body.remove_stdout + (stderr,) * body.remove_stderr
        return Started(pid, removable, task_dir, stream, plan)

    def _call(
        self, plan: Plan, task: int, argv: list[bytes], cwd: bytes, files: tuple[int, int, int]
    ) -> int:
        """Have an interpreter, perhaps a new one, call the function; its pid."""
        interpreters, env, job = self._interpreters, plan.env, task >> _NUMBER_BITS
        kind = job, tuple(argv), plan.environment
        names = [name for name in _OF_EXECUTION if name in env]
        names += [name for name, _ in plan.open_env]
        changes = [(name, env[name]) for name in names]
        while (one := interpreters.fitting(kind)) is not None:
            if interpreters.call(one, cwd, changes, files):
                return one.pid
        null, (_, out, err) = self._null, files

        def spawn(words: list[bytes], link: int, directory: bytes) -> int:
            env[b"HQ_TASK_DIR"] = directory
            env[b"HQ_ERROR_FILENAME"] = directory + b"/" + ERROR_FILE
            actions = *_actions(null, out, err), (os.POSIX_SPAWN_DUP2, link, CHILD_FD)
            return self._spawn(plan, words, actions)

        try:
            one = interpreters.start(kind, plan.task_dir_root, spawn)
        finally:
            env.pop(b"HQ_TASK_DIR", None)  # the next one has another
            env.pop(b"HQ_ERROR_FILENAME", None)
        if not interpreters.call(one, cwd, changes, files):
            kill(one.pid)  # it has died, or will never hear of the call: the call ends with it
        return one.pid

    def _open_stream(self, stream: Stream, task: int, instance: int) -> tuple[int, dict[int, int]]:
        """The stream's number, and for each channel where the task writes."""
        try:
            return self._streams.open(stream, task, instance)
        except OSError as error:
            raise Refusal(True, f"Streaming: no streamer: {describe(error)}") from None

    def _spawn(self, plan: Plan, argv: list[bytes], actions: Sequence[tuple[int, int, int]]) -> int:
        env = plan.env
        while True:
            program = self._programs.find(argv[0], env)
            try:
                if plan.shell:
                    return os.posix_spawn(
                        SHELL,
                        [SHELL, program, *argv[1:]],
                        env,
                        file_actions=actions,
                        setsid=True,
                        setsigmask=(),
                        setsigdef=self._reset,
                    )
                return os.posix_spawn(
                    program,
                    argv,
                    env,
                    file_actions=actions,
                    setsid=True,
                    setsigmask=(),
                    setsigdef=self._reset,
                )
            except OSError as error:
                if error.errno == errno.ENOEXEC and not plan.shell:
                    plan.shell = True
                elif error.errno != errno.ENOENT or not self._programs.forget(argv[0], env):
                    raise

    def _make_task_dir(self, plan: Plan) -> bytes:
        path, env, script = b"", plan.env, plan.body.script
        try:
            path = make_task_directory(plan.task_dir_root)
            if script:
                write_new(path + b"/" + _SCRIPT_FILE, script, 0o700)
            for variable, name, content in plan.files:
                env[variable] = path + b"/" + name
                write_new(env[variable], content, 0o600)
        except (OSError, ValueError) as error:
            if path:
                remove_tree(path)
            raise _refusal(
                False, "Cannot create task directory in", plan.task_dir_root, error
            ) from None
        env[b"HQ_TASK_DIR"] = path
        env[b"HQ_ERROR_FILENAME"] = path + b"/" + ERROR_FILE
        return path


def _actions(stdin: int, out: int, err: int) -> tuple[tuple[int, int, int], ...]:
    return (
        (os.POSIX_SPAWN_DUP2, stdin, 0),
        (os.POSIX_SPAWN_DUP2, out, 1),
        (os.POSIX_SPAWN_DUP2, err, 2),
    )


def _make_parent(path: bytes, channel: str) -> None:
    if path:
        directory = os.path.dirname(path)
        try:
            make_directories(directory)
        except (OSError, ValueError) as error:
            raise _refusal(False, f"Cannot create {channel} directory", directory, error) from None


def _enter(cwd: bytes) -> None:
    """We are in the task's directory (posix_spawn has no argument for it), made if it was missing.

    Entered for every task: the one with that name may not be the one that we are in.
    """
    try:
        os.chdir(cwd)
        return
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        raise _refusal(True, "Could not enter working directory", cwd, error) from None
    try:
        make_directories(cwd)
        os.chdir(cwd)
    except OSError as error:
        raise _refusal(True, "Could not create working directory", cwd, error) from None


def _create(path: bytes, channel: str) -> int:
    try:
        return create_output(path)
    except (OSError, ValueError) as error:
        raise _refusal(True, f"Cannot create {channel} file", path, error) from None


def _refusal(prepared: bool, step: str, path: bytes, error: OSError | ValueError) -> Refusal:
    reason = describe(error) if isinstance(error, OSError) else str(error)
    return Refusal(prepared, f"{step} `{text(path)}`: {reason}")
