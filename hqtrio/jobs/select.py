"""Which objects a client means."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from hqtrio.errors import InputError
from hqtrio.messages.client import PAGE_ROWS, Selector, Which
from hqtrio.model.job import Ranges

_GIVEN_MAX: Final = 50_000  # ids that one request may name for an answer about each


def chosen(selector: Selector, last: int, everything: Sequence[int]) -> Sequence[int]:
    """The ids to answer for, ascending, known or not; `everything` is what `all` means."""
    if selector.which == Which.ALL:
        return everything
    if selector.which == Which.LAST:
        return [last] if last else []
    return sorted(set(_given(selector.ids)))


def _given(ranges: Ranges) -> Iterator[int]:
    total = sum(max(count, 0) for _, count, _ in ranges)
    if total > _GIVEN_MAX:
        raise InputError(f"{total} ids are too many for one request; name at most {_GIVEN_MAX}.")
    for start, count, step in ranges:
        if start < 0 or count < 0 or step < 1:
            raise InputError(f"Invalid range of ids ({start}, {count}, {step}).")
        yield from range(start, start + count * step, step)


def page(
    selector: Selector, last: int, known: Sequence[int], after: int, limit: int
) -> tuple[list[int], bool, tuple[int, ...]]:
    """Known ids above `after`, at most `limit`; whether there are more; unknown ids (on the first
    page)."""
    limit = max(1, min(limit, PAGE_ROWS))
    if selector.which == Which.GIVEN and not selector.ids:
        return [], False, ()
    known_set = frozenset(known) if selector.which != Which.ALL else frozenset()
    wanted = known if selector.which == Which.ALL else chosen(selector, last, known)
    unknown: tuple[int, ...] = ()
    if selector.which != Which.ALL:
        if after <= 0:
            unknown = tuple([i for i in wanted if i not in known_set][:PAGE_ROWS])
        wanted = [i for i in wanted if i in known_set]
    rows = [i for i in wanted if i > after][: limit + 1]
    return rows[:limit], len(rows) > limit, unknown
