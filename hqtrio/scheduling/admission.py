"""Whether what a worker says of itself can be worked with at all."""

from __future__ import annotations

from math import isfinite

from hqtrio.messages.worker import Register
from hqtrio.model.resources import UNIT, Descriptor, Pool
from hqtrio.model.worker import WorkerConfig

LABELS_MAX = 100_000
TEXT_MAX = 4096  # characters: the server keeps them for as long as it lives


def fault_in(hello: Register) -> str:
    """What is wrong with a registration, as the worker is told; empty if nothing is."""
    config = hello.config
    spans = {
        "heartbeat interval": config.heartbeat_s,
        "idle timeout": config.idle_timeout_s,
        "time limit": config.time_limit_s,
        "remaining time": hello.remaining_s,
    }
    for what, seconds in spans.items():
        if seconds is not None and not (isfinite(seconds) and seconds >= 0):
            return f"the {what} of a worker must be a number of seconds, got {seconds}"
    return _fault_in_texts(config) or _fault_in_resources(config.descriptor)


def _fault_in_texts(config: WorkerConfig) -> str:
    texts = {
        "host name": config.hostname,
        "address": config.listen_address,
        "work directory": config.work_dir,
        "group": config.group,
        "manager": config.manager,
        "manager's job id": config.manager_job_id,
        "version": config.version,
    }
    for what, text in texts.items():
        if len(text) > TEXT_MAX:
            return f"the {what} of a worker has at most {TEXT_MAX} characters, got {len(text)}"
    return ""


def _fault_in_resources(descriptor: Descriptor) -> str:
    seen: set[str] = set()
    for pool in descriptor.pools:
        if pool.resource in seen:
            return f"Resource {pool.resource} defined twice"
        seen.add(pool.resource)
        fault = _fault_in_pool(pool)
        if fault:
            return fault
    groups = [len(pool.groups) for pool in descriptor.pools]
    for link in descriptor.coupling:
        for which, group in ((link.pool1, link.group1), (link.pool2, link.group2)):
            if not (0 <= which < len(groups) and 0 <= group < groups[which]):
                return "the coupling of a worker names a group of resources that it does not have"
    return ""


def _fault_in_pool(pool: Pool) -> str:
    labels = [label for group in pool.groups for label in group]
    if pool.size <= 0 or any(not group for group in pool.groups):
        return f"Resource {pool.resource} is empty"
    if len(labels) > LABELS_MAX:
        return f"Resource {pool.resource} has more than {LABELS_MAX} items"
    if len(set(labels)) != len(labels):
        return f"Invalid resource definition for {pool.resource}: items have to be unique"
    if pool.groups and pool.size != UNIT * len(labels):
        return f"Invalid resource definition for {pool.resource}: size and items disagree"
    return ""
