"""What a job file would submit: its groups, as rows of a table and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from hqtrio.ids import IdArray, format_ids
from hqtrio.model.job import ArraySpec, Ranges, Submit
from hqtrio.model.requests import format_request
from hqtrio.model.resources import Variants

HEADER: Final = ("Group", "Tasks", "Ids", "Needs", "Depth", "Request", "Retries")
_NEEDS_SHOWN: Final = 3


@dataclass(frozen=True, slots=True)
class PlannedGroup:
    """One group of a native file, the array, or all tasks of a graph with one request.

    `depth` is how many groups or tasks, one after another, come before.
    """

    name: str
    tasks: int
    ids: Ranges
    needs: tuple[str, ...]
    depth: int
    variants: Variants
    retries: int = 0


@dataclass(frozen=True, slots=True)
class JobPlan:
    """A job that has not been submitted."""

    name: str
    groups: tuple[PlannedGroup, ...]

    @property
    def tasks(self) -> int:
        return sum(group.tasks for group in self.groups)

    @property
    def depth(self) -> int:
        """Tasks on the longest chain."""
        return max((group.depth + 1 for group in self.groups), default=0)


def plan_of(submit: Submit) -> JobPlan:
    """What the submit would create."""
    depths: list[int] = []
    groups = []
    for spec in submit.arrays:
        before = (*spec.needs, *spec.each)
        depths.append(max((depths[need] + 1 for need in before), default=0))
        groups.append(_group(spec, submit.arrays, depths[-1]))
    return JobPlan(submit.head.name if submit.head else "", (*groups, *_graph(submit)))


def _group(spec: ArraySpec, arrays: Sequence[ArraySpec], depth: int) -> PlannedGroup:
    needs = [arrays[need].group for need in spec.needs]
    needs += [f"{arrays[need].group} (each)" for need in spec.each]
    if spec.always:
        needs.append("(always)")
    retry = spec.settings.retry
    return PlannedGroup(
        spec.group,
        spec.count,
        spec.ranges,
        tuple(needs),
        depth,
        spec.variants,
        0 if retry is None else retry.times,
    )


def _graph(submit: Submit) -> list[PlannedGroup]:
    """The tasks of a graph by their requests."""
    graph = submit.graph
    if graph is None:
        return []
    depths: dict[int, int] = {}
    alike: dict[int, list[int]] = {}
    for task in graph.tasks:
        before = (depths[need] + 1 for need in task.needs if need in depths)
        depths[task.number] = max(before, default=0)
        alike.setdefault(task.variants, []).append(task.number)
    needs = {
        which: sum(bool(task.needs) for task in graph.tasks if task.variants == which)
        for which in alike
    }
    return [
        PlannedGroup(
            "",
            len(numbers),
            IdArray.of(numbers).ranges,
            (f"{needs[which]} tasks have some",) if needs[which] else (),
            max(depths[number] for number in numbers),
            graph.variants[which],
        )
        for which, numbers in alike.items()
    ]


def request_text(variants: Variants) -> str:
    """The request, alternatives one below the other."""
    return "\n".join(", ".join(format_request(request)) for request in variants)


def plan_rows(plan: JobPlan) -> list[list[str]]:
    """One row per group."""
    rows = []
    for group in plan.groups:
        needs = list(group.needs[:_NEEDS_SHOWN])
        if len(group.needs) > _NEEDS_SHOWN:
            needs.append(f"... {len(group.needs) - _NEEDS_SHOWN} more")
        rows.append(
            [
                group.name,
                str(group.tasks),
                format_ids(IdArray(group.ids)) if len(group.ids) < 10 else "many",
                "\n".join(needs),
                str(group.depth),
                request_text(group.variants),
                str(group.retries) if group.retries else "",
            ]
        )
    return rows


def plan_json(plan: JobPlan) -> dict[str, object]:
    """The plan as one JSON value; requests as users write them, alternatives in order."""
    groups = [
        {
            "name": group.name,
            "task_count": group.tasks,
            "needs": list(group.needs),
            "depth": group.depth,
            "requests": [", ".join(format_request(request)) for request in group.variants],
            "retries": group.retries,
        }
        for group in plan.groups
    ]
    return {
        "name": plan.name,
        "task_count": plan.tasks,
        "depth": plan.depth,
        "groups": groups,
    }
