"""What the only worker of a server can never run: nobody will ever bring another one."""

from __future__ import annotations

from hqtrio.client import Client
from hqtrio.messages.client import AmountCondition, Condition, NodesCondition, TimeCondition
from hqtrio.model.resources import Variants
from hqtrio.scheduling.explain import conditions
from hqtrio.units import format_amount

__all__ = ["find_lack"]


async def find_lack(client: Client, variants: Variants) -> str:
    """Why the server's worker, which is waited for, can never run any of the variants; empty if it
    can."""
    await client.wait_for_workers(1)
    (worker, *_), _ = await client.workers()
    sizes = {pool.resource: pool.size for pool in worker.config.descriptor.pools}
    first: Condition | None = None
    for request in variants:
        met = conditions(request, sizes, worker.config.time_limit_s, 1)
        lacking = next((one for one in met if not one.holds), None)
        if lacking is None:
            return ""
        first = first or lacking
    return "" if first is None else _words(first)


def _words(condition: Condition) -> str:
    match condition:
        case AmountCondition(resource, amount, size):
            wanted = format_amount(amount) if amount else "all"
            return f"it needs {resource} {wanted}, and there are {format_amount(size)}"
        case TimeCondition():
            return "its time request is longer than the worker's time limit"
        case NodesCondition(nodes, _):
            return f"it needs {nodes} nodes, and this is one (start a server and workers)"
