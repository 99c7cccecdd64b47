"""How worker and launcher talk over their socket: a length, then a marshalled value.

Both ends run the same interpreter, and the socket has no other user, so marshal is safe here.

    orders    one frame is a list of tuples, each a verb and its arguments
    answers   one frame is a tuple (started, ended, refused, taken, frames obeyed so far)
              the first one is empty and means that orders are taken
    started   (task, lane, pid, started at)
    ended     (task, lane, pid, started at, ended at, status, CPU seconds, peak KiB, error text,
              result of a function)
    refused   (task, lane, prepared, text, refused at)
    taken     (seq, tasks)

Instants are of the monotonic clock, which all processes of a host share.
"""

from __future__ import annotations

from marshal import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SOCKET_FD = 3  # where a launcher finds its end
READ_BYTES = 1 << 18
_LENGTH_BYTES = 4

# key, args, env, submit_dir, cwd, stdout, stderr, stdin, task_dir_root, script, stream,
# function_calls
BODY = "body"
DROP = "drop"  # key
OPEN = "open"  # lane, env, user_wins, prefix, task_dir_root, files as (variable, name, content)
CLOSE = "close"  # lane
RUN = "run"  # lane, key, tasks, instances, entries, tokens, values
TAKE = "take"  # seq, tasks
SIGNAL = "signal"  # number, tasks
KILL = "kill"  # tasks


def frame(value: Any) -> bytes:
    """One value as it travels."""
    payload = dumps(value)
    return len(payload).to_bytes(_LENGTH_BYTES, "big") + payload


class Frames:
    """Cuts a socket's bytes into the values that were sent."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Any]:
        """The values that `data` completes."""
        buffer = self._buffer
        buffer += data
        values = []
        while len(buffer) >= _LENGTH_BYTES:
            end = _LENGTH_BYTES + int.from_bytes(buffer[:_LENGTH_BYTES], "big")
            if len(buffer) < end:
                break
            values.append(loads(bytes(buffer[_LENGTH_BYTES:end])))
            del buffer[:end]
        return values
