"""The server's side of a daemon: it says how its start went, and turns to its log."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from actors.daemon.keeper import LOG_NAME
from actors.daemon.log_file import LogFile
from hqtrio.errors import InputError

__all__ = ["LOG_VARIABLE", "READY_FD", "Detached"]

READY_FD: Final = "HQTRIO_READY_FD"
LOG_VARIABLE: Final = "HQTRIO_DAEMON_LOG"  # where earlier servers of the daemon have logged


class Detached:
    """The pipe to who keeps this server alive; it is closed as soon as there is nothing to say."""

    def __init__(self, fd: int, log: Path | None = None) -> None:
        self._fd: int | None = fd
        self._log = log

    @classmethod
    def from_environment(cls) -> Detached | None:
        """The pipe, if there is one; no child of ours will see it."""
        fd, log = os.environ.pop(READY_FD, None), os.environ.pop(LOG_VARIABLE, None)
        if fd is None:
            return None
        os.set_inheritable(int(fd), False)
        return cls(int(fd), Path(log) if log else None)

    def ready(self, instance: Path, details: Mapping[str, object]) -> None:
        """What is printed goes to the log, no directory is held, and they know that it listens.

        InputError if there can be no log; a server that is back does without.
        """
        try:
            LogFile(self._log or instance / LOG_NAME).take_over()
        except OSError as error:
            if self._log is None:
                raise InputError(
                    f"Cannot write `{instance / LOG_NAME}`: {error.strerror}"
                ) from error
        os.chdir("/")
        self._say({"instance": str(instance), "details": dict(details)})

    def failed(self, fault: BaseException) -> str:
        """What is in the way of a start, told; empty if that is a mistake of ours.

        Whatever ends a server that was there is no matter of its start.
        """
        refusal = next(_refusals(fault), None)
        if refusal is None or self._fd is None:
            return ""
        is_final = not isinstance(refusal.__cause__, OSError)  # disks and ports may come back
        self._say({"refused": str(refusal), "is_final": is_final})
        return str(refusal)

    def _say(self, said: Mapping[str, object]) -> None:
        if self._fd is None:
            return
        # Whoever kept it alive may have been killed meanwhile.
        with suppress(BrokenPipeError), open(self._fd, "wb") as pipe:
            pipe.write(json.dumps(said).encode() + b"\n")
        self._fd = None


def _refusals(fault: BaseException) -> Iterator[InputError]:
    if isinstance(fault, BaseExceptionGroup):
        for error in fault.exceptions:
            yield from _refusals(error)
    elif isinstance(fault, InputError):
        yield fault
