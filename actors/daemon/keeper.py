"""The process that keeps a server alive: what it leaves in the instance directory."""

from __future__ import annotations

import json
import os
import signal
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Final

from actors.daemon.identity import ProcessIdentity, has_ended, this_process
from hqtrio.net.directory import resolve_directory

__all__ = ["KEEPER_NAME", "LOG_NAME", "PID_NAME", "Places", "keeper_of", "stop_keeper"]

LOG_NAME: Final = "server.log"
PID_NAME: Final = "server.pid"
KEEPER_NAME: Final = "server.keeper"  # the process in full, for us; its number alone is for people
MODE: Final = 0o600


class Places:
    """Files of the instance that was started first; later ones have links to them."""

    def __init__(self, first: Path) -> None:
        self._instances = [first]

    @property
    def log(self) -> Path:
        return self._instances[0] / LOG_NAME

    def tell(self) -> None:
        """Others can find this process."""
        me = this_process()
        _write(self._instances[0] / KEEPER_NAME, json.dumps(asdict(me)))
        _write(self._instances[0] / PID_NAME, str(me.pid))

    def tell_in(self, later: Path) -> None:
        """They find it in the instance of a restarted server as well."""
        first = self._instances[0]
        self._instances.append(later)
        for name in (LOG_NAME, PID_NAME, KEEPER_NAME):
            with suppress(OSError):
                (later / name).symlink_to(Path("..") / first.name / name)

    def withdraw(self) -> None:
        """Nobody looks for this process any more; the log stays."""
        for instance in reversed(self._instances):
            for name in (PID_NAME, KEEPER_NAME):
                with suppress(OSError):
                    (instance / name).unlink(missing_ok=True)


def keeper_of(server_dir: Path) -> ProcessIdentity | None:
    """The process that keeps the server of the directory alive; None if it has ended.

    One on another machine counts as ended: nobody here can know.
    """
    try:
        told = json.loads((resolve_directory(server_dir) / KEEPER_NAME).read_text())
        keeper = ProcessIdentity(**told)
    except (OSError, ValueError, TypeError):
        return None
    is_here = keeper.host == this_process().host and keeper.started
    return keeper if is_here and not has_ended(keeper) else None


def stop_keeper(keeper: ProcessIdentity) -> None:
    """It ends with its server, on purpose."""
    with suppress(ProcessLookupError):
        os.kill(keeper.pid, signal.SIGINT)


def _write(path: Path, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, MODE)
    with open(fd, "w") as file:
        file.write(f"{text}\n")
