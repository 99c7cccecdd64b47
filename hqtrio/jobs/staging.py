"""Submits that arrive in parts, until they are committed or their session is gone."""

from __future__ import annotations

from typing import Final

from hqtrio.errors import InputError
from hqtrio.jobs.draft import Draft
from hqtrio.messages.client import SubmitPart

DRAFTS_MAX: Final = 4  # of one session
BYTES_MAX: Final = 512 * 1024 * 1024  # of all sessions


class Staged:
    """One submit; `draft` is None if its key made a job before: then the rest is ignored."""

    __slots__ = ("draft", "submission")

    def __init__(self, submission: int, draft: Draft | None) -> None:
        self.submission = submission
        self.draft = draft


class Staging:
    """Drafts by session and key."""

    __slots__ = ("_bytes", "_drafts")

    def __init__(self) -> None:
        self._drafts: dict[int, dict[bytes, Staged]] = {}
        self._bytes = 0

    def begin(self, session: int, key: bytes, staged: Staged) -> None:
        """Keep a new draft."""
        if len(self._drafts.get(session, ())) >= DRAFTS_MAX:
            raise InputError(f"At most {DRAFTS_MAX} submits can be under way at once.")
        self._grown(staged.draft.bytes if staged.draft is not None else 0)
        self._drafts.setdefault(session, {})[key] = staged

    def find(self, session: int, key: bytes) -> Staged:
        """The draft that a part belongs to."""
        staged = self._drafts.get(session, {}).get(key)
        if staged is None:
            raise InputError("This submit was not begun, or has been refused; begin it again.")
        return staged

    def add(self, staged: Staged, part: SubmitPart) -> None:
        """Put one more part into the draft."""
        draft = staged.draft
        if draft is None:
            return
        before = draft.bytes
        try:
            draft.add(part)
        finally:
            grown = draft.bytes - before
            self._bytes += grown
        self._grown(0)

    def _grown(self, more: int) -> None:
        if self._bytes + more > BYTES_MAX:
            raise InputError("Too much is being submitted at once; try again later.")
        self._bytes += more

    def drop(self, session: int, key: bytes) -> Staged | None:
        """Forget one draft; says which it was."""
        of_session = self._drafts.get(session, {})
        staged = of_session.pop(key, None)
        if not of_session:
            self._drafts.pop(session, None)
        if staged is not None and staged.draft is not None:
            self._bytes -= staged.draft.bytes
        return staged

    def keys(self, session: int) -> list[bytes]:
        return list(self._drafts.get(session, ()))

    def check(self) -> None:
        drafts = [s.draft for of in self._drafts.values() for s in of.values()]
        assert self._bytes == sum(d.bytes for d in drafts if d is not None), self._bytes
