"""The process that starts a server, and starts it again when it has crashed.

It is small and does nothing else: one thread, no socket, the standard library. It waits at one
place for all there is: the end of the server, what the server says, signals, the end of a pause.
Should it be killed, the server goes on, with nobody to start it again.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from actors.daemon.detached import LOG_VARIABLE, READY_FD
from actors.daemon.keeper import Places
from actors.daemon.log_file import append_line, open_log
from actors.daemon.restarts import Again, Over, Patience, Restarts
from hqtrio.net.directory import withdraw_instance

__all__ = ["Supervisor"]

_ENDING: Final = (signal.SIGINT, signal.SIGTERM)
_FAILED: Final = 1


@dataclass(slots=True)
class _Life:
    """One server process, and what it has said of itself so far."""

    process: subprocess.Popen[bytes]
    ready_fd: int
    heard: bytes = b""
    refusal: str = ""
    is_final: bool = False


class Supervisor:
    """Keeps `command` alive, the start of a server; `caller` is told how the first start ended."""

    def __init__(
        self, command: Sequence[str], caller: int, *, patience: Patience | None = None
    ) -> None:
        self._command = list(command)
        self._caller: int | None = caller
        self._restarts = Restarts(patience)
        self._places: Places | None = None  # once a server was there
        self._instance: Path | None = None  # the latest
        self._journal: str | None = None
        self._asked: list[signal.Signals] = []  # what has not been passed on yet
        self._was_asked: signal.Signals | None = None
        self._woken, self._waker = os.pipe()

    def run(self) -> int:
        """Return when there is nothing left to keep alive; the result is an exit code."""
        self._hear_signals()
        while True:
            match self._live():
                case Over(text):
                    return self._finish(text)
                case Again(text, pause_s):
                    if not self._pause(text, pause_s):
                        return self._finish("")

    # --- one server

    def _live(self) -> Again | Over:
        """A server from its start to its end, and what follows."""
        try:
            life = self._start()
        except OSError as error:  # too many processes, perhaps: then for a while
            refusal = f"no process for it: {error.strerror}"
            return self._what_follows(_FAILED, refusal, is_final=False)
        while (code := life.process.poll()) is None:
            ready = self._wait([life.ready_fd] if life.ready_fd >= 0 else [], None)
            if ready:
                self._listen(life)
            for number in self._take_asked():
                life.process.send_signal(number)
        while life.ready_fd >= 0:
            self._listen(life)
        if self._was_asked is not None:
            return Over()
        return self._what_follows(code, life.refusal, is_final=life.is_final)

    def _what_follows(self, code: int, refusal: str, *, is_final: bool) -> Again | Over:
        if self._places is None:  # it never was there: whoever has started it sees why
            self._answer({"refused": refusal, "code": code})
            return Over()
        now = time.monotonic()
        follows = self._restarts.ended(code, now, refusal=refusal, is_final=is_final)
        if self._journal is None and isinstance(follows, Again):
            return Over(f"{follows.text}; without a journal there is nothing to go on with")
        return follows

    def _start(self) -> _Life:
        read, write = os.pipe()
        environment = {**os.environ, READY_FD: str(write)}
        command, log = self._command, None
        if self._places is not None:
            environment[LOG_VARIABLE] = str(self._places.log)
            with suppress(OSError):
                log = open_log(self._places.log)
            if not any(word.partition("=")[0] == "--journal" for word in command):
                command = [*command, f"--journal={self._journal}"]
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL if log is None else log,
                stderr=log,
                env=environment,
                pass_fds=[write],
            )
        finally:
            os.close(write)
            if log is not None:
                os.close(log)
        return _Life(process, read)

    def _listen(self, life: _Life) -> None:
        """Take what the server says; lines are whole."""
        data = os.read(life.ready_fd, 1 << 16)
        if not data:
            os.close(life.ready_fd)
            life.ready_fd = -1
            return
        *lines, life.heard = (life.heard + data).split(b"\n")
        for line in lines:
            said = json.loads(line)
            if "instance" in said:
                self._be_ready(life, said)
            else:
                life.refusal, life.is_final = said["refused"], said["is_final"]

    def _be_ready(self, life: _Life, said: dict[str, Any]) -> None:
        self._restarts.ready(time.monotonic())
        self._instance = Path(said["instance"])
        if self._places is None:
            self._places = Places(self._instance)
            self._journal = said["details"].get("journal_path")
            with suppress(OSError):
                self._places.tell()
            self._let_go()
            self._answer(said)
        else:
            self._places.tell_in(self._instance)
            self._note("INFO", f"the server is back: process {life.process.pid}")

    # --- between servers

    def _pause(self, text: str, pause_s: float) -> bool:
        """Whether another server is still wanted when the pause is over."""
        self._note("WARN", f"{text}; it is started again in {pause_s:g} s")
        end = time.monotonic() + pause_s
        while (left := end - time.monotonic()) > 0:
            self._wait([], left)
            for number in self._take_asked():
                if number == signal.SIGINT and self._instance is not None:
                    withdraw_instance(self._instance)
            if self._was_asked is not None:
                return False
        return True

    def _finish(self, text: str) -> int:
        if self._places is None or self._instance is None:
            return _FAILED
        if text:
            remedy = ""
            if self._journal is not None:
                words = f"hqtrio server start --daemon --journal {self._journal}"
                remedy = f"; `{words}` goes on with its jobs"
            self._note("ERROR", f"giving up: {text}{remedy}")
        self._places.withdraw()
        return _FAILED if text else 0

    # --- the world

    def _hear_signals(self) -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a logout; the server inherits this
        for number in _ENDING:
            signal.signal(number, lambda number, _: self._asked.append(signal.Signals(number)))
        signal.signal(signal.SIGCHLD, lambda *_: None)
        os.set_blocking(self._woken, False)
        os.set_blocking(self._waker, False)
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)

    def _wait(self, fds: list[int], seconds: float | None) -> list[int]:
        """Return when one of them can be read, or a signal has come, or the time is over."""
        ready, _, _ = select.select([self._woken, *fds], [], [], seconds)
        if self._woken in ready:
            with suppress(BlockingIOError):
                while os.read(self._woken, 1 << 10):
                    pass
        return [fd for fd in ready if fd != self._woken]

    def _take_asked(self) -> list[signal.Signals]:
        asked = self._asked[:]
        del self._asked[: len(asked)]
        if asked:
            self._was_asked = asked[-1]
        return asked

    def _answer(self, said: dict[str, object]) -> None:
        """Whoever has started us learns how that went, if it still waits."""
        assert self._caller is not None
        with suppress(OSError), open(self._caller, "wb") as caller:
            caller.write(json.dumps(said).encode() + b"\n")
        self._caller = None

    def _let_go(self) -> None:
        """Nothing of the terminal, and no file system, is held any more."""
        os.chdir("/")
        null = os.open(os.devnull, os.O_RDWR)
        for fd in range(3):
            os.dup2(null, fd)
        os.close(null)

    def _note(self, level: str, text: str) -> None:
        assert self._places is not None
        append_line(self._places.log, level, text)
