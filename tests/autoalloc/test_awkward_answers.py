"""Answers and endings that nobody expects."""

from __future__ import annotations

import json

import pytest
from allocation_desk import Desk

from hqtrio.autoalloc import events as act
from hqtrio.autoalloc.dialogues import Completed
from hqtrio.autoalloc.pbs import Pbs
from hqtrio.autoalloc.slurm import parse_squeue
from hqtrio.messages import allocations as ask
from hqtrio.model.allocation import QueueParams


def test_a_directory_with_unusual_line_ends_is_one_line() -> None:
    place = "/a\x0cb\x85c\u2028d"
    data = f"7|PENDING|None|N/A|N/A|{place}\n".encode()
    assert parse_squeue(data)["7"][1] == place


def test_an_instant_beyond_all_numbers_is_none() -> None:
    entry = {"job_state": "F", "Exit_status": 0, "history_timestamp": 10**400}
    data = json.dumps({"Jobs": {"5.pbs0": entry}}).encode()
    dialogue = Pbs().statuses(["5.pbs0"])
    next(dialogue)
    with pytest.raises(StopIteration) as end:
        dialogue.send(Completed(0, data))
    assert end.value.value.statuses["5.pbs0"].ended_at is None


def test_the_end_waits_for_a_trial_and_makes_no_queue_of_it() -> None:
    desk = Desk()
    params = QueueParams(desk.manager, 60.0)
    effects = desk.machine.handle(act.Asked(3, ask.AddQueue(params, True)), desk.now())
    (trial,) = (effect for effect in effects if isinstance(effect, act.Trial))
    desk.do(act.ServerEnds())
    assert not desk.machine.is_quiet
    desk.do(act.Tried(trial.token, ""))
    assert desk.machine.is_quiet
    assert not desk.machine.books.queues
