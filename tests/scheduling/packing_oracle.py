"""What placements are worth, and the best placement of few tasks on few workers."""

from __future__ import annotations

from functools import cache
from itertools import product


def value_of(weight, amounts, free):
    """What one start is worth: its weighted share of everything that is free."""
    return weight * sum(amount / have for amount, have in zip(amounts, free, strict=True) if have)


def best_value(workers, tasks, values):
    """The most that can be started on all idle workers together.

    `workers` are tuples of sizes, `tasks` rows (amounts, count), `values` what one task of each
    row is worth.
    """
    demands = [amounts for amounts, _ in tasks]

    @cache
    def fillings(sizes):
        """Every mix that fits on an empty worker."""
        most = [
            min(have // need for have, need in zip(sizes, demand, strict=True) if need)
            for demand in demands
        ]
        mixes = []
        for counts in product(*(range(n + 1) for n in most)):
            used = [
                sum(n * demand[r] for n, demand in zip(counts, demands, strict=True))
                for r in range(len(sizes))
            ]
            if all(use <= have for use, have in zip(used, sizes, strict=True)):
                mixes.append(counts)
        return mixes

    @cache
    def best(worker, left):
        if worker == len(workers):
            return 0.0
        return max(
            sum(n * value for n, value in zip(mix, values, strict=True))
            + best(worker + 1, tuple(have - n for have, n in zip(left, mix, strict=True)))
            for mix in fillings(workers[worker])
            if all(n <= have for n, have in zip(mix, left, strict=True))
        )

    return best(0, tuple(count for _, count in tasks))
