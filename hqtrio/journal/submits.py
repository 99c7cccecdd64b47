"""A submit while its records come in, as far as telling of it needs."""

from __future__ import annotations

from array import array
from typing import Any

from msgspec.structs import replace

from hqtrio.ids import IdArray
from hqtrio.journal.event_values import array_json, submit_json
from hqtrio.journal.ledger import JobLedger
from hqtrio.messages.records import SubmitContinued
from hqtrio.model.job import ArraySpec, GraphSpec, GraphTask, Ranges, Submit
from hqtrio.model.resources import Variants


class PendingSubmit:
    """Without entries, standard inputs and scripts: they may be large, and are not told."""

    def __init__(self, submit: Submit) -> None:
        self.arrays: list[ArraySpec] = []
        self.stream_dir = ""
        self.graph_tasks = 0
        self._graph: dict[Variants, array[int]] = {}  # numbers by what they ask for
        self._variants: list[Variants] = []
        self._add(submit.arrays, submit.graph)
        self.submit = replace(submit, arrays=(), graph=None)

    def add(self, more: SubmitContinued) -> None:
        """Take in a further part."""
        self._add(more.arrays, more.graph)

    def _add(self, arrays: tuple[ArraySpec, ...], graph: GraphSpec | None) -> None:
        for spec in arrays:
            body = replace(spec.body, stdin=b"", script=b"")
            self.stream_dir = self.stream_dir or body.stream_dir
            self.arrays.append(replace(spec, body=body, entries=b"", entry_ends=b""))
        if graph is not None:
            for body in graph.bodies:
                self.stream_dir = self.stream_dir or body.stream_dir
            self._variants += graph.variants
            self.graph_tasks += len(graph.tasks)
            for task in graph.tasks:
                self._graph.setdefault(self._asked(task), array("I")).append(task.number)

    def _asked(self, task: GraphTask) -> Variants:
        return self._variants[task.variants] if task.variants < len(self._variants) else ()

    def create(self, job: JobLedger, numbers: tuple[Ranges, ...]) -> None:
        """The tasks are the job's; `numbers` are those of each array."""
        for spec, ranges in zip(self.arrays, numbers, strict=False):
            needs = spec.each or any(self.arrays[need].count for need in spec.needs)
            job.add(ranges, always=spec.always and bool(needs), variants=spec.variants)
        for variants, tasks in self._graph.items():
            job.add(IdArray.of(tasks).ranges, variants=variants)

    def description(self, numbers: tuple[Ranges, ...]) -> dict[str, Any]:
        """What was submitted."""
        arrays = [array_json(*pair) for pair in zip(self.arrays, numbers, strict=False)]
        return submit_json(
            self.submit.submit_dir, self.stream_dir, arrays, self.graph_tasks, self.tasks
        )

    @property
    def tasks(self) -> int:
        """How many there are."""
        return self.graph_tasks + sum(spec.count for spec in self.arrays)
