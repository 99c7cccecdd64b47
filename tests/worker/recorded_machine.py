"""Machines as /sys and /proc show them, kept as short texts beside this file.

A line is `PATH: CONTENT`, or a path that ends in `/` for an empty directory. In a path,
`{0-47,96}` (also `{0-124:4}`) stands for each of these numbers; `{n}`, `{n+48}` and `{n-48}` in the
content follow it. `|` begins a new line of the content.
"""

from __future__ import annotations

import re
from pathlib import Path

from actors.worker.hardware import CGROUP, CPU_NAME, CPUS_DIRECTORY, NODES
from hqtrio.ids import parse_ids

MACHINES = Path(__file__).parent / "machines"
NUMBERS = re.compile(r"\{([0-9][0-9,:-]*)\}")
NUMBER = re.compile(r"\{n([+-][0-9]+)?\}")


def unfold(recording: str, root: Path) -> Path:
    """The tree of a recording, below `root`."""
    for line in recording.splitlines():
        if line.startswith("#"):
            continue
        path, _, content = line.partition(": ")
        if path.endswith("/"):
            (root / path).mkdir(parents=True)
            continue
        for name, text in _each(path.removesuffix(":"), content.replace("|", "\n")):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(f"{text}\n")
    return root


def machine(name: str, root: Path) -> Path:
    """The tree of one of our recordings."""
    return unfold((MACHINES / f"{name}.txt").read_text(), root)


def record(root: Path) -> str:
    """What `unfold` makes a tree of that is described in the same way."""
    files = [root / NODES / "possible", root / "proc/meminfo", root / "proc/self/cgroup"]
    files += (root / NODES).glob("node*/cpulist")
    files += [
        entry / "topology/thread_siblings_list"
        for entry in (root / CPUS_DIRECTORY).iterdir()
        if CPU_NAME.fullmatch(entry.name)
    ]
    for name in ("memory.max", "cpu.max", "memory.limit_in_bytes", "cpu.cfs_*_us"):
        files += (root / CGROUP).glob(name)
        files += (root / CGROUP / "memory").glob(f"**/{name}")
        files += (root / CGROUP / "cpu").glob(name)
    lines = []
    for path in files:
        try:
            content = path.read_text().rstrip("\n")
        except OSError:
            continue
        lines.append(f"{path.relative_to(root)}: {content.replace(chr(10), '|')}")
    return "\n".join(lines)


def _each(path: str, content: str) -> list[tuple[str, str]]:
    match = NUMBERS.search(path)
    if match is None:
        return [(path, content)]
    return [
        (
            path[: match.start()] + str(n) + path[match.end() :],
            NUMBER.sub(lambda found, n=n: str(n + int(found[1] or 0)), content),
        )
        for n in parse_ids(match[1])
    ]
