"""Filling one worker with the most valuable mix of tasks."""

from itertools import product

import highspy
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from packing_oracle import best_value, value_of

from hqtrio.model.resources import UNIT
from hqtrio.scheduling.packing import Option, fill, fill_together

WITHIN = 1 + 1e-9


def options(free, *classes):
    """Options of classes; a class is its variants, a variant (weight, amount, amount, ...)."""
    return [
        Option(klass, tuple(amounts), value_of(weight, amounts, free))
        for klass, variants in enumerate(classes)
        for weight, *amounts in variants
    ]


def plain(*amounts, weight=1.0):
    return [(weight, *amounts)]


def worth(counts, choice):
    return sum(count * option.value for count, option in zip(counts, choice, strict=True))


def is_possible(counts, free, choice, available, at_least=0):
    used = [
        sum(count * option.demand[r] for count, option in zip(counts, choice, strict=True))
        for r in range(len(free))
    ]
    started = [0] * len(available)
    for count, option in zip(counts, choice, strict=True):
        started[option.klass] += count
    return (
        all(use <= have for use, have in zip(used, free, strict=True))
        and all(n <= have for n, have in zip(started, available, strict=True))
        and (used[0] >= at_least or not any(counts))
    )


# --- one option, and nothing


def test_nothing_to_choose_from_starts_nothing():
    assert fill((4,), [], []) == ()


def test_one_option_goes_as_often_as_the_scarcest_resource_allows():
    free = (10, 7, 3)
    assert fill(free, options(free, plain(2, 1, 0)), [9]) == (5,)
    assert fill(free, options(free, plain(1, 2, 0)), [9]) == (3,)
    assert fill(free, options(free, plain(1, 0, 1)), [2]) == (2,)
    assert fill(free, options(free, plain(11, 0, 0)), [2]) == (0,)


def test_everything_starts_if_everything_fits():
    free = (10, 4)
    assert fill(free, options(free, plain(2, 1), plain(1, 0), plain(3, 1)), [2, 3, 1]) == (2, 3, 1)


def test_among_equal_values_the_first_options_get_most():
    free = (6,)
    assert fill(free, options(free, plain(1), plain(2), plain(3)), [9, 9, 9]) == (6, 0, 0)
    assert fill(free, options(free, plain(2), plain(1), plain(3)), [2, 9, 9]) == (2, 2, 0)
    assert fill(free, options(free, plain(3), plain(2), plain(1)), [1, 9, 1]) == (1, 1, 1)


# --- numbered scenarios, one worker of them


def test_s09_seven_of_eight_cpus_on_two_workers():
    sizes = options((8,), plain(3), plain(4), plain(2))
    first = fill((4,), sizes, [1, 1, 1])
    assert first == (0, 1, 0)
    assert fill((4,), sizes, [1, 0, 1]) == (1, 0, 0)


def test_s10_a_four_fills_a_worker_of_four():
    sizes = options((8,), plain(4), plain(2), plain(3))
    assert fill((4,), sizes, [2, 1, 1]) == (1, 0, 0)
    assert fill((4,), sizes, [1, 1, 1]) == (1, 0, 0)


@pytest.mark.parametrize(("gpus", "expected"), [(0, (3, 0)), (10, (0, 3)), (2, (1, 2))])
def test_s61_gpu_tasks_go_where_gpus_are(gpus, expected):
    free = (6, gpus)
    assert fill(free, options(free, plain(2, 0), plain(2, 1)), [10, 10]) == expected


def test_s63_the_mix_of_a_level_on_three_different_workers():
    totals = (14, 22, 4)  # cpus, gpus, foo of all three
    mix = options(totals, plain(2, 1, 0), plain(1, 1, 2), plain(4, 0, 0))
    assert fill((6, 0, 0), mix, [1, 3, 2]) == (0, 0, 1)
    assert fill((3, 2, 0), mix, [1, 3, 1]) == (1, 0, 0)
    assert fill((5, 20, 4), mix, [0, 3, 1])[1] == 2


def test_s64_the_class_that_packs_denser():
    totals = (30, 20)
    mix = options(totals, plain(1, 1), plain(1, 2))
    assert fill((10, 10), mix, [50, 50]) == (10, 0)
    assert fill((10, 0), mix, [50, 50]) == (0, 0)


@pytest.mark.parametrize(("gpus", "expected"), [(0, (2, 0)), (4, (1, 2)), (20, (0, 6))])
def test_s68_the_mix_of_variants_with_most_value(gpus, expected):
    free = (12, gpus)
    assert fill(free, options(free, [(1.0, 6, 0), (1.0, 2, 2)]), [10]) == expected


def test_s69_all_start_because_both_variants_are_used():
    free = (16, 2)
    assert fill(free, options(free, [(1.0, 1, 1), (1.0, 4, 0)]), [5]) == (2, 3)


def test_the_documented_mix_of_variants():
    free = (16, 4)
    assert fill(free, options(free, [(1.0, 1, 1), (1.0, 4, 0)]), [1000]) == (4, 3)


@pytest.mark.parametrize(("heavy", "expected"), [((1.1, 1.0), (4, 0)), ((1.0, 1.1), (0, 1))])
def test_s75_weights_decide_between_parts_and_all(heavy, expected):
    mix = options((12,), plain(3, weight=heavy[0]), plain(12, weight=heavy[1]))
    assert fill((12,), mix, [5, 1]) == expected


def test_s76_full_utilization_needs_the_one_that_fills():
    mix = options((12,), plain(3, weight=2.0), plain(12))
    assert fill((12,), mix, [3, 1], at_least=12) == (0, 1)
    assert fill((12,), mix, [4, 1], at_least=12) == (4, 0)


def test_s77_full_utilization_by_a_mix():
    mix = options((12,), plain(3, weight=2.0), plain(6))
    assert fill((12,), mix, [3, 3], at_least=12) == (2, 1)


@pytest.mark.parametrize(
    ("free", "count", "at_least", "expected"), [(9, 2, 9, 0), (9, 3, 9, 3), (6, 2, 6, 2)]
)
def test_s78_all_or_nothing(free, count, at_least, expected):
    assert fill((free,), options((free,), plain(3)), [count], at_least=at_least) == (expected,)


@pytest.mark.parametrize(
    ("count", "utilization", "expected"),
    [(2, 0.5, 2), (2, 0.51, 0), (3, 0.51, 3), (3, 0.75, 3), (3, 0.76, 0)],
)
def test_s79_half_and_three_quarters(count, utilization, expected):
    at_least = round(12 * UNIT * utilization)
    mix = options((12 * UNIT,), plain(3 * UNIT))
    assert fill((12 * UNIT,), mix, [count], at_least=at_least) == (expected,)


def test_what_is_not_enough_even_in_all_starts_nothing():
    mix = options((12,), plain(3), plain(2))
    assert fill((12,), mix, [1, 1], at_least=6) == (0, 0)
    assert fill((12,), mix, [1, 1], at_least=13) == (0, 0)
    assert fill((12, 3), options((12, 3), plain(0, 1), plain(0, 2)), [5, 5], at_least=1) == (0, 0)


def test_small_options_beyond_those_weighed_up_are_added():
    sizes = [Option(at, (1,), 1.0 + at % 2) for at in range(200)]
    assert fill((150,), sizes, [1] * 200).count(1) == 150
    assert fill((200,), sizes, [1] * 200) == (1,) * 200


def test_without_steps_it_still_answers_with_what_is_possible():
    free = (64, 4)
    mix = options(free, plain(1, 0, weight=1.3), plain(5, 1), plain(7, 2, weight=0.9))
    counts = fill(free, mix, [9, 9, 9], nodes=0)
    assert is_possible(counts, free, mix, [9, 9, 9])
    assert fill(free, mix, [9, 9, 9], at_least=64, nodes=0) in {(0, 0, 0), counts}


def test_thousands_of_classes_are_no_problem():
    free = (64 * UNIT, 8 * UNIT)
    mix = options(
        free, *(plain(UNIT + 7 * i, (i % 3) * UNIT, weight=1 + i / 9e3) for i in range(3000))
    )
    counts = fill(free, mix, [1] * 3000)
    assert is_possible(counts, free, mix, [1] * 3000)
    assert worth(counts, mix) > 2.0


# --- oracles


def brute_force(free, choice, available, at_least):
    """The best of all counts, the lexicographically greatest of those within tolerance."""
    possible = [
        counts
        for counts in product(*(range(available[option.klass], -1, -1) for option in choice))
        if is_possible(counts, free, choice, available, at_least)
    ]
    most = max(worth(counts, choice) for counts in possible)
    return max(counts for counts in possible if worth(counts, choice) * WITHIN >= most)


@st.composite
def instances(draw):
    free = tuple(draw(st.lists(st.integers(0, 9), min_size=1, max_size=3)))
    choice, available = [], []
    for klass in range(draw(st.integers(1, 3))):
        available.append(draw(st.integers(0, 4)))
        for _ in range(draw(st.integers(1, 2))):
            amounts = draw(
                st.tuples(*(st.integers(0, 5) for _ in free)).filter(lambda row: any(row))
            )
            weight = draw(st.sampled_from([1.0, 1.0, 0.5, 2.0, 1.1]))
            value = value_of(weight, amounts, free) or weight
            choice.append(Option(klass, amounts, value))
    return free, choice, available, draw(st.sampled_from([0, 0, free[0] // 2, free[0]]))


@given(instances())
@settings(max_examples=300, deadline=None)
def test_small_instances_equal_brute_force(instance):
    free, choice, available, at_least = instance
    expected = brute_force(free, choice, available, at_least)
    assert fill(free, choice, available, at_least=at_least) == expected


@given(
    st.lists(st.tuples(st.integers(0, 10), st.integers(0, 4)), min_size=1, max_size=3),
    st.lists(
        st.tuples(
            st.sampled_from([1.0, 1.0, 0.5, 2.0]),
            st.tuples(st.integers(1, 6), st.integers(0, 3)),
            st.integers(0, 6),
        ),
        min_size=1,
        max_size=4,
    ),
)
@settings(max_examples=150, deadline=None)
def test_a_few_workers_together_equal_brute_force(workers, tasks):
    free = tuple(map(sum, zip(*workers, strict=True)))
    values = [value_of(weight, amounts, free) or weight for weight, amounts, _ in tasks]
    choice = [
        Option(at, amounts, value)
        for at, ((_, amounts, _), value) in enumerate(zip(tasks, values, strict=True))
    ]
    available = [count for _, _, count in tasks]
    filled = fill_together(workers, [choice] * len(workers), available, nodes=200_000)
    assert len(filled) == len(workers)
    for room, counts in zip(workers, filled, strict=True):
        assert is_possible(counts, room, choice, available)
    assert all(
        sum(started) <= have
        for started, have in zip(zip(*filled, strict=True), available, strict=True)
    )
    best = best_value(workers, [(amounts, count) for _, amounts, count in tasks], values)
    assert sum(worth(counts, choice) for counts in filled) * (1 + 1e-3) >= best


def test_workers_together_may_differ_in_what_they_have():
    own = [[Option(0, (2,), 2.0)], [], [Option(0, (2, 1), 3.0), Option(1, (1, 0), 1.0)]]
    assert fill_together([(4,), (9,), (5, 1)], own, [3, 9]) == [(2,), (), (1, 3)]
    assert fill_together([(4,)], [[]], [3]) == [()]


def test_two_workers_share_small_tasks_so_that_large_ones_fit():
    sizes = [Option(0, (2,), 2.0), Option(1, (1,), 1.0), Option(2, (4,), 4.0)]
    filled = fill_together([(6,), (6,)], [sizes, sizes], [2, 2, 3])
    assert sum(worth(counts, sizes) for counts in filled) == 12


def solved(free, choice, available):
    """The best value, by an integer program."""
    solver = highspy.Highs()
    solver.silent()
    solver.setOptionValue("threads", 1)
    solver.setOptionValue("mip_rel_gap", 1e-4)
    counts = [
        solver.addIntegral(lb=0, ub=available[option.klass], obj=-option.value) for option in choice
    ]
    for r, have in enumerate(free):
        solver.addConstr(
            sum(o.demand[r] / UNIT * count for o, count in zip(choice, counts, strict=True))
            <= have / UNIT
        )
    for klass, have in enumerate(available):
        own = [count for o, count in zip(choice, counts, strict=True) if o.klass == klass]
        if len(own) > 1:
            solver.addConstr(sum(own) <= have)
    solver.run()
    return -solver.getInfo().objective_function_value


@st.composite
def large_instances(draw):
    amounts = [
        st.sampled_from([1, 1, 1, 2, 2, 3, 4, 5, 6, 8, 12, 16, 32]),
        st.sampled_from([0, 0, 0, 0, 1, 2, 4]),
        st.integers(0, 96).map(lambda gb: gb * 1024),
    ][: draw(st.integers(1, 3))]
    free = (64 * UNIT, 8 * UNIT, 512 * 1024 * UNIT)[: len(amounts)]
    choice, available = [], []
    while len(choice) < 20:
        available.append(draw(st.integers(1, 50)))
        for _ in range(min(draw(st.sampled_from([1, 1, 1, 2, 3])), 20 - len(choice))):
            demand = tuple(UNIT * draw(amount) for amount in amounts)
            weight = draw(st.sampled_from([1.0, 1.0, 1.0, 0.5, 1.1, 2.0]))
            klass = len(available) - 1
            choice.append(Option(klass, demand, value_of(weight, demand, free)))
    return free, choice, available


def large_beside_many_small():
    """One large task and small ones fill it best; of the large ones the relaxation takes two."""
    free = (64 * UNIT, 8 * UNIT)
    cpu, two, gpus = (1.0, UNIT, 0), (1.0, 2 * UNIT, 0), (1.0, UNIT, 2 * UNIT)
    large, dense = (2.0, 32 * UNIT, 0), (2.0, UNIT, 0)
    singles = [[cpu]] * 5
    classes = [[cpu] * 3, [large], [cpu] * 2, *singles, [two, dense]]
    classes += [[cpu] * 2, [cpu], [cpu] * 2, [two], [gpus]]
    return free, options(free, *classes), [1, 2, 1, 1, 1, 1, 1, 1, 24, 1, 1, 1, 1, 2]


def test_the_large_ones_of_the_relaxation_do_not_crowd_out_small_ones():
    free, choice, available = large_beside_many_small()
    assert worth(fill(free, choice, available), choice) == 2.375


@given(large_instances())
@example(large_beside_many_small())
@settings(max_examples=60, deadline=None)
def test_large_instances_come_close_to_an_integer_program(instance):
    free, choice, available = instance
    counts = fill(free, choice, available)
    assert is_possible(counts, free, choice, available)
    most = solved(free, choice, available)
    assert most * 0.95 <= worth(counts, choice) <= most * (1 + 1e-3)


@given(large_instances())
@settings(max_examples=30, deadline=None)
def test_with_steps_enough_large_instances_equal_an_integer_program(instance):
    free, choice, available = instance
    choice = [option for option in choice if option.klass < 5]
    most = solved(free, choice, available)
    assert worth(fill(free, choice, available, nodes=2_000_000), choice) >= most * (1 - 1e-3)


@given(large_instances(), st.integers(0, 64), st.sampled_from([0, 100, 500, 1_500, 5_000]))
@settings(max_examples=60, deadline=None)
def test_with_any_steps_large_instances_get_what_is_possible(instance, cpus, nodes):
    free, choice, available = instance
    counts = fill(free, choice, available, at_least=cpus * UNIT, nodes=nodes)
    assert is_possible(counts, free, choice, available, cpus * UNIT)
