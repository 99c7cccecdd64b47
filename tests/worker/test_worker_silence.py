"""A launcher is given up if it owes answers, and only then."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from actors.worker.silence import Silence


async def is_given_up(silence: Silence, waited_s: float = 30.0) -> bool:
    with trio.move_on_after(waited_s):
        await silence.too_long(10.0)
        return True
    return False


async def test_who_was_asked_nothing_may_be_silent(autojump_clock: MockClock) -> None:
    assert not await is_given_up(Silence())


async def test_who_owes_an_answer_may_be_silent_for_so_long(autojump_clock: MockClock) -> None:
    silence = Silence()
    silence.sent()
    assert not await is_given_up(silence, 9.9)
    silence = Silence()
    silence.sent()
    silence.sent()
    silence.answered(1)
    assert await is_given_up(silence, 10.1)


async def test_whoever_answers_anything_is_alive(autojump_clock: MockClock) -> None:
    silence = Silence()
    silence.sent()
    async with trio.open_nursery() as nursery:

        async def answers() -> None:
            while True:
                await trio.sleep(9.0)
                silence.answered(0)

        nursery.start_soon(answers)
        assert not await is_given_up(silence, 100.0)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("orders", [1, 2])
async def test_an_answer_as_quick_as_its_order_was_heard(
    autojump_clock: MockClock, orders: int
) -> None:
    """It comes before the watch has woken for the order, and nothing is asked afterwards."""
    silence = Silence()
    async with trio.open_nursery() as nursery:

        async def quick() -> None:
            await trio.sleep(1.0)
            for number in range(1, orders + 1):
                silence.sent()
                silence.answered(number)
                await trio.lowlevel.checkpoint()

        nursery.start_soon(quick)
        assert not await is_given_up(silence, 100.0)
