"""Asking a program of the site's something."""

from __future__ import annotations

from collections.abc import Sequence
from subprocess import CalledProcessError

import trio

from hqtrio.errors import InputError


async def ask_program(words: Sequence[str], *, answer_s: float) -> str:
    """What it printed. InputError with the reason if it failed, is not there, or is too slow."""
    try:
        with trio.fail_after(answer_s):
            done = await trio.run_process(words, capture_stdout=True, capture_stderr=True)
    except trio.TooSlowError:
        raise InputError(f"no answer within {answer_s:g} s") from None
    except CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip()
        raise InputError(said or f"exit code {error.returncode}") from error
    except OSError as error:
        raise InputError(error.strerror or str(error)) from error
    return done.stdout.decode(errors="replace")
