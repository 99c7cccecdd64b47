"""Coupled placements cost a bounded number of steps: exact where they can be, consistent beyond."""

from itertools import combinations, product
from random import Random

import pytest

from hqtrio.model.descriptors import COUPLED_GROUPS_MAX, COUPLED_POOLS_MAX, LINKS_MAX
from hqtrio.model.resources import UNIT, Descriptor, Link, Policy, Pool
from hqtrio.scheduling import coupling
from hqtrio.scheduling.coupling import teams
from hqtrio.scheduling.joint import Joint
from hqtrio.scheduling.policies import Ask, fewest_groups, is_sufficient, merit, useful
from hqtrio.scheduling.searching import STEPS_MAX, search

SIZE = 4  # indices per group of an empty worker


def random_asks(rnd, pools, groups, policy=Policy.COMPACT):
    """Needs of about the same number of groups each, on a worker partly in use."""
    count = rnd.choice([rnd.randint(1, max(1, groups // 2)), groups // 2])
    asks = []
    for _ in range(pools):
        caps = tuple(rnd.choice([4, 4, 4, 4, 3, 2, 0]) for _ in range(groups))
        fraction = rnd.choice([0, 0, 5_000])
        fits = tuple(rnd.choice([0, 6_000, 9_000]) * (fraction > 0 and c < SIZE) for c in caps)
        wanted = max(1, count + rnd.choice([-1, 0, 0, 1])) * SIZE - rnd.randint(0, 3)
        units = max(1, min(wanted, sum(caps) - 1))
        asks.append(Ask(units, fraction, policy, caps, fits))
    return tuple(asks)


def random_links(rnd, pools, groups, number):
    """Links between any two groups, and a chain that makes all pools one team."""
    ends = list(product(range(pools), range(groups)))
    pairs = [((at, 0), (at + 1, 0)) for at in range(pools - 1)]
    while len(pairs) < number:
        pairs.append(tuple(sorted(rnd.sample(ends, 2))))
    return [
        (*one, *two, rnd.choice([100, 256, rnd.randint(1, 65_535)]))
        for one, two in dict.fromkeys(pairs)
    ]


def equal_numbered(pools, groups, *, ring):
    return [
        (one, group, two, group, 256)
        for one, two in combinations(range(pools), 2)
        if ring or one == 0
        for group in range(groups)
    ]


def team_of(pools, groups, links):
    labels = ("x",) * SIZE
    described = tuple(
        Pool(f"p{at}", (labels,) * groups, groups * SIZE * UNIT) for at in range(pools)
    )
    descriptor = Descriptor(described, tuple(Link(*link) for link in sorted(links)))
    (team,) = teams(descriptor, tuple(pool.resource for pool in described))
    return team


def groups_of(gives):
    return tuple(
        tuple(sorted({group for group, _ in give.counts} | ({give.carrier} - {-1})))
        for give in gives
    )


def weight_of(links, sets):
    return sum(w for p, g, q, h, w in links if g in sets[p] and h in sets[q])


def best_by_trying(asks, links):
    """The best of all choices of sets as small as can be."""
    ways = [
        [
            (merit(ask, groups), groups)
            for groups in combinations(useful(ask), fewest_groups(ask))
            if is_sufficient(ask, groups)
        ]
        for ask in asks
    ]
    earned = {
        (one, two): {
            (a, b): sum(w for p, g, q, h, w in links if (p, q) == (one, two) and g in a and h in b)
            for (_, a), (_, b) in product(ways[one], ways[two] if one != two else [(0, ())])
        }
        for one, two in combinations(range(len(asks)), 2)
    }
    alone = [
        {s: sum(w for p, g, q, h, w in links if p == q == at and g in s and h in s) for _, s in way}
        for at, way in enumerate(ways)
    ]
    pairs = list(earned.items())

    def keys():
        for choice in product(*ways):
            sets = tuple(groups for _, groups in choice)
            weight = sum([known[sets[one], sets[two]] for (one, two), known in pairs])
            weight += sum([alone[at][groups] for at, groups in enumerate(sets)])
            yield -weight, *map(sum, zip(*(of_one for of_one, _ in choice), strict=True)), sets

    return min(keys())[-1]


@pytest.mark.parametrize("seed", range(40))
def test_three_pools_of_four_groups_with_any_links_get_the_best_sets(seed):
    rnd = Random(seed)
    asks, links = random_asks(rnd, 3, 4), random_links(rnd, 3, 4, rnd.randint(4, 40))
    assert groups_of(team_of(3, 4, links).place(asks)) == best_by_trying(asks, links)


@pytest.mark.parametrize("seed", range(15))
def test_two_pools_of_eight_groups_with_any_links_get_the_best_sets(seed):
    rnd = Random(seed)
    asks, links = random_asks(rnd, 2, 8), random_links(rnd, 2, 8, rnd.randint(8, 80))
    assert groups_of(team_of(2, 8, links).place(asks)) == best_by_trying(asks, links)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("ring", [True, False])
def test_three_pools_of_eight_groups_linked_by_number_get_the_best_sets(seed, ring):
    asks, links = random_asks(Random(seed), 3, 8), equal_numbered(3, 8, ring=ring)
    assert groups_of(team_of(3, 8, links).place(asks)) == best_by_trying(asks, links)


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("ring", [True, False])
def test_sets_of_eight_groups_linked_by_number_are_known_to_be_the_best(seed, ring):
    asks, links = random_asks(Random(seed), 3, 8), equal_numbered(3, 8, ring=ring)
    counts = [fewest_groups(ask) for ask in asks]
    assert search(Joint(team_of(3, 8, links).bonds, asks, counts)).is_best


@pytest.mark.parametrize("groups", [6, 8, 10, 11, 12, 14, 16, 24, COUPLED_GROUPS_MAX])
@pytest.mark.parametrize("pools", range(2, COUPLED_POOLS_MAX + 1))
@pytest.mark.parametrize("seed", range(4))
def test_no_placement_costs_more_steps_than_one_search_may(pools, groups, seed):
    rnd = Random(seed)
    asks = random_asks(rnd, pools, groups)
    counts = [fewest_groups(ask) for ask in asks]
    dense, pairwise = (
        random_links(rnd, pools, groups, LINKS_MAX),
        equal_numbered(pools, groups, ring=True)[:LINKS_MAX],
    )
    for links in (dense, pairwise):
        joint = Joint(team_of(pools, groups, links).bonds, asks, counts)
        found = search(joint)
        assert joint.steps <= STEPS_MAX + 5_000
        assert joint.serves(found.sets)
        assert found.weight == weight_of(links, found.sets)


@pytest.mark.parametrize(("pools", "groups"), [(2, 4), (3, 8), (4, 8), (3, 12), (4, 16), (4, 32)])
@pytest.mark.parametrize("seed", range(6))
def test_a_strict_request_gets_what_the_empty_worker_gives_or_waits(pools, groups, seed):
    """Also where nobody can know the best: what starts is never worse, and the empty one does."""
    rnd = Random(seed)
    links = random_links(rnd, pools, groups, min(LINKS_MAX, pools * groups * 4))
    team = team_of(pools, groups, links)
    now = random_asks(rnd, pools, groups, Policy.FORCE_COMPACT)
    empty = tuple(ask._replace(caps=(SIZE,) * groups, fits=(0,) * groups) for ask in now)
    on_empty = team.place(empty)
    assert on_empty is not None
    least = weight_of(links, groups_of(on_empty))
    gives = team.place(now)
    if gives is not None:
        assert weight_of(links, groups_of(gives)) >= least
        assert list(map(len, groups_of(gives))) == list(map(len, groups_of(on_empty)))


@pytest.mark.parametrize("seed", range(6))
def test_a_strict_request_starts_where_the_groups_of_the_empty_worker_are_free(seed):
    """What is in use elsewhere cannot hide them from the search."""
    rnd = Random(seed)
    links = random_links(rnd, 4, 16, LINKS_MAX)
    team = team_of(4, 16, links)
    empty = tuple(
        Ask(SIZE * rnd.randint(2, 8), 0, Policy.FORCE_TIGHT, (SIZE,) * 16, (0,) * 16)
        for _ in range(4)
    )
    kept = groups_of(team.place(empty))
    now = tuple(
        ask._replace(
            caps=tuple(SIZE if at in groups else rnd.choice([0, 1, SIZE]) for at in range(16))
        )
        for ask, groups in zip(empty, kept, strict=True)
    )
    assert team.place(now) is not None


def test_equal_states_are_searched_once_and_few_are_remembered(monkeypatch):
    searched = []

    def counting_search(joint, seed=None):
        searched.append(joint)
        return search(joint, seed)

    monkeypatch.setattr(coupling, "search", counting_search)
    monkeypatch.setattr(coupling, "MEMO_MAX", 3)
    team = team_of(3, 8, equal_numbered(3, 8, ring=True))
    asks = [random_asks(Random(seed), 3, 8) for seed in range(4)]
    first = [team.place(some) for some in asks[:3]]
    assert [team.place(some) for some in asks[:3]] == first
    assert len(searched) == 3
    team.place(asks[3])  # one too many: the others are forgotten
    assert team.place(asks[0]) == first[0]
    assert len(searched) == 5
