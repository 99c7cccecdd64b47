"""Start a server that outlives its terminal, and come back when it listens.

Three processes: the one that was asked, which waits at a pipe; one in a session of its own, which
keeps the server alive; the server. It speaks on the terminal until it listens; then it turns to its
log, and says so through the pipes. Whatever goes wrong before is seen where the user looks.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from actors.daemon.detached import READY_FD
from actors.daemon.keeper import LOG_NAME
from actors.daemon.program import module_words
from hqtrio.errors import InputError

__all__ = ["Started", "start_detached"]


@dataclass(frozen=True, slots=True)
class Started:
    """A daemon: who keeps the server alive, where both log, and what the server said."""

    keeper: int
    log: Path
    details: Mapping[str, object]


def start_detached(command: Sequence[str]) -> Started:
    """`command`, the start of a server, goes on without us and is kept alive. Blocks until it
    listens.

    Raises InputError, with the server's reason, if it does not start; nothing is left behind then.
    """
    read, write = os.pipe()
    with open(read, "rb") as ready:
        try:
            keeper = subprocess.Popen(
                [*module_words("actors.daemon"), *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={**os.environ, READY_FD: str(write)},
                pass_fds=[write],
                start_new_session=True,
            )
        finally:
            os.close(write)
        try:
            line = ready.readline()
        except KeyboardInterrupt:
            keeper.send_signal(signal.SIGINT)
            keeper.wait()
            raise
    said = json.loads(line) if line.endswith(b"\n") else {}
    if "instance" in said:
        keeper.returncode = 0  # it lives on; we do not wait for it
        return Started(keeper.pid, Path(said["instance"]) / LOG_NAME, said["details"])
    code = keeper.wait()
    raise InputError(
        said.get("refused") or f"the server did not start (exit code {said.get('code', code)})"
    )
