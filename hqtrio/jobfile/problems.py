"""What is wrong with a job file: collected while reading, told all at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NoReturn, Protocol

from hqtrio.errors import InputError
from hqtrio.units import quote

SHOWN_MAX: Final = 20
_KEPT_MAX: Final = 1000
_PATH_MAX: Final = 200
_TEXT_MAX: Final = 1000


class Marked(Protocol):
    """Anything with a place in the file; lines and columns count from 1."""

    @property
    def line(self) -> int: ...

    @property
    def column(self) -> int: ...


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing to correct, at one place."""

    line: int
    column: int
    path: str
    text: str


class JobFileError(InputError):
    """The job file cannot be used; its text has a line for each of the first problems."""

    def __init__(self, filename: str, problems: Sequence[Problem], *, total: int = 0) -> None:
        self.filename: Final = filename
        self.problems: Final = tuple(problems)
        lines = []
        for problem in problems:
            where = f"{filename}:{problem.line}:{problem.column}"
            path = f" {quote(problem.path, _PATH_MAX)}:" if problem.path else ""
            lines.append(f"{where}:{path} {quote(problem.text, _TEXT_MAX)}")
        if total > len(problems):
            lines.append(f"{filename}: {total - len(problems)} more problems are not shown")
        super().__init__("\n".join(lines))


class Problems:
    """The problems found so far, each place and text once."""

    def __init__(self, filename: str) -> None:
        self._filename = filename
        self._found: list[Problem] = []
        self._seen: set[tuple[int, int, str]] = set()
        self._total = 0

    def add(self, at: Marked, path: str, text: str) -> None:
        """Note the problem; one that is met again by way of defaults or an alias is told once."""
        place = (at.line, at.column, text)
        if place in self._seen:
            return
        self._total += 1
        if self._total <= _KEPT_MAX:
            self._seen.add(place)
            self._found.append(Problem(at.line, at.column, path, text))

    def stop(self, at: Marked, path: str, text: str) -> NoReturn:
        """Note the problem and give up: nothing behind it can be read."""
        self.add(at, path, text)
        raise self._error()

    @property
    def total(self) -> int:
        """How many problems have been found."""
        return self._total

    @property
    def are_enough(self) -> bool:
        """Whether more problems than anybody is shown have been found."""
        return self._total > SHOWN_MAX

    def settle(self) -> None:
        """Raise what has been found, in the order of the file, if anything."""
        if self._found:
            raise self._error()

    def _error(self) -> JobFileError:
        return JobFileError(self._filename, sorted(self._found)[:SHOWN_MAX], total=self._total)
