"""Tasks shipped ahead: how many lie ready at each worker, and how they move between workers."""

from __future__ import annotations

from math import ceil, inf
from typing import Final

from hqtrio.scheduling import shipping
from hqtrio.scheduling.context import Context
from hqtrio.scheduling.drains import may_go_on
from hqtrio.scheduling.holds import fits_gap, holders, rank_of
from hqtrio.scheduling.mirror import Mirror, RequestClass, Stake
from hqtrio.scheduling.ready import ReadyQueue

BACKLOG_MAX: Final = 20_000  # tasks of one class at one worker
BACKLOG_BYTES: Final = 1024 * 1024  # entries shipped ahead in one go
COVER_S: Final = 0.25 + 2 * 0.02  # work per slot, and two round trips
TASK_MIN_S: Final = 20e-6
SHIPMENTS_MAX: Final = 300  # to as many workers before other work gets its turn
LONG_S: Final = 10.0  # of longer tasks not every slot has a successor
LIFETIME_MARGIN_S: Final = 60.0  # a time request gets backlog only where it is far from too late
STEAL_MIN_S: Final = 0.01  # less work than this is done before it could move


def backlog_target(klass: RequestClass, slots: int, pace_s: float = 0.0) -> int:
    """How many tasks should lie ready for so many slots: a quarter second of work for each.

    A worker that holds back its reports for `pace_s` needs as much more. Of long tasks there are
    only as many as the slots together are likely to end in that time.
    """
    cover_s = COVER_S + 2 * pace_s
    if klass.mean_s > LONG_S:
        return int(slots * cover_s / klass.mean_s)
    if klass.mean_s < 0:
        return slots  # nothing is known yet, and a slot without successor closes
    return min(BACKLOG_MAX, slots * ceil(cover_s / max(klass.mean_s, TASK_MIN_S)))


# --- shipping ahead


def overtake(context: Context, queue: ReadyQueue) -> None:
    """Send tasks to slots of their class whose backlog is of a lower level, to run next there."""
    klass = queue.klass
    if not klass.backlog or min(klass.shipped_at) >= queue.priority:
        return
    stakes = [stake for stake in klass.stakes.values() if stake.backlog]
    surplus = queue.count
    for stake in stakes:
        if not queue.count:
            return
        if stake.lowest < queue.priority:
            _top_up(context, stake, queue, surplus, least=1)


def top_up_all(context: Context) -> None:
    """Ship ahead what the slots of each worker get through until the next chance."""
    tables = context.tables
    stakes: dict[tuple[int, int], Stake] = {}
    for worker, number in tables.thin:
        mirror = tables.workers.get(worker)
        stake = None if mirror is None else mirror.stakes.get(number)
        if stake is not None and stake.klass.ready:
            stakes[worker, number] = stake
    if tables.fresh:
        for klass in tables.classes.values():
            if klass.id in tables.fresh and klass.ready:
                stakes.update(((s.mirror.id, klass.id), s) for s in klass.stakes.values())
    # Shares are cut from what was there before the first worker was served.
    surplus = {stake.klass.id: _top_count(stake.klass) for stake in stakes.values()}
    shipments = 0
    for stake in stakes.values():
        queue = stake.klass.top
        if queue is not None:
            shipments += _top_up(context, stake, queue, surplus[stake.klass.id])
        if shipments == SHIPMENTS_MAX:
            context.cut()
            return


def _top_up(
    context: Context, stake: Stake, queue: ReadyQueue, surplus: int, least: int = 0
) -> bool:
    """Whether anything was shipped."""
    klass, mirror = stake.klass, stake.mirror
    if not stake.slots or klass.nodes or not mirror.in_use:
        return False
    slots = stake.slots
    if context.tables.holds and holders(
        context.tables, mirror, klass, rank_of(queue.priority), context.now
    ):
        slots = may_go_on(mirror, stake)
    want = backlog_target(klass, slots, mirror.pace_s)
    ahead = stake.from_level(queue.priority) - stake.slots - stake.retracting
    # Who reports rarely says much each time, and needs as much again before the next time.
    lot = want // 4 if mirror.pace_s else want - want // 2
    if want == 0 or ahead > want - lot:
        return False
    everywhere = klass.slots
    if context.is_cut:
        # Slots that are going to be opened on other workers have a share as well.
        everywhere = max(everywhere, slots * context.tables.could_run(klass, context.now))
    share = max(least, surplus * slots // everywhere)
    count = min(want - ahead, share, queue.may_ship_ahead)
    if count <= 0 or (klass.timed and not _is_timely(context, mirror, klass)):
        return False
    if context.tables.demanding and context.is_wanted(klass):
        return False
    shipping.ship(context.tables, mirror, queue, max(1, min(count, _by_bytes(queue))))
    return True


def _is_timely(context: Context, mirror: Mirror, klass: RequestClass) -> bool:
    if klass.id in mirror.too_late:
        return False
    longest = max(request.time_s for request in klass.variants)
    return context.now + longest + LIFETIME_MARGIN_S <= mirror.deadline_at


def _top_count(klass: RequestClass) -> int:
    queue = klass.top
    return 0 if queue is None else queue.count


def _by_bytes(queue: ReadyQueue) -> int:
    """How many tasks may be shipped ahead before their entries grow too long."""
    entries = queue.first_run[3].slice
    if entries is None:
        return BACKLOG_MAX
    each = len(entries.blob) * 8 // max(1, entries.ends.nbytes)
    return BACKLOG_BYTES // max(1, each)


# --- slots for what is there already


def with_room(context: Context) -> dict[int, list[Stake]]:
    """By priority: backlog at workers that may have room for more slots of its class.

    Among them is backlog whose last slot closed while it was on its way. Its worker waits a
    moment for a new slot before it gives such tasks back; with tasks of microseconds this happens
    all the time, and giving back would cost more than running.
    """
    tables = context.tables
    found: dict[int, list[Stake]] = {}
    for number in tables.workers if tables.review else tables.freed:
        for stake in tables.workers[number].stakes.values():
            for priority in stake.shipped_at if stake.backlog else ():
                found.setdefault(priority, []).append(stake)
    return found


def open_for_backlog(context: Context, stake: Stake, priority: int) -> None:
    """Grant slots to tasks of this level or higher that lie at their worker, if there is room."""
    mirror, klass = stake.mirror, stake.klass
    if mirror.gang is not None:
        return
    if mirror.least_cpus:
        count = min(stake.unserved(priority), mirror.room_for(klass))
        if not count or not _would_do(mirror, klass, count):
            return
    if stake.slots and klass.top is not None and klass.top.priority >= priority:
        return  # those are placed with all others of their level
    rank = rank_of(priority)
    left = stake.unserved(priority)
    while left > 0 and klass.id not in mirror.no_fit and mirror.can_run(klass, context.now):
        held = holders(context.tables, mirror, klass, rank, context.now)
        if held and not any(
            fits_gap(mirror, klass, variant, held)
            for variant in mirror.variants(klass, context.now)
        ):
            return
        slot = mirror.open_slot(klass, context.now)
        if slot is None:
            return
        shipping.ship_slot(mirror, klass, slot)
        left -= 1


# --- taking back


def take_back_late(context: Context) -> None:
    """Ask for backlog that its worker has no more time for."""
    for klass in context.tables.classes.values():
        if not klass.timed or not klass.backlog:
            continue
        for stake in klass.stakes.values():
            mirror = stake.mirror
            if stake.backlog and mirror.in_use and not mirror.variants(klass, context.now):
                tasks = _latest(stake, stake.backlog)
                if tasks:
                    shipping.retract(mirror, tasks)


def steal(context: Context) -> None:
    """Ask back backlog of classes that could start elsewhere at once."""
    for klass in context.tables.classes.values():
        if not is_worth_moving(klass):
            continue
        highest, _ = klass.backlog_levels()[-1]
        ready = -inf if klass.top is None else klass.top.priority
        if ready >= highest:
            continue
        room = _room_elsewhere(context, klass, rank_of(highest))
        need = room - sum(stake.retracting for stake in klass.stakes.values()) if room else 0
        if need > 0:
            victims = [stake for stake in klass.stakes.values() if _may_lose(context, stake)]
            if victims:
                _take_from(victims, need, ready)


def is_worth_moving(klass: RequestClass) -> bool:
    """Whether some backlog of the class would not be done before it could be elsewhere."""
    backlog = klass.backlog
    if not backlog:
        return False
    return klass.mean_s < 0 or backlog * klass.mean_s >= STEAL_MIN_S * max(1, klass.slots)


def _may_lose(context: Context, stake: Stake) -> bool:
    if not stake.backlog or stake.retracting or stake.quiet_until > context.now:
        return False
    if stake.mirror.stopping is not None:
        return False
    mean = stake.klass.mean_s
    return mean < 0 or stake.backlog * mean >= STEAL_MIN_S * max(1, stake.slots)


def _room_elsewhere(context: Context, klass: RequestClass, rank: int) -> int:
    """How many tasks could start at once on workers without backlog of their own."""
    room = 0
    for mirror in context.tables.workers.values():
        if klass.id in mirror.no_fit or not mirror.can_run(klass, context.now):
            continue
        stake = mirror.stakes.get(klass.id)
        if stake is not None and stake.backlog:
            continue
        if not holders(context.tables, mirror, klass, rank, context.now):
            fitting = mirror.room_for(klass)
            if not mirror.least_cpus or _would_do(mirror, klass, min(fitting, klass.backlog)):
                room += fitting
        if room >= klass.backlog:
            break
    return room


def _would_do(mirror: Mirror, klass: RequestClass, count: int) -> bool:
    """Whether so many tasks of the class use the worker as much as it has to be."""
    shape = mirror.shape
    most = max(shape.demand(klass, variant)[0] for variant in shape.usable(klass))
    return shape.sizes[0] - mirror.free()[0] + count * most >= mirror.least_cpus


def _take_from(victims: list[Stake], need: int, above: float) -> None:
    """The latest tasks of the longest backlogs, so that all slots end up with as many.

    Only such as come before those that are ready, of the priority `above`.
    """
    klass = victims[0].klass
    fair = sum(stake.backlog for stake in victims) / (klass.slots + need)
    most = need * (1 + backlog_target(klass, 1))
    victims.sort(key=lambda s: (-s.backlog / max(1, s.slots), s.mirror.id))
    moved = 0
    for stake in victims:
        if moved >= most:
            return
        count = min(most - moved, max(1, int(stake.backlog - stake.slots * fair)))
        moved += _retract(stake, count, above)
    # Those who give a fair share may give too little for slots that are idle.
    for stake in victims:
        if moved >= need:
            return
        moved += _retract(stake, need - moved, above)


def _retract(stake: Stake, count: int, above: float) -> int:
    """Ask for up to so many tasks and return how many there are."""
    tasks = _latest(stake, min(count, stake.backlog), above)
    if tasks:
        shipping.retract(stake.mirror, tasks)
    return len(tasks)


def _latest(stake: Stake, count: int, above: float = -inf) -> list[int]:
    """Up to so many tasks that wait there, from the end of each level of the backlog.

    The highest level first: what is moved starts at once.
    """
    tasks: list[int] = []
    if count <= 0:
        return tasks
    for level in sorted((level for level in stake.shipped_at if level > above), reverse=True):
        for task, batch in reversed(stake.mirror.held.items()):
            if (
                batch.klass is stake.klass
                and batch.priority == level
                and stake.mirror.is_waiting(task)
            ):
                tasks.append(task)
                if len(tasks) == count:
                    return tasks
    return tasks
