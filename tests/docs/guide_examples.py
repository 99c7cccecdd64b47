"""The examples of the guide: what its pages show, as files and as commands with their output.

A fenced block is one of three. `console`: commands behind `$ ` (and `> ` where they go on), each
followed by what it prints. A block after `<!-- file: NAME -->`: a file of that name, there from the
start of the page. `text`: to be read only.

`...` stands for anything within a line, and alone in a line for any number of lines. How many
blanks and dashes follow each other does not matter: they depend on the longest value in a table. A
command ends with exit code 0, unless `$ echo $?` after it shows another.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

CODE: Final = "echo $?"
_FENCE: Final = re.compile(r"^```(\S*)$")
_MARK: Final = re.compile(r"^<!-- (file|session): (.+) -->$")


@dataclass
class Command:
    """One command, where it stands, and what it is said to print."""

    line: int
    text: str
    output: list[str] = field(default_factory=list)


@dataclass
class Page:
    """One page: the processes it takes for granted, its files and its commands in order."""

    path: Path
    session: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    commands: list[Command] = field(default_factory=list)


def read_page(path: Path) -> Page:
    """Every block of the page; ValueError names one that nobody could check."""
    page = Page(path)
    name: str | None = None
    kind: str | None = None
    block: list[str] = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        fence, mark = _FENCE.match(line), _MARK.match(line)
        if kind is None and mark and mark[1] == "file":
            name = mark[2]
        elif kind is None and mark:
            page.session = mark[2].split("; ")
        elif kind is None and fence:
            kind, block = fence[1], []
        elif kind is not None and line == "```":
            _keep(page, kind, name, block, number - len(block))
            name = kind = None
        elif kind is not None:
            block.append(line)
    if kind is not None:
        raise ValueError(f"{path}: the last block has no end")
    return page


def _keep(page: Page, kind: str, name: str | None, block: list[str], first: int) -> None:
    if name is not None:
        page.files[name] = "\n".join(block) + "\n"
    elif kind == "console":
        page.commands += read_commands(block, first)
    elif kind != "text":
        raise ValueError(f"{page.path}:{first}: a block of `{kind}` must be a file or a session")


def read_commands(block: list[str], first: int) -> list[Command]:
    """The commands of a `console` block that begins in line `first`."""
    commands: list[Command] = []
    for number, line in enumerate(block, first):
        if line.startswith("$ "):
            commands.append(Command(number, line[2:]))
        elif line.startswith("> ") and commands and not commands[-1].output:
            commands[-1].text += "\n" + line[2:]
        elif commands:
            commands[-1].output.append(line)
        else:
            raise ValueError(f"line {number}: output before any command: {line!r}")
    return commands


def difference(shown: list[str], printed: str) -> str | None:
    """What is wrong with the output, or None where it is as shown; nothing shown, nothing asked."""
    if not shown:
        return None
    lines = [_even(line) for line in printed.splitlines()]
    patterns = [_pattern(_even(line)) for line in shown]
    if _fits(patterns, lines):
        return None
    return "shown:\n" + "\n".join(shown) + "\nprinted:\n" + printed


def _even(line: str) -> str:
    return re.sub(r"-{2,}", "--", re.sub(r"\s+", " ", line)).strip()


def _pattern(line: str) -> re.Pattern[str] | None:
    """None fits any number of lines."""
    if line == "...":
        return None
    return re.compile(".*".join(map(re.escape, line.split("..."))))


def _fits(patterns: list[re.Pattern[str] | None], lines: list[str]) -> bool:
    """Whether the lines are those of the patterns: the usual match with wildcards, over lines."""
    reached = {0}  # how many lines the patterns so far may have taken
    for pattern in patterns:
        if pattern is None:
            reached = set(range(min(reached), len(lines) + 1)) if reached else set()
        else:
            reached = {n + 1 for n in reached if n < len(lines) and pattern.fullmatch(lines[n])}
    return len(lines) in reached
