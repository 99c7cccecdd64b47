"""What the server before has left behind, if nobody has stopped it."""

from __future__ import annotations

import logging
import shlex
from pathlib import Path
from typing import Final

from hqtrio.net.directory import CURRENT

log = logging.getLogger(__name__)

JOURNAL_FILE: Final = "journal"  # in the instance directory, unless another place is chosen
JOURNAL_FILES: Final = (
    JOURNAL_FILE,
    "journal.lock",
    "journal.lock.1",  # where there are no locks
    "journal.reserve",
    "journal.new",
)


def name_unfinished(server_dir: Path, journal: Path | None) -> None:
    """Say which instance did not stop, and how to go on with it, unless that is what we do."""
    instance = (server_dir / CURRENT).resolve()
    path = instance / JOURNAL_FILE
    if path.is_file() and (journal is None or journal.resolve() != path):
        log.warning(
            "the server of `%s` did not stop: `hqtrio server start --journal %s` goes on with its "
            "jobs",
            instance,
            shlex.quote(str(path)),
        )
