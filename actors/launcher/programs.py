"""From the first word of a command to the file that is executed, and the words when it is not."""

from __future__ import annotations

import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

SHELL = b"/bin/sh"  # runs executable text without an interpreter line, as execvp(3) has it
_DEFAULT_PATH = b"/bin:/usr/bin"
_KNOWN_MAX = 1000


class Programs:
    """Finds programs, and remembers where they were."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[tuple[bytes, bytes], bytes] = {}

    def find(self, name: bytes, env: dict[bytes, bytes]) -> bytes:
        """The file to execute; OSError if no directory of PATH has it.

        A name with a slash is taken as it is: relative to the directory that we are in.
        """
        if b"/" in name:
            return name
        search = env.get(b"PATH", _DEFAULT_PATH)
        found = self._known.get((name, search))
        if found is None:
            found = _search(name, search)
            if found.startswith(b"/"):
                if len(self._known) >= _KNOWN_MAX:
                    self._known.clear()
                self._known[name, search] = found
        return found

    def forget(self, name: bytes, env: dict[bytes, bytes]) -> bool:
        """It is not where it was; False if nothing was remembered."""
        return self._known.pop((name, env.get(b"PATH", _DEFAULT_PATH)), None) is not None


def _search(name: bytes, search: bytes) -> bytes:
    number = errno.ENOENT
    for directory in search.split(b":"):
        if not directory or not name:
            continue  # an empty item would mean the current directory, which is never searched
        path = b"%b/%b" % (directory, name)
        if os.path.isfile(path):
            if os.access(path, os.X_OK):
                return path
            number = errno.EACCES
    raise OSError(number, os.strerror(number))


def describe(error: OSError) -> str:
    """The system's words and its number."""
    return f"{os.strerror(error.errno)} (os error {error.errno})" if error.errno else str(error)


def text(name: bytes) -> str:
    """Any bytes, as readable as they can be."""
    return name.decode("utf-8", "replace")


def cannot_execute(argv: Sequence[bytes], cwd: bytes, error: OSError | ValueError) -> str:
    """Why the command did not start, and what the user can do about it."""
    program = text(argv[0])
    reason = describe(error) if isinstance(error, OSError) else str(error)
    lines = [f'Cannot execute "{text(b" ".join(argv))}": {reason}']
    number = error.errno if isinstance(error, OSError) else 0
    if number == errno.ENOENT:
        lines.append(f"The program that you have tried to execute (`{program}`) was not found.")
        here = os.path.join(cwd, argv[0])
        if not argv[0].startswith((b"/", b".")) and os.path.isfile(here):
            lines.append(
                f"The file `{text(here)}` exists, maybe you have meant `./{program}` instead?"
            )
    elif number == errno.EACCES and program.endswith(".sh"):
        lines.append(f"The script that you have tried to execute (`{program}`) is not executable.")
        lines.append("Try making it executable or add a shebang line to it.")
    return "\n".join(lines)
