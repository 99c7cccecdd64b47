"""What clients are told while the journal cannot be trusted to take more.

Work that runs goes on: its ends and shipments have a reserve. What would add to the books is
refused before it reaches them; of what has reached them it is said that it is not recorded yet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from actors.server.journal import Journal
from hqtrio.messages.allocations import (
    AddQueue,
    EditQueue,
    PauseQueue,
    RemoveQueue,
    ResumeQueue,
)
from hqtrio.messages.client import (
    AnyRequest,
    CancelJobs,
    CloseJobs,
    Failure,
    FlushJournal,
    ForgetJobs,
    OpenJob,
    PruneJournal,
    ServerDetails,
    ServerInfo,
    StopServer,
    StopWorkers,
    SubmitBegin,
    SubmitCommit,
    SubmitJob,
    SubmitPart,
)

_RECORDED: Final = (
    SubmitJob, SubmitBegin, SubmitPart, SubmitCommit, OpenJob, CloseJobs, CancelJobs, ForgetJobs,
    FlushJournal, PruneJournal, StopServer, StopWorkers, AddQueue, EditQueue, RemoveQueue,
    PauseQueue, ResumeQueue,
)  # fmt: skip

SLOW: Final = "the disk of the journal does not answer"


@dataclass(frozen=True, slots=True)
class Health:
    """The journal's state, and what is said of the server whatever that state is."""

    journal: Journal
    details: ServerDetails

    def answer(self, request: AnyRequest) -> Failure | ServerDetails | None:
        """What to answer at once, without asking the books; None if all is well or harmless."""
        if not (trouble := self.journal.trouble):
            return None
        if isinstance(request, ServerInfo):
            return replace(self.details, trouble=trouble)
        # A stop may still be recorded, and if it cannot, the books say so.
        if is_recorded(request) and not isinstance(request, StopServer | StopWorkers):
            return refused(f"journal `{self.details.journal_path}`: {trouble}")
        return None


def is_recorded(request: AnyRequest) -> bool:
    """Whether the request changes what the journal has to tell."""
    return isinstance(request, _RECORDED)


def refused(trouble: str) -> Failure:
    """The answer to what would have to be recorded; nothing was changed."""
    return Failure(
        f"The server cannot record this now: {trouble or SLOW}; running tasks go on, ask again "
        "when that is mended"
    )


def unrecorded(trouble: str) -> Failure:
    """The answer to what was taken in before anybody knew of the trouble."""
    return Failure(
        f"This is not recorded yet: {trouble or SLOW}; it takes effect when that is mended, and is "
        "lost if the server ends before"
    )
