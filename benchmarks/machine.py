"""Where the figures come from: processor, kernel, file systems, versions."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

PACKAGES = ("trio", "trio-websocket", "cbor2", "msgspec", "hyperqueue", "distributed")
TOOLS = ("parallel", "xargs")


def describe(places: Sequence[Path]) -> dict[str, object]:
    """Facts about this machine, and the file system below each of the places."""
    return {
        "processor": processor(Path("/proc/cpuinfo").read_text()),
        "cores": len(os.sched_getaffinity(0)),
        "memory_mib": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_at_start": os.getloadavg()[0],
        "commit": first_line(["git", "-C", str(Path(__file__).parent), "describe", "--always"]),
        "file_systems": {
            str(place): file_system(place, Path("/proc/self/mounts").read_text())
            for place in places
        },
        "versions": versions(),
    }


def processor(cpuinfo: str) -> str:
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.machine()


def file_system(place: Path, mounts: str) -> str:
    """The type of the file system with the longest mount point above the place."""
    best, kind = "", "unknown"
    for line in mounts.splitlines():
        _, point, this_kind, *_ = line.split()
        if place.resolve().is_relative_to(point) and len(point) >= len(best):
            best, kind = point, this_kind
    return kind


def versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "missing"
    for tool in TOOLS:
        found[tool] = first_line([tool, "--version"]) if shutil.which(tool) else "missing"
    return found


def first_line(command: Sequence[str]) -> str:
    """What the command prints first; empty if it cannot be run."""
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return run.stdout.partition("\n")[0].strip()
