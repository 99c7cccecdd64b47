"""The first words of a job book that was restored: what the scheduler must know to go on.

Workers of the journal are expected back with what was shipped to them, unless it is their policy
to end with their server. All other tasks that wait
for nothing are announced, slice by slice, as those of a submit are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from hqtrio.ids import NUMBER_BITS, NUMBER_MASK, task_id
from hqtrio.jobs.blocks import GraphBlock
from hqtrio.jobs.gangs import drop_node
from hqtrio.jobs.job import WAITING, Job
from hqtrio.jobs.pairing import is_met
from hqtrio.jobs.release import announce
from hqtrio.jobs.replay import Replay, Rows
from hqtrio.jobs.reports import apply_loss
from hqtrio.jobs.tables import Tables
from hqtrio.messages.columns import u32, u64
from hqtrio.messages.records import IdsUsed, WorkerLost
from hqtrio.messages.scheduling import ExpectGang, ExpectWorker, NodeLost
from hqtrio.model.worker import CRASHES, LossReason, OnServerLost
from hqtrio.now import Now

FORGOTTEN_MAX: Final = 100  # jobs that were made between the last sync and a power cut
SLICE: Final = 2000  # tasks announced before others get a turn
_WAITS: Final = bytes([1]) + bytes(255)  # by state
_ANNOUNCED: Final = re.compile(rb"\x01+")

Positions = bytearray  # one byte per task of a job, 1 if it is meant


def resume(replayed: Replay, grace_s: float, now: Now) -> None:
    """The restored tables are a job book's, and the scheduler is told.

    Completed jobs are gone. What belongs to a worker that nobody expects waits again.
    """
    tables = replayed.tables
    workers = tables.workers
    held = replayed.holdings()
    for entry in workers.entries.values():
        if entry.reason is None and entry.config.on_server_lost is OnServerLost.STOP:
            # It has ended with its server, which is no crash.
            workers.gone(entry.id, LossReason.STOPPED, now.wall)
            tables.out.record(WorkerLost(entry.id, LossReason.STOPPED, now.wall))
        elif entry.reason is None and workers.of_key(entry.key) is not entry:
            # Its process is another worker by now: the end of this one was about to be told.
            workers.gone(entry.id, LossReason.CONNECTION_LOST, now.wall)
            tables.out.record(WorkerLost(entry.id, LossReason.CONNECTION_LOST, now.wall))
    for worker, (running, shipped) in held.items():
        of = workers.entries.get(worker)
        if of is None or of.reason is not None:
            crashed = of is not None and of.reason in CRASHES
            apply_loss(tables, worker, running, shipped, crashed, False, now.wall)
    tables.out.effects.clear()  # announced below with all others
    for job in list(tables.jobs.values()):
        tables.settle(job, now.wall)
        if job.terminated:
            del tables.jobs[job.id]
        else:
            _take_up_pauses(tables, job, now.wall)
    tables.changed.clear()
    tables.out.effects.clear()
    tables.slices.clear()
    nothing: tuple[Rows, Rows] = ([], [])
    for worker, entry in workers.entries.items():
        if entry.reason is None:
            workers.missed(worker, LossReason.CONNECTION_LOST, now.wall)
            running, shipped = held.get(worker, nothing)
            rows = running + shipped
            tables.out.command(
                ExpectWorker(
                    worker,
                    entry.key,
                    entry.attachment,
                    entry.config,
                    grace_s,
                    u64(task for task, _ in rows),
                    u32(instance for _, instance in rows),
                    bytes([1] * len(running) + [0] * len(shipped)),
                )
            )
    _expect_gangs(tables)
    workers.begin_anew()
    left = [(job, _ready(job)) for job in tables.jobs.values()]
    ready = dict(left)
    for worker, (_, shipped) in held.items():
        of = workers.entries.get(worker)
        if of is not None and of.reason is None:
            _leave_out(tables, shipped, ready)
    tables.start(_announce(tables, left))


def skip_forgotten(replayed: Replay) -> None:
    """No new job gets the id of one of which only workers may know. Recorded before anything."""
    if replayed.has_gap:
        tables = replayed.tables
        tables.last_job += FORGOTTEN_MAX
        tables.out.record(IdsUsed(tables.last_job, tables.workers.last, replayed.submissions))


def _take_up_pauses(tables: Tables, job: Job, wall: float) -> None:
    for position, (at, _) in list(job.pauses.items()):
        if at > wall:
            tables.retries.pause(job, position, at - wall)
        else:
            del job.pauses[position]


def _expect_gangs(tables: Tables) -> None:
    """Multi-node tasks go on with those of their workers that may come back."""
    entries = tables.workers.entries
    for job in tables.jobs.values():
        for position in job.running():
            if position in job.gangs:
                task = task_id(job.id, job.numbering.number(position))
                instance = job.instances.get(position, 0)
                for worker in job.gangs[position]:
                    if worker not in entries or entries[worker].reason is not None:
                        drop_node(tables, NodeLost(task, instance, worker))
                tables.out.command(ExpectGang(task, instance, job.gangs[position]))


def _ready(job: Job) -> Positions:
    """The tasks that wait for nothing. From now on the end of others announces what they free."""
    ready = job.states.translate(_WAITS)
    for block in job.blocks:
        first, end = block.first, block.first + block.count
        if isinstance(block, GraphBlock):
            block.released = block.count
            for place, unmet in enumerate(block.unmet):
                if unmet:
                    ready[first + place] = 0
        elif block.waits:
            ready[first:end] = bytes(block.count)
        elif block.each:
            block.released = block.count
            for position in range(first, end):
                ready[position] = is_met(job, block, position - first)
    for position in job.pauses:
        ready[position] = 0
    return ready


def _leave_out(tables: Tables, shipped: Rows, ready: dict[Job, Positions]) -> None:
    for task, _ in shipped:
        job = tables.jobs.get(task >> NUMBER_BITS)
        if job is not None:
            ready[job][job.numbering.position(task & NUMBER_MASK)] = 0


def _announce(tables: Tables, left: list[tuple[Job, Positions]]) -> Iterator[None]:
    """Announce these tasks, except those that have ended since."""
    told = 0
    for job, ready in left:
        at = 0
        while (found := _ANNOUNCED.search(ready, at)) is not None:
            begin = found.start()
            at = min(found.end(), begin + SLICE - told)
            states = job.states[begin:at]
            announce(
                job,
                [begin + i for i, state in enumerate(states) if state == WAITING],
                tables.bodies,
                tables.out,
            )
            told += at - begin
            if told >= SLICE:
                told = 0
                yield
