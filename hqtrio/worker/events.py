"""What the worker machine is told, and what it asks for beside orders to launchers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hqtrio.messages.worker import FromWorker, ToWorker
from hqtrio.model.load import NodeLoad
from hqtrio.worker.orders import Answer, Order

# --- events


@dataclass(frozen=True, slots=True)
class Began:
    """The process is ready; the worker's lifetime counts from here."""


@dataclass(frozen=True, slots=True)
class LinkOpened:
    """The server accepted the connection; what is said first must be the registration."""

    link: int


@dataclass(frozen=True, slots=True)
class Heard:
    """One frame from the server."""

    link: int
    messages: Sequence[ToWorker]


@dataclass(frozen=True, slots=True)
class LinkEnded:
    """The connection is gone, or never came up. `final`: the server's answer is no."""

    link: int
    why: str
    final: bool = False


@dataclass(frozen=True, slots=True)
class StopAsked:
    """A signal, or whoever embeds the worker, wants it to end; `terminated` it is by SIGTERM."""

    why: str
    terminated: bool = False


@dataclass(frozen=True, slots=True)
class NoteAsked:
    """Somebody on this host wants to say this to whoever listens to the token's task."""

    number: int
    token: bytes
    text: bytes


@dataclass(frozen=True, slots=True)
class Sampled:
    """How busy the node is now."""

    load: NodeLoad


Event = Began | LinkOpened | Heard | LinkEnded | StopAsked | NoteAsked | Sampled | Answer


# --- effects


@dataclass(frozen=True, slots=True)
class OpenLink:
    """Connect, trying so often; answered by LinkOpened or LinkEnded."""

    link: int
    tries: int


@dataclass(frozen=True, slots=True)
class CloseLink:
    link: int


@dataclass(frozen=True, slots=True)
class Say:
    """Send these to the server in one frame."""

    link: int
    messages: tuple[FromWorker, ...]


@dataclass(frozen=True, slots=True)
class StartLauncher:
    """Start the launcher process of this number; answered by LauncherReady or LauncherDied."""

    launcher: int


@dataclass(frozen=True, slots=True)
class Joined:
    """The server knows this process as this worker from now on."""

    worker: int
    server_uid: str


@dataclass(frozen=True, slots=True)
class Depart:
    """The worker has begun to end; what runs is being killed. `is_failure`: nobody wanted it."""

    why: str
    is_failure: bool = False


@dataclass(frozen=True, slots=True)
class Exit:
    """Nothing is left to do; the process ends with this code."""

    code: int
    why: str


@dataclass(frozen=True, slots=True)
class NoteJudged:
    """The answer to NoteAsked: taken, or why not."""

    number: int
    refusal: str = ""


Effect = OpenLink | CloseLink | Say | StartLauncher | Joined | NoteJudged | Depart | Exit | Order
