"""Scenarios of allocation policies on one worker, without coupling."""

import pytest
from numa_worker import NumaWorker

from hqtrio.model.resources import POLICY_TEXT


def test_n01_three_policies_spread_six_cpus_differently():
    worker = NumaWorker(cpus="4|4|4")
    for policy, spread in (("compact", [3, 3]), ("tight", [4, 2]), ("scatter", [2, 2, 2])):
        task = worker.run(cpus=f"6 {policy}")
        assert task.spread() == spread
        worker.end(task)


def test_n02_compact_is_even_over_two_of_four_groups():
    task = NumaWorker(cpus="4|4|4|4").run(cpus="6")
    assert task.spread() == [3, 3]
    assert len(task.groups()) == 2


def test_n03_tight_fills_one_group_first():
    assert NumaWorker(cpus="4|4|4|4").run(cpus="6 tight").spread() == [4, 2]


def used_in_two_sixes_and_one():
    worker = NumaWorker(cpus="6|6|6|6")
    return worker, [worker.run(cpus=amount) for amount in ("4", "4", "3", "3")]


def test_n04_an_exact_fit_beats_an_untouched_group():
    _, (a, b, c, d) = used_in_two_sixes_and_one()
    assert [len(task.groups()) for task in (a, b, c, d)] == [1, 1, 1, 1]
    assert c.groups() == d.groups()
    assert len({*a.groups(), *b.groups(), *c.groups()}) == 3


@pytest.mark.parametrize(
    ("amount", "spread"), [("6", [6]), ("7", [2, 5]), ("8", [2, 6]), ("9", [2, 2, 5])]
)
def test_n05_the_fewest_groups_of_what_is_left(amount, spread):
    worker, _ = used_in_two_sixes_and_one()
    task = worker.run(cpus=amount)
    assert task.spread() == spread
    worker.end(task)
    assert worker.free("cpus") == 10


@pytest.mark.parametrize("amount", ["24", "all"])
def test_n06_everything_in_ascending_order(amount):
    worker = NumaWorker(cpus="6|6|6|6")
    assert worker.run(cpus=amount).labels() == [str(label) for label in range(24)]
    assert worker.free("cpus") == 0


def test_n07_all_waits_while_anything_is_used():
    worker = NumaWorker(cpus="6|6|6|6")
    task = worker.run(cpus="1")
    assert worker.run(cpus="all") is None
    worker.end(task)
    part = worker.run(cpus="0.0001")
    assert worker.run(cpus="all") is None
    worker.end(part)
    assert worker.run(cpus="all")


def test_n08_more_than_there_is_is_impossible():
    worker = NumaWorker(cpus="4|4")
    assert not worker.capable(cpus="9 compact!")
    assert worker.run(cpus="9 compact!") is None


def test_n09_strict_pairs_stay_in_their_group():
    worker = NumaWorker(cpus="4|4")
    tasks = [worker.run(cpus="2 compact!") for _ in range(4)]
    assert [task.spread() for task in tasks] == [[2]] * 4
    assert worker.run(cpus="2 compact!") is None


def test_n10_strict_waits_where_plain_compact_takes_two_groups():
    worker = NumaWorker(cpus="4|4")
    assert worker.run(cpus="3 compact!")
    assert worker.run(cpus="3 compact!")
    assert worker.run(cpus="2 compact!") is None
    assert worker.run(cpus="2 tight!") is None
    assert worker.run(cpus="2").spread() == [1, 1]


@pytest.mark.parametrize(("amount", "groups"), [("8", 2), ("5", 2), ("10", 3)])
def test_n11_strict_takes_as_many_groups_as_the_empty_worker_needs(amount, groups):
    task = NumaWorker(cpus="4|4|4").run(cpus=f"{amount} compact!")
    assert len(task.groups()) == groups


def test_n12_scatter_uses_as_many_groups_as_it_can():
    worker = NumaWorker(cpus="4|4|4")
    three = worker.run(cpus="3 scatter")
    assert three.spread() == [1, 1, 1]
    worker.end(three)
    four = worker.run(cpus="4 scatter")
    assert sorted(four.spread()) == [1, 1, 2]
    worker.end(four)
    assert worker.run(cpus="2 scatter").spread() == [1, 1]


def test_n13_scatter_passes_by_an_exhausted_group():
    worker = NumaWorker(cpus="4|4|4")
    assert worker.run(cpus="4").groups() == [0]
    assert worker.run(cpus="5 scatter").spread() == [3, 2]


def test_scatter_starts_in_the_fullest_group():
    worker = NumaWorker(cpus="4|4|4")
    assert worker.run(cpus="2").groups() == [0]
    assert worker.run(cpus="1 scatter").groups() == [1]
    assert worker.run(cpus="1 scatter").groups() == [2]


@pytest.mark.parametrize(
    ("text", "groups"), [("4 compact!", 1), ("5 compact!", 2), ("2 scatter", 2), ("5 scatter", 3)]
)
def test_n14_groups_of_strict_and_scattered_tasks(text, groups):
    assert len(NumaWorker(cpus="4|4|4").run(cpus=text).groups()) == groups


def test_n15_a_fraction_needs_an_index_of_its_own():
    worker = NumaWorker(cpus="4")
    assert not worker.capable(cpus="4.0001")
    assert worker.run(cpus="4.0001") is None


def test_n16_fractions_share_split_indices():
    worker = NumaWorker(cpus="4")
    first = worker.run(cpus="2.15")
    assert len(first.labels()) == 3
    second = worker.run(cpus="0.52")
    assert second.labels() == [first.partial()]
    third = worker.run(cpus="0.52")
    assert third.partial() not in first.labels()
    assert worker.run(cpus="0.52") is None
    worker.end(first)
    assert worker.free("cpus") == 2.96


def test_n17_free_halves_are_not_a_whole_index():
    worker = NumaWorker(cpus="2")
    a, b, c, d = (worker.run(cpus=amount) for amount in ("0.75", "0.75", "0.25", "0.25"))
    worker.end(a, b)
    assert worker.free("cpus") == 1.5
    assert worker.run(cpus="1.5") is None
    worker.end(c)
    task = worker.run(cpus="1.5")
    assert task.labels() == [*c.labels(), *d.labels()]
    assert task.shares["cpus"].fraction == 5_000


def two_and_a_half_groups():
    worker = NumaWorker(cpus="2|2|2")
    return worker, worker.run(cpus="3.5")


def test_n18_the_fraction_lies_where_the_units_are_fewest():
    _, task = two_and_a_half_groups()
    assert task.spread() == [2, 2]
    assert task.shares["cpus"].fraction == 5_000


def test_n19_a_small_fraction_reuses_the_split_index():
    worker, first = two_and_a_half_groups()
    assert worker.run(cpus="0.4").labels() == [first.partial()]


def test_n20_a_split_index_that_is_too_small_is_left_alone():
    worker, first = two_and_a_half_groups()
    second = worker.run(cpus="0.4")
    worker.end(first)
    task = worker.run(cpus="2.8")
    assert task.spread() == [2, 1]
    assert set(task.labels()).isdisjoint(second.labels())


def test_n21_scattered_halves_share_an_index():
    worker = NumaWorker(cpus="2|2|2")
    first, second = worker.run(cpus="2.5 scatter"), worker.run(cpus="2.5 scatter")
    assert first.partial() == second.partial()


def test_n22_strict_with_a_fraction_after_others_have_ended():
    worker = NumaWorker(cpus="2|2|2")
    for _ in range(3):
        worker.end(worker.run(cpus="0.3 compact!"))
        task = worker.run(cpus="2.5 compact!")
        assert sorted(task.spread()) == [1, 2]
        worker.end(task)


def test_n23_sums_are_amounts_and_nothing_else():
    worker = NumaWorker(cpus="1", mem="sum 2")
    assert not worker.capable(mem="2.3")
    assert worker.run(mem="2.3") is None
    assert worker.run(mem="1.3")
    assert worker.run(mem="0.7001") is None
    task = worker.run(mem="0.7")
    assert task.labels("mem") == []
    assert worker.free("mem") == 0


@pytest.mark.parametrize(("amount", "fits"), [("1", False), ("0.0301", False), ("0.025", True)])
def test_n24_a_sum_smaller_than_one(amount, fits):
    worker = NumaWorker(cpus="1", mem="sum 0.03")
    assert worker.capable(mem=amount) == fits
    assert bool(worker.run(mem=amount)) == fits


def test_n25_groups_of_unequal_size():
    task = NumaWorker(cpus="3|3|2|2").run(cpus="3.5")
    assert len(set(task.labels())) == 4
    assert len(task.groups()) == 2


def test_strict_counts_groups_of_unequal_size_as_they_are():
    worker = NumaWorker(cpus="2|1|1")
    one = worker.run(cpus="1")
    worker.end(one)
    task = worker.run(cpus="2 compact!")
    assert task.groups() == [0]
    assert worker.run(cpus="2 compact!") is None


def test_n26_four_tasks_share_two_of_ten_labels():
    worker = NumaWorker(cpus="10")
    tasks = [worker.run(cpus="2.5") for _ in range(4)]
    whole = [label for task in tasks for label in task.labels()[:-1]]
    parts = [task.partial() for task in tasks]
    assert len(set(whole)) == len(whole) == 8
    assert sorted(map(parts.count, set(parts))) == [2, 2]
    assert not set(whole) & set(parts)


def test_n27_two_small_fractions_per_label():
    worker = NumaWorker(cpus="2")
    parts = [worker.run(cpus="0.4").partial() for _ in range(4)]
    assert sorted(map(parts.count, set(parts))) == [2, 2]


@pytest.mark.parametrize("amount", ["1", "3", "0.5", "2.25"])
def test_n41_on_one_group_all_policies_are_one(amount):
    found = set()
    for policy in POLICY_TEXT.values():
        if policy != "all":
            worker = NumaWorker(cpus="4")
            worker.run(cpus="0.5")
            found.add(worker.run(cpus=f"{amount} {policy}").shares["cpus"])
    assert len(found) == 1
