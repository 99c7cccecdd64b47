"""Recorded answers of real managers, and dialogues that are held with them."""

from __future__ import annotations

from pathlib import Path

from hqtrio.autoalloc.dialogues import Completed, Result, TimedOut

HERE = Path(__file__).parent
CUT_OFF = 124  # exit code of `timeout`


class Samples:
    """One directory of recordings."""

    def __init__(self, name: str) -> None:
        self._place = HERE / name
        rows = (line.split("\t") for line in (self._place / "INDEX.tsv").read_text().splitlines())
        _, *listed = rows
        self.codes = {name: int(code) for name, code, *_ in listed}

    def names(self) -> set[str]:
        return set(self.codes)

    def file(self, name: str, ending: str) -> bytes:
        path = self._place / f"{name}.{ending}"
        return path.read_bytes() if path.exists() else b""

    def result(self, name: str) -> Result:
        """What became of the recorded command."""
        if self.codes[name] == CUT_OFF:
            return TimedOut(30.0)
        return Completed(self.codes[name], self.file(name, "out"), self.file(name, "err"))


def held(dialogue, *results: Result):
    """The commands of the dialogue, and what it comes to when they have these results."""
    commands = []
    left = list(results)
    try:
        command = next(dialogue)
        while True:
            commands.append(command)
            command = dialogue.send(left.pop(0))
    except StopIteration as end:
        assert not left, "commands that were not given"
        return commands, end.value
