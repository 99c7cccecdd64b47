"""Runs what a dialogue with a batch manager asks for."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, TypeVar

import trio

from hqtrio.autoalloc.dialogues import (
    Command,
    Completed,
    Dialogue,
    NotStarted,
    Result,
    TimedOut,
)

__all__ = ["COMMAND_S", "hold", "run_command"]

COMMAND_S: Final = 60.0  # clients of a manager that hangs wait for ever
OUTPUT_MAX: Final = 64 << 20  # a hundred thousand jobs of one user
PIPES_S: Final = 1.0
_CHUNK: Final = 1 << 16

T = TypeVar("T")


async def hold(dialogue: Dialogue[T], environment: Mapping[str, str], timeout_s: float) -> T:
    """Run the commands of a dialogue one by one; what it comes to."""
    try:
        command = next(dialogue)
        while True:
            command = dialogue.send(await run_command(command, environment, timeout_s))
    except StopIteration as end:
        answer: T = end.value
        return answer
    finally:
        dialogue.close()


async def run_command(command: Command, environment: Mapping[str, str], timeout_s: float) -> Result:
    """What became of one command; it and what it has started are killed after `timeout_s`.

    Programs are looked up on the PATH of `environment` each time: sites and users replace them.
    """
    try:
        process = await trio.lowlevel.open_process(
            command.words,
            cwd=command.directory or None,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C at the server's terminal is not meant for it
        )
    except (OSError, ValueError) as error:
        return NotStarted(getattr(error, "strerror", None) or str(error))
    assert process.stdout is not None
    assert process.stderr is not None
    outputs = bytearray(), bytearray()
    try:
        with trio.move_on_after(timeout_s) as limit:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_read, process.stdout, outputs[0])
                nursery.start_soon(_read, process.stderr, outputs[1])
                code = await process.wait()
                # Whatever it has left behind may hold its pipes open.
                nursery.cancel_scope.deadline = trio.current_time() + PIPES_S
    finally:
        if process.returncode is None or limit.cancelled_caught:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        with trio.CancelScope(shield=True):
            await process.wait()
            await process.stdout.aclose()
            await process.stderr.aclose()
    if limit.cancelled_caught:
        return TimedOut(timeout_s)
    return Completed(code, bytes(outputs[0]), bytes(outputs[1]))


async def _read(stream: trio.abc.ReceiveStream, output: bytearray) -> None:
    """All of the stream; what is too much is read and forgotten."""
    while chunk := await stream.receive_some(_CHUNK):
        output += chunk[: max(0, OUTPUT_MAX - len(output))]
