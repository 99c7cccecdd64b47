"""What a round may and must decide, computed from scratch by trying everything.

The cluster is the one of the ledger; of the machine only its holds are read, and those are judged
in `holds_oracle`.
"""

from __future__ import annotations

from collections import Counter
from itertools import combinations

from ledger_entries import HoldEntry, SlotEntry, TaskEntry, WorkerEntry, text
from naive_pools import STRICT, NaivePools
from scheduling_ledger import Ledger

from hqtrio.model.resources import CPUS, Policy, Request, Variants

PATIENCE_S = 60.0


class Oracle:
    """One instant of a cluster."""

    def __init__(self, ledger: Ledger, holds: list[HoldEntry], now: float) -> None:
        self.ledger = ledger
        self.now = now
        self.workers = ledger.workers
        self.holds = holds
        self.waiting: dict[Variants, Counter[int]] = {}  # of a class, ready tasks by priority
        # The same with those at workers, even if cancelled: until the worker confirms that.
        self.unstarted: dict[Variants, Counter[int]] = {}
        self.coming_back: list[TaskEntry] = []  # asked back, not answered
        for task in ledger.tasks.values():
            if not task.worker:
                self.waiting.setdefault(task.variants, Counter())[task.priority] += 1
            if not task.slot:
                self.unstarted.setdefault(task.variants, Counter())[task.priority] += 1
            if task.asked_back and not task.cancelled:
                self.coming_back.append(task)

    # --- where a class could ever run

    def usable(self, worker: WorkerEntry, variants: Variants) -> list[Request]:
        """The variants that could run there if the worker were empty (multi-node: alone there)."""
        if not worker.in_use or (variants in worker.too_late and any(v.time_s for v in variants)):
            return []
        return [
            request
            for request in variants
            if worker.lives_for(request, self.now)
            and (request.nodes or worker.pools.capable(request))
        ]

    def hosts(self, variants: Variants) -> list[int]:
        """F: workers that could ever run the class, or be part of its gang."""
        able = [worker for worker in self.workers.values() if self.usable(worker, variants)]
        if not variants[0].nodes:
            return [worker.id for worker in able]
        return [
            worker.id
            for worker in able
            if any(
                request.nodes <= sum(request in self.usable(other, variants) for other in group)
                for request in self.usable(worker, variants)
                for group in [[o for o in able if o.config.group == worker.config.group]]
            )
        ]

    # --- what could start now

    def fitting(self, worker: WorkerEntry, variants: Variants) -> list[Request]:
        """Single-node variants for which there is room now."""
        if worker.gang is not None:
            return []
        return [request for request in self.usable(worker, variants) if worker.pools.fits(request)]

    def is_empty(self, worker: WorkerEntry) -> bool:
        return not worker.slots and worker.gang is None and not worker.held

    # --- gaps

    def occupied_at_most(self, worker: WorkerEntry, requests: list[Request]) -> dict[str, int]:
        """Per resource, the most that tasks in these variants can use of the empty worker."""
        pools = NaivePools(worker.config.descriptor)
        totals = {name: pools.size(name) for name in pools.pools}
        demands = [{name: pools.demand(r, name) for name in totals} for r in requests]
        most = dict.fromkeys(totals, 0)

        def fill(left: dict[str, int], at: int) -> None:
            for name, total in totals.items():
                most[name] = max(most[name], total - left[name])
            for index in range(at, len(demands)):
                demand = demands[index]
                if all(demand[name] <= left[name] for name in totals):
                    fill({name: left[name] - demand[name] for name in totals}, index)

        fill(totals, 0)
        return most

    def in_gap(
        self, worker: WorkerEntry, holder: Variants, request: Request, *, counted: bool
    ) -> bool:
        """Whether the request takes only what the holder's class can never use there.

        `counted`: it is among the slots of the worker already. Then what the holder has no time
        for does not matter; beforehand a round may leave room for it all the same.
        """
        pools = worker.pools
        able = [r for r in holder if pools.capable(r)]
        if counted:
            able = [r for r in able if worker.lives_for(r, self.now)]
        everything = any(need.policy is Policy.ALL for r in able for need in r.needs)
        if request.nodes or holder[0].nodes or everything:
            return False
        most = self.occupied_at_most(worker, able)
        for need in request.needs:
            name = need.resource
            others = sum(
                pools.demand(slot.request, name)
                for slot in worker.slots.values()
                if slot.variants != holder
            )
            residual = pools.size(name) - most[name] - others
            if residual < (0 if counted else pools.demand(request, name)):
                return False
        return True

    # --- who stands in the way

    def waiting_above(self, variants: Variants, priority: int) -> int:
        """Ready tasks of the class of a higher priority."""
        levels = self.waiting.get(variants, {})
        return sum(n for level, n in levels.items() if level > priority)

    def claimants(
        self, worker: WorkerEntry, priority: int, *, alone: bool = True
    ) -> list[Variants]:
        """Classes with tasks of higher priority that need this worker: no hold covers them.

        `alone`: only those that would be enough for the worker, whatever else runs there.
        """
        found = []
        for variants in self.waiting:
            count = self.waiting_above(variants, priority)
            hosts = self.hosts(variants) if count else []
            if worker.id not in hosts or (alone and not self.is_enough_for(worker, variants)):
                continue
            elsewhere = {
                hold.worker
                for hold in self.holds
                if hold.variants == variants
                and hold.worker != worker.id
                and hold.priority > priority
            }
            nodes = max(request.nodes for request in variants)
            if not nodes:
                needed = count > len(elsewhere)
            else:
                group = [w for w in hosts if self.workers[w].config.group == worker.config.group]
                free = [w for w in group if w not in elsewhere]
                needed = count > len(elsewhere) // nodes and len(free) >= nodes
            if needed:
                found.append(variants)
        return found

    def is_enough_for(self, worker: WorkerEntry, variants: Variants) -> bool:
        """Whether one task of the class brings the empty worker to its least utilization."""
        least = worker.config.min_utilization * worker.pools.size(CPUS)
        return any(
            request.nodes or worker.pools.demand(request, CPUS) >= least
            for request in self.usable(worker, variants)
        )

    def holders(self, worker: WorkerEntry, above: int) -> list[Variants]:
        """Classes for which the worker is kept, with a priority above this."""
        return [h.variants for h in self.holds if h.worker == worker.id and h.priority > above]

    # --- after a round

    def check_starts(self, granted: list[SlotEntry], before: Oracle) -> None:
        """No slot was granted to what must wait for something of higher priority."""  # I09
        aged = [hold for hold in self.holds if hold.priority % 1]
        for slot, task in self._first_tasks(granted):
            members = slot.gang or (slot.worker,)
            for number in members:
                worker = self.workers[number]
                for holder in self._above(worker, task.priority):
                    if holder == slot.variants and not self.waiting_above(holder, task.priority):
                        continue  # kept for what comes from elsewhere, and there is more room
                    ok = self.in_gap(worker, holder, slot.request, counted=True)
                    # Age gives a right only against younger ones, and from the next round on.
                    ok = ok or any(
                        (hold.worker, hold.variants) == (number, holder)
                        and hold.priority < task.priority + 1
                        and (hold not in before.holds or self._is_overdue(task))
                        for hold in aged
                    )
                    assert ok, ("inversion", task, number, text(holder))

    def _is_overdue(self, task: TaskEntry) -> bool:
        """Whether its class has waited too long; it is older than a task that was lost since."""
        alike = [
            t
            for t in self.ledger.ready()
            if (t.variants, t.priority) == (task.variants, task.priority)
        ]
        return self.now - min(t.ready_at for t in [task, *alike]) >= PATIENCE_S

    def _above(self, worker: WorkerEntry, priority: int) -> list[Variants]:
        claimants = self.claimants(worker, priority)
        return claimants + [
            holder
            for holder in self.holders(worker, priority)
            if holder not in claimants and self.is_enough_for(worker, holder)
        ]

    def _first_tasks(self, granted: list[SlotEntry]) -> list[tuple[SlotEntry, TaskEntry]]:
        """New slots with what starts in them, if every older slot runs something."""
        pairs, taken = [], Counter()
        for slot in granted:
            key = slot.worker, slot.variants
            backlog = self.ledger.backlog(*key)
            if taken[key] < len(backlog):
                pairs.append((slot, backlog[taken[key]]))
                taken[key] += 1
            else:
                raise AssertionError(("slot without a task", slot))
        return pairs

    def check_continuing(self) -> None:
        """No slot goes on with what must wait for something of higher priority."""  # I09
        for worker in self.workers.values():
            if not worker.in_use:
                continue
            for slot in worker.slots.values():
                backlog = self.later(worker, slot.variants)
                if not backlog or slot.drain is not None:
                    continue
                above = self._above(worker, backlog[0].priority)
                # Room is made for one after the other, the highest first; and for nobody before
                # those of the same class that have waited too long as well.
                served = [self.top(h) for h in above if self.will_fit(worker, h)]
                served += [
                    hold.priority
                    for hold in self.holds
                    if (hold.worker, hold.variants) == (worker.id, slot.variants)
                    and hold.priority % 1
                ]
                for holder in above:
                    if holder == slot.variants:
                        continue  # it will start here, one task later
                    ok = self.in_gap(worker, holder, slot.request, counted=True)
                    ok = ok or any(priority >= self.top(holder) for priority in served)
                    assert ok, ("goes on", slot, backlog[0], text(holder))

    def top(self, variants: Variants) -> float:
        """The highest priority at which the class waits or has a hold."""
        held = [hold.priority for hold in self.holds if hold.variants == variants]
        return max([*self.waiting.get(variants, ()), *held])

    def later(self, worker: WorkerEntry, variants: Variants) -> list[TaskEntry]:
        """What waits there for slots that run something already, or are about to."""
        new = sum(
            (slot.worker, slot.variants) == (worker.id, variants) for slot in self.ledger.granted
        )
        return self.ledger.backlog(worker.id, variants)[new:]

    def will_fit(self, worker: WorkerEntry, variants: Variants) -> bool:
        """Whether one task fits when every slot that is to close has closed."""
        closing = {
            slot.number
            for slot in worker.slots.values()
            if slot.closes or not self.later(worker, slot.variants)
        }
        if variants[0].nodes:
            return len(closing) == len(worker.slots)
        some = {
            id(slot.drain): (slot.drain.slots - closing, slot.drain.left)
            for slot in worker.slots.values()
            if slot.drain is not None and not slot.closes
        }
        choices = [list(combinations(sorted(slots), left)) for slots, left in some.values()]
        return all(
            any(
                self._fits_without(worker, {*closing, *chosen}, request)
                for request in self.usable(worker, variants)
            )
            for chosen in _product(choices)
        )

    def _fits_without(self, worker: WorkerEntry, closed: set[int], request: Request) -> bool:
        pools = worker.pools.copy()
        for number in closed:
            pools.free(worker.slots[number].claim)
        return pools.fits(request)

    def check_stealing_over(self) -> None:
        """No task that waits at one worker could start at another."""  # I10
        for victim in self.workers.values():
            if not victim.in_use:
                continue
            for variants in {slot.variants for slot in victim.slots.values()}:
                backlog = self.later(victim, variants)
                for worker in self.workers.values() if backlog else ():
                    for request in self.fitting(worker, variants):
                        assert self._prevented(worker, variants, request, backlog[0].priority), (
                            "could be stolen",
                            backlog[0],
                            worker.id,
                            worker.pools.used,
                        )

    def check_work_conserved(self) -> None:
        """No ready task could be started."""  # I10
        for variants, levels in self.waiting.items():
            priority = max(levels)
            if variants[0].nodes:
                self._check_gang_waits(variants, priority)
                continue
            for worker in self.workers.values():
                for request in self.fitting(worker, variants):
                    assert self._prevented(worker, variants, request, priority), (
                        "could start",
                        text(variants),
                        priority,
                        worker.id,
                        worker.pools.used,
                    )

    def _prevented(
        self, worker: WorkerEntry, variants: Variants, request: Request, priority: int
    ) -> bool:
        if not self._utilized(worker, request):
            return True
        if any(
            task.priority >= priority and self.fitting(worker, task.variants)
            for task in self.coming_back
        ):
            return True  # the room is for what is being stolen
        return any(
            holder != variants
            and (is_strict(holder) or not self.in_gap(worker, holder, request, counted=False))
            for holder in self._in_the_way(worker, priority)
        )

    def _in_the_way(self, worker: WorkerEntry, priority: int) -> list[Variants]:
        """Whatever may keep others from the worker, rightly or only possibly."""
        return [
            *self.claimants(worker, priority, alone=False),
            *self.holders(worker, priority - 1),
        ]

    def _utilized(self, worker: WorkerEntry, request: Request) -> bool:
        """Whether this alone would bring the worker to its least utilization."""
        cpus = worker.pools.cpus_in_use + worker.pools.demand(request, CPUS)
        return cpus >= worker.config.min_utilization * worker.pools.size(CPUS)

    def _check_gang_waits(self, variants: Variants, priority: int) -> None:
        for request in variants:
            free: Counter[str] = Counter()
            for worker in self.workers.values():
                if (
                    self.is_empty(worker)
                    and request in self.usable(worker, variants)
                    and not [h for h in self._in_the_way(worker, priority) if h != variants]
                ):
                    free[worker.config.group] += 1
            assert all(n < request.nodes for n in free.values()), (
                "could start",
                text(variants),
                free,
            )

    def check_utilization(self, granted: list[SlotEntry]) -> None:
        """Workers that got something are as busy as they want to be."""  # I19
        for number in {slot.worker for slot in granted if not slot.gang}:
            worker = self.workers[number]
            least = worker.config.min_utilization * worker.pools.size(CPUS)
            assert worker.pools.cpus_in_use >= least, (number, worker.pools.cpus_in_use, least)


def is_strict(variants: Variants) -> bool:
    """Whether it matters which resources of a held worker others use: there may be no gap."""
    return any(need.policy in STRICT for request in variants for need in request.needs)


def _product(choices: list[list[tuple[int, ...]]]) -> list[tuple[int, ...]]:
    """Every way to take one of each, flattened."""
    ways: list[tuple[int, ...]] = [()]
    for options in choices:
        ways = [way + option for way in ways for option in options]
    return ways
