"""Connections: frames arrive in order, later, and are decoded from the bytes they were."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from random import Random
from typing import Any, Final, Protocol

from simulated_time import Alarm, Timeline

from hqtrio.messages.client import Call, Said
from hqtrio.messages.worker import FromWorker, ToWorker
from hqtrio.model.value import Value
from hqtrio.wire.codec import FRAME_MAX, Decoder, encode

LATENCY_S: Final = (0.0001, 0.002)
SLOW_S: Final = 0.2  # a packet that had to be sent again
SLOW_SHARE: Final = 0.005
CUT_NOTICED_S: Final = 0.5  # how much later than the other an end may learn of a cut

_DECODERS: Final = {
    kind: Decoder[Any](expects)
    for kind, expects in {
        "from worker": FromWorker,
        "to worker": ToWorker,
        "from client": Call,
        "to client": Said,
    }.items()
}


class End(Protocol):
    """Whoever holds one end of a connection."""

    def receive(self, messages: list[Any]) -> None: ...
    def lose(self) -> None: ...


@dataclass(slots=True)
class Traffic:
    frames: int = 0
    bytes: int = 0


class Network:
    """Where connections are made, and where every frame that arrives is put on record."""

    def __init__(self, timeline: Timeline, rng: Random, note: Callable[[bytes], None]) -> None:
        self.timeline, self.rng, self.note = timeline, rng, note
        self.traffic = Traffic()

    def latency(self) -> float:
        if self.rng.random() < SLOW_SHARE:
            return self.rng.uniform(0, SLOW_S)
        return self.rng.uniform(*LATENCY_S)


class Pipe:
    """One direction. Its reader is told of frames, and of the end after the last of them."""

    def __init__(self, network: Network, kind: str) -> None:
        self._network, self._decoder = network, _DECODERS[kind]
        self._name = kind.encode()
        self._queue: deque[tuple[float, bytes | None]] = deque()
        self._last_at = 0.0
        self._alarm = Alarm(network.timeline, self._pump)
        self._clogged = False
        self._closed = False  # nothing more is taken
        self._reader: End | None = None

    def listen(self, reader: End) -> None:
        """From now on `reader` hears what arrives, and what has arrived before."""
        self._reader = reader
        self._plan()

    def send(self, messages: Sequence[Value]) -> None:
        if self._closed:
            return
        frame = encode(messages)
        assert len(frame) <= FRAME_MAX, (self._name, len(frame))
        self._append(self._network.timeline.now + self._network.latency(), frame)

    def close(self, delay_s: float = 0.0) -> None:
        """The reader learns of the end after everything that was sent."""
        if not self._closed:
            self._closed = True
            self._append(self._network.timeline.now + delay_s + self._network.latency(), None)

    def drop(self) -> None:
        """What is under way does not arrive."""
        self._queue = deque(item for item in self._queue if item[1] is None)

    def destroy(self) -> None:
        """Nobody reads any more."""
        self._closed = True
        self._reader = None
        self._queue.clear()
        self._alarm.set(inf)

    def clog(self, clogged: bool) -> None:
        self._clogged = clogged
        self._plan()

    def _append(self, at: float, frame: bytes | None) -> None:
        self._last_at = max(self._last_at, at)
        self._queue.append((self._last_at, frame))
        self._plan()

    def _plan(self) -> None:
        moves = self._queue and self._reader is not None and not self._clogged
        self._alarm.set(self._queue[0][0] if moves else inf)

    def _pump(self) -> None:
        now = self._network.timeline.now
        while (
            self._queue
            and self._queue[0][0] <= now
            and not self._clogged
            and (reader := self._reader) is not None
        ):
            _, frame = self._queue.popleft()
            if frame is None:
                reader.lose()
                return
            traffic = self._network.traffic
            traffic.frames += 1
            traffic.bytes += len(frame)
            self._network.note(b"%r %s %s" % (now, self._name, frame))
            reader.receive(self._decoder.decode(frame))
        self._plan()


class Connection:
    """Two pipes between a dialer (worker, client) and the server."""

    def __init__(self, network: Network, role: str) -> None:
        self._network = network
        self.to_server = Pipe(network, f"from {role}")
        self.to_dialer = Pipe(network, f"to {role}")
        self.is_open = True

    def hang_up(self, *, by_server: bool) -> None:
        """This end says no more and hears no more; the other learns of it in its turn."""
        self.is_open = False
        mine, other = self.to_dialer, self.to_server
        if not by_server:
            mine, other = other, mine
        other.destroy()
        mine.close()

    def cut(self) -> None:
        """Both ends learn that it is over, at different times; frames may be lost."""
        self.is_open = False
        rng = self._network.rng
        for pipe in (self.to_server, self.to_dialer):
            if rng.random() < 0.5:
                pipe.drop()
            pipe.close(rng.uniform(0, CUT_NOTICED_S))

    def vanish(self) -> None:
        """Nothing arrives any more, in either direction, and nobody is told."""
        self.is_open = False
        self.to_server.clog(True)
        self.to_dialer.clog(True)

    def clog(self, clogged: bool) -> None:
        self.to_server.clog(clogged)
        self.to_dialer.clog(clogged)
