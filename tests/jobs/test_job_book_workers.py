"""What the job book knows and shows of workers."""

import pytest
from job_book_story import EVERY, Story

from hqtrio.messages import client as say
from hqtrio.messages.scheduling import WorkerArrived, WorkerBusy
from hqtrio.messages.worker import Register
from hqtrio.model.load import NodeLoad
from hqtrio.model.resources import CPUS, Descriptor, single_pool
from hqtrio.model.worker import LossReason, WorkerConfig
from hqtrio.wire.codec import FRAME_MAX, encode


@pytest.fixture
def story() -> Story:
    return Story()


def test_only_the_newest_load_is_kept_and_of_a_lost_worker_the_last(story):
    worker = story.worker()
    (row,) = story.ask(say.ListWorkers(EVERY)).rows
    assert row.load is None
    for share in (10.0, 20.0):
        story.tell(WorkerBusy(worker, NodeLoad((share,), 2, 1)))
    story.lose(worker, LossReason.STOPPED)
    story.tell(WorkerBusy(worker, NodeLoad((30.0,), 2, 1)))
    (row,) = story.ask(say.ListWorkers(EVERY)).rows
    assert row.load == NodeLoad((20.0,), 2, 1) and row.load_at > 0
    story.tell(WorkerBusy(99, NodeLoad((1.0,), 2, 1)))  # nobody


def test_every_page_of_workers_fits_one_frame(story):
    descriptor = Descriptor((single_pool(CPUS, tuple(map(str, range(256)))),))
    config = WorkerConfig("a-node.of-a-cluster", "n:1", "/tmp/work", "default", descriptor)
    load = NodeLoad((99.97,) * 256, 1 << 40, 1 << 39)
    for number in range(1, 601):
        story.tell(WorkerArrived(number, Register(config, b"key%d" % number)))
        story.tell(WorkerBusy(number, load))
    listed, more = [], True
    while more:
        page = story.ask(say.ListWorkers(EVERY, listed[-1] if listed else 0))
        assert len(encode([say.Said(1, page)])) < FRAME_MAX / 2
        listed += [row.id for row in page.rows]
        more = page.more
    assert listed == list(range(1, 601))


def test_workers_of_one_kind_share_what_describes_them(story):
    """Lists show every worker that ever was; most are of few kinds."""
    for number in range(1, 4):
        descriptor = Descriptor((single_pool(CPUS, tuple(map(str, range(128)))),))
        config = WorkerConfig(f"node{number}", "n:1", "/tmp", "default", descriptor)
        story.tell(WorkerArrived(number, Register(config, b"key%d" % number)))
    rows = story.ask(say.ListWorkers(EVERY)).rows
    assert [row.config.hostname for row in rows] == ["node1", "node2", "node3"]
    assert len({id(row.config.descriptor) for row in rows}) == 1
