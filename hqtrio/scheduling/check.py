"""The invariants of the scheduler's tables (tests call this after every event)."""

from __future__ import annotations

from collections import Counter, defaultdict

from hqtrio.scheduling.mirror import Gang, Mirror
from hqtrio.scheduling.tables import Tables


def check(tables: Tables) -> None:
    """Every figure can be derived from what it counts, and nothing exists twice."""
    everywhere: Counter[int] = Counter()
    shipped: Counter[int] = Counter()
    slots: Counter[int] = Counter()
    levels: defaultdict[int, Counter[int]] = defaultdict(Counter)
    for mirror in tables.workers.values():
        _check_worker(mirror)
        everywhere.update(mirror.held.keys())
        shipped.update(batch.klass.id for batch in mirror.held.values())
        slots.update(slot.klass.id for slot in mirror.slots.values())
        for batch in mirror.held.values():
            levels[batch.klass.id][batch.priority] += 1
    for priority, level in tables.levels.items():
        assert level, priority
        for number, queue in level.items():
            assert (queue.priority, queue.klass.id) == (priority, number)
            assert queue.klass.queues[priority] is queue, (priority, number)
            runs = queue.runs()
            assert queue.count == sum(run[1] for run in runs) > 0, (priority, number)
            everywhere.update(task for run in runs for task in range(run[0], run[0] + run[1]))
    double = [task for task, count in everywhere.items() if count > 1]
    assert not double, double[:5]  # I02, I06
    for klass in tables.classes.values():
        assert klass.ready == sum(queue.count for queue in klass.queues.values()), klass.id
        assert klass.shipped == shipped[klass.id], (klass.id, klass.shipped)
        assert Counter(klass.shipped_at) == levels[klass.id], (klass.id, klass.shipped_at)
        assert klass.slots == slots[klass.id], (klass.id, klass.slots)
        for worker, stake in klass.stakes.items():
            assert tables.workers[worker].stakes[klass.id] is stake, (worker, klass.id)
    for number, hold in tables.holds.items():
        assert hold.klass.id == number, number
        assert tables.dirty or hold.klass.nodes or len(hold.workers) <= hold.waiting, number  # I11
        for worker in hold.workers:
            # A stop or loss drops the hold with the next round, which is already due then.
            held = tables.workers.get(worker)
            assert tables.dirty or (held is not None and held.in_use), worker  # I07
    free: Counter[str] = Counter()
    for mirror in tables.workers.values():
        assert mirror.in_use == mirror.is_fit, mirror.id
        assert tables.groups[mirror.config.group][mirror.id] is mirror, mirror.id
        assert (mirror.id in tables.unused) != mirror.in_use, mirror.id
        assert (mirror.id in tables.demanding) == bool(mirror.config.min_utilization), mirror.id
        if mirror.takes_slots:
            for pool in mirror.pools.by_name.values():
                free[pool.pool.resource] += pool.free
    assert free == Counter(tables.free), (free, tables.free)
    assert sum(map(len, tables.groups.values())) == len(tables.workers)


def _check_gang(mirror: Mirror, gang: Gang) -> None:
    """I08, G2: one task on distinct workers of one group, and nothing else on any of them."""
    members = gang.members
    assert mirror in members, mirror.id
    assert len({member.id for member in members}) == len(members), mirror.id
    assert len({member.config.group for member in members}) == 1, mirror.id
    if gang.root.slots:  # else it is expected back after a restart
        slot = gang.root.slots[gang.slot]
        assert slot.gang is gang, mirror.id
        assert len(gang.root.slots) == 1, mirror.id
        assert len(members) <= slot.request.nodes, mirror.id
    for member in members:
        assert member.gang is gang, member.id
        assert all(pool.free == pool.pool.size for pool in member.pools.by_name.values())
        if member is not gang.root:
            assert not member.slots, member.id
            assert not member.held, member.id


def _check_worker(mirror: Mirror) -> None:
    where = mirror.id
    if mirror.gang is not None:
        _check_gang(mirror, mirror.gang)
    assert mirror.drained.keys() <= mirror.slots.keys(), where
    assert mirror.drain_count < len(mirror.drained) or not mirror.drained, where
    for name, pool in mirror.pools.by_name.items():  # I01, I14
        held = [
            taken
            for slot in mirror.slots.values()
            if slot.gang is None
            for need, taken in zip(slot.request.needs, slot.taken, strict=True)
            if need.resource == name
        ]
        pool.check(held)
    for slot in mirror.slots.values():  # I05
        usable = mirror.shape.usable(slot.klass)
        assert slot.gang is not None or slot.variant in usable, (where, slot.variant)
    assert not mirror.doomed or mirror.had_past, where
    assert mirror.gating == sum(batch.gates for batch in mirror.held.values()), where
    assert mirror.running.keys() <= mirror.held.keys(), where
    assert mirror.cancelled <= mirror.held.keys(), where
    assert mirror.retracting.keys() <= mirror.held.keys(), where
    assert not {mirror.retracting[task] for task in mirror.retracting} - mirror.retracts.keys()
    slots = Counter(slot.klass.id for slot in mirror.slots.values())
    held_of = Counter(batch.klass.id for batch in mirror.held.values())
    asked = Counter(mirror.held[task].klass.id for task in mirror.retracting)
    for number, stake in mirror.stakes.items():
        assert stake.klass.id == number
        assert stake.slots == slots[number], (where, number, stake.slots)
        assert stake.shipped == held_of[number], (where, number, stake.shipped)
        assert stake.retracting == asked[number], (where, number, stake.retracting)
        levels = Counter(b.priority for b in mirror.held.values() if b.klass.id == number)
        assert Counter(stake.shipped_at) == levels, (where, number, stake.shipped_at)
        assert stake.slots or stake.shipped, (where, number)
    assert set(mirror.stakes) == set(slots) | set(held_of), where
