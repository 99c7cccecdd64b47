"""What no queue can be."""

from __future__ import annotations

from typing import Final

from hqtrio.autoalloc.listing import texts_of
from hqtrio.errors import InputError
from hqtrio.model.allocation import Manager, QueueParams
from hqtrio.units import quote

__all__ = ["check_params"]

NAME_MAX: Final = 200  # characters; PBS takes about 230, and a number follows
WORKERS_MAX: Final = 100_000  # in one allocation
TEXT_MAX: Final = 50_000


def check_params(params: QueueParams, directory: str) -> None:
    """InputError, with the remedy, if no allocation of such a queue could be submitted.

    `directory` is the server's, in which allocations have theirs.
    """
    _check_numbers(params)
    _check_name(params.name)
    worker, texts = params.worker, texts_of(params)
    if sum(map(len, texts)) > TEXT_MAX:
        raise InputError(f"The texts of a queue have at most {TEXT_MAX} characters together")
    for text in texts:
        if "\0" in text:
            raise InputError(f"`{quote(text)}` holds a zero byte")
    for word in params.manager_args:
        if "\n" in word or "\r" in word:
            raise InputError(f"`{quote(word)}` does not fit on one line of a script")
    for text in (worker.start_cmd, worker.stop_cmd, worker.wrap_cmd):
        if "\n" in text or "\r" in text:
            raise InputError(f"`{quote(text)}` has several lines: put them into a script")
    if params.manager is Manager.PBS and any(c.isspace() for c in directory):
        raise InputError(
            f"PBS cannot write into `{quote(directory)}`, because of the blank in it: start the "
            "server with another --server-dir"
        )


def _check_numbers(params: QueueParams) -> None:
    if params.backlog < 1:
        raise InputError("Backlog has to be at least 1")
    if not 1 <= params.max_workers_per_alloc <= WORKERS_MAX:
        raise InputError(f"Workers per allocation have to be 1 to {WORKERS_MAX}")
    if params.max_worker_count is not None and params.max_worker_count < 1:
        raise InputError("A queue without workers is of no use: pause it instead")
    if not 0.0 <= params.min_utilization <= 1.0:
        raise InputError("Minimal utilization has to be in 0.0 to 1.0")
    if not 1.0 <= params.time_limit_s < 1e9:
        raise InputError("The time limit of allocations has to be at least a second")
    if params.max_node_hours is not None and not 0 < params.max_node_hours < 1e12:
        raise InputError("Node hours have to be more than 0")
    limit_s = params.worker.time_limit_s
    if limit_s is not None and limit_s > params.time_limit_s:
        raise InputError("Worker time limit cannot be larger than queue time limit")
    if not 0.0 <= params.worker.idle_timeout_s < 1e9:
        raise InputError("The idle timeout is no time")


def _check_name(name: str) -> None:
    if len(name) > NAME_MAX:
        raise InputError(f"The name of a queue has at most {NAME_MAX} characters")
    for character in name:
        if character in "/|,'\"\\" or character.isspace() or not character.isprintable():
            raise InputError(
                f"The name `{quote(name)}` cannot be used: managers do not take "
                f"`{quote(character)}` in the name of a job"
            )
    if name.startswith(("-", ".")):
        raise InputError(f"The name `{quote(name)}` cannot begin with `{name[0]}`")
