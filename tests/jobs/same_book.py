"""Two job books compared in everything that outlives a server."""

from hqtrio.jobs.blocks import ArrayBlock, Block, GraphBlock
from hqtrio.jobs.job import RUNNING, Job
from hqtrio.jobs.tables import Tables
from hqtrio.jobs.workers import Register


def same_tables(restored: Tables, living: Tables, wall: float) -> None:
    """Assert it: of jobs that are complete only the ids and keys of submits are left.

    Pauses that are over by `wall` are none.
    """
    left = {number: job for number, job in living.jobs.items() if job.completed_at is None}
    assert [n for n, job in restored.jobs.items() if job.completed_at is None] == list(left)
    assert restored.last_job == living.last_job
    assert restored.keys == living.keys
    for number, job in left.items():
        was, now = _job(restored.jobs[number], wall), _job(job, wall)
        differs = {name: (was[name], now[name]) for name in was if was[name] != now[name]}
        assert not differs, (number, differs)
        # Of an execution whose start and loss are told together nothing is kept.
        assert restored.jobs[number].ran.keys() <= job.ran.keys(), number
    assert _workers(restored.workers) == _workers(living.workers)
    for worker, entry in living.workers.entries.items():
        assert restored.workers.entries[worker].last_task_at <= entry.last_task_at, worker


def _job(job: Job, wall: float) -> dict:
    ended = [state > RUNNING for state in job.states]
    return {
        "head": job.head,
        "submitted_at": job.submitted_at,
        "is_open": job.is_open,
        "completed_at": job.completed_at,
        "cancel_reason": job.cancel_reason,
        "keys": job.keys,
        "numbers": [job.numbering.number(position) for position in range(job.count)],
        "segments": list(job.numbering.segments),
        "states": list(job.states),
        "counts": job.counts,
        "executions": [job.executions.get(position) for position in range(job.count)],
        "instances": [job.instances.get(position, 0) for position in range(job.count)],
        "skipping": job.skipping,
        # How often an ended task was lost concerns nobody any more.
        "crashes": {p: n for p, n in sorted(job.crashes.items()) if not ended[p]},
        "errors": dict(sorted(job.errors.items())),
        "results": dict(sorted(job.results.items())),
        "gangs": dict(sorted(job.gangs.items())),
        "variants": dict(sorted(job.variants.items())),
        "submits": job.submits,
        "swept_at": [job.swept_at(p) for p in range(job.count) if ended[p]],
        "outside": {p: list(c) for p, c in sorted(job.outside.items())},
        "tries": dict(sorted(job.tries.items())),
        "pauses": {p: pause for p, pause in sorted(job.pauses.items()) if pause[0] > wall},
        "unconditional": job.unconditional,
        "simple": job.simple,
        "linked": job.linked,
        "blocks": [_block(job, block) for block in job.blocks],
    }


def _block(job: Job, block: Block) -> dict:
    """`dead` and `done` matter only while something of the block may still start."""
    if isinstance(block, ArrayBlock):
        alive = {"active": block.active, "unfinished": block.unfinished}
        return {
            "first": block.first,
            "count": block.count,
            "body": (block.body.job, block.body.content),
            "variants": block.variants,
            "settings": block.settings,
            "ranges": block.ranges,
            "group": block.group,
            "blob": block.blob,
            "ends": None if block.ends is None else list(block.ends),
            "waits": block.waits,
            "needs": block.needs,
            "feeds": block.feeds,
            "each": block.each,
            "feeds_each": block.feeds_each,
            "always": block.always,
            "entries": [block.entry(place) for place in range(block.count)],
            "depth": block.depth,
            "dead": block.dead,
            "done": block.done,
            **({} if job.simple else alive),
        }
    assert isinstance(block, GraphBlock)
    return {
        "first": block.first,
        "count": block.count,
        "bodies": [block.content(index) for index in range(len(block.bodies))],
        "body_of": list(block.body_of),
        "variants": [block.variants[index] for index in block.variants_of],
        "settings": [block.settings[index] for index in block.settings_of],
        "needs": [block.needs_of(place) for place in range(block.count)],
        "unmet": list(block.unmet),
        "depths": list(block.depths),
        "is_shared": block.is_shared,
        "uses": list(block.uses),
        "dead": block.dead,
    }


def _workers(workers: Register) -> dict:
    return {
        "last": workers.last,
        "entries": [
            (
                entry.id,
                entry.key,
                entry.attachment,
                entry.config,
                entry.started_at,
                entry.ended_at,
                entry.reason,
                entry.stopping,
                entry.running,
                entry.gang,
            )
            for entry in workers.entries.values()
        ],
    }
