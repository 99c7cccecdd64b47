"""What must hold across all tables of the job book between two events."""

from __future__ import annotations

from hqtrio.jobs.blocks import ArrayBlock, GraphBlock
from hqtrio.jobs.job import ABORTED, FAILED, FINISHED, RUNNING, WAITING, Job
from hqtrio.jobs.pairing import spared
from hqtrio.jobs.tables import Tables


def check(tables: Tables) -> None:
    """Assert it; the cost grows with the number of tasks."""
    workers = tables.workers
    there = sum(e.reason is None and e.absent is None for e in workers.entries.values())
    assert workers.connected == there, workers.connected
    assert list(workers.entries) == sorted(workers.entries)
    assert all(0 < worker <= workers.last < workers.next for worker in workers.entries)
    assert not tables.changed, tables.changed
    for key, number in tables.keys.items():
        # Of jobs that were completed before a restart only the keys are left.
        assert number not in tables.jobs or key in tables.jobs[number].keys, (key, number)
    tables.retries.check(tables.jobs)
    running = dict.fromkeys(workers.entries, 0)
    for number, job in tables.jobs.items():
        assert number == job.id <= tables.last_job, (number, tables.last_job)
        _check_job(tables, job, bool(tables.slices))
        for position in job.running():
            running[job.executions.get(position).worker] += 1
    for worker, count in running.items():
        entry = workers.entries[worker]
        assert entry.running == count, (worker, entry.running, count)
        assert entry.reason is None or not count, worker


def _check_job(tables: Tables, job: Job, releasing: bool) -> None:
    assert job.counts == [job.states.count(state) for state in range(6)], job.id
    assert job.numbering.count == len(job.states), job.id
    assert sum(block.count for block in job.blocks) == len(job.states), job.id
    assert (job.completed_at is not None) == job.terminated, job.id
    # To an open job tasks may be added after too many have failed.
    left = job.active - sum(block.active for block in spared(job))
    assert not tables.exceeded(job) or not left or job.head.is_open, job.id
    assert not job.met, job.id
    assert not job.freed, job.id
    failed = {p for p, state in enumerate(job.states) if state == FAILED}
    assert failed == set(job.errors), job.id
    for position in job.running():
        assert job.executions.get(position).worker, (job.id, position)
    for position, workers in job.gangs.items():
        assert job.states[position] != WAITING, (job.id, position)
        assert job.executions.get(position).worker == workers[0], (job.id, position)
        assert len(set(workers)) == len(workers), (job.id, position)
    for index, block in enumerate(job.blocks):
        assert block.first == job.firsts[index], (job.id, index)
        states = job.states[block.first : block.first + block.count]
        if isinstance(block, GraphBlock):
            _check_graph(job, block, states, releasing)
        elif not job.simple:
            _check_array(job, block, states)


def _check_array(job: Job, block: ArrayBlock, states: bytearray) -> None:
    active = states.count(WAITING) + states.count(RUNNING)
    assert block.active == active, (job.id, block.first, block.active, active)
    assert block.done == (not active), (job.id, block.first)
    assert block.unfinished == block.count - states.count(FINISHED), (job.id, block.first)
    if block.waits:
        assert states.count(WAITING) + states.count(ABORTED) + states.count(4) == block.count
    for place, state in enumerate(states):
        for index in block.each:
            producer = job.states[job.firsts[index] + place]
            if state in (RUNNING, FINISHED, FAILED):
                assert producer >= FINISHED, (job.id, block.first, place)
                assert block.always or producer == FINISHED, (job.id, block.first, place)
            if state == WAITING:
                assert block.always or producer <= FINISHED, (job.id, block.first, place)


def _check_graph(job: Job, block: GraphBlock, states: bytearray, releasing: bool) -> None:
    uses = [0] * len(block.bodies)
    for place, state in enumerate(states):
        uses[block.body_of[place]] += state <= RUNNING
        needs = [job.numbering.position(number) for number in block.needs_of(place)]
        open_needs = sum(job.states[p] != FINISHED for p in needs)
        if state <= FINISHED:
            assert block.unmet[place] == open_needs, (job.id, place)
            assert state == WAITING or not open_needs, (job.id, place)
            assert all(job.states[p] <= FINISHED for p in needs), (job.id, place)
    if job.active and not block.dead:
        assert not block.is_shared or list(block.uses) == uses, (job.id, block.first)
        assert all(uses[index] for index in block.made), (job.id, block.first)
    assert releasing or block.released == block.count, (job.id, block.first)
