"""Jobs of all kinds, through the command line, with what is known of them afterwards."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

from chaos_history import History, Submit
from chaos_schedule import Order

FRAGILE: Final = 2  # crashes that the tasks of a fragile job survive not
ADDS: Final = 3  # submits to an open job
LONG_S: Final = 2.0

Ask = Callable[..., str | None]  # what a command printed; None if it failed


class Jobs:
    """One client: submits what it is ordered to, and notes what was answered."""

    def __init__(self, work: Path, ask: Ask, history: History, client: int) -> None:
        self._work, self._ask, self._history = work, ask, history
        self._client, self._count = client, 0

    def carry_out(self, order: Order) -> None:
        self._count += 1
        label = f"c{self._client}-{self._count}"
        match order.kind:
            case "array":
                self._array(label, order)
            case "never-restart":
                self._array(label, order, "--crash-limit=never-restart", never_restart=True)
            case "fragile":
                self._array(label, order, f"--crash-limit={FRAGILE}", crash_limit=FRAGILE)
            case "failing":
                self._array(label, order, ending="exit 3", fails=True)
            case "wide":
                self._array(label, order, "--cpus=3", "--priority=2")
            case "gang":
                self._array(label, order, "--nodes=2", tasks=min(order.tasks, 2))
            case "retried":
                self._retried(label, order)
            case "graph":
                self._graph(label, order)
            case "open":
                self._open(label, order)
            case "cancelled":
                self._cancelled(label, order)

    def _array(
        self,
        label: str,
        order: Order,
        *options: str,
        tasks: int = 0,
        ending: str = "",
        task_s: float | None = None,
        **known: bool | int,
    ) -> int:
        tasks = tasks or order.tasks
        if not any(option.startswith("--crash-limit") for option in options):
            options = (*options, "--crash-limit=unlimited")
        took_s = order.task_s if task_s is None else task_s
        answer = self._ask(
            "submit", "--name", label, *options, "--array", f"0-{tasks - 1}",
            "--stdout=none", "--stderr=none", "--", *program(label, took_s, ending),
        )  # fmt: skip
        return self._note(Submit(label, tasks, _job(answer), label, **known))  # type: ignore[arg-type]

    def _retried(self, label: str, order: Order) -> None:
        """Tasks that fail the first time that they come so far."""
        once = f"tried-{label}-$HQ_TASK_ID"
        fail = f"[ -e {once} ] || {{ : > {once}; mark fail; exit 75; }}"
        task = {
            "array": f"0-{order.tasks - 1}",
            "command": program(label, order.task_s, before=fail),
            "retry": {"times": 3, "on": [75], "backoff": "200ms"},
        }
        answer = self._submit_file(label, {"a": task})
        self._note(Submit(label, order.tasks, _job(answer), label))

    def _graph(self, label: str, order: Order) -> None:
        """Three arrays, each of which needs all of the one before."""
        tasks: dict[str, dict] = {}
        sizes = {"a": order.tasks, "b": 1, "c": max(1, order.tasks // 2)}
        names = {group: label if group == "a" else f"{label}-{group}" for group in sizes}
        before = ""
        for group, size in sizes.items():
            tasks[group] = {
                "array": f"0-{size - 1}",
                "command": program(names[group], order.task_s),
                **({"needs": before} if before else {}),
            }
            before = group
        job = _job(self._submit_file(label, tasks))
        self._note(Submit(names["a"], sizes["a"], job, label))
        self._note(Submit(names["b"], sizes["b"], job, needs=(names["a"],)))
        self._note(Submit(names["c"], sizes["c"], job, needs=(names["b"],)))

    def _submit_file(self, label: str, tasks: dict[str, dict]) -> str | None:
        defaults = {"crash_limit": "unlimited", "stdout": "none", "stderr": "none"}
        path = self._work / f"{label}.yaml"
        path.write_text(json.dumps({"name": label, "defaults": defaults, "tasks": tasks}))
        return self._ask("submit", str(path))

    def _open(self, label: str, order: Order) -> None:
        job = _job(self._ask("job", "open", "--name", label))
        self._note(Submit(label, 0, job, label))
        if not job:
            return
        for add in range(ADDS):
            name, first = f"{label}-{add}", 1000 * add
            answer = self._ask(
                "submit", "--job", str(job), "--array", f"{first}-{first + order.tasks - 1}",
                "--crash-limit=unlimited", "--stdout=none", "--stderr=none",
                "--", *program(name, order.task_s),
            )  # fmt: skip
            self._note(Submit(name, order.tasks, _job(answer)))
        self._ask("job", "close", str(job))

    def _cancelled(self, label: str, order: Order) -> None:
        job = self._array(label, order, task_s=order.task_s + LONG_S)
        if job:
            self._history.may_be_cancelled.add(job)
            if self._ask("job", "cancel", str(job)) is not None:
                self._history.cancels.append(job)

    def _note(self, submit: Submit) -> int:
        self._history.submits.append(submit)
        return submit.job


def program(label: str, task_s: float, ending: str = "", before: str = "") -> list[str]:
    """Notes its begin and its end, each in one write; see `marks_in`."""
    script = f"""
        mark() {{
            read -r at _ < /proc/uptime
            echo "$1 {label} $HQ_JOB_ID $HQ_TASK_ID $HQ_INSTANCE_ID $CHAOS_WORKER $at" >> marks
        }}
        mark begin
        {f"sleep {task_s}" if task_s else ":"}
        {before or ":"}
        mark end
        {ending or ":"}
    """
    return ["sh", "-c", "\n".join(line.strip() for line in script.strip().splitlines())]


def _job(answer: str | None) -> int:
    return int(answer) if answer else 0
