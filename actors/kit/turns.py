"""A long batch of mail in short turns, so that nobody waits for the whole of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final, TypeVar

import trio

M = TypeVar("M")

TURN_S: Final = 0.01


def turn(mail: deque[M], turn_s: float = TURN_S) -> Iterator[M]:
    """Take messages out of `mail`, at least one if there is any, until `turn_s` have passed.

    What is left waits for the next turn, before which others should have had theirs.
    """
    until = trio.current_time() + turn_s
    while mail:
        yield mail.popleft()
        if trio.current_time() >= until:
            return
