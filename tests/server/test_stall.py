"""The collector between turns of the loop, and the meter of what holds it."""

from __future__ import annotations

import gc
import json
import time
import weakref

import pytest
import trio
import trio.lowlevel

from actors.server.stall import (
    CLEAN_MIN,
    MADE_MAX,
    SAMPLES,
    YOUNG_MAX,
    Collector,
    StallMeter,
    collections_kept_short,
    stalls_measured,
)


class Cycle:
    def __init__(self):
        self.own = self


@pytest.fixture
def collected():
    """Generations of the collections from now on."""
    generations = []

    def note(phase, info):
        if phase == "start":
            generations.append(info["generation"])

    gc.callbacks.append(note)
    yield generations
    gc.callbacks.remove(note)


def make_many():
    """More objects than are made between two collections, in cycles."""
    cycles = [Cycle() for _ in range(YOUNG_MAX)]
    return weakref.ref(cycles[0])


async def one_turn():
    await trio.lowlevel.checkpoint()
    await trio.lowlevel.checkpoint()


async def test_young_garbage_goes_between_steps_and_nothing_is_collected_within_one(collected):
    with collections_kept_short():
        collected.clear()
        await one_turn()
        collected.clear()
        gone = make_many()
        assert not collected
        await one_turn()
        assert gone() is None
        assert collected == [0]


async def test_young_objects_are_put_aside_where_there_never_is_garbage(collected):
    with collections_kept_short():
        kept = []
        for _ in range(2 * CLEAN_MIN):
            kept += [[] for _ in range(YOUNG_MAX)]
            await one_turn()
        collected.clear()
        for _ in range(2 * SAMPLES):
            kept += [[] for _ in range(YOUNG_MAX)]
            await one_turn()
        assert len(collected) == 2
        for _ in range(SAMPLES):
            make_many()
            await one_turn()
        collected.clear()
        gone = make_many()
        await one_turn()
        assert collected and gone() is None, "garbage was seen, so it is looked for again"


async def test_a_collection_of_the_middle_generation_never_has_much_to_look_at(collected):
    with collections_kept_short():
        kept = [[] for _ in range(MADE_MAX // 2)]
        await one_turn()
        collected.clear()
        kept += [[] for _ in range(MADE_MAX)]
        await one_turn()
        assert collected == [1], "most of what was made stays, so it is looked at in small lots"
        kept += [[] for _ in range(YOUNG_MAX)]
        await one_turn()
        assert collected == [1, 0]


async def test_no_full_collection_ever(collected):
    with collections_kept_short():
        collected.clear()
        for _ in range(100):
            make_many()
            await one_turn()
        assert set(collected) <= {0, 1}
        assert len(collected) >= 100


async def test_the_collector_is_as_it_was_afterwards():
    before = gc.isenabled(), gc.get_threshold()
    with collections_kept_short():
        assert gc.get_freeze_count()
        assert not gc.isenabled()
    assert (gc.isenabled(), gc.get_threshold()) == before
    assert not gc.get_freeze_count()


async def test_an_incremental_collector_is_asked_for_young_objects_only(collected, monkeypatch):
    monkeypatch.setattr(gc, "get_threshold", lambda: (2000, 10, 0))
    collector = Collector()
    gc.disable()
    try:
        collected.clear()
        for _ in range(30):
            make_many()
            collector.before_io_wait(0.0)
        assert collected == [0] * 30
    finally:
        gc.enable()


async def test_the_longest_step_is_named(tmp_path):
    async def hold():
        await trio.lowlevel.checkpoint()
        until = time.perf_counter() + 0.3
        while time.perf_counter() < until:
            pass

    path = tmp_path / "stalls"
    with stalls_measured(str(path)):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hold, name="the slow one")
            nursery.start_soon(trio.sleep, 0)
    line = json.loads(path.read_text())
    assert line["handler"] == "the slow one"
    assert line["longest_stall_s"] >= 0.3


def test_a_collection_between_steps_counts():
    meter = StallMeter()
    gc.callbacks.append(meter.collecting)
    try:
        gc.collect()
    finally:
        gc.callbacks.remove(meter.collecting)
    assert meter.handler == "collection of generation 2"
    assert meter.longest_s > 0


async def test_a_stall_log_that_cannot_be_written_is_only_logged(tmp_path, caplog):
    with stalls_measured(str(tmp_path / "missing/file")):
        await trio.lowlevel.checkpoint()
    assert "cannot write the stall log" in caplog.text


async def test_without_a_path_nothing_is_measured():
    before = list(gc.callbacks)
    with stalls_measured(None):
        assert gc.callbacks == before
