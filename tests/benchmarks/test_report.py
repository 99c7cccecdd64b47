"""What the benchmark prints is computed right; nothing is timed here."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import peers, workloads
from benchmarks.machine import file_system, processor
from benchmarks.report import (
    Sample,
    Skip,
    Summary,
    budget_text,
    document,
    figure,
    ratio,
    reached,
    summaries,
    summarise,
    table,
)
from benchmarks.workloads import BARE_LOOPS, HQTRIO, HYPERQUEUE, Budget, Workload

RATE = Workload(
    "rate",
    "many tasks",
    "tasks/s",
    tasks=4000,
    quick_tasks=40,
    more_is_better=True,
    bare=BARE_LOOPS,
    budgets=(Budget(HQTRIO, 4.5, against=HYPERQUEUE), Budget(HQTRIO, 0.85, against=BARE_LOOPS)),
)
COST = Workload(
    "cost", "a chain", "ms/link", tasks=100, quick_tasks=10, budgets=(Budget(HQTRIO, 4),)
)


def rounds(workload: Workload, series: str, *values: float) -> list[Sample]:
    return [Sample(workload.name, series, number, value) for number, value in enumerate(values)]


MEASURED = [
    *rounds(RATE, HQTRIO, 2900, 3000, 2500),
    *rounds(RATE, HYPERQUEUE, 600, 550, 640),
    *rounds(RATE, BARE_LOOPS, 3300, 3100, 3400),
]


def test_an_odd_one_out_does_not_move_the_median():
    assert summarise([600.0, 610.0, 20.0]) == Summary(600.0, 20.0, 610.0, 3)


def test_the_median_of_two_rounds_lies_between_them():
    assert summarise([1.0, 2.0]).median == 1.5


@given(st.lists(st.floats(0.001, 1e6), min_size=1))
def test_the_median_lies_within_the_range(values):
    summary = summarise(values)
    assert summary.lowest <= summary.median <= summary.highest
    assert summary.rounds == len(values)


def test_workloads_and_series_are_kept_apart():
    samples = [*MEASURED, *rounds(COST, HQTRIO, 3.5)]
    assert list(summaries(samples, "rate")) == [HQTRIO, HYPERQUEUE, BARE_LOOPS]
    assert summaries(samples, "cost") == {HQTRIO: Summary(3.5, 3.5, 3.5, 1)}


def test_a_ratio_needs_something_to_divide_by():
    assert ratio(3000.0, Summary(600.0, 1, 700, 3)) == 5.0
    assert ratio(3000.0, None) is None
    assert ratio(3000.0, Summary(0.0, 0, 0, 1)) is None


def test_a_rate_keeps_its_budget_from_above_and_a_cost_from_below():
    figures = summaries(MEASURED, "rate")
    times_hyperqueue, share_of_bare = RATE.budgets
    assert reached(times_hyperqueue, figures, RATE) is True  # 2900 / 600
    assert reached(share_of_bare, figures, RATE) is True  # 2900 / 3300
    assert reached(replace(times_hyperqueue, limit=5.0), figures, RATE) is False
    assert reached(COST.budgets[0], summaries(rounds(COST, HQTRIO, 3.9), "cost"), COST) is True
    assert reached(COST.budgets[0], summaries(rounds(COST, HQTRIO, 4.1), "cost"), COST) is False


@pytest.mark.parametrize("absent", [HQTRIO, HYPERQUEUE])
def test_a_budget_is_not_judged_without_its_series(absent):
    figures = summaries([s for s in MEASURED if s.series != absent], "rate")
    assert reached(RATE.budgets[0], figures, RATE) is None


def test_a_budget_reads_as_a_bound():
    assert budget_text(RATE.budgets[0], RATE) == ">= 4.5 x HyperQueue"
    assert budget_text(COST.budgets[0], COST) == "<= 4 ms/link"


@pytest.mark.parametrize(
    ("value", "text"),
    [(123456.7, "123,457"), (99.44, "99.4"), (4.256, "4.26"), (0.12345, "0.123"), (-250.4, "-250")],
)
def test_figures_have_no_more_digits_than_they_deserve(value, text):
    assert figure(value) == text


def test_the_table_shows_ratios_budgets_notes_and_skipped_peers():
    skips = [Skip("Dask", "rate", "failed: no end"), Skip("xargs", "cost", "elsewhere")]
    shown = table(RATE, MEASURED, skips, ["longest in Submit"])
    assert shown.splitlines() == [
        "## rate: many tasks",
        "4000 tasks; tasks/s, more is better",
        "",
        "                   median      min - max  / hqtrio  / bare  rounds",
        "  hqtrio            2,900  2,500 - 3,000      1.00    0.88       3",
        "  HyperQueue          600      550 - 640      0.21    0.18       3",
        "  two spawn loops   3,300  3,100 - 3,400      1.14    1.00       3",
        "  budget: hqtrio >= 4.5 x HyperQueue: reached",
        "  budget: hqtrio >= 0.85 x two spawn loops: reached",
        "  note: longest in Submit",
        "  skipped: Dask: failed: no end",
    ]


def test_a_table_without_hqtrio_still_shows_the_peers():
    shown = table(RATE, rounds(RATE, HYPERQUEUE, 600.0), [])
    assert "HyperQueue     600  600 - 600         -       -       1" in shown
    assert "budget: hqtrio >= 4.5 x HyperQueue: not measured" in shown


def test_a_workload_that_nobody_could_do_says_so():
    assert "nothing measured" in table(COST, [], [Skip(HQTRIO, "cost", "no server")])


def test_the_document_survives_json_with_every_value():
    skips = [Skip("Dask", "", "no Python package 'distributed'")]
    read = json.loads(json.dumps(document([RATE, COST], MEASURED, skips, {"cores": 2}, {})))
    assert read["machine"] == {"cores": 2}
    assert read["workloads"]["rate"]["series"][HYPERQUEUE]["values"] == [600, 550, 640]
    assert read["workloads"]["rate"]["budgets"][0]["reached"] is True
    assert read["workloads"]["cost"]["series"] == {}
    assert read["skipped"][0]["peer"] == "Dask"


def test_quick_changes_nothing_but_the_size():
    assert RATE.quick() == replace(RATE, tasks=40)


def test_every_peer_measures_known_workloads_and_every_workload_has_a_peer():
    known = {workload.name for workload in workloads.ALL}
    measured = {name for peer in peers.ALL for name in peer.measures}
    assert measured == known


def test_a_missing_peer_says_what_would_bring_it():
    from benchmarks.peers.peer import needs_package

    reason = needs_package("no_such_package_anywhere", "pip install it")()
    assert reason == "no Python package 'no_such_package_anywhere': pip install it"
    assert needs_package("json", "")() == ""


def test_the_file_system_is_that_of_the_longest_mount_point(tmp_path):
    mounts = f"/dev/vda / ext4 rw 0 0\ntmpfs {tmp_path.parent} tmpfs rw 0 0\n"
    assert file_system(tmp_path, mounts) == "tmpfs"
    assert file_system(tmp_path, "/dev/vda / ext4 rw 0 0\n") == "ext4"


def test_the_processor_is_read_from_cpuinfo():
    assert processor("processor : 0\nmodel name\t: A Fast One\n") == "A Fast One"
