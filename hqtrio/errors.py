"""Whose fault an error is decides what happens next.

HqError
├── InputError        the user's: shown as one line that names the place and the remedy
└── RemoteFault       the peer's, or the path's: costs that connection only
    ├── Refused       final: this credential, version or request is not accepted
    └── Unreachable   worth another try: nobody there, gone, or too busy to answer

Anything else is a bug of ours and may crash the process.
"""

from __future__ import annotations


class HqError(Exception):
    """Base of every error that is expected to happen."""


class InputError(HqError):
    """What the user gave cannot be used; the text says what, where and what to do instead."""


class RemoteFault(HqError):
    """The peer, or the path to it, failed; our own code did not."""


class Refused(RemoteFault):
    """The other side has answered, and the answer is no; trying again makes no sense."""


class Unreachable(RemoteFault):
    """Nobody answered; trying again may help."""
