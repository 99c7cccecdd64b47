"""What the allocator asks the two cores, and who leaves because of the answers."""

from __future__ import annotations

from functools import partial

import trio
from server_nest import config, first_task, open_nest, submit

from actors.server.links import AskDemand, AskWaiting, DismissUseless
from hqtrio.messages.client import SubmitJob, Submitted
from hqtrio.messages.worker import Enqueue, Grant, Stop
from hqtrio.model.job import ArraySpec, JobHead, Submit
from hqtrio.model.resources import CPUS, ONE_CPU, UNIT, Need, Request
from hqtrio.model.worker import LossReason
from hqtrio.scheduling.offers import WorkerType

LARGE = (Request((Need(CPUS, 8 * UNIT),)),)


def kind(cpus):
    return WorkerType(config(cpus).descriptor, False, None, 5, 1, 0.0)


async def submit_large(client):
    plain = submit()
    array = ArraySpec(plain.arrays[0].body, 1, variants=LARGE)
    answer = await client.ask(SubmitJob(Submit(plain.key, "/", JobHead("job"), arrays=(array,))))
    assert isinstance(answer, Submitted)
    return answer.job


async def test_the_server_says_what_waits() -> None:
    with trio.fail_after(20):
        async with open_nest() as nest:
            client, worker = nest.client(), await nest.worker()
            assert await nest.server.ask(AskWaiting) == ()
            job = await client.submit()
            await submit_large(client)
            assert set(await nest.server.ask(AskWaiting)) == {ONE_CPU, LARGE}
            await worker.hear(Enqueue)
            await worker.start(first_task(job))
            while ONE_CPU in (waiting := await nest.server.ask(AskWaiting)):
                await trio.lowlevel.checkpoint()
            assert waiting == (LARGE,)


async def test_a_worker_that_can_do_nothing_of_it_is_told_to_end() -> None:
    with trio.fail_after(20):
        async with open_nest() as nest:
            client, small, large = nest.client(), await nest.worker(), await nest.worker(cpus=8)
            running = await submit_large(client)
            await submit_large(client)
            await large.hear(Enqueue)
            await large.start(first_task(running))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_dismiss_until_cancelled, nest, (small.id, large.id))
                assert (await small.hear(Stop)).reason is LossReason.IDLE_TIMEOUT
                nursery.cancel_scope.cancel()
            # Who was told to end gets nothing more; the other one does.
            await large.end(first_task(running))
            await large.hear(Grant)


async def _dismiss_until_cancelled(nest, workers) -> None:
    while True:
        waiting = await nest.server.ask(AskWaiting)
        await nest.scheduler.put(DismissUseless(workers, waiting))
        await trio.sleep(0.01)


async def test_demand_is_of_tasks_that_have_no_place_and_starts_the_others() -> None:
    with trio.fail_after(20):
        async with open_nest() as nest:
            client, worker = nest.client(), await nest.worker()
            await client.submit()
            await submit_large(client)
            demand = await nest.scheduler.ask(partial(AskDemand, (kind(4), kind(8))))
            assert demand is not None
            assert demand.single_node == (0, 1)
            await worker.hear(Enqueue)
