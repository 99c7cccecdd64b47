"""Lanes: tasks that run one after another, and what those of one body and lane share."""

from __future__ import annotations

from collections import deque

from actors.launcher.bodies import Body, encode
from actors.launcher.interpreters import RUNNER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from actors.launcher.bodies import Pairs

    Files = tuple[tuple[bytes, bytes, bytes], ...]  # variable, name, content
    # Body, task, instance, entry, token, values for templates.
    Queued = tuple[Body, int, int, bytes | None, bytes, tuple[bytes, ...]]


class Plan:
    """A body as one lane runs it. `env` is filled in anew for each task.

    Each task has a directory in `task_dir_root`, if that is given, with `files` in it.
    `shell` is set when the program turned out to be a text for the shell. `open_words` of argv and
    `open_env` have to be filled in for each task. `environment` is what they have in common,
    for interpreters that serve several calls of functions (`is_warm`).
    """

    __slots__ = (
        "argv",
        "body",
        "env",
        "environment",
        "files",
        "is_warm",
        "open_env",
        "open_words",
        "shell",
        "task_dir_root",
    )

    def __init__(self, body: Body, lane: Lane) -> None:
        self.body = body
        self.argv = [*lane.prefix, *body.args] if body.args else []
        self.is_warm = body.function_calls > 1 and not lane.files
        if body.function_calls and not self.is_warm:
            self.argv.append(RUNNER)
        self.env = {**lane.user_wins, **body.env, **lane.env}
        self.environment = frozenset(self.env.items()) if self.is_warm else frozenset()
        self.open_words = [(len(lane.prefix) + at, text) for at, text in body.open_words]
        self.open_env = [(name, text) for name, text in body.open_env if name not in lane.env]
        self.task_dir_root = body.task_dir_root or lane.task_dir_root
        self.files = lane.files
        self.shell = False


class Lane:
    """One slot's queue and its running task (`pid` 0: none)."""

    __slots__ = (
        "env",
        "files",
        "number",
        "pid",
        "plan",
        "prefix",
        "queue",
        "task_dir_root",
        "user_wins",
    )

    def __init__(
        self,
        number: int,
        env: Pairs,
        user_wins: Pairs,
        prefix: tuple[bytes, ...],
        task_dir_root: str,
        files: Files,
    ) -> None:
        self.number = number
        self.env, self.user_wins, self.prefix = dict(env), dict(user_wins), prefix
        self.task_dir_root, self.files = encode(task_dir_root), files
        self.queue: deque[Queued] = deque()
        self.pid = 0
        self.plan: Plan | None = None

    def plan_for(self, body: Body) -> Plan:
        """How this lane runs the body."""
        plan = self.plan
        if plan is None or plan.body is not body:
            plan = self.plan = Plan(body, self)
        return plan

    def take_back(self, wanted: frozenset[int]) -> list[int]:
        """Unqueue those of the wanted tasks that wait here."""
        taken = [item[1] for item in self.queue if item[1] in wanted]
        if taken:
            self.queue = deque(item for item in self.queue if item[1] not in wanted)
        return taken
