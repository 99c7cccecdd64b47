"""Which workers may be kept for waiting tasks, and for how long."""

from __future__ import annotations

from collections import Counter

from ledger_entries import HoldEntry, WorkerEntry, text
from scheduling_oracle import Oracle

from hqtrio.model.resources import CPUS, UNIT, Policy, Variants


def holds_of(machine, now: float) -> list[HoldEntry]:
    """The holds of a machine."""
    tables = machine._tables
    return [
        HoldEntry(mirror.id, hold.klass.variants, rank / 2)
        for hold in tables.holds.values()
        for mirror in tables.workers.values()
        if (rank := hold.rank_on(mirror, now)) is not None
    ]


def check_holds(oracle: Oracle) -> None:
    """Only workers that could run it are kept for a waiting task, one for each."""  # I11
    kept: Counter[Variants] = Counter()
    assert len(oracle.holds) == len(set(oracle.holds)), oracle.holds
    for hold in oracle.holds:
        # Where nobody is kept from anything, a hold may stay until the next round.
        idle = not any(min(levels) < hold.priority for levels in oracle.waiting.values())
        assert hold.variants in oracle.unstarted or idle, ("hold for nobody", hold)
        assert hold.worker in oracle.workers, ("hold on a worker that is gone", hold)
        assert hold.worker in oracle.hosts(hold.variants), ("hold where it cannot run", hold)
        # Elsewhere it depends on what else runs whether the task can start there.
        kept[hold.variants] += oracle.is_enough_for(oracle.workers[hold.worker], hold.variants)
    for variants, count in kept.items():
        if variants not in oracle.unstarted:
            continue
        most = oracle.unstarted[variants].total() * nodes_of(variants)
        assert count <= most, ("more holds than tasks", text(variants), count)


def check_held_capacity(oracle: Oracle) -> None:
    """No more is drained than the tasks need that a worker is kept for."""  # I13
    for worker in oracle.workers.values():
        holders = [hold.variants for hold in oracle.holds if hold.worker == worker.id]
        if not holders or not is_flat(worker, holders):
            continue
        needed = sum(
            max(request.needs[0].amount for request in variants)
            * oracle.unstarted.get(variants, Counter()).total()
            for variants in holders
        )
        idle = worker.pools.free_amount(CPUS) // UNIT * UNIT
        sure, spare = closing_amounts(oracle, worker)
        for amount in spare:
            without = idle + sure - amount
            assert without < needed, ("more is drained than is needed", worker.id, holders)


def closing_amounts(oracle: Oracle, worker: WorkerEntry) -> tuple[int, list[int]]:
    """Cpus that will be free for sure of the slots that close although there is work for them.

    And how much less it would be if one slot less was to close, for each drain.
    """
    busy = [slot for slot in worker.slots.values() if oracle.later(worker, slot.variants)]
    spare = [worker.pools.demand(slot.request, CPUS) for slot in busy if slot.closes]
    sure = sum(spare)
    orders = {id(slot.drain): slot.drain for slot in busy if slot.drain and not slot.closes}
    for order in orders.values():
        sizes = [worker.pools.demand(worker.slots[n].request, CPUS) for n in order.slots]
        smallest = sorted(sizes)[: order.left]
        sure += sum(smallest)
        spare.append(smallest[-1])
    return sure, spare


def is_flat(worker: WorkerEntry, holders: list[Variants]) -> bool:
    """Whether it does not matter which slots are drained: all want cpus of one group."""
    (cpus,) = [pool for pool in worker.config.descriptor.pools if pool.resource == CPUS]
    return len(cpus.groups) == 1 and all(
        not request.nodes
        and [need.resource for need in request.needs] == [CPUS]
        and request.needs[0].policy is not Policy.ALL
        for variants in holders
        for request in variants
    )


def check_hold_changes(before: Oracle, after: Oracle) -> None:
    """A hold that a round has ended was used, not needed any more, or taken by others."""  # I11
    kept = set(after.holds)
    for hold in before.holds:
        if hold not in kept and hold.variants in after.waiting:
            assert _may_end(hold, before, after), ("hold vanished", hold)


def _may_end(hold: HoldEntry, before: Oracle, after: Oracle) -> bool:
    same = hold.variants
    if hold.worker not in after.hosts(same):
        return True
    if after.workers[hold.worker].config.min_utilization:
        return True  # whether it can start there depends on what else does
    if any(slot.variants == same for slot in after.ledger.granted):
        return True
    # Its worker is kept all the same: for others, or for a task of another priority.
    if any(
        other.worker == hold.worker and (other.variants == same or other.priority >= hold.priority)
        for other in after.holds
    ):
        return True
    # It waits where it could start at once.
    if any(
        other.variants == same and after.fitting(after.workers[other.worker], same)
        for other in after.holds
    ):
        return True
    alike = [h for h in before.holds if h.variants == same and h.priority >= hold.priority]
    waiting = after.waiting_above(same, int(hold.priority // 1) - 1)
    if len(alike) > waiting * nodes_of(same):
        return True
    # There is nobody who could take what it keeps.
    return not any(
        priority < hold.priority
        for variants, levels in after.waiting.items()
        for priority in levels
        if variants != same and hold.worker in after.hosts(variants)
    )


def nodes_of(variants: Variants) -> int:
    """How many workers a task of the class takes at most."""
    return max(1, *(request.nodes for request in variants))
