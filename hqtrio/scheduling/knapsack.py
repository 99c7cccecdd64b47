"""A bounded knapsack with several resources: the counts of items that are worth most together.

Prices of the resources (a dual solution of the linear relaxation) make one budget of all of them,
which gives an upper bound at each step; branch and bound over the counts does the rest, and
remembers where it has been. Where that does not come to an end it looks closely around what the
relaxation suggests, and then around the best it has found.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from itertools import accumulate
from math import ceil, floor, gcd, inf
from typing import Final, NamedTuple

PIVOTS_MAX: Final = 200  # steps towards the prices; any prices will do
EQUAL: Final = 1e-9  # relative difference below which two values are the same
NEAR: Final = 1e-3  # this close to what can be reached at all ...
NEAR_NODES: Final = 500  # ... so many more steps are worth the time
FREE: Final = 1e-5  # costs less than this part of its value: rounding would spoil the ratio
FIRST_NODES: Final = 300  # steps of the first search; most often they suffice
AROUND_NODES: Final = 240  # steps of a look around some counts
DIGITS: Final = 9  # to which values for the price are compared


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


class _Found(NamedTuple):
    """Counts by item that fit, and what they are worth."""

    worth: float
    counts: list[int]


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
        last = nodes // 4  # steps to find the first of equal ones
        first = min(last, FIRST_NODES)
        found = _Found(0.0, [0] * len(items))
        found, complete = self._search(relaxed, found, first)
        if not complete:
            left = nodes - last - first
            found, left = self._improve(relaxed, found, left)
            if found.worth < relaxed.bound * (1 - EQUAL):
                if found.worth >= relaxed.bound * (1 - NEAR):
                    return found.counts
                found, complete = self._search(relaxed, found, left)
                if not complete:
                    return found.counts
        worth = found.worth * (1 - EQUAL)
        in_order = list(range(len(items)))
        aims = [item.cap for item in items]
        search = _Search(items, self._rooms, self._at_least, relaxed, in_order, aims, last)
        search.run(worth, enough=worth)
        return search.best if search.worth else found.counts

    def _search(self, relaxed: _Relaxed, found: _Found, nodes: int) -> tuple[_Found, bool]:
        """What is worth more than that, if there is, and whether everything was looked at.

        Goes by what an item is worth for its price, and first tries as many as in `relaxed`.
        """
        items = self._items
        order = sorted(range(len(items)), key=lambda at: self._rank(at, relaxed.costs[at]))
        aims = [ceil(relaxed.counts[at] - EQUAL) or items[at].cap for at in order]
        search = _Search(items, self._rooms, self._at_least, relaxed, order, aims, nodes)
        search.run(found.worth * (1 + EQUAL), enough=relaxed.bound * (1 - EQUAL))
        better = _Found(search.worth, search.best) if search.worth else found
        return better, search.nodes >= 0

    def _rank(self, at: int, cost: float) -> tuple[float, float, int]:
        """What is worth most for its price comes first, then what is dearest."""
        # What is worth its price, as several are, must not be ranked by errors of rounding.
        return -round(self._items[at].value / cost, DIGITS) if cost > 0 else -inf, -cost, at

    def _improve(self, relaxed: _Relaxed, found: _Found, nodes: int) -> tuple[_Found, int]:
        """The best of short searches that leave part of the counts as they are; the steps left."""
        near = relaxed.bound * (1 - NEAR)
        for base, caps in self._starts(relaxed):
            if nodes < AROUND_NODES or found.worth >= near:
                return found, nodes
            nodes -= AROUND_NODES
            found = self._around(base, caps, found)
        caps = [item.cap for item in self._items]
        improved = True
        while improved and found.worth:
            improved = False
            for way in range(3):
                if nodes < AROUND_NODES or found.worth >= near:
                    return found, nodes
                nodes -= AROUND_NODES
                if way == 0:
                    base = [max(0, count - 1) for count in found.counts]
                elif way == 1:
                    base = [count // 2 for count in found.counts]
                else:
                    base = [0 if at % 2 else count for at, count in enumerate(found.counts)]
                better = self._around(base, caps, found)
                if better is not found:
                    found, improved = better, True
                    break
        return found, nodes

    def _starts(self, relaxed: _Relaxed) -> list[tuple[list[int], list[int]]]:
        """Least and most counts to search between: a fraction goes up, or down, or to none."""
        caps = [item.cap for item in self._items]
        whole = [floor(count + EQUAL) for count in relaxed.counts]
        starts = [(whole, caps)]
        for at, count in enumerate(whole):
            if relaxed.counts[at] - count > EQUAL:
                least, most = [0] * len(caps), list(caps)
                most[at] = count
                starts.append((least, most))
                least = [0] * len(caps)
                least[at] = count + 1
                starts.append((least, caps))
                if count:
                    least = list(whole)
                    least[at] = 0
                    starts.append((least, caps))
        return starts

    def _around(self, base: list[int], caps: list[int], found: _Found) -> _Found:
        """What a short search finds between `base` and `caps`, if it is better than `found`."""
        rooms = list(self._rooms)
        worth = 0.0
        for item, count in zip(self._items, base, strict=True):
            worth += count * item.value
            for resource, amount in item.needs:
                rooms[resource] -= count * amount
        if min(rooms) < 0:
            return found
        places, items = [], []
        for at, item in enumerate(self._items):
            cap = caps[at] - base[at]
            for resource, amount in item.needs:
                cap = min(cap, rooms[resource] // amount)
            if cap > 0:
                places.append(at)
                items.append(item._replace(cap=cap))
        rest = Knapsack(items)
        rest._rooms.extend(rooms)
        rest._at_least = max(0, self._at_least - (self._rooms[0] - rooms[0]))
        if not items:
            better = worth > found.worth * (1 + EQUAL) and not rest._at_least
            return _Found(worth, base) if better else found
        relaxed = _relax(items, rooms)
        if worth + relaxed.bound <= found.worth * (1 + EQUAL):
            return found
        before = _Found(max(0.0, found.worth * (1 + EQUAL) - worth), [])
        more, _ = rest._search(relaxed, before, AROUND_NODES)
        if more is before:
            return found
        counts = list(base)
        for at, count in zip(places, more.counts, strict=True):
            counts[at] += count
        return _Found(worth + more.worth, counts)


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


class _Tail(NamedTuple):
    """What some items are worth at most for a price: the part of a concave line it falls on.

    Up to each of `ends` and beyond the last, it is the start at price 0 and the slope of the part.
    """

    ends: list[float]
    starts: list[float]
    slopes: list[float]


def _tails(items: list[Item], costs: list[float]) -> list[_Tail]:
    """For each position, and the end: what the items from there on are worth at most."""
    tails = [_Tail([], [0.0], [0.0])]
    ranked: list[tuple[float, float]] = []  # slope, negative, and price of all
    free = 0.0
    for item, cost in zip(reversed(items), reversed(costs), strict=True):
        if cost > FREE * item.value:
            insort(ranked, (-item.value / cost, item.cap * cost))
        else:
            free += item.cap * item.value
        ends = list(accumulate(price for _, price in ranked))
        starts, slopes = [], []
        worth, spent = free, 0.0
        for (slope, price), end in zip(ranked, ends, strict=True):
            starts.append(worth + slope * spent)
            slopes.append(-slope)
            worth -= slope * price
            spent = end
        tails.append(_Tail(ends, [*starts, worth], [*slopes, 0.0]))
    tails.reverse()
    return tails


class _Search:
    """Branch and bound over the counts of the items in one order, those aimed at first."""

    def __init__(
        self,
        items: list[Item],
        rooms: list[int],
        at_least: int,
        relaxed: _Relaxed,
        order: list[int],
        aims: list[int],
        nodes: int,
    ) -> None:
        self.best: list[int] = [0] * len(items)  # by item
        self.worth = 0.0
        self.nodes = nodes  # left; negative: not everything was looked at
        self._order: Final = order
        self._aims: Final = aims  # by position in the order, as all below
        self._near: Final = relaxed.bound * (1 - NEAR)
        self._price: Final = relaxed.room
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
        items = [items[at] for at in order]
        self._caps: Final = [item.cap for item in items]
        self._values: Final = [item.value for item in items]
        self._costs: Final = [relaxed.costs[at] for at in order]
        self._needs: Final = [
            [(*fields[resource], amount) for resource, amount in item.needs] for item in items
        ]
        self._packed: Final = [
            sum(amount << shift for shift, _, amount in needs) for needs in self._needs
        ]
        # What the items from there on are worth, and use of the first resource, at most.
        self._tails: Final = _tails(items, self._costs)
        self._usable: Final = [0] * (len(items) + 1)
        for at in range(len(items) - 1, -1, -1):
            use = items[at].cap * dict(items[at].needs).get(0, 0)
            self._usable[at] = self._usable[at + 1] + use

    def run(self, floor: float, *, enough: float) -> None:
        """Find what is worth most, and more than `floor`; stop at the first worth `enough`."""
        end, spare, first, near = len(self._order), self._spare, self._first, self._near
        caps, aims, values, costs = self._caps, self._aims, self._values, self._costs
        needs, packed, tails, usable = self._needs, self._packed, self._tails, self._usable
        nodes = self.nodes
        chosen, best = [0] * end, [0] * end
        seen: dict[tuple[int, int], float] = {}

        def visit(at: int, room: int, value: float, price: float) -> bool:
            """Decide from there on; whether to stop. `price` is that of the room."""
            nonlocal floor, nodes
            if value > floor and (spare is None or room & first <= spare):
                best[:at], best[at:] = chosen[:at], [0] * (end - at)
                self.worth, floor = value, value * (1 + EQUAL)
                if value >= enough:
                    return True
                if value >= near:
                    nodes = min(nodes, NEAR_NODES)
            while True:
                if at == end:
                    return False
                ends, starts, slopes = tails[at]
                part = bisect_left(ends, price)
                if value + starts[part] + slopes[part] * price <= floor:
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
            one, cost, each, after = values[at], costs[at], packed[at], at + 1
            ends, starts, slopes = tails[after]
            aim = min(count, aims[at])
            for counts in (range(aim, -1, -1), range(aim + 1, count + 1)):
                before = -1.0
                for taken in counts:
                    worth, left = value + taken * one, price - taken * cost
                    part = bisect_left(ends, left)
                    most = worth + starts[part] + slopes[part] * left
                    if most > floor:
                        chosen[at] = taken
                        if visit(after, room - taken * each, worth, left):
                            return True
                    elif most <= before:
                        break  # `most` is concave: from here on it only falls
                    before = most
            return False

        visit(0, self._room, 0.0, self._price)
        seen.clear()  # `visit` knows itself and would keep it until the next collection
        self.nodes = nodes
        for at, count in zip(self._order, best, strict=True):
            self.best[at] = count
