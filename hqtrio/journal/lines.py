"""Events as text: each a JSON object `{"time": ..., "event": {"type": ...}}` on a line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from hqtrio.ids import NUMBER_BITS, NUMBER_MASK
from hqtrio.journal.event_values import (
    LOSSES,
    configuration,
    head_json,
    load_json,
    params_json,
    task_json,
)
from hqtrio.journal.instants import instant
from hqtrio.journal.ledger import Group
from hqtrio.journal.submits import PendingSubmit
from hqtrio.messages.client import TaskNotice
from hqtrio.model.allocation import QueueParams
from hqtrio.model.job import JobHead, Ranges
from hqtrio.model.load import NodeLoad
from hqtrio.model.worker import LossReason, WorkerConfig

__all__ = ["Lines"]


class Lines:
    """Says each event as a line."""

    def server_started(self, uid: str, at: float) -> str:
        return _line(at, {"type": "server-start", "server_uid": uid})

    def server_stopped(self, at: float) -> str:
        return _line(at, {"type": "server-stop"})

    # --- workers

    def worker_connected(self, worker: int, config: WorkerConfig, at: float) -> str:
        value = {"type": "worker-connected", "id": worker, "configuration": configuration(config)}
        return _line(at, value)

    def worker_lost(self, worker: int, reason: LossReason, at: float) -> str:
        return _line(at, {"type": "worker-lost", "id": worker, "reason": LOSSES[reason]})

    def worker_told(self, worker: int, load: NodeLoad, at: float) -> str:
        state = {"state": load_json(load, at)}
        return _line(at, {"type": "worker-overview", "id": worker, "hw-state": state})

    # --- jobs

    def job_opened(self, job: int, head: JobHead, at: float) -> str:
        return _line(at, {"type": "job-open", "job_id": job, **head_json(head)})

    def job_created(
        self, job: int, head: JobHead, submit: PendingSubmit, numbers: tuple[Ranges, ...], at: float
    ) -> str:
        value = {
            "type": "job-created",
            "job": job,
            "closed_job": not head.is_open,
            "job_desc": head_json(head),
            "submit_desc": submit.description(numbers),
        }
        return _line(at, value)

    def job_closed(self, job: int, at: float) -> str:
        return _line(at, {"type": "job-close", "job_id": job})

    def job_cancelled(self, job: int, reason: str, at: float) -> str:
        return _line(at, {"type": "job-cancel", "job_id": job, "reason": reason})

    def job_completed(self, job: int, at: float) -> str:
        return _line(at, {"type": "job-completed", "job": job})

    def job_idle(self, job: int, at: float) -> str:
        return _line(at, {"type": "job-idle", "job_id": job})

    # --- tasks

    def started(
        self,
        task: int,
        instance: int,
        at: float,
        workers: int | tuple[int, ...],
        variant: int,
        group: Group,
    ) -> str:
        where = (
            f'"worker":{workers}'
            if isinstance(workers, int)
            else f'"workers":[{",".join(map(str, workers))}]'
        )
        which = f',"variant":{variant}' if variant else ""
        return (
            f'{{"time":"{instant(at)}","event":{{"type":"task-started",'
            f'"job":{task >> NUMBER_BITS},"task":{task & NUMBER_MASK},"instance":{instance},'
            f"{where}{which}}}}}"
        )

    def finished(self, task: int, at: float) -> str:
        return (
            f'{{"time":"{instant(at)}","event":{{"type":"task-finished",'
            f'"job":{task >> NUMBER_BITS},"task":{task & NUMBER_MASK}}}}}'
        )

    def failed(self, task: int, error: str, at: float) -> str:
        job, number = task >> NUMBER_BITS, task & NUMBER_MASK
        return _line(at, {"type": "task-failed", "job": job, "task": number, "error": error})

    def cancelled(self, tasks: Sequence[int], at: float) -> str:
        return _line(at, {"type": "task-canceled", "tasks": list(map(task_json, tasks))})

    def aborted(self, tasks: Sequence[int], at: float) -> str:
        return _line(at, {"type": "task-aborted", "tasks": list(map(task_json, tasks))})

    def requeued(
        self, task: int, instance: int, tries: int, next_at: float, error: str, at: float
    ) -> str:
        value: dict[str, Any] = {
            "type": "task-requeued",
            "job": task >> NUMBER_BITS,
            "task": task & NUMBER_MASK,
            "instance": instance,
        }
        if tries:
            value |= {"failed_tries": tries, "next_try_at": instant(next_at)}
        if error:
            value["error"] = error
        return _line(at, value)

    def notified(self, notice: TaskNotice, at: float) -> str:
        value = {
            "type": "task-notify",
            "task_id": {"job_id": notice.job, "job_task_id": notice.number},
            "worker_id": notice.worker,
            "message": list(notice.text),
            "text": notice.text.decode(errors="replace"),
        }
        return _line(at, value)

    # --- allocation queues

    def queue_created(self, queue: int, params: QueueParams, at: float) -> str:
        value = {
            "type": "autoalloc-queue-created",
            "queue-id": queue,
            "params": params_json(params),
        }
        return _line(at, value)

    def queue_removed(self, queue: int, at: float) -> str:
        return _line(at, {"type": "autoalloc-queue-removed", "queue-id": queue})

    def allocation_queued(self, queue: int, allocation: str, nodes: int, at: float) -> str:
        value = _allocation("queued", queue, allocation)
        return _line(at, {**value, "worker-count": nodes})

    def allocation_started(self, queue: int, allocation: str, at: float) -> str:
        return _line(at, _allocation("started", queue, allocation))

    def allocation_finished(self, queue: int, allocation: str, at: float) -> str:
        return _line(at, _allocation("finished", queue, allocation))


def _allocation(what: str, queue: int, allocation: str) -> dict[str, Any]:
    kind = f"autoalloc-allocation-{what}"
    return {"type": kind, "queue-id": queue, "allocation-id": allocation}


def _line(at: float, event: dict[str, Any]) -> str:
    value = {"time": instant(at), "event": event}
    try:
        return msgspec.json.encode(value).decode()
    except UnicodeEncodeError:
        # Names of files need not be text; those that are not keep their bytes as escapes.
        return json.dumps(value, separators=(",", ":"))
