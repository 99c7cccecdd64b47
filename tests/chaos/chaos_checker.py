"""What must be true of every history, however much was killed and cut."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator

from chaos_history import Fault, History, Mark, Task

# What is done to a worker and may cost it what it runs.
DEADLY = ("kill worker", "terminate worker", "kill launcher")
CUTS = ("cut", "stall")
RETURN_S = 10.0  # after a cut a worker takes so long at most until it hears what it has lost
CRASHES = ("worker that was lost", "launcher", "lost worker")  # words of such failures


def violations(history: History) -> list[str]:
    """One line for everything that must not be."""
    return [f"{rule.__name__}: {text}" for rule in RULES for text in rule(history)]


def restarts(history: History) -> Counter[str]:
    """How many executions came to nothing, by what explains it; `unexplained` are restarts that
    nothing but deaths of the server and short cuts could have caused."""
    return Counter(_cause(history, mark) or "unexplained" for mark in _void(history))


# --- rules


def an_acknowledged_submit_exists(history: History) -> Iterator[str]:
    names = dict(history.names)
    count = Counter(task.job for task in history.tasks)
    wanted: Counter[int] = Counter()
    for submit in history.submits:
        if submit.job:
            wanted[submit.job] += submit.tasks
            if submit.name and names.get(submit.job) != submit.name:
                yield f"job {submit.job} `{submit.name}` was acknowledged and is not there"
    for job, tasks in wanted.items():
        if count[job] < tasks:
            yield f"job {job} has {count[job]} tasks, {tasks} were acknowledged"


def no_submit_is_carried_out_twice(history: History) -> Iterator[str]:
    for name, count in Counter(name for _, name in history.names).items():
        if count > 1:
            yield f"there are {count} jobs `{name}`"
    offered = {submit.label: submit.tasks for submit in history.submits}
    seen: dict[str, set[Task]] = defaultdict(set)
    for mark in history.marks:
        seen[mark.label].add(mark.task)
    for label, tasks in seen.items():
        if len(tasks) > offered.get(label, 0):
            yield f"{len(tasks)} tasks ran as `{label}`, {offered.get(label, 0)} were offered"


def every_task_has_one_outcome(history: History) -> Iterator[str]:
    count = Counter(outcome.task for outcome in history.outcomes)
    for task in history.tasks:
        if count[task] != 1:
            yield f"task {task.job}.{task.number} has {count[task]} outcomes"
    for task in count.keys() - set(history.tasks):
        yield f"task {task.job}.{task.number} has an outcome and does not exist"


def what_finished_has_had_its_effect(history: History) -> Iterator[str]:
    ended = {mark.task for mark in history.marks if mark.what == "end"}
    for outcome in history.outcomes:
        if outcome.state == "finished" and outcome.task not in ended:
            yield f"task {outcome.task.job}.{outcome.task.number} never came to its end"


def no_instance_runs_twice(history: History) -> Iterator[str]:
    begun = Counter((m.task, m.instance) for m in history.marks if m.what == "begin")
    for (task, instance), count in begun.items():
        if count > 1:
            yield f"instance {instance} of task {task.job}.{task.number} was begun {count} times"


def nothing_runs_again_without_a_reason(history: History) -> Iterator[str]:
    for mark in _void(history):
        if _cause(history, mark) is None:
            yield (
                f"instance {mark.instance} of task {mark.task.job}.{mark.task.number}, begun at "
                f"{mark.at:.2f} on {mark.worker}, was not the last, and nothing was done to it"
            )


def what_never_restarts_runs_once(history: History) -> Iterator[str]:
    labels = {submit.label for submit in history.submits if submit.never_restart}
    begun = Counter(m.task for m in history.marks if m.what == "begin" and m.label in labels)
    for task, count in begun.items():
        if count > 1:
            yield f"task {task.job}.{task.number} was begun {count} times"


def what_fails_has_a_reason(history: History) -> Iterator[str]:
    submit_of = {submit.label: submit for submit in history.submits}
    label_of = {mark.task: mark.label for mark in history.marks}
    # One that was killed before its first line has left no mark.
    named = {submit.name: submit.label for submit in history.submits if submit.name}
    label_of_job = {job: named.get(name, "") for job, name in history.names}
    begun: dict[Task, list[Mark]] = defaultdict(list)
    for mark in history.marks:
        if mark.what == "begin":
            begun[mark.task].append(mark)
    deaths = sum(fault.what in DEADLY or _is_long(fault, history) for fault in history.faults)
    for outcome in history.outcomes:
        label = label_of.get(outcome.task) or label_of_job.get(outcome.task.job, "")
        submit = submit_of.get(label)
        if outcome.state != "failed" or (submit and submit.fails):
            continue
        limit = 1 if submit and submit.never_restart else submit.crash_limit if submit else 0
        is_crashed = limit and deaths >= limit and any(w in outcome.error for w in CRASHES)
        if not is_crashed or not all(_cause(history, mark) for mark in begun[outcome.task]):
            yield f"task {outcome.task.job}.{outcome.task.number} failed: {outcome.error}"


def only_what_was_cancelled_is(history: History) -> Iterator[str]:
    for outcome in history.outcomes:
        is_asked = outcome.task.job in history.may_be_cancelled
        if outcome.state == "canceled" and not is_asked:
            yield f"task {outcome.task.job}.{outcome.task.number} was cancelled by nobody"
    for outcome in history.outcomes:
        if outcome.state == "aborted":
            yield f"task {outcome.task.job}.{outcome.task.number} was aborted by nobody"


def what_is_needed_comes_first(history: History) -> Iterator[str]:
    ended: dict[tuple[int, str], list[float]] = defaultdict(list)
    size = {submit.label: submit.tasks for submit in history.submits}
    first_end: dict[Task, Mark] = {}
    for mark in sorted(history.marks, key=lambda mark: mark.at):
        if mark.what == "end" and mark.task not in first_end:
            first_end[mark.task] = mark
            ended[mark.task.job, mark.label].append(mark.at)
    needs = {submit.label: submit.needs for submit in history.submits}
    for mark in history.marks:
        for label in needs.get(mark.label, ()) if mark.what == "begin" else ():
            before = sum(at <= mark.at + 0.02 for at in ended[mark.task.job, label])
            if before < size[label]:
                yield (
                    f"task {mark.task.job}.{mark.task.number} began when {before} of "
                    f"{size[label]} tasks `{label}` had ended"
                )


def the_journal_is_whole(history: History) -> Iterator[str]:
    if history.journal_fault:
        yield history.journal_fault


def nothing_is_left_behind(history: History) -> Iterator[str]:
    yield from history.left


RULES: tuple[Callable[[History], Iterator[str]], ...] = (
    an_acknowledged_submit_exists,
    no_submit_is_carried_out_twice,
    every_task_has_one_outcome,
    what_finished_has_had_its_effect,
    no_instance_runs_twice,
    nothing_runs_again_without_a_reason,
    what_never_restarts_runs_once,
    what_fails_has_a_reason,
    only_what_was_cancelled_is,
    what_is_needed_comes_first,
    the_journal_is_whole,
    nothing_is_left_behind,
)


# --- causes


def _void(history: History) -> Iterator[Mark]:
    """The begins after which the task was begun once more."""
    last: dict[Task, int] = {}
    for mark in history.marks:
        if mark.what == "begin":
            last[mark.task] = max(last.get(mark.task, 0), mark.instance)
    return (m for m in history.marks if m.what == "begin" and m.instance < last[m.task])


def _cause(history: History, mark: Mark) -> str | None:
    """What may have brought this execution to nothing; None if nothing may have."""
    for other in history.marks:
        if (other.what, other.task, other.instance) == ("fail", mark.task, mark.instance):
            return "fail"
    for fault in history.faults:
        if fault.worker == mark.worker and _may_cost(fault, mark, history):
            return fault.what
    return None


def _may_cost(fault: Fault, mark: Mark, history: History) -> bool:
    if fault.what in DEADLY:
        return fault.end >= mark.at
    # What was in the backlog when the cut began is started by a worker that is on its own.
    return _is_long(fault, history) and fault.end + RETURN_S >= mark.at


def _is_long(fault: Fault, history: History) -> bool:
    return fault.what in CUTS and fault.end - fault.begin > history.grace_s
