"""What the tasks of one submit share, prepared so that each task costs little."""

from __future__ import annotations

import os
from operator import itemgetter

from actors.launcher.files import SealedInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Template = tuple[str | int, ...]
    Output = tuple[Template, bool]  # path, whether to remove it when the task finished
    Pairs = tuple[tuple[bytes, bytes], ...]
    OpenPairs = tuple[tuple[bytes, bytes | Template], ...]
    # Socket of the streamer, directory, server's UID, worker, mask of channels.
    Stream = tuple[str, str, str, int, int]

TASK_ID, INSTANCE_ID, CWD = range(3)  # the numbers in templates; others are a task's own values


def encode(text: str) -> bytes:
    """The bytes that a path stood for before it travelled."""
    return text.encode("utf-8", "surrogateescape")


class Text:
    """A word, a value or an input with places that each execution fills in."""

    __slots__ = ("_items",)

    def __init__(self, template: Template) -> None:
        self._items = [encode(item) if isinstance(item, str) else item for item in template]

    def fill(self, values: tuple[bytes, ...]) -> bytes:
        """The text of one execution; values in the order of the fields' numbers."""
        return b"".join(values[i] if isinstance(i, int) else i for i in self._items)


class Pattern:
    """A path, absolute once it is filled in; what one execution decides is left open.

    `one_directory` tells whether all executions have their file in the same directory.
    """

    __slots__ = ("_begins", "_format", "_pick", "_whole", "fixed", "one_directory")

    def __init__(self, template: Template, base: tuple[bytes | int, ...]) -> None:
        """A relative path is relative to `base`."""
        items = [encode(item) if isinstance(item, str) else item for item in template]
        items = [item for item in items if item != b""]
        first = items[0] if items else b""
        # Only an execution knows whether a path that begins with one of its values is absolute.
        self._begins = first if isinstance(first, int) and first > CWD else -1
        self._whole = Text(template)
        if first != CWD and not (isinstance(first, bytes) and first.startswith(b"/")):
            items = [*base, *([b"/"] if items else []), *items]
        fields = [item for item in items if isinstance(item, int)]
        self._format = b"".join(
            b"%b" if isinstance(item, int) else item.replace(b"%", b"%%") for item in items
        )
        self._pick: Callable[[tuple[bytes, ...]], Any] | None = None
        self.fixed = b""
        if fields:
            self._pick = itemgetter(*fields)
        else:
            self.fixed = self._format.replace(b"%%", b"%")
        directory = os.path.dirname(self._format).replace(b"%%", b"")
        self.one_directory = b"%b" not in directory

    def fill(self, values: tuple[bytes, ...]) -> bytes:
        """The path of one execution; values in the order of the fields' numbers."""
        if self._begins >= 0 and values[self._begins].startswith(b"/"):
            return self._whole.fill(values)
        return self._format % self._pick(values) if self._pick else self.fixed


class Body:
    """The tasks named with one key."""

    __slots__ = (
        "access",
        "args",
        "cwd",
        "directories_exist",
        "directories_fixed",
        "env",
        "function_calls",
        "open_env",
        "open_stdin",
        "open_words",
        "remove_stderr",
        "remove_stdout",
        "script",
        "stderr",
        "stdin",
        "stdout",
        "stream",
        "task_dir_root",
    )

    def __init__(
        self,
        args: tuple[bytes | Template, ...],
        env: OpenPairs,
        submit_dir: str,
        cwd: Template,
        stdout: Output | None,
        stderr: Output | None,
        stdin: bytes | Template,
        task_dir_root: str,
        script: bytes,
        stream: Stream | None = None,
        function_calls: int = 0,
    ) -> None:
        self.args = tuple(arg if isinstance(arg, bytes) else b"" for arg in args)
        self.env = {name: v if isinstance(v, bytes) else b"" for name, v in env}
        self.open_words = [(at, Text(w)) for at, w in enumerate(args) if not isinstance(w, bytes)]
        self.open_env = [(name, Text(v)) for name, v in env if not isinstance(v, bytes)]
        self.access = self.env.get(b"HQ_ACCESS_KEY", b"")  # complete but for the execution's token
        self.cwd = Pattern(cwd, (encode(submit_dir),))
        self.stdout, self.remove_stdout = self._output(stdout)
        self.stderr, self.remove_stderr = self._output(stderr)
        self.stdin = SealedInput(stdin) if isinstance(stdin, bytes) and stdin else None
        self.open_stdin = Text(stdin) if not isinstance(stdin, bytes) else None
        self.task_dir_root = encode(task_dir_root)
        self.script = script
        self.stream = stream
        self.function_calls = function_calls
        # Where every task uses the same directories, the first one makes them for all.
        self.directories_fixed = bool(self.cwd.fixed) and all(
            pattern.one_directory for pattern in (self.stdout, self.stderr) if pattern
        )
        self.directories_exist = False

    def _output(self, output: Output | None) -> tuple[Pattern | None, bool]:
        if output is None:
            return None, False
        template, remove = output
        cwd = self.cwd.fixed
        if cwd:
            template = tuple(
                cwd.decode("utf-8", "surrogateescape") if item == CWD else item for item in template
            )
        return Pattern(template, (cwd or CWD,)), remove
