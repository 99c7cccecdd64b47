"""What every peer offers."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec

from benchmarks.sandbox import Sandbox
from benchmarks.workloads import Workload

Figures = dict[str, float]
Measure = Callable[[Workload, Sandbox], Figures]


@dataclass(frozen=True, slots=True)
class Peer:
    """`measures` names the workloads it can do; a figure is in its workload's unit."""

    name: str
    missing: Callable[[], str]  # why it cannot run here; empty if it can
    measures: Mapping[str, Measure]


def nothing_missing() -> str:
    return ""


def needs_package(name: str, remedy: str) -> Callable[[], str]:
    return lambda: "" if find_spec(name) else f"no Python package {name!r}: {remedy}"


def in_child(module: str) -> Measure:
    """Measure in an interpreter of its own: `module.main` prints its figures as JSON."""

    def measure(workload: Workload, sandbox: Sandbox) -> Figures:
        command = [sys.executable, "-m", module, workload.name, str(workload.tasks)]
        said = sandbox.run(command).stdout.strip().splitlines()[-1]
        return {str(series): float(value) for series, value in json.loads(said).items()}

    return measure
