"""How this program is started once more, by itself or by its tasks."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def carried_file() -> Path | None:
    """The single file that this process was started from, if it was."""
    loader = getattr(sys.modules["__main__"], "__loader__", None)
    archive = getattr(loader, "archive", None)
    return None if archive is None else Path(os.path.abspath(archive))


def own_words() -> list[str]:
    """Words that start this program with the interpreter of this process."""
    carried = carried_file()
    if carried is not None:
        return [sys.executable, str(carried)]
    # -P: a file of the user's in the current directory must not be imported instead of ours.
    return [sys.executable, "-P", "-m", "hqtrio"]


def module_words(module: str) -> list[str]:
    """Words that run a module of ours with the interpreter of this process."""
    if carried_file() is None:
        return [sys.executable, "-P", "-m", module]
    # Only what has unpacked the single file knows where it lies.
    root = str(Path(__file__).parents[2])
    code = (
        f"import sys; sys.path.insert(0, {root!r}); import runpy; "
        f"runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
    )
    return [sys.executable, "-P", "-c", code]


def own_file() -> Path | None:
    """The executable file that is this program: the one carried here, or the one installed."""
    file = carried_file() or Path(sys.executable).parent / "hqtrio"
    return file if os.access(file, os.X_OK) else None
