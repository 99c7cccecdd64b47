"""A job book restored from compacted records is the one restored from all of them."""

import test_job_book_restarts as restarts
from hypothesis import settings
from restart_story import RestartStory, replay
from same_book import same_tables

from hqtrio.jobs.replay import Replay
from hqtrio.journal.compaction import Survey, compacted
from hqtrio.messages.records import Record


def compact(records: list[Record]) -> list[Record]:
    return list(compacted(Survey(records), records))


class CompactedStory(RestartStory):
    """All that is recorded is compacted again and again; a killed server leaves only that."""

    def replayed(self) -> Replay:
        whole = super().replayed()
        once = compact(self.records)
        same_replays(replay(once), replay(self.records), self.now.wall)
        assert compact(once) == once
        return whole

    def left_behind(self) -> Replay:
        self.replayed()
        self.records = compact(self.records)
        return replay(self.records)


def same_replays(pruned: Replay, whole: Replay, wall: float) -> None:
    """Assert that a server goes on from both in the same way; `whole` is of no use afterwards.

    Workers that are gone, and of which no task of a live job tells, are gone for good.
    """
    assert pruned.holdings() == whole.holdings()
    assert pruned.submissions == whole.submissions
    assert pruned._drafts.keys() == whole._drafts.keys()
    left, entries = pruned.tables.workers.entries, whole.tables.workers.entries
    told = {worker for job in pruned.tables.jobs.values() for worker in job.ran}
    for worker in [worker for worker in entries if worker not in left]:
        assert entries[worker].reason is not None and worker not in told
        del entries[worker]
    for entry in entries.values():
        if entry.gang >> 32 not in pruned.tables.jobs:
            entry.gang = left[entry.id].gang  # of a job that is over, which concerns nobody
    same_tables(pruned.tables, whole.tables, wall)


class Compactions(restarts.Restarts):
    go_on_with_both = None  # a second story would know of workers that nobody speaks of

    def __init__(self) -> None:
        super().__init__()
        self.stories = [CompactedStory()]


TestCompactions = Compactions.TestCase
TestCompactions.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
