"""What tasks recorded about themselves, held against what they asked for and what workers have.

Nothing here asks hqtrio: amounts, groups and intervals are counted anew, so that a wrong claim
cannot hide behind the code that made it. Times are microseconds of the wall clock.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from itertools import pairwise
from math import ceil, inf

STRICT = ("compact!", "tight!")
Change = tuple[float, bool, Decimal, "Execution"]  # when, whether it begins, how much, who
GRACE_US = 5_000_000  # in which the launchers of a dead worker notice that it is dead


@dataclass(frozen=True)
class Pool:
    """Groups of labels, or (no groups) an amount."""

    groups: tuple[tuple[str, ...], ...] = ()
    amount: Decimal = Decimal(0)

    @property
    def labels(self) -> list[str]:
        return [label for group in self.groups for label in group]

    @property
    def size(self) -> Decimal:
        return Decimal(len(self.labels)) if self.groups else self.amount

    @property
    def definition(self) -> str:
        """As the command line of a worker takes it."""
        if not self.groups:
            return f"sum({self.amount})"
        return f"[{','.join('[' + ','.join(group) + ']' for group in self.groups)}]"


@dataclass(frozen=True)
class Need:
    """An amount of a resource; none: all of it."""

    amount: Decimal | None
    policy: str

    @property
    def text(self) -> str:
        return "all" if self.amount is None else f"{self.amount} {self.policy}"

    def of(self, pool: Pool) -> Decimal:
        return pool.size if self.amount is None else self.amount


def parse_need(text: str) -> Need:
    if text == "all":
        return Need(None, "")
    amount, _, policy = text.partition(" ")
    return Need(Decimal(amount), policy or "compact")


@dataclass(frozen=True)
class Variant:
    """One way to run, in the words of a job file."""

    request: dict[str, str]
    time_s: int = 0
    weight: float = 1.0

    @property
    def needs(self) -> dict[str, Need]:
        return {name: parse_need(text) for name, text in self.request.items() if text != "0"}


@dataclass(frozen=True)
class Kind:
    """Tasks that differ only by number."""

    name: str
    count: int
    variants: tuple[Variant, ...]
    priority: int = 0
    pinned: bool = False
    after: str = ""


@dataclass(frozen=True)
class Worker:
    """What a worker has, and when it was there."""

    name: str
    id: int
    pools: dict[str, Pool]
    time_limit_s: int = 0
    registered: int = 0
    lost: int | None = None

    def can_run(self, variant: Variant) -> bool:
        if variant.time_s and self.time_limit_s and variant.time_s > self.time_limit_s:
            return False
        return all(
            name in self.pools and need.of(self.pools[name]) <= self.pools[name].size
            for name, need in variant.needs.items()
        )


@dataclass(frozen=True)
class Execution:
    """One run of a task, in its own words."""

    worker: str
    kind: str
    task: int
    instance: int
    started: int
    ended: int | None
    affinity: frozenset[int]
    env: dict[str, str]

    @property
    def name(self) -> str:
        return f"{self.kind} {self.task}@{self.instance} on {self.worker}"

    @property
    def variant(self) -> int:
        return int(self.env.get("HQ_RESOURCE_VARIANT", "0"))

    def labels(self, resource: str) -> list[str]:
        text = self.env.get(f"HQ_RESOURCE_VALUES_{resource}", "")
        return text.split(",") if text else []


@dataclass(frozen=True)
class Run:
    """All that is known about a job that has ended.

    `rows` is what the server says: state and worker of each task. `settled` are the tasks whose
    end the server knew before any worker was lost. `holders` name kinds of one variant and whole
    amounts, all ready at the same time; work of lower priority is not to overtake them.
    """

    kinds: tuple[Kind, ...]
    workers: tuple[Worker, ...]
    executions: tuple[Execution, ...]
    rows: tuple[tuple[int, str, int], ...]
    machine: frozenset[int]
    settled: frozenset[int] = frozenset()
    holders: tuple[str, ...] = ()

    @cached_property
    def kind(self) -> dict[str, Kind]:
        return {kind.name: kind for kind in self.kinds}

    @cached_property
    def worker(self) -> dict[str, Worker]:
        return {worker.name: worker for worker in self.workers}

    def by_task(self) -> dict[int, list[Execution]]:
        """Executions of each task, by instance."""
        found: dict[int, list[Execution]] = defaultdict(list)
        for execution in sorted(self.executions, key=lambda one: (one.task, one.instance)):
            found[execution.task].append(execution)
        return found

    def needs(self, execution: Execution) -> dict[str, tuple[Need, Pool]]:
        """What the execution asked for where it ran; of resources that are there."""
        variants, pools = self.kind[execution.kind].variants, self.worker[execution.worker].pools
        if execution.variant >= len(variants):
            return {}
        needs = variants[execution.variant].needs
        return {name: (need, pools[name]) for name, need in needs.items() if name in pools}


def read_executions(text: str, worker: str) -> list[Execution]:
    """What the tasks of a worker have written: a line at the start, another at the end."""
    starts: dict[tuple[int, int, int], list[str]] = {}
    ends: dict[tuple[int, int, int], int] = {}
    for line in text.splitlines():
        word, pid, task, instance, when, *rest = line.split("\t")
        key = (int(task), int(instance), int(pid))
        if word == "start":
            starts[key] = [when, *rest]
        else:
            ends[key] = int(when)
    return [
        Execution(
            worker=worker,
            kind=kind,
            task=key[0],
            instance=key[1],
            started=int(when),
            ended=ends.get(key),
            affinity=parse_cpus(affinity),
            env=dict(pair.split("=", 1) for pair in pairs),
        )
        for key, (when, affinity, kind, *pairs) in starts.items()
    ]


def parse_cpus(text: str) -> frozenset[int]:
    """The numbers of a list like 0-3,8."""
    parts = [part.split("-") for part in text.split(",")]
    return frozenset(n for part in parts for n in range(int(part[0]), int(part[-1]) + 1))


def violations(run: Run) -> list[str]:
    """One line for every promise that was broken."""
    checks = (outcomes, restarts, affinities, claims, overlaps, lifetimes, order, inversions)
    return [line for check in checks for line in check(run)]


def outcomes(run: Run) -> Iterator[str]:
    """Every task is known once, has finished, and ran where the server says."""
    known = Counter(number for number, _, _ in run.rows)
    total = sum(kind.count for kind in run.kinds)
    if sorted(known.elements()) != list(range(total)):
        yield f"the server lists {known.total()} tasks, {len(known)} of them different, not {total}"
    by_task = run.by_task()
    for number, state, worker in run.rows:
        if state != "finished":
            yield f"task {number} is {state}"
        elif number in by_task and run.worker[by_task[number][-1].worker].id != worker:
            yield f"{by_task[number][-1].name}, but the server says worker {worker}"
    ran = Counter(executions[0].kind for executions in by_task.values())
    for kind in run.kinds:
        if ran[kind.name] != kind.count:
            yield f"{ran[kind.name]} tasks of {kind.name} ran, not {kind.count}"


def restarts(run: Run) -> Iterator[str]:
    """Tasks run once; again only when they lost their worker before the server knew their end."""
    losses = [worker.lost for worker in run.workers if worker.lost is not None]
    for task, executions in run.by_task().items():
        *earlier, last = executions
        if last.ended is None:
            yield f"{last.name} has no end"
        for one in executions:
            lost = run.worker[one.worker].lost
            if lost is not None and one.started > lost + GRACE_US:
                yield f"{one.name} started on a dead worker"
            if one.instance and not any(lost <= one.started for lost in losses):
                yield f"{one.name} is a restart, but nothing was lost before"
        for one, following in pairwise(executions):
            if one.instance == following.instance:
                yield f"{one.name} ran twice"
        for one in earlier:
            if run.worker[one.worker].lost is None:
                yield f"{one.name} ran again although its worker lives"
        if earlier and task in run.settled:
            yield f"{earlier[0].name} ran again although the server knew its end"


def affinities(run: Run) -> Iterator[str]:
    """Pinned tasks may use their cpus only, all others what the machine has."""
    for one in run.executions:
        pinned = run.kind[one.kind].pinned
        wanted = parse_cpus(one.env["HQ_CPUS"]) if pinned else run.machine
        if one.affinity != wanted:
            yield f"{one.name} could use cpus {sorted(one.affinity)}, not {sorted(wanted)}"
        if (one.env.get("HQ_PIN") == "taskset") != pinned:
            yield f"{one.name} was told HQ_PIN={one.env.get('HQ_PIN')}"


def claims(run: Run) -> Iterator[str]:
    """Each task got what one of its variants asks for, out of what its worker has."""
    for one in run.executions:
        variants = run.kind[one.kind].variants
        if ("HQ_RESOURCE_VARIANT" in one.env) != (len(variants) > 1):
            yield f"{one.name} was told variant {one.env.get('HQ_RESOURCE_VARIANT')}"
        if one.variant >= len(variants):
            yield f"{one.name} runs in variant {one.variant}, which it does not have"
            continue
        needs = variants[one.variant].needs
        prefix = "HQ_RESOURCE_REQUEST_"
        told = {n.removeprefix(prefix): v for n, v in one.env.items() if n.startswith(prefix)}
        if told != {name: need.text for name, need in needs.items()}:
            yield f"{one.name} was told that it asked for {told}"
        if one.env.get("HQ_CPUS", "") != ",".join(one.labels("cpus")):
            yield f"{one.name} was told HQ_CPUS={one.env.get('HQ_CPUS')}"
        for name in needs.keys() - run.worker[one.worker].pools.keys():
            yield f"{one.name} needs {name}, which is not there"
        for name, (need, pool) in run.needs(one).items():
            yield from (f"{one.name} {fault}" for fault in misfits(name, need, pool, one))


def misfits(name: str, need: Need, pool: Pool, one: Execution) -> Iterator[str]:
    """What is wrong with the labels of one resource."""
    labels = one.labels(name)
    wanted = ceil(need.of(pool)) if pool.groups else 0
    if need.of(pool) > pool.size:
        yield f"got {need.amount} of {name}, of which there is {pool.size}"
    if len(set(labels)) != len(labels) or len(labels) != wanted:
        yield f"got {name} {labels}, not {wanted} different ones"
    if not set(labels) <= set(pool.labels):
        yield f"got {name} {labels}, which its worker does not have"
    touched = sum(not set(group).isdisjoint(labels) for group in pool.groups)
    if need.policy in STRICT and touched > fewest_groups(pool, wanted):
        yield f"got {name} {labels} from {touched} groups"


def fewest_groups(pool: Pool, wanted: int) -> int:
    """How many groups of an idle worker the labels need at least."""
    sizes = sorted((len(group) for group in pool.groups), reverse=True)
    return next(n for n in range(len(sizes) + 1) if sum(sizes[:n]) >= wanted)


def overlaps(run: Run) -> Iterator[str]:
    """At no moment more of an index or of a pool was in use than there is."""
    uses: dict[tuple[str, str, str], list[Change]] = defaultdict(list)
    for one in run.executions:
        for item, share in shares(run, one):
            end = inf if one.ended is None else one.ended
            uses[one.worker, *item] += [(one.started, True, share, one), (end, False, -share, one)]
    for (worker, name, label), events in uses.items():
        pool = run.worker[worker].pools[name]
        capacity = Decimal(1) if pool.groups else pool.size
        used, users = Decimal(0), dict[int, str]()
        # An end and a start at the same time do not overlap: the end comes first.
        for _, begins, share, one in sorted(events, key=lambda event: event[:2]):
            used += share
            if begins:
                users[id(one)] = one.name
            else:
                users.pop(id(one), None)
            if used > capacity:
                yield f"{name} {label} of {worker}: {used} in use by {sorted(users.values())}"
                break


def shares(run: Run, one: Execution) -> Iterator[tuple[tuple[str, str], Decimal]]:
    """How much of each index, or of a whole pool without, an execution has."""
    for name, (need, pool) in run.needs(one).items():
        if not pool.groups:
            yield (name, ""), need.of(pool)
            continue
        labels, part = one.labels(name), need.of(pool) % 1
        for place, label in enumerate(labels, 1):
            # Whole indices come first, the one that is used in part last.
            yield (name, label), part if part and place == len(labels) else Decimal(1)


def lifetimes(run: Run) -> Iterator[str]:
    """No task started on a worker that would not live as long as the task asked for."""
    for one in run.executions:
        worker, variants = run.worker[one.worker], run.kind[one.kind].variants
        if not worker.time_limit_s or one.variant >= len(variants):
            continue
        left = worker.registered + worker.time_limit_s * 1_000_000 - one.started
        if variants[one.variant].time_s * 1_000_000 > left:
            yield f"{one.name} started {left // 1_000_000} s before the end of its worker"


def order(run: Run) -> Iterator[str]:
    """No task started before all those that it needs had ended."""
    ends: dict[str, float] = defaultdict(float)
    for *_, last in run.by_task().values():
        ends[last.kind] = max(ends[last.kind], inf if last.ended is None else last.ended)
    for one in run.executions:
        after = run.kind[one.kind].after
        if after and one.started < ends[after]:
            yield f"{one.name} started before all of {after} had ended"


def inversions(run: Run) -> Iterator[str]:
    """While more of a holder wait than can be held or be starting, nothing lower starts instead.

    Recorded starts follow grants by different delays; therefore as many later starts are forgiven
    as there are workers that could be held and slots that could be starting.
    """
    for holder in (run.kind[name] for name in run.holders):
        (wanted,) = holder.variants
        capable = {worker.name: worker for worker in run.workers if worker.can_run(wanted)}
        forgiven = sum(1 + most(worker, wanted) for worker in capable.values())
        mine = [one for one in run.executions if one.kind == holder.name and not one.instance]
        starts = sorted(one.started for one in mine)
        for one in run.executions:
            if run.kind[one.kind].priority >= holder.priority or one.worker not in capable:
                continue
            waiting = len(starts) - bisect_right(starts, one.started)
            if waiting > forgiven and not in_gap(run, one, wanted):
                yield f"{one.name} started while {waiting} of {holder.name} waited"


def most(worker: Worker, variant: Variant) -> int:
    """How many tasks of one variant an idle worker can run."""
    pools = worker.pools
    return min(
        int(pools[name].size // need.of(pools[name])) for name, need in variant.needs.items()
    )


def in_gap(run: Run, one: Execution, wanted: Variant) -> bool:
    """Whether the execution needs only what is left on a worker that is full of the wanted."""
    worker = run.worker[one.worker]
    count = most(worker, wanted)
    for name, (need, pool) in run.needs(one).items():
        holds = wanted.needs.get(name)
        used = count * holds.of(pool) if holds else Decimal(0)
        if need.of(pool) > pool.size - used:
            return False
    return True
