"""`task explain` in every output mode, from constructed answers."""

from __future__ import annotations

import json

import pytest

from hqtrio.messages.client import (
    AmountCondition,
    ExplainTask,
    Failure,
    NodesCondition,
    Selector,
    TaskExplained,
    TimeCondition,
    Which,
    WorkerFit,
)
from hqtrio.model.resources import ONE_CPU, UNIT

FIRST = Selector(Which.GIVEN, ((1, 1, 1),))


def cpus(amount, size):
    return AmountCondition("cpus", round(amount * UNIT), size * UNIT)


def gpus(size):
    return AmountCondition("gpus", UNIT, size * UNIT)


def fit(worker, *variants):
    return WorkerFit(worker, variants)


def explained(*fits, needs=0, unfinished=0, number=0, **more):
    return TaskExplained(1, number, needs, unfinished, ONE_CPU, workers=fits, **more)


def test_a_task_that_is_too_large(hq, server):
    server.on(ExplainTask, explained(fit(1, (TimeCondition(3600, 298.25), cpus(10, 5)))))

    assert hq("task", "explain", "1", "0").out == (
        "Task 1@0 is ready to run because it has no dependencies.\n"
        "There is no worker where the task can run.\n"
        "+-----------+----------+---------+------+----------+---------+\n"
        "| Worker Id | Runnable | Variant | Type | Provides | Request |\n"
        "+-----------+----------+---------+------+----------+---------+\n"
        "| 1         | No       | 0       | time | 4m 58s   | 1h      |\n"
        "|           |          |         | cpus | 5        | 10      |\n"
        "+-----------+----------+---------+------+----------+---------+\n"
    )
    assert server.asked == [ExplainTask(FIRST, 0)]


def test_x03_variants_stand_in_rows_of_their_own(hq, server):
    small = ((cpus(2, 4),), (cpus(1, 4), gpus(0)))
    large = ((cpus(2, 2),), (cpus(1, 2), gpus(2)))
    fits = [fit(1, *small), fit(2, *small), fit(3, *large), fit(4, *small), fit(5, *small)]
    server.on(ExplainTask, explained(*fits, needs=2, unfinished=1, number=2))

    lines = hq("task", "explain", "1", "2").lines

    assert lines[:2] == [
        "Task 1@2 is not ready to run, because 1/2 dependencies are not finished.",
        "The task can run on 5 workers: 1-5",
    ]
    assert lines[5:8] == [
        "| 1         | Yes (1/2) | 0       | cpus | 4        | 2       |",
        "|           |           | 1       | cpus | 4        | 1       |",
        "|           |           |         | gpus | 0        | 1       |",
    ]
    assert lines[11].startswith("| 3         | Yes (2/2) | 0 ")
    assert len(lines) == 2 + 3 + 5 * 3 + 1


def test_one_worker_of_two(hq, server):
    whole = AmountCondition("mem", 0, 15_000)
    rows = (
        fit(3, (TimeCondition(90.5), cpus(0.5, 1), whole)),
        fit(8, (TimeCondition(90.5, 90.0), cpus(0.5, 1), whole)),
    )
    server.on(ExplainTask, explained(*rows, needs=4))

    lines = hq("task", "explain", "last", "0").lines

    assert lines[:2] == [
        "Task 1@0 is ready to run because its all 4 dependencies are finished.",
        "The task can run on 1 worker: 3",
    ]
    assert lines[5:9] == [
        "| 3         | Yes      | 0       | time | unknown  | 1m 30s  |",
        "|           |          |         | cpus | 1        | 0.5     |",
        "|           |          |         | mem  | 1.5      | all     |",
        "| 8         | No       | 0       | time | 1m 30s   | 1m 30s  |",
    ]
    assert server.asked == [ExplainTask(Selector(Which.LAST), 0)]


def test_x02_groups_of_workers(hq, server):
    rows = [fit(i, (NodesCondition(3, size),)) for i, size in ((1, 2), (2, 1), (3, 2))]
    server.on(ExplainTask, explained(*rows))

    lines = hq("task", "explain", "1", "0").lines

    assert lines[1] == "There is no worker where the task can run."
    assert lines[5:8] == [
        "| 1         | No       | 0       | nodes | group size 2 | 3       |",
        "| 2         | No       | 0       | nodes | group size 1 | 3       |",
        "| 3         | No       | 0       | nodes | group size 2 | 3       |",
    ]


def test_without_workers_there_is_no_table(hq, server):
    server.on(ExplainTask, explained())

    assert hq("task", "explain", "1", "0").lines == [
        "Task 1@0 is ready to run because it has no dependencies.",
        "There is no worker where the task can run.",
    ]


def test_json_and_quiet(hq, server):
    conditions = (
        TimeCondition(90.5, 59.000000001), TimeCondition(1.0), NodesCondition(3, 2),
        cpus(0.5, 1), AmountCondition("mem", 0, 0),
    )  # fmt: skip
    server.on(ExplainTask, explained(fit(7, conditions), needs=3, unfinished=2, number=4))

    assert json.loads(hq("task", "explain", "1", "4", "--output-mode", "json").out) == {
        "task_id": {"job_id": 1, "job_task_id": 4},
        "explanation": {
            "n_task_deps": 3,
            "n_waiting_deps": 2,
            "workers": [
                {
                    "worker_id": 7,
                    "variants": [
                        [
                            {
                                "Time": {
                                    "min_time": {"secs": 90, "nanos": 500_000_000},
                                    "remaining_time": {"secs": 59, "nanos": 1},
                                }
                            },
                            {
                                "Time": {
                                    "min_time": {"secs": 1, "nanos": 0},
                                    "remaining_time": None,
                                }
                            },
                            {"WorkerGroup": {"n_nodes": 3, "group_size": 2}},
                            {
                                "Resources": {
                                    "resource": "cpus",
                                    "request_amount": 5000,
                                    "worker_amount": 10_000,
                                }
                            },
                            {
                                "Resources": {
                                    "resource": "mem",
                                    "request_amount": 1,
                                    "worker_amount": 0,
                                }
                            },
                        ]
                    ],
                }
            ],
        },
    }
    assert hq("task", "explain", "1", "4", "--output-mode", "quiet").out == ""


def test_many_workers_are_asked_for_page_by_page(hq, server):
    def page(request):
        first = request.after + 1
        rows = [fit(worker, (cpus(1, 1),)) for worker in (first, first + 1)]
        return explained(*rows, needs=first, unfinished=0, more=first < 5)

    server.on(ExplainTask, page)

    lines = hq("task", "explain", "last", "0").lines

    assert lines[:2] == [
        "Task 1@0 is ready to run because its all 1 dependencies are finished.",
        "The task can run on 6 workers: 1-6",
    ]
    last = Selector(Which.LAST)
    assert server.asked == [
        ExplainTask(last, 0), ExplainTask(FIRST, 0, 2), ExplainTask(FIRST, 0, 4),
    ]  # fmt: skip


@pytest.mark.parametrize("reason", ["Job not found", "Task not found"])
def test_a_refusal(hq, server, reason):
    server.on(ExplainTask, Failure(reason))

    result = hq("task", "explain", "1", "0")

    assert (result.code, result.out, result.err) == (1, "", f"Error: {reason}\n")


@pytest.mark.parametrize("words", [("1",), ("all", "0"), ("1", "0-2"), ("1-2", "0"), ("1", "last")])
def test_one_job_and_one_task_must_be_named(hq, words):
    assert hq("task", "explain", *words).code == 2
