"""The worker's edge towards its server, over a connection in memory."""

from __future__ import annotations

from contextlib import asynccontextmanager

import trio
import trio.testing

from actors.kit.mailbox import Mailbox
from actors.worker.link import Link
from hqtrio.messages.worker import Ack, FromWorker, Goodbye, Report, ToWorker
from hqtrio.model.worker import LossReason
from hqtrio.net.memory import memory_pair
from hqtrio.worker.events import OpenLink


async def test_last_words_leave_also_if_the_core_is_gone_when_a_frame_arrives(autojump_clock):
    here, there = memory_pair(ToWorker, FromWorker, frames=1)

    @asynccontextmanager
    async def connect():
        yield here

    core: Mailbox = Mailbox("core")
    link = Link(OpenLink(1, 1), connect, core, heartbeat_s=8.0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.run)
        await core.receive()
        await there.send([Ack(0, 0)])
        await core.receive()
        # The worker has ended: it says all that is left, and hears nothing any more.
        core.close()
        link.tell((Report(1, ()), Goodbye(LossReason.STOPPED)))
        link.close()
        await trio.testing.wait_all_tasks_blocked()  # the second waits for room
        await there.send([Ack(0, 0)])
        await trio.testing.wait_all_tasks_blocked()
        said = []
        with trio.fail_after(60):
            while len(said) < 2:
                said += await there.receive()
    assert said == [Report(1, ()), Goodbye(LossReason.STOPPED)]
