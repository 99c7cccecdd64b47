"""What is left of an allocation, and what its end means for the worker in it."""

from __future__ import annotations

import json

import pytest
from worker_bench import Bench, enqueue, grant, only

from hqtrio.errors import InputError
from hqtrio.messages.worker import Goodbye
from hqtrio.model.worker import LossReason
from hqtrio.worker.allocations import clock_s, pbs_remaining_s, slurm_remaining_s
from hqtrio.worker.events import Exit, StopAsked
from hqtrio.worker.orders import KillTasks


def qstat(name: str = "12.srv", **job: object) -> str:
    return json.dumps({"timestamp": 1, "Jobs": {name: job}})


def test_s3_13_pbs_says_the_walltime_and_what_is_used_of_it():
    limit, used = {"walltime": "01:12:34", "ncpus": 4}, {"walltime": "00:13:45", "mem": "1kb"}
    text = qstat(Resource_List=limit, resources_used=used)
    assert pbs_remaining_s(text, "12.srv") == pbs_remaining_s(text, "12.srv.long.name") == 3529
    assert pbs_remaining_s(qstat(Resource_List=limit), "12.srv") == 4354
    assert pbs_remaining_s(qstat(Resource_List={}), "12.srv") is None


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"Jobs": 3}', qstat("13.srv", Resource_List={}), qstat(), "[" * 100_000],
)
def test_what_pbs_says_of_something_else_is_refused(text):
    with pytest.raises(InputError, match=r"qstat says nothing of job 12\.srv"):
        pbs_remaining_s(text, "12.srv")


@pytest.mark.parametrize(
    ("run", "limit", "left_s"),
    [
        ("00:01:34", "00:15:00", 806),
        ("1-00:00:00", "2-12:30:15", 131_415),
        ("00:20:00", "00:15:00", 0),
        ("00:20:00", "UNLIMITED", None),
    ],
)
def test_s3_13_slurm_says_time_limit_and_run_time(run, limit, left_s):
    text = f"JobId=34 JobName=x\n   RunTime={run} TimeLimit={limit} TimeMin=N/A\n"
    assert slurm_remaining_s(text) == left_s


@pytest.mark.parametrize("text", ["", "RunTime=00:01:00", "RunTime=now TimeLimit=00:01:00"])
def test_what_slurm_does_not_say_is_refused(text):
    with pytest.raises(InputError, match=r"scontrol says neither|'now' is no time"):
        slurm_remaining_s(text)


def test_clocks():
    assert (clock_s("10:00"), clock_s("1:00:00"), clock_s("1-01:00:01")) == (600, 3600, 90_001)
    for text in ("", "1", "1:2:3:4", "x" * 1000, None, 5):
        with pytest.raises(InputError):
            clock_s(text)


# --- the end of an allocation


@pytest.mark.parametrize(
    ("manager", "left_s", "terminated", "reason"),
    [
        ("SLURM", 50.0, True, LossReason.TIME_LIMIT_REACHED),
        ("SLURM", 50.0, False, LossReason.CONNECTION_LOST),
        ("SLURM", 70.0, True, LossReason.CONNECTION_LOST),
        ("", 50.0, True, LossReason.CONNECTION_LOST),
    ],
)
def test_b25_sigterm_near_the_end_of_an_allocation_is_no_crash(manager, left_s, terminated, reason):
    bench = Bench(time_limit_s=1000.0, manager=manager)
    bench.wait(1000.0 - left_s)
    bench.step(StopAsked("told to", terminated))
    assert bench.told.other[-1] == Goodbye(reason)


def test_b25_without_a_limit_sigterm_is_a_crash():
    bench = Bench(manager="PBS")
    bench.step(StopAsked("received SIGTERM", terminated=True))
    assert bench.told.other[-1] == Goodbye(LossReason.CONNECTION_LOST)


# --- the grace


def test_b22_a_longer_grace_also_lets_the_worker_wait():
    bench = Bench(grace_s=20.0)
    bench.server(grant(1), enqueue(1))
    bench.started(1)
    effects = bench.step(StopAsked("received SIGTERM", terminated=True))
    assert not only(effects, Exit)
    effects = bench.wait(19.0)
    assert not only(effects, KillTasks) and not only(effects, Exit)
    effects = bench.wait(1.0)
    assert only(effects, KillTasks) and not only(effects, Exit)
    assert [e.code for e in only(bench.wait(1.0), Exit)] == [0]
