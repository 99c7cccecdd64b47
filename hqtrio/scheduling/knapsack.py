"""A bounded knapsack with several resources: the counts of items that are worth most together.

Prices of the resources (a dual solution of the linear relaxation) give an upper bound that costs
one addition per step; branch and bound over the counts does the rest, and remembers where it has
been.
"""

from __future__ import annotations

from math import ceil, gcd, inf
from typing import Final, NamedTuple

PIVOTS_MAX: Final = 200  # steps towards the prices; any prices will do
EQUAL: Final = 1e-9  # relative difference below which two values are the same
NEAR: Final = 1e-3  # this close to what can be reached at all ...
NEAR_NODES: Final = 500  # ... so many more steps are worth the time
ORDER_NODES: Final = 2_000  # steps without which another order is not worth its while
LARGEST_FIRST: Final = 3  # resources by which items are tried in order of size


class Item(NamedTuple):
    """How often it can be taken at most, what each is worth, and what it needs."""

    cap: int
    value: float
    needs: list[tuple[int, int]]  # resource and amount, of the scarce resources


class _Relaxed(NamedTuple):
    """The best with fractions of tasks, and what the scarce resources cost in it.

    At any prices `bound` is an upper bound of the value, also of what can start.
    """

    bound: float
    room: float  # what everything there is costs
    costs: list[float]  # what each item costs
    counts: list[float]


class Knapsack:
    """What may be taken how often, and what there is of each scarce resource."""

    __slots__ = ("_at_least", "_items", "_rooms")

    def __init__(self, items: list[Item]) -> None:
        self._items: Final = items
        self._rooms: Final[list[int]] = []
        self._at_least = 0  # to be used of the first resource

    def add(self, room: int, demands: list[int], *, at_least: int = 0) -> None:
        """One more resource, in the coarsest unit, unless all items together cannot use it up."""
        most = sum(item.cap * amount for item, amount in zip(self._items, demands, strict=True))
        if most <= room and not at_least:
            return
        unit = gcd(*demands) or 1
        for item, amount in zip(self._items, demands, strict=True):
            if amount:
                item.needs.append((len(self._rooms), amount // unit))
        self._rooms.append(room // unit)
        self._at_least = -(-at_least // unit) or self._at_least

    def solve(self, nodes: int) -> list[int]:
        """The best counts, by item; all zero if `at_least` is out of reach.

        Of equal ones it is that with most of the first item, then of the second, and so on.
        """
        items = self._items
        if not self._rooms:
            return [item.cap for item in items]
        relaxed = _relax(items, self._rooms)
        best, worth = [0] * len(items), 0.0
        orders = self._orders(relaxed)[: 1 + nodes // ORDER_NODES]
        for order in orders:
            search = self._search(relaxed, order, nodes // (4 * len(orders)), guided=True)
            search.run(worth * (1 + EQUAL), enough=relaxed.bound * (1 - EQUAL))
            if search.worth:
                best, worth = search.best, search.worth
            if search.nodes >= 0:
                break
            if worth >= relaxed.bound * (1 - NEAR):
                return best
        else:
            return best
        worth *= 1 - EQUAL
        search = self._search(relaxed, list(range(len(items))), nodes // 4, guided=False)
        search.run(worth, enough=worth)
        return search.best if search.worth else best

    def _search(self, relaxed: _Relaxed, order: list[int], nodes: int, *, guided: bool) -> _Search:
        return _Search(
            self._items, self._rooms, self._at_least, relaxed, order, nodes, guided=guided
        )

    def _orders(self, relaxed: _Relaxed) -> list[list[int]]:
        """Orders to search in, the most promising first; what one buries another finds early."""
        items = self._items
        order = sorted(range(len(items)), key=lambda at: self._rank(at, relaxed.costs[at]))
        orders = [
            order,
            sorted(order, key=lambda at: -items[at].value),
            sorted(order, key=lambda at: items[at].value),
        ]
        for resource in range(min(len(self._rooms), LARGEST_FIRST)):
            amounts = [dict(item.needs).get(resource, 0) for item in items]
            orders.append(sorted(order, key=amounts.__getitem__, reverse=True))
        return orders

    def _rank(self, at: int, cost: float) -> tuple[float, float, int]:
        """What is worth most for its price comes first, then what is dearest."""
        return -self._items[at].value / cost if cost > 0 else -inf, -cost, at


def _relax(items: list[Item], rooms: list[int]) -> _Relaxed:
    """Let fractions of tasks start: the simplex method with bounded variables.

    Variables are parts of what fits of an item alone, rows are parts of a resource. A variable at
    its upper bound is replaced by what it lacks, so that all outside the basis are always 0.
    """
    height, width = len(rooms), len(items)
    table = [[0.0] * width + [float(row == at) for at in range(height)] for row in range(height)]
    for at, item in enumerate(items):
        for resource, amount in item.needs:
            table[resource][at] = item.cap * amount / rooms[resource]
    levels = [1.0] * height  # of the variables in the basis; at first it is what is left over
    basis = list(range(width, width + height))
    gains = [item.cap * item.value for item in items] + [0.0] * height
    least = EQUAL * max(gains)
    lacks = [False] * width
    for _ in range(PIVOTS_MAX):
        gain = max(gains)
        if gain <= least:
            break
        enter = gains.index(gain)
        step, leave = (1.0 if enter < width else inf), -1
        for row, entries in enumerate(table):
            entry = entries[enter]
            if entry > EQUAL:
                room = levels[row] / entry
            elif entry < -EQUAL and basis[row] < width:
                room = (levels[row] - 1.0) / entry
            else:
                continue
            if room < step:
                step, leave = max(0.0, room), row
        for row, entries in enumerate(table):
            levels[row] -= step * entries[enter]
        if leave < 0:
            lacks[enter] = not lacks[enter]
            gains[enter] = -gain
            for entries in table:
                entries[enter] = -entries[enter]
            continue
        pivot, out = table[leave], basis[leave]
        if pivot[enter] < 0:  # the leaving variable has reached its upper bound
            lacks[out] = not lacks[out]
            pivot = [-entry for entry in pivot]
            pivot[out] = 1.0
        scale = 1.0 / pivot[enter]
        table[leave] = pivot = [entry * scale for entry in pivot]
        basis[leave], levels[leave] = enter, step
        for row, entries in enumerate(table):
            factor = entries[enter]
            if row != leave and factor:
                table[row] = [x - factor * y for x, y in zip(entries, pivot, strict=True)]
        gains = [x - gain * y for x, y in zip(gains, pivot, strict=True)]
    prices = [max(0.0, -gain) for gain in gains[width:]]  # for all that there is
    costs = [
        sum(prices[resource] * amount / rooms[resource] for resource, amount in item.needs)
        for item in items
    ]
    bound = sum(prices) + sum(
        item.cap * max(0.0, item.value - cost) for item, cost in zip(items, costs, strict=True)
    )
    parts = [0.0] * (width + height)
    for out, level in zip(basis, levels, strict=True):
        parts[out] = level
    counts = [
        item.cap * (1.0 - part if lack else part)
        for item, part, lack in zip(items, parts, lacks, strict=False)
    ]
    return _Relaxed(bound, sum(prices), costs, counts)


class _Search:
    """Branch and bound over the counts of the items in one order, high counts first."""

    def __init__(
        self,
        items: list[Item],
        rooms: list[int],
        at_least: int,
        relaxed: _Relaxed,
        order: list[int],
        nodes: int,
        *,
        guided: bool,
    ) -> None:
        self.best: list[int] = [0] * len(items)  # by item
        self.worth = 0.0
        self.nodes = nodes  # left; negative: not everything was looked at
        self._order: Final = order
        self._near: Final = relaxed.bound * (1 - NEAR)
        self._reach: Final = relaxed.room
        # What is left of all resources is one number, with a field for each of them.
        fields: list[tuple[int, int]] = []
        self._room, width = 0, 0
        for room in rooms:
            fields.append((width, (1 << room.bit_length()) - 1))
            self._room |= room << width
            width += room.bit_length()
        self._first: Final = fields[0][1]
        # What may be left over of the first resource.
        self._spare: Final = rooms[0] - at_least if at_least else None
        # By position in the order.
        self._aims: Final = [
            ceil(relaxed.counts[at] - EQUAL) if guided else items[at].cap for at in order
        ]
        items = [items[at] for at in order]
        self._caps: Final = [item.cap for item in items]
        self._values: Final = [item.value for item in items]
        self._gains: Final = [items[i].value - relaxed.costs[at] for i, at in enumerate(order)]
        self._needs: Final = [
            [(*fields[resource], amount) for resource, amount in item.needs] for item in items
        ]
        self._packed: Final = [
            sum(amount << shift for shift, _, amount in needs) for needs in self._needs
        ]
        # What the items from there on can gain, and use of the first resource, at most.
        self._rest: Final = [0.0] * (len(items) + 1)
        self._usable: Final = [0] * (len(items) + 1)
        for at in range(len(items) - 1, -1, -1):
            cap, needs = self._caps[at], dict(items[at].needs)
            self._rest[at] = self._rest[at + 1] + cap * max(0.0, self._gains[at])
            self._usable[at] = self._usable[at + 1] + cap * needs.get(0, 0)

    def run(self, floor: float, *, enough: float) -> None:
        """Find what is worth most, and more than `floor`; stop at the first worth `enough`."""
        end, spare, first, near = len(self._order), self._spare, self._first, self._near
        caps, aims, values, gains = self._caps, self._aims, self._values, self._gains
        needs, packed, rest, usable = self._needs, self._packed, self._rest, self._usable
        nodes = self.nodes
        chosen, best = [0] * end, [0] * end
        seen: dict[tuple[int, int], float] = {}

        def visit(at: int, room: int, value: float, reach: float) -> bool:
            """Decide from there on; whether to stop. `reach`: value and price of the room."""
            nonlocal floor, nodes
            if value > floor and (spare is None or room & first <= spare):
                best[:at], best[at:] = chosen[:at], [0] * (end - at)
                self.worth, floor = value, value * (1 + EQUAL)
                if value >= enough:
                    return True
                if value >= near:
                    nodes = min(nodes, NEAR_NODES)
            while True:
                if at == end or reach + rest[at] <= floor:
                    return False
                if spare is not None and (room & first) - usable[at] > spare:
                    return False
                nodes -= 1
                if nodes < 0:
                    return True
                count = caps[at]
                for shift, mask, amount in needs[at]:
                    fits = (room >> shift & mask) // amount
                    if fits < count:
                        count = fits
                if count:
                    break
                chosen[at] = 0
                at += 1
            # Whoever came here before with as much has found all there is, and came first.
            if value <= seen.get((at, room), -1.0):
                return False
            seen[at, room] = value * (1 + EQUAL)
            one, each, gain, after = values[at], packed[at], gains[at], at + 1
            left = reach + rest[after]
            aim = min(count, aims[at])
            for counts in (range(aim, -1, -1), range(aim + 1, count + 1)):
                for taken in counts:
                    if left + taken * gain > floor:
                        chosen[at] = taken
                        spent = room - taken * each
                        if visit(after, spent, value + taken * one, reach + taken * gain):
                            return True
                    elif (gain >= 0) == (counts.step < 0):
                        break  # from here on there is even less to gain
            return False

        visit(0, self._room, 0.0, self._reach)
        seen.clear()  # `visit` knows itself and would keep it until the next collection
        self.nodes = nodes
        for at, count in zip(self._order, best, strict=True):
            self.best[at] = count
