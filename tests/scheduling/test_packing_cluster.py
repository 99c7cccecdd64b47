"""I20: what a round starts of one level is nearly worth the best that all workers could start."""

from hypothesis import given, settings
from hypothesis import strategies as st
from packing_oracle import best_value, value_of
from scheduling_cluster import Cluster, needs

WITHIN = 1 + 1e-9


def started_and_best(workers, tasks):
    """What one round starts on idle workers, and what would be best.

    `workers` are tuples (cpus[, gpus]), `tasks` rows (weight, (cpus[, gpus]), count).
    """
    cluster = Cluster()
    for cpus, *others in workers:
        cluster.join(cpus, **gpus_of(others))
    submitted = [
        cluster.submit(needs(cpus, weight=weight, **gpus_of(others)), count=count)
        for weight, (cpus, *others), count in tasks
    ]
    cluster.settle()
    free = tuple(map(sum, zip(*workers, strict=True)))
    values = [value_of(weight, amounts, free) for weight, amounts, _ in tasks]
    counts = cluster.started(*submitted)
    worth = sum(n * value for n, value in zip(counts, values, strict=True))
    best = best_value(workers, [(amounts, count) for _, amounts, count in tasks], values)
    assert worth <= best * WITHIN
    return worth, best


def gpus_of(others):
    return {"gpus": others[0]} if any(others) else {}


def tasks_of(amounts, most, weights=(1.0,)):
    rows = st.tuples(st.sampled_from(weights), amounts, st.integers(1, 6))
    return st.lists(rows, min_size=1, max_size=most, unique_by=lambda row: row[:2])


one_resource = st.tuples(st.integers(1, 6))
two_resources = st.tuples(st.integers(1, 6), st.integers(0, 3))


@given(
    st.lists(st.tuples(st.integers(1, 12)), min_size=1, max_size=3),
    tasks_of(one_resource, 3),
)
@settings(max_examples=150, deadline=None)
def test_i20_few_classes_of_one_resource_are_placed_best(workers, tasks):
    worth, best = started_and_best(workers, tasks)
    assert worth * WITHIN >= best


@given(
    st.lists(st.tuples(st.integers(1, 12)), min_size=1, max_size=3),
    tasks_of(one_resource, 4, (1.0, 1.0, 0.5, 2.0, 1.1)),
)
@settings(max_examples=150, deadline=None)
def test_i20_weighted_classes_of_one_resource_are_placed_well(workers, tasks):
    worth, best = started_and_best(workers, tasks)
    assert worth >= best * 0.9


@given(
    st.lists(st.tuples(st.integers(1, 10), st.integers(0, 4)), min_size=1, max_size=3),
    tasks_of(two_resources, 4, (1.0, 1.0, 0.5, 2.0)),
)
@settings(max_examples=150, deadline=None)
def test_i20_classes_of_two_resources_are_placed_well(workers, tasks):
    worth, best = started_and_best(workers, tasks)
    assert worth >= best * 0.9
