"""What an earlier server's journal tells, before this one serves."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from actors.server.journal_opening import Opened, open_journal, read_records
from hqtrio.autoalloc.books import Books
from hqtrio.errors import InputError
from hqtrio.jobs.replay import Replay
from hqtrio.messages.records import QueueRecord


@dataclass(frozen=True, slots=True)
class Kept:
    """A journal that is ours, and what an earlier server has told it."""

    opened: Opened
    replayed: Replay | None
    queues: Books


@contextmanager
def kept_at(path: Path | None, new_uid: str) -> Iterator[Kept | None]:
    """The journal at `path`, for the block; a new one is of the server `new_uid`. None without."""
    if path is None:
        yield None
        return
    with open_journal(path, new_uid, now=time.time()) as opened:
        try:
            replayed, queues = None, Books()
            if not opened.is_new:
                replayed = restore(opened.path, queues)
        except BaseException:
            os.close(opened.fd)  # otherwise its writer does
            raise
        yield Kept(opened, replayed, queues)


def restore(path: Path, queues: Books | None = None) -> Replay:
    """The tables as the journal leaves them, and `queues`, which knew nothing; InputError, with
    place and remedy, if it cannot.

    Takes some seconds for a journal of a million tasks, and holds the thread meanwhile.
    """
    replayed, queues = Replay(), queues or Books()
    was_enabled = gc.isenabled()
    gc.disable()  # everything that is made here stays, and looking at it again and again takes long
    try:
        for offset, record in read_records(path):
            try:
                if isinstance(record, QueueRecord):
                    queues.apply(record)
                else:
                    replayed.apply(record)
            # Whatever is wrong with a record, and be it a mistake of ours: nothing is skipped.
            except Exception as error:
                raise InputError(
                    f"Journal `{path}` cannot be restored: {type(record).__name__} at byte "
                    f"{offset}: {type(error).__name__}: {error}; `hqtrio journal repair {path} NEW`"
                    " saves what can be used into a new file"
                ) from error
    finally:
        if was_enabled:
            gc.enable()
    return replayed
