"""What clients are told while the journal cannot be trusted to take more.

Work that runs goes on: its ends and shipments have a reserve. What would add to the books is
refused before it reaches them.
"""

from __future__ import annotations

from dataclasses import dataclass

from msgspec.structs import replace

from actors.server.journal import Journal
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
    SubmitBegin,
    SubmitCommit,
    SubmitJob,
    SubmitPart,
)


@dataclass(frozen=True, slots=True)
class Health:
    """The journal's state, and what is said of the server whatever that state is."""

    journal: Journal
    details: ServerDetails

    def answer(self, request: AnyRequest) -> Failure | ServerDetails | None:
        """What to answer at once, without asking the books; None if all is well or harmless."""
        if not (trouble := self.journal.trouble):
            return None
        match request:
            case ServerInfo():
                return replace(self.details, trouble=trouble)
            case (
                SubmitJob() | SubmitBegin() | SubmitPart() | SubmitCommit() | OpenJob()
                | CloseJobs() | CancelJobs() | ForgetJobs() | FlushJournal()
                | PruneJournal()
            ):  # fmt: skip
                return Failure(
                    f"The server cannot record this now: journal `{self.details.journal_path}`: "
                    f"{trouble}; running tasks go on, ask again when that is mended"
                )
        return None
