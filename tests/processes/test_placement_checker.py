"""The checker of the heterogeneous job: a good run passes, and each broken promise is told."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from placement_checker import (
    Execution,
    Kind,
    Pool,
    Run,
    Variant,
    Worker,
    parse_cpus,
    read_executions,
    violations,
)

SECOND = 1_000_000

EAST = Worker(
    "east",
    1,
    {"cpus": Pool((("0", "1"), ("2", "3"))), "lic": Pool(amount=Decimal(2))},
    time_limit_s=600,
)
WEST = Worker("west", 2, {"cpus": Pool((("0", "1"),))})
DEAD = replace(EAST, name="dead", id=3, lost=50 * SECOND)

KINDS = (
    Kind("whole", 2, (Variant({"cpus": "1"}),), priority=1, pinned=True),
    Kind("part", 1, (Variant({"cpus": "1.5 tight!", "lic": "1.5"}),)),
    Kind("either", 1, (Variant({"cpus": "all"}, time_s=60), Variant({"cpus": "0", "lic": "0.5"}))),
    Kind("after", 1, (Variant({"cpus": "2 compact!"}),), after="whole"),
)


def ran(
    kind: str,
    task: int,
    start_s: float,
    end_s: float | None,
    cpus: str,
    *requests: str,
    **more: str,
) -> Execution:
    """An execution on east; requests as name=text."""
    env = {f"HQ_RESOURCE_REQUEST_{name}": text for name, text in (r.split("=") for r in requests)}
    if cpus:
        env |= {"HQ_CPUS": cpus, "HQ_RESOURCE_VALUES_cpus": cpus}
    if kind == "whole":
        env["HQ_PIN"] = "taskset"
    return Execution(
        worker="east",
        kind=kind,
        task=task,
        instance=0,
        started=int(start_s * SECOND),
        ended=int(end_s * SECOND),
        affinity=parse_cpus(cpus if kind == "whole" else "0-7"),
        env={**env, **more},
    )


WHOLE_0 = ran("whole", 0, 1, 2, "0", "cpus=1 compact")
WHOLE_1 = ran("whole", 1, 1, 3, "1", "cpus=1 compact")
PART = ran("part", 2, 1, 3, "2,3", "cpus=1.5 tight!", "lic=1.5 compact")
EITHER = ran("either", 3, 1, 4, "", "lic=0.5 compact", HQ_RESOURCE_VARIANT="1")
AFTER = ran("after", 4, 3, 4, "0,1", "cpus=2 compact!")
GOOD = (WHOLE_0, WHOLE_1, PART, EITHER, AFTER)

RUN = Run(
    kinds=KINDS,
    workers=(EAST, WEST, DEAD),
    executions=GOOD,
    rows=tuple((task, "finished", 1) for task in range(5)),
    machine=frozenset(range(8)),
)


def changed(old: Execution, **changes: object) -> Run:
    """The good run, but for one execution."""
    new = replace(old, **changes)  # type: ignore[arg-type]
    return replace(RUN, executions=tuple(new if one is old else one for one in GOOD))


def told(old: Execution, **names: str) -> Run:
    return changed(old, env={**old.env, **names})


def without(old: Execution, *names: str) -> Run:
    return changed(old, env={name: text for name, text in old.env.items() if name not in names})


def on_cpus(old: Execution, cpus: str) -> Run:
    return told(old, HQ_CPUS=cpus, HQ_RESOURCE_VALUES_cpus=cpus)


def whole_on(cpu: str) -> Run:
    """The first whole task has another cpu, and is pinned to it."""
    return changed(
        WHOLE_0,
        affinity=parse_cpus(cpu),
        env={**WHOLE_0.env, "HQ_CPUS": cpu, "HQ_RESOURCE_VALUES_cpus": cpu},
    )


def licences(amount: str) -> Run:
    """East has another amount of licences."""
    pools = {**EAST.pools, "lic": Pool(amount=Decimal(amount))}
    return replace(RUN, workers=(replace(EAST, pools=pools), WEST, DEAD))


def also(*more: Execution, **changes: object) -> Run:
    return replace(RUN, executions=(*GOOD, *more), **changes)  # type: ignore[arg-type]


def test_a_good_run_passes():
    assert violations(RUN) == []


def test_parts_of_one_index_and_times_that_touch_are_no_overlap():
    variant = (Variant({"cpus": "0.5"}),)
    halves = [ran("half", n, 0, 2, "0", "cpus=0.5 compact") for n in range(2)]
    halves += [ran("half", n, 2, 3, "0", "cpus=0.5 compact") for n in range(2, 4)]
    run = replace(
        RUN, kinds=(Kind("half", 4, variant),), executions=tuple(halves), rows=RUN.rows[:4]
    )
    assert violations(run) == []
    overlap = replace(halves[3], started=halves[3].started - 1)
    (line,) = violations(replace(run, executions=(*halves[:3], overlap)))
    assert line.startswith("cpus 0 of east: 1.5 in use by")


def test_a_run_with_a_lost_worker_passes():
    lost = replace(AFTER, worker="dead", ended=None, started=49 * SECOND)
    again = replace(AFTER, instance=1, started=51 * SECOND, ended=52 * SECOND)
    run = replace(RUN, executions=(*GOOD[:4], lost, again))
    assert violations(run) == []
    # It may even have ended, if the server never learned of it.
    ended = replace(lost, ended=50 * SECOND)
    assert violations(replace(run, executions=(*GOOD[:4], ended, again))) == []
    (line,) = violations(replace(run, settled=frozenset([4])))
    assert line == "after 4@0 on dead ran again although the server knew its end"


@pytest.mark.parametrize(
    ("run", "text"),
    [
        # outcomes
        (replace(RUN, rows=RUN.rows[:4]), "the server lists 4 tasks, 4 of them different, not 5"),
        (
            replace(RUN, rows=(*RUN.rows, RUN.rows[0])),
            "the server lists 6 tasks, 5 of them different, not 5",
        ),
        (replace(RUN, rows=(*RUN.rows[:4], (4, "failed", 1))), "task 4 is failed"),
        (
            replace(RUN, rows=(*RUN.rows[:4], (4, "finished", 2))),
            "after 4@0 on east, but the server says worker 2",
        ),
        (replace(RUN, executions=GOOD[:4]), "0 tasks of after ran, not 1"),
        # restarts
        (changed(AFTER, ended=None), "after 4@0 on east has no end"),
        (changed(AFTER, instance=1), "after 4@1 on east is a restart, but nothing was lost before"),
        (also(replace(AFTER, started=5 * SECOND, ended=6 * SECOND)), "after 4@0 on east ran twice"),
        (
            also(replace(AFTER, instance=1, started=51 * SECOND, ended=52 * SECOND)),
            "after 4@0 on east ran again although its worker lives",
        ),
        (
            also(
                replace(AFTER, worker="dead", instance=1, started=56 * SECOND, ended=57 * SECOND),
                replace(AFTER, instance=2, started=58 * SECOND, ended=59 * SECOND),
            ),
            "after 4@1 on dead started on a dead worker",
        ),
        # affinities
        (
            changed(WHOLE_0, affinity=frozenset([1])),
            "whole 0@0 on east could use cpus [1], not [0]",
        ),
        (
            changed(WHOLE_0, affinity=frozenset([0, 1])),
            "whole 0@0 on east could use cpus [0, 1], not [0]",
        ),
        (changed(PART, affinity=frozenset([2])), "part 2@0 on east could use cpus [2], not [0, 1,"),
        (without(WHOLE_0, "HQ_PIN"), "whole 0@0 on east was told HQ_PIN=None"),
        (told(PART, HQ_PIN="taskset"), "part 2@0 on east was told HQ_PIN=taskset"),
        # claims
        (without(EITHER, "HQ_RESOURCE_VARIANT"), "either 3@0 on east was told variant None"),
        (told(PART, HQ_RESOURCE_VARIANT="0"), "part 2@0 on east was told variant 0"),
        (told(EITHER, HQ_RESOURCE_VARIANT="2"), "runs in variant 2, which it does not have"),
        (
            told(PART, HQ_RESOURCE_REQUEST_lic="1 compact"),
            "part 2@0 on east was told that it asked for {'cpus': '1.5 tight!', 'lic': '1 compact'",
        ),
        (without(PART, "HQ_RESOURCE_REQUEST_lic"), "was told that it asked for {'cpus'"),
        (told(PART, HQ_RESOURCE_REQUEST_x="1 compact"), "was told that it asked for {'cpus'"),
        (told(PART, HQ_CPUS="2"), "part 2@0 on east was told HQ_CPUS=2"),
        (changed(EITHER, worker="west"), "either 3@0 on west needs lic, which is not there"),
        (on_cpus(PART, "2"), "part 2@0 on east got cpus ['2'], not 2 different ones"),
        (on_cpus(AFTER, "1,1"), "after 4@0 on east got cpus ['1', '1'], not 2 different ones"),
        (on_cpus(AFTER, "0,9"), "after 4@0 on east got cpus ['0', '9'], which its worker does not"),
        (told(PART, HQ_RESOURCE_VALUES_lic="0"), "part 2@0 on east got lic ['0'], not 0 different"),
        (on_cpus(AFTER, "1,2"), "after 4@0 on east got cpus ['1', '2'] from 2 groups"),
        (licences("1"), "part 2@0 on east got 1.5 of lic, of which there is 1"),
        # overlaps
        (whole_on("1"), "cpus 1 of east: 2 in use by ['whole 0@0 on east', 'whole 1@0 on east']"),
        (whole_on("3"), "cpus 3 of east: 1.5 in use by ['part 2@0 on east', 'whole 0@0 on east']"),
        (
            licences("1.75"),
            "lic  of east: 2.0 in use by ['either 3@0 on east', 'part 2@0 on east']",
        ),
        # order
        (changed(AFTER, started=3 * SECOND - 1), "after 4@0 on east started before all of whole"),
    ],
)
def test_a_broken_promise_is_told(run, text):
    assert [line for line in violations(run) if text in line]


def test_a_task_starts_where_it_has_the_time_that_it_asked_for():
    everything = ran("either", 3, 540, 541, "0,1,2,3", "cpus=all", HQ_RESOURCE_VARIANT="0")
    run = replace(RUN, executions=(*GOOD[:3], everything, AFTER))
    assert violations(run) == []
    late = replace(everything, started=everything.started + SECOND, ended=None)
    assert "either 3@0 on east started 59 s before the end of its worker" in violations(
        replace(run, executions=(*GOOD[:3], late, AFTER))
    )
    # All means all.
    some = ran("either", 3, 540, 541, "0,1,2", "cpus=all", HQ_RESOURCE_VARIANT="0")
    (line,) = violations(replace(run, executions=(*GOOD[:3], some, AFTER)))
    assert line == "either 3@0 on east got cpus ['0', '1', '2'], not 4 different ones"


def test_an_execution_without_end_keeps_what_it_has():
    lost = replace(PART, worker="dead", ended=None)
    after_it = replace(PART, worker="dead", instance=1, started=49 * SECOND, ended=None)
    lines = violations(replace(RUN, executions=(*GOOD, lost, after_it)))
    assert any(line.startswith("cpus 2 of dead: 2 in use by") for line in lines)


def test_lower_work_does_not_start_while_more_of_a_holder_wait_than_could_be_starting():
    kinds = (
        Kind("holder", 20, (Variant({"cpus": "1"}),), priority=2),
        Kind("lower", 1, (Variant({"cpus": "0.5"}),)),
        Kind("beside", 1, (Variant({"cpus": "0", "lic": "1"}),)),
        Kind("equal", 1, (Variant({"cpus": "1"}),), priority=2),
    )
    holders = [ran("holder", n, n, n + 1, "0", "cpus=1 compact") for n in range(20)]
    run = replace(RUN, kinds=kinds, workers=(EAST,), holders=("holder",))

    def with_others_at(start_s: float) -> Run:
        lower = ran("lower", 20, start_s, start_s, "1", "cpus=0.5 compact")
        beside = ran("beside", 21, 0, 1, "", "lic=1 compact")
        equal = ran("equal", 22, 0, 1, "2", "cpus=1 compact")
        rows = tuple((task, "finished", 1) for task in range(23))
        return replace(run, executions=(*holders, lower, beside, equal), rows=rows)

    # One worker that may be held and four slots that may be starting: five more are forgiven.
    assert violations(with_others_at(14.5)) == []
    assert violations(with_others_at(13.5)) == [
        "lower 20@0 on east started while 6 of holder waited"
    ]


def test_lower_work_may_start_in_the_gap_and_where_a_holder_cannot_run():
    holder = Kind("holder", 20, (Variant({"cpus": "3"}),), priority=1)
    holders = [ran("holder", n, n, n + 1, "0,1,2", "cpus=3 compact") for n in range(20)]
    fits = Kind("lower", 1, (Variant({"cpus": "1"}),))
    lower = ran("lower", 20, 0, 1, "3", "cpus=1 compact")
    run = replace(
        RUN,
        kinds=(holder, fits),
        executions=(*holders, lower),
        rows=tuple((task, "finished", 1) for task in range(21)),
        holders=("holder",),
    )
    assert violations(run) == []
    wide = Kind("lower", 1, (Variant({"cpus": "2"}),))
    two = "cpus=2 compact"
    elsewhere = replace(ran("lower", 20, 0, 1, "0,1", two), worker="west")
    rows = (*run.rows[:20], (20, "finished", 2))
    apart = replace(run, kinds=(holder, wide), executions=(*holders, elsewhere), rows=rows)
    assert violations(apart) == []
    here = ran("lower", 20, -1, -0.5, "0,1", two)
    assert violations(replace(apart, executions=(*holders, here), rows=run.rows)) == [
        "lower 20@0 on east started while 20 of holder waited"
    ]


def test_what_tasks_write_is_read():
    written = (
        "start\t11\t7\t0\t1000\t0-1,4\tpart\tHQ_CPUS=2,3\tHQ_ENTRY=a=b\n"
        "start\t12\t8\t2\t1500\t0\twhole\n"
        "end\t11\t7\t0\t2000\n"
    )
    first, second = read_executions(written, "east")
    assert first == Execution(
        worker="east",
        kind="part",
        task=7,
        instance=0,
        started=1000,
        ended=2000,
        affinity=frozenset([0, 1, 4]),
        env={"HQ_CPUS": "2,3", "HQ_ENTRY": "a=b"},
    )
    assert (second.task, second.instance, second.ended, second.env) == (8, 2, None, {})


def test_definitions_are_those_of_the_command_line():
    assert Pool((("a", "b"), ("c",))).definition == "[[a,b],[c]]"
    assert Pool(amount=Decimal("2.5")).definition == "sum(2.5)"
