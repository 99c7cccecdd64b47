"""Which Python interpreter runs functions, and how it is started."""

from __future__ import annotations

import sys
from typing import Final

from hqtrio.api.validation import ValidationException, shown

__all__ = ["MAX_CALLS", "PythonEnv", "own_python"]

MAX_CALLS: Final = 1000


class PythonEnv:
    """The interpreter of function tasks.

    `python_bin` is a program (found in the worker's PATH, if it has no slash); it needs the package
    cloudpickle. `prologue` are lines that `shell` runs before: they may load modules or activate a
    virtual environment.

    Interpreters are warm: each serves up to `max_calls` calls of one job, one after another, with
    an environment, a directory and outputs of their own. `fresh`, or a prologue, gives each call a
    new interpreter.
    """

    def __init__(
        self,
        python_bin: str = "python3",
        prologue: str | None = None,
        shell: str = "bash",
        *,
        fresh: bool = False,
        max_calls: int = MAX_CALLS,
    ) -> None:
        for name, text in (("python_bin", python_bin), ("shell", shell)):
            if not isinstance(text, str) or not text or "\0" in text:
                raise ValidationException(
                    f"{name} has to be the name of a program, not {shown(text)}"
                )
        if prologue is not None and (not isinstance(prologue, str) or "\0" in prologue):
            raise ValidationException(
                f"prologue has to be lines for the shell, not {shown(prologue)}"
            )
        if isinstance(max_calls, bool) or not isinstance(max_calls, int):
            raise ValidationException(f"max_calls has to be a whole number, not {shown(max_calls)}")
        if not 1 <= max_calls < 2**31:
            raise ValidationException(f"max_calls has to be at least 1, not {max_calls}")
        self.python_bin, self.prologue, self.shell = python_bin, prologue, shell
        self.calls = 1 if fresh or prologue else max_calls

    @property
    def words(self) -> tuple[bytes, ...]:
        """The command, to which the worker adds what the interpreter is to run."""
        if not self.prologue:
            return (self.python_bin.encode(errors="surrogateescape"),)
        script = f'{self.prologue}\nexec {self.python_bin} "$@"'
        texts = (self.shell, "-c", script, self.shell)
        return tuple(text.encode(errors="surrogateescape") for text in texts)


def own_python() -> PythonEnv:
    """The interpreter that runs now: a virtual environment on a shared file system just works."""
    return PythonEnv(sys.executable)
