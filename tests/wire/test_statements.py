"""A worker that has much to state, cut into frames and put together again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from hqtrio.errors import RemoteFault
from hqtrio.messages.columns import f32, f64, i32, u32, u64
from hqtrio.messages.worker import Closed, Ended, Held, HeldMore, HeldSlot, Register, Report
from hqtrio.model.resources import CPUS, ONE_CPU, UNIT, Claim, Descriptor, Pool
from hqtrio.model.worker import WorkerConfig
from hqtrio.wire.codec import FRAME_MAX, encode
from hqtrio.wire.statements import PARTS_MAX, check_parts, join, split


def register(held: Held | None) -> Register:
    return Register(CONFIG, b"k" * 16, 7, b"h" * 16, 3, 60.0, held, 5)


def held_by(rows: int, reports: int = 0, slots: int = 0, ends: int = 10_000) -> Held:
    return Held(
        tuple(HeldSlot(n, ONE_CPU, 0, Claim(), False, ("node",) * 50) for n in range(slots)),
        u64(range(rows)),
        u32([1] * rows),
        u32([0] * rows),
        bytes(rows),
        f64([0.0] * rows),
        tuple(report_of(number + 1, ends) for number in range(reports)),
    )


def report_of(seq: int, ends: int) -> Report:
    zeros = [0] * ends
    columns = (u64(zeros), u32(zeros), u32(zeros), bytes(ends), i32(zeros), f64(zeros), f64(zeros))
    return Report(seq, (Ended(*columns, f32(zeros), u32(zeros)), Closed(u32([seq]))))


CONFIG = WorkerConfig("node", "node", "/tmp", "g", Descriptor((Pool(CPUS, (("0",),), UNIT),)))


@given(
    rows=st.sampled_from([0, 1, 4095, 4096, 4097, 50_000]),
    reports=st.integers(0, 6),
    slots=st.integers(0, 3),
)
def test_the_parts_fit_frames_and_are_the_whole(rows, reports, slots):
    hello = register(held_by(rows, reports, slots))
    first, *more = split(hello)
    assert isinstance(first, Register)
    assert first.more == len(more)
    assert all(isinstance(part, HeldMore) for part in more)
    assert all(len(encode([part])) <= FRAME_MAX for part in (first, *more))
    assert join(first, more) == hello


def test_a_hundred_and_thirty_thousand_tasks_and_forty_long_reports():
    hello = register(held_by(130_000, 40, 2000))
    first, *more = split(hello)
    assert len(more) > 20
    check_parts(first)
    assert all(len(encode([part])) <= FRAME_MAX for part in (first, *more))
    assert join(first, more) == hello


@pytest.mark.parametrize("held", [None, held_by(10, 1, 1)])
def test_what_fits_one_frame_is_sent_as_it_is(held):
    hello = register(held)
    assert split(hello) == [hello]
    assert join(hello, []) == hello


@pytest.mark.parametrize(
    ("more", "held"), [(-1, held_by(1)), (1, None), (PARTS_MAX + 1, held_by(1))]
)
def test_no_worker_announces_any_number_of_parts(more, held):
    with pytest.raises(RemoteFault, match="more parts"):
        check_parts(replace(register(held), more=more))
