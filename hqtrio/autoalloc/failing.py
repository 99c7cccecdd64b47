"""What commands of managers have in common when they fail."""

from __future__ import annotations

from typing import Final

from hqtrio.autoalloc.dialogues import Completed, NotStarted, Rejected, Result, TimedOut
from hqtrio.model.allocation import Rejection

__all__ = ["refused", "said", "text_of", "why"]

WORDS_MAX: Final = 2000  # of a manager that are shown


def text_of(data: bytes) -> str:
    """Whatever bytes they are, as text for people."""
    text = data.decode("utf-8", "replace").strip()
    return text if len(text) <= WORDS_MAX else text[:WORDS_MAX] + "..."


def said(result: Completed) -> str:
    """The last line of what it complained about, else of what it said."""
    lines = (text_of(result.stderr) or text_of(result.stdout)).splitlines()
    return lines[-1].strip() if lines else f"exit code {result.code}"


def why(program: str, result: Result) -> str:
    """One line on why the result is of no use."""
    match result:
        case NotStarted(reason):
            return f"{program} start failed: {reason}"
        case TimedOut(after_s):
            return f"{program} did not answer within {after_s:g} s"
        case Completed():
            return f"{program}: {said(result)}"


def refused(program: str, result: Completed | NotStarted, rejection: Rejection) -> Rejected:
    """With everything that the program has said."""
    match result:
        case NotStarted():
            return Rejected(Rejection.NO_PROGRAM, why(program, result))
        case Completed(code, stdout, stderr):
            lines = [f"{program} execution failed", f"Exit code: {code}"]
            lines += [f"Stderr: {text_of(stderr)}"] if stderr.strip() else []
            lines += [f"Stdout: {text_of(stdout)}"] if stdout.strip() else []
            return Rejected(rejection, "\n".join(lines))
