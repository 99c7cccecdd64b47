"""The clusters and the work that are simulated, in any size."""

from __future__ import annotations

from random import Random
from typing import Final

from benchmarks.scheduling.cluster import Arrival, Departure, Scenario
from benchmarks.scheduling.tasks import Draw, Kind, around, lognormal, pareto, steady
from hqtrio.model.requests import make_request
from hqtrio.model.resources import CPUS, UNIT, Descriptor, Link, Need, Policy, Pool, Request
from hqtrio.model.worker import WorkerConfig

GPUS: Final = "gpus/nvidia"
SOCKETS: Final = 2
SOCKET_CPUS: Final = 32
NODE_CPUS: Final = SOCKETS * SOCKET_CPUS
NODE_GPUS: Final = 4
GROUP_WORKERS: Final = 100
PLENTY_CPUS: Final = 250  # of the tasks of one class, for each worker


def _grouped(resource: str, sizes: tuple[int, ...]) -> Pool:
    groups, at = [], 0
    for size in sizes:
        groups.append(tuple(str(label) for label in range(at, at + size)))
        at += size
    return Pool(resource, tuple(groups), at * UNIT)


_CPUS: Final = _grouped(CPUS, (SOCKET_CPUS,) * SOCKETS)
_GPUS: Final = _grouped(GPUS, (NODE_GPUS // SOCKETS,) * SOCKETS)
BIG_CPUS: Final = 128
BIG: Final = Descriptor((_grouped(CPUS, (BIG_CPUS // SOCKETS,) * SOCKETS),))
PLAIN: Final = Descriptor((_CPUS,))
WITH_GPUS: Final = Descriptor((_CPUS, _GPUS), tuple(Link(0, s, 1, s) for s in range(SOCKETS)))


def node(number: int, *, gpus: bool = False) -> WorkerConfig:
    name = f"node{number}"
    group = f"group{number // GROUP_WORKERS}"
    return WorkerConfig(name, name, "/tmp", group, WITH_GPUS if gpus else PLAIN)


def big_node(number: int, *, heartbeat_s: float = 8.0) -> WorkerConfig:
    name = f"node{number}"
    return WorkerConfig(name, name, "/tmp", "big", BIG, heartbeat_s)


def nodes(count: int, *, gpus: bool = False, first: int = 0) -> tuple[Arrival, ...]:
    """Workers that are there from the start; with `gpus` every fourth one has some."""
    return tuple(
        Arrival(0.0, node(number, gpus=gpus and number % 4 == 0))
        for number in range(first, first + count)
    )


def request(
    cpus: float, gpus: float = 0.0, policy: Policy = Policy.COMPACT, nodes: int = 0
) -> tuple[Request, ...]:
    """A class with one variant."""
    if nodes:
        return (Request((), nodes),)
    needs = [Need(CPUS, round(cpus * UNIT), policy)]
    if gpus:
        needs.append(Need(GPUS, round(gpus * UNIT)))
    return (make_request(needs),)


# --- independent uniform tasks


def uniform(workers: int, tasks: int) -> Scenario:
    """Equal tasks of half a minute, too long for any backlog."""
    return Scenario("uniform", (Kind(request(1), tasks, steady(30.0)),), nodes(workers))


def uniform_short(workers: int, tasks: int) -> Scenario:
    """Tasks of about a second: slots live on their backlogs, which have to be even at the end."""
    return Scenario("uniform short", (Kind(request(1), tasks, around(1.0, 0.5)),), nodes(workers))


# --- heavy tails in mixed shapes

SHAPES: Final = (
    (request(1), 0.21),
    (request(2), 0.2),
    (request(3), 0.1),
    (request(4), 0.15),
    (request(6), 0.1),
    (request(8), 0.05),
    (request(4, policy=Policy.FORCE_COMPACT), 0.1),
    (request(2, policy=Policy.SCATTER), 0.05),
    (request(1, 1), 0.02),
    (request(2, 0.5), 0.02),
)
SHAPE_CPUS: Final = 3.07  # on average


def heavy_tails(workers: int, tasks: int) -> Scenario:
    """Lognormal and Pareto durations, none longer than a fifteenth of the whole."""
    mean_s = 20.0
    whole_s = tasks * SHAPE_CPUS * mean_s / (workers * NODE_CPUS)
    cap_s = whole_s / 15
    draws = (lognormal(mean_s * 0.6, 1.0, cap_s), pareto(mean_s / 3, 1.5, cap_s))
    kinds = tuple(
        Kind(variants, round(tasks * share), draws[number % 2])
        for number, (variants, share) in enumerate(SHAPES)
    )
    return Scenario("heavy tails", kinds, nodes(workers, gpus=True))


# --- everything at once


def churn(workers: int, tasks: int, *, gangs: int = 0) -> Scenario:
    """Twenty classes, some urgent, one cancelled half-way; workers join, leave and die.

    Beside them so many multi-node tasks of four workers each, one for ten thousand if not given.
    """
    rng = Random(20)
    mean_s = 20.0
    whole_s = tasks * 3.5 * mean_s / (workers * NODE_CPUS)
    cap_s = whole_s / 15
    draw, even = lognormal(mean_s * 0.75, 0.7, cap_s), around(mean_s, 0.5)
    each, few = tasks // 17, tasks // 120
    kinds = [Kind(request(cpus), each, draw) for cpus in range(1, 9)]
    kinds += [
        Kind(request(2, policy=Policy.FORCE_COMPACT), each, even),
        Kind(request(4, policy=Policy.FORCE_COMPACT), each, even, submit_at=whole_s * 0.1),
        Kind(request(6, policy=Policy.FORCE_COMPACT), each, even, submit_at=whole_s * 0.2),
        Kind(request(2, policy=Policy.SCATTER), each, even),
        Kind(request(3, policy=Policy.TIGHT), each, even),
        Kind(request(1, 1), few, even),
        Kind(request(4, 1), few, even, submit_at=whole_s * 0.15),
        Kind(request(1, 0.5), few, even),
        Kind(request(8), each, even, priority=10, submit_at=whole_s * 0.3),
        Kind(request(2), each, even, priority=5, submit_at=whole_s * 0.2),
        Kind(request(2, 1), few, even, priority=5, submit_at=whole_s * 0.4),
        Kind(request(1), tasks - 15 * each - 4 * few, draw, priority=-5),
    ]
    gangs = gangs or tasks // 10_000
    if gangs:
        kinds.append(Kind(request(0, nodes=4), gangs, even, priority=3, submit_at=whole_s * 0.25))
    early = workers * 4 // 5
    arrivals = list(nodes(early, gpus=True))
    for number in range(early, workers + workers // 10):
        at = rng.uniform(0.02, 0.6) * whole_s
        arrivals.append(Arrival(at, node(number, gpus=number % 4 == 0)))
    leavers = rng.sample(range(early), workers // 10)
    departures = tuple(
        Departure(rng.uniform(0.05, 0.9) * whole_s, arrival, dies=bool(turn % 2))
        for turn, arrival in enumerate(leavers)
    )
    cancelled = ((whole_s * 0.35, 4),)
    return Scenario("churn", tuple(kinds), tuple(arrivals), departures, cancelled)


# --- steady states, for the clock


def steady_long(workers: int) -> Scenario:
    """Mixed shapes of about 20 s: every end closes a slot, and there is no backlog."""
    return Scenario("steady", _mixed(workers, around(20.0, 0.5)), nodes(workers))


def steady_short(workers: int) -> Scenario:
    """Mixed shapes of about 3 s, with backlog."""
    return Scenario("steady", _mixed(workers, around(3.0, 0.5)), nodes(workers))


def _mixed(workers: int, draw: Draw) -> tuple[Kind, ...]:
    """Twenty classes that share the cpus evenly at first, and then have more than enough to do."""
    kinds: list[Kind] = []
    for policy in (Policy.COMPACT, Policy.FORCE_COMPACT, Policy.SCATTER, Policy.TIGHT):
        for cpus in range(1, 6):
            first = NODE_CPUS * workers // 20 // cpus
            kinds.append(Kind(request(cpus, policy=policy), first, draw))
            more = PLENTY_CPUS * workers // cpus
            kinds.append(Kind(request(cpus, policy=policy), more, draw, submit_at=0.5))
    return tuple(kinds)


def fill(workers: int, *, classes: int, submit_at: float) -> Scenario:
    """Idle workers of 128 cpus get enough one-cpu tasks for a long time, all at once."""
    each = 4 * BIG_CPUS * workers // classes
    weights = [UNIT + number for number in range(classes)]  # equal weights would be one class
    kinds = tuple(
        Kind((make_request([Need(CPUS, UNIT)], weight=w),), each, steady(3.0), submit_at=submit_at)
        for w in weights
    )
    return Scenario("fill", kinds, tuple(Arrival(0.0, big_node(n)) for n in range(workers)))
