"""The worker machine: what one node does with slots, tasks, launchers and its link to the server.

Events go to `handle`, alarms to `tick`; `end_batch` then fills lanes, closes slots and forms
reports, so that what belongs together is decided and told together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Final, assert_never
from zlib import crc32

from hqtrio.errors import RemoteFault
from hqtrio.messages.columns import read_u64
from hqtrio.messages.worker import (
    Ack,
    Cancel,
    DefineBody,
    DefineClass,
    Drain,
    Enqueue,
    Forget,
    FromWorker,
    Goodbye,
    Grant,
    Overview,
    Pulse,
    Register,
    Registered,
    Rejected,
    Retract,
    ServerStops,
    Stop,
    ToWorker,
    Undrain,
)
from hqtrio.model.worker import LossReason, OnServerLost, WorkerConfig
from hqtrio.now import Now
from hqtrio.worker.alarms import GRACE_S
from hqtrio.worker.events import (
    Began,
    CloseLink,
    Depart,
    Effect,
    Event,
    Exit,
    Heard,
    Joined,
    LinkEnded,
    LinkOpened,
    NoteAsked,
    NoteJudged,
    OpenLink,
    Sampled,
    Say,
    StartLauncher,
    StopAsked,
)
from hqtrio.worker.lanes import Lanes
from hqtrio.worker.launch import Site
from hqtrio.worker.orders import LauncherDied, LauncherReady, LauncherSaid
from hqtrio.worker.reports import Reports

REGISTRATION_TRIES: Final = 8
RETRY_S: Final = 10.0  # between registrations
RECONNECT_S: Final = 300.0  # how long an idle worker looks for a lost server
# Pauses between two tries to return double from the first to the last of these; each is shortened
# by up to a half, so that a thousand workers do not come at the same moment.
RETURN_FIRST_S: Final = 0.1
RETURN_LAST_S: Final = 5.0
CONNECT_TRIES: Final = 20  # for one registration
KILL_CAP_S: Final = 5.0  # for the tasks of a worker that ends
KILL_S: Final = 1.0  # of this for what happens after the grace
# Batch managers send SIGTERM this long before they end an allocation, or later.
ALLOCATION_END_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class _End:
    """The worker ends with this code; once `overdue`, whatever still runs."""

    code: int
    why: str
    cap_at: float
    overdue: bool = False


class WorkerMachine:
    """Owns everything that one worker knows. `launchers` child processes start its tasks.

    A task that has to end gets `grace_s` between SIGINT and SIGKILL. A worker that has lost its
    server and has nothing to do looks for it for `reconnect_timeout_s` (None: its idle timeout).
    """

    def __init__(
        self,
        config: WorkerConfig,
        site: Site,
        *,
        worker_key: bytes,
        launchers: int,
        grace_s: float = GRACE_S,
        reconnect_timeout_s: float | None = None,
    ) -> None:
        self._config, self._key = config, worker_key
        self._launchers = 0 if config.zero_cost else launchers
        self._reports = Reports()
        self._lanes = Lanes(
            self._reports,
            site,
            grace_s=grace_s,
            zero_cost=config.zero_cost,
            is_managed=bool(config.manager),
        )
        self._kill_cap_s = max(KILL_CAP_S, grace_s + KILL_S)
        self._effects: list[Effect] = []
        self._link = 0  # connections are numbered; 0: none is open
        self._links = 0
        self._joined = False  # this connection is registered
        self._worker = 0
        self._history = b""
        self._attachment = 0
        self._tries = 0
        self._connect_at = inf
        self._lost_at = inf
        self._idle_at = -inf  # since when nothing runs or waits here; inf: something does
        self._reconnect_timeout_s = reconnect_timeout_s
        self._idle_timeout_s = config.idle_timeout_s
        self._server_stops = False  # it has said so, and is not looked for
        self._leaving = False  # finish-running, and the server is gone
        self._end: _End | None = None
        self._exited = False

    # --- events

    def handle(self, event: Event, now: Now) -> Sequence[Effect]:
        """Take in one fact."""
        at = now.monotonic
        match event:
            case Began():
                self._begin(at)
            case LinkOpened(link):
                if link == self._links and self._end is None:
                    self._link = link
                    self._say(self._hello(at))
            case Heard(link, messages):
                self._hear(link, messages, at)
            case LinkEnded(link, why, final):
                if link == self._links:
                    self._lose_link(why, at, final=final)
            case StopAsked(why, terminated):
                self._end_self(0, why, at, goodbye=self._reason_of_signal(at, terminated))
            case NoteAsked(number, token, text):
                self._effects.append(NoteJudged(number, self._lanes.note(token, text)))
            case Sampled(load):
                if self._joined and self._end is None:
                    self._say(Overview(load))
            case LauncherReady(launcher):
                self._lanes.ready(launcher)
            case LauncherSaid():
                self._lanes.said(event, at)
            case LauncherDied():
                self._replace_launcher(event, at)
            case _:
                assert_never(event)
        return self._take_effects()

    def tick(self, now: Now) -> Sequence[Effect]:
        """Do what is due."""
        at = now.monotonic
        if self._lanes.ends_at <= at:
            self._lanes.ends_at = inf
            self._end_self(0, "time limit reached", at, goodbye=LossReason.TIME_LIMIT_REACHED)
        if self._connect_at <= at:
            self._connect_at = inf
            self._connect()
        if self._give_up_at <= at:
            self._end_self(1, "the server did not come back", at)
        if self._end is not None and self._end.cap_at <= at:
            self._end = replace(self._end, cap_at=inf, overdue=True)
        self._lanes.tick(at)
        self._reports.tick(at)
        return self._take_effects()

    def end_batch(self, now: Now) -> Sequence[Effect]:
        """Fill lanes, close slots, report; end when nothing is left to wait for."""
        at = now.monotonic
        self._effects += self._lanes.settle(at)
        if self._end is None:
            if not self._lanes.idle:
                self._idle_at = inf
            elif self._idle_at == inf:
                self._idle_at = at
            if self._joined and self._reports.pending:
                self._say(*self._reports.flush_at_pace(at, self._lanes.waiting))
            # A server that is about to answer has to hear how the last ones ended.
            is_answered = self._joined or not self._link
            if self._leaving and not self._lanes.busy and is_answered:
                why = "the server was lost and the last task has ended"
                self._end_self(1, why, at, goodbye=LossReason.CONNECTION_LOST)
                self._effects += self._lanes.settle(at)
        end = self._end
        if end is not None and not self._exited and (not self._lanes.busy or end.overdue):
            self._exited = True
            self._effects.append(Exit(end.code, end.why))
        return self._take_effects()

    def next_deadline(self) -> float:
        """When `tick` is needed."""
        if self._exited:
            return inf
        deadline = min(self._connect_at, self._lanes.ends_at, self._lanes.next_deadline())
        if self._end is not None:
            return min(deadline, self._end.cap_at)
        return min(deadline, self._reports.due_at if self._joined else self._give_up_at)

    def _take_effects(self) -> Sequence[Effect]:
        effects, self._effects = self._effects, []
        return effects

    def _begin(self, at: float) -> None:
        if self._config.time_limit_s is not None:
            self._lanes.ends_at = at + self._config.time_limit_s
        for _ in range(self._launchers):
            self._effects.append(StartLauncher(self._lanes.crew.hire()))
        self._connect()

    def _replace_launcher(self, died: LauncherDied, at: float) -> None:
        self._lanes.died(died, at)
        if self._end is not None:
            return
        if self._lanes.crew.broken:
            why = "launcher processes die before they can start anything"
            self._end_self(1, why, at, goodbye=LossReason.CONNECTION_LOST)
        else:
            self._effects.append(StartLauncher(self._lanes.crew.hire()))

    # --- the link

    def _connect(self) -> None:
        self._links += 1
        self._effects.append(OpenLink(self._links, 1 if self._worker else CONNECT_TRIES))

    def _say(self, *messages: FromWorker) -> None:
        if self._link and messages:
            self._effects.append(Say(self._link, messages))

    def _hello(self, at: float) -> Register:
        remaining_s = None if self._lanes.ends_at == inf else self._lanes.ends_at - at
        if not self._worker:
            return Register(self._config, self._key, remaining_s=remaining_s, attempt=self._links)
        held = self._lanes.held(self._reports.without_receipt(at), at)
        return Register(
            self._config,
            self._key,
            self._worker,
            self._history,
            self._attachment,
            remaining_s,
            held,
            self._links,
        )

    def _hear(self, link: int, messages: Sequence[ToWorker], at: float) -> None:
        for message in messages:
            # Nothing counts that comes over a connection which was given up.
            if link != self._link or self._end is not None:
                return
            try:
                self._obey(message, at)
            except RemoteFault as fault:
                self._effects.append(CloseLink(link))
                self._lose_link(str(fault), at)

    def _obey(self, message: ToWorker, at: float) -> None:
        lanes = self._lanes
        match message:
            case Registered():
                self._join(message, at)
            case Rejected(reason):
                self._end_self(1, f"the server refused the registration: {reason}", at)
            case Ack(seen, durable, pace_s):
                self._reports.acknowledge(seen, durable, pace_s)
                lanes.seen()
            case Stop(reason):
                self._end_self(0, f"told to stop ({reason_text(reason)})", at)
            case ServerStops():
                self._server_stops = True
                self._server_lost("the server stops", at)
            case Cancel():
                lanes.cancel(message, at)
            case Retract():
                lanes.retract(message)
            case Drain():
                lanes.drain(message)
            case Undrain():
                lanes.undrain(message)
            case DefineClass():
                lanes.define_class(message)
            case DefineBody():
                lanes.define_body(message)
            case Forget():
                lanes.forget(message)
            case Grant():
                if lanes.starting:
                    lanes.grant(message, at)
            case Enqueue():
                if lanes.starting:
                    lanes.enqueue(message)
            case Pulse():
                pass
            case _:
                assert_never(message)

    def _join(self, welcome: Registered, at: float) -> None:
        returned = self._worker != 0
        known = (self._worker, self._history) == (welcome.worker, welcome.history)
        self._lanes.forget_numbers()
        if returned and known:
            self._lanes.keep_only(read_u64(welcome.keep), at)
        elif returned:
            self._lanes.kill_all(at)
            self._lanes.forget_numbers()
            self._reports = self._lanes.new_reports()
        self._worker, self._history = welcome.worker, welcome.history
        self._attachment = welcome.attachment
        if self._config.idle_timeout_s is None:
            self._idle_timeout_s = welcome.idle_timeout_s
        self._lanes.site = replace(
            self._lanes.site, server_uid=welcome.server_uid, worker=welcome.worker
        )
        self._joined, self._tries, self._lost_at = True, 0, inf
        if not (returned and known):
            self._effects.append(Joined(welcome.worker, welcome.server_uid))

    def _lose_link(self, why: str, at: float, *, final: bool = False) -> None:
        self._link, was_joined, self._joined = 0, self._joined, False
        if self._end is not None:
            return
        if final:
            self._end_self(1, why, at)
        elif was_joined:
            self._lost_at = at
            self._server_lost(why, at)
        elif not self._worker:
            self._tries += 1
            if self._tries >= REGISTRATION_TRIES:
                self._end_self(1, why, at)
            else:
                self._connect_at = at + RETRY_S
        else:
            self._return_later(at)

    def _return_later(self, at: float) -> None:
        if not self._server_stops:
            pause_s = min(RETURN_FIRST_S * 2.0 ** min(self._tries, 16), RETURN_LAST_S)
            chance = crc32(b"%b %d" % (self._key, self._links)) / 2**32
            self._connect_at = at + pause_s * (1.0 - chance / 2)
            self._tries += 1

    def _server_lost(self, why: str, at: float) -> None:
        """Apply the policy. Only a server that did not say that it stops is looked for."""
        match self._config.on_server_lost:
            case OnServerLost.FINISH_RUNNING:
                self._leaving = True
                self._lanes.start_nothing()
                self._return_later(at)
            case OnServerLost.RECONNECT if not self._server_stops:
                self._return_later(at)
            case _:
                text = why if self._server_stops else f"the server is lost: {why}"
                self._end_self(1, text, at, wanted=self._server_stops)

    def _reason_of_signal(self, at: float, terminated: bool) -> LossReason:
        """The end of an allocation is no crash of those that run in it."""
        if terminated and self._config.manager and self._lanes.ends_at <= at + ALLOCATION_END_S:
            return LossReason.TIME_LIMIT_REACHED
        return LossReason.CONNECTION_LOST

    @property
    def _give_up_at(self) -> float:
        """When a worker that has nothing to do has looked for its server for long enough."""
        if self._joined or self._lost_at == inf:
            return inf
        patience_s = self._reconnect_timeout_s
        if patience_s is None:
            patience_s = self._idle_timeout_s or RECONNECT_S
        return max(self._lost_at, self._idle_at) + patience_s

    # --- the end

    def _end_self(
        self,
        code: int,
        why: str,
        at: float,
        *,
        goodbye: LossReason | None = None,
        wanted: bool = False,
    ) -> None:
        """Kill what runs and leave; what happened before is still reported, what follows is not."""
        if self._end is not None:
            return
        if self._joined and goodbye is not None:
            self._say(*self._reports.flush_all(at), Goodbye(goodbye))
        self._end = _End(code, why, at + self._kill_cap_s)
        self._connect_at = self._lanes.ends_at = inf
        self._effects.append(Depart(why, is_failure=bool(code) and not wanted))
        self._lanes.kill_all(at)

    def check(self) -> None:
        """Invariants over all tables; call it after `end_batch`."""
        self._lanes.check()
        self._reports.check()
        assert not self._joined or self._link, "registered without a connection"
        assert self._link in (0, self._links), (self._link, self._links)
        assert self._end is None or not self._lanes.held((), 0.0).slots, "slots after the end"
        assert not self._effects


def reason_text(reason: LossReason) -> str:
    """The reason in words, for logs."""
    return LossReason(reason).name.lower().replace("_", " ")
