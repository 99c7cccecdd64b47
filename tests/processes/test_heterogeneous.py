"""Two thousand tasks of many kinds on three workers of different shapes: nothing is over-used.

One worker joins late, one is killed. Each task writes down what it was given and when; the checker
holds that against what it asked for.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from placement_checker import (
    Execution,
    Kind,
    Pool,
    Run,
    Variant,
    Worker,
    parse_cpus,
    read_executions,
    violations,
)
from process_cluster import Cluster, wait_until

# Only builtins, but for the nap: two thousand of these are to cost seconds. A line is one write.
# The status is read at once: `read` goes back after each line, in a file whose lines get longer.
RECORDER = r"""
now=$EPOCHREALTIME
mapfile -t status < /proc/self/status
for line in "${status[@]}"; do
  [[ $line == Cpus_allowed_list:* ]] && allowed=${line##*[[:space:]]}
done
id="$$"$'\t'"$HQ_TASK_ID"$'\t'"$HQ_INSTANCE_ID"
line="start"$'\t'"$id"$'\t'"${now//[!0-9]/}"$'\t'"$allowed"$'\t'"$KIND"
for name in ${!HQ_*}; do line+=$'\t'"$name=${!name}"; done
printf '%s\n' "$line" >> "$RECORD"
if [[ $KIND == doomed && -n $DOOM ]]; then sleep 1000; fi
case $((HQ_TASK_ID % 4)) in 1) sleep 0.02 ;; 2) sleep 0.06 ;; esac
now=$EPOCHREALTIME
printf 'end\t%s\t%s\n' "$id" "${now//[!0-9]/}" >> "$RECORD"
"""

HOUR_S = 3600


def one(request: dict[str, str], time_s: int = 0) -> tuple[Variant]:
    return (Variant(request, time_s),)


KINDS = (
    # These two end on no other worker than the one that is not killed.
    Kind("doomed", 2, one({"cpus": "0", "fpga": "1"}), priority=10),
    Kind("first", 200, one({"cpus": "1"}), priority=9),
    Kind("pinned", 250, one({"cpus": "1", "real": "0.5"}), priority=5, pinned=True),
    Kind("pinned-all", 30, one({"cpus": "all", "real": "1"}), priority=4, pinned=True),
    Kind("pinned-half", 120, one({"cpus": "0.5", "real": "1"}), pinned=True),
    Kind("half", 200, one({"cpus": "0.5"}), priority=1),
    Kind("more", 78, one({"cpus": "2.25"})),
    Kind("apart", 50, one({"cpus": "3 scatter"}), priority=1),
    Kind("near", 100, one({"cpus": "3 compact!"}), priority=2),
    Kind("gpu-part", 180, one({"cpus": "0.25", "gpus": "0.3"}), priority=1),
    Kind("gpu-pair", 80, one({"cpus": "0", "gpus": "2 compact!"}), priority=2),
    Kind("gpu-tight", 60, one({"cpus": "0", "gpus": "1.5 tight!"})),
    Kind("gpu-all", 10, one({"cpus": "0", "gpus": "all"}), priority=3),
    Kind("licence", 120, one({"cpus": "0", "lic": "1.5"}), priority=1),
    Kind("fpga", 40, one({"cpus": "1", "fpga": "1"})),
    Kind("patient", 80, one({"cpus": "1"}, HOUR_S)),
    Kind("late", 30, one({"cpus": "0", "novel": "1 scatter"}), priority=-1),
    Kind("everything", 10, one({"cpus": "all"}), priority=-2),
    Kind(
        "either",
        200,
        (
            Variant({"cpus": "4 tight"}, weight=2.0),
            Variant({"cpus": "0.5", "gpus": "1"}),
            Variant({"cpus": "1"}, weight=0.5),
        ),
    ),
    Kind("long-or-wide", 80, (Variant({"cpus": "1"}, HOUR_S), Variant({"cpus": "2"}, 60))),
    Kind("after", 80, one({"cpus": "0.75"}), priority=1, after="first"),
)


def shapes() -> tuple[Worker, Worker, Worker]:
    """A wide worker on cpus that it only claims, and two on the cpus of this machine."""
    cpus = [str(cpu) for cpu in sorted(os.sched_getaffinity(0))[:2]]
    steady = Worker(
        "steady",
        1,
        {
            "cpus": Pool((("0", "1", "2", "3"), ("4", "5"))),
            "gpus": Pool((("g0", "g1"), ("g2", "g3"))),
            "lic": Pool(amount=Decimal("2.5")),
        },
    )
    killed = Worker(
        "killed",
        2,
        {
            "cpus": Pool(tuple((cpu,) for cpu in cpus)),
            "fpga": Pool((("f0", "f1", "f2", "f3"),)),
            "lic": Pool(amount=Decimal(5)),
            "real": Pool(amount=Decimal(2)),
        },
        time_limit_s=HOUR_S // 2,
    )
    joining = Worker(
        "joining",
        3,
        {
            "cpus": Pool((tuple(cpus),)),
            "gpus": Pool((("x",), ("y", "z"))),
            "fpga": Pool((("late-f",),)),
            "lic": Pool(amount=Decimal(2)),
            "novel": Pool((("n0", "n1"), ("n2",))),
            "real": Pool(amount=Decimal(2)),
        },
        time_limit_s=3 * HOUR_S,
    )
    return steady, killed, joining


def start(cluster: Cluster, shape: Worker, **env: str) -> Worker:
    """The worker is registered; since when, errs on the late side."""
    args = ["--detect-resources", "none", "--cpus", shape.pools["cpus"].definition]
    for name, pool in shape.pools.items():
        if name != "cpus":
            args += ["--resource", f"{name}={pool.definition}"]
    if shape.time_limit_s:
        args += ["--time-limit", f"{shape.time_limit_s}s"]
    cluster.start_worker(*args, name=shape.name, RECORD=str(record(cluster, shape)), **env)
    return replace(shape, registered=now_us())


def record(cluster: Cluster, worker: Worker) -> Path:
    return cluster.root / f"{worker.name}.record"


def executions(cluster: Cluster, worker: Worker) -> list[Execution]:
    """What the tasks of the worker have written so far; a line may lack its end yet."""
    path = record(cluster, worker)
    text = path.read_text() if path.exists() else ""
    return read_executions(text[: text.rfind("\n") + 1], worker.name)


def now_us() -> int:
    return time.time_ns() // 1000


def write_job(path: Path, recorder: Path) -> None:
    """The kinds as a job file: a group of tasks each."""
    tasks = {}
    for kind in KINDS:
        requests = []
        for variant in kind.variants:
            request: dict[str, object] = {**variant.request}
            if variant.time_s:
                request["time"] = f"{variant.time_s}s"
            requests.append({**request, "weight": variant.weight})
        tasks[kind.name] = {
            "command": ["bash", str(recorder)],
            "env": {"KIND": kind.name},
            "entries": list(range(kind.count)),
            "request": requests,
            "priority": kind.priority,
            "pin": "taskset" if kind.pinned else "none",
            "stdout": "none",
            "stderr": "none",
            "needs": [kind.after] if kind.after else [],
        }
    path.write_text(json.dumps({"name": "heterogeneous", "tasks": tasks}))


@pytest.mark.slow
def test_two_thousand_tasks_of_many_kinds_on_workers_that_come_and_go(cluster):
    assert sum(kind.count for kind in KINDS) == 2000
    recorder = cluster.work / "recorder.sh"
    recorder.write_text(RECORDER)
    write_job(cluster.work / "job.yaml", recorder)
    steady, killed, joining = shapes()

    # Given two idle workers, when all tasks come at once, then a third worker,
    server = cluster.start_server()

    def wait_for(condition: Callable[[], bool]) -> None:
        wait_until(lambda: condition() or server.poll() is not None)
        assert server.poll() is None, cluster.log("server")

    steady = start(cluster, steady)
    killed = start(cluster, killed, DOOM="1")
    victim = cluster.processes[-1]
    job = cluster.submit("job.yaml")
    wait_for(lambda: ended(cluster, steady, killed) > 200)
    joining = start(cluster, joining)
    wait_for(lambda: ended(cluster, joining) > 20 and ended(cluster, killed) > 100)
    wait_for(lambda: len(doomed(cluster, killed)) == 2)
    # and one of the first two is killed,
    settled = {task for task, state in cluster.states(job).items() if state == "finished"}
    killed = replace(killed, lost=now_us())
    victim.kill()
    cluster.run("job", "wait", str(job), check=None)
    assert cluster.counts(job) == {"finished": 2000}

    # then all has gone as it should,
    ran = {w.name: executions(cluster, w) for w in (steady, killed, joining)}
    run = Run(
        kinds=KINDS,
        workers=(steady, killed, joining),
        executions=tuple(one for some in ran.values() for one in some),
        rows=tuple(
            (row["id"], row["state"], row["worker"])
            for row in cluster.json("task", "list", str(job))[str(job)]
        ),
        machine=parse_cpus(",".join(map(str, os.sched_getaffinity(0)))),
        settled=frozenset(settled),
        holders=("first", "pinned"),
    )
    assert violations(run) == []
    # the highest level has come first on each of the first two,
    for worker in (steady, killed):
        with_cpus = [one for one in ran[worker.name] if "HQ_CPUS" in one.env]
        earliest = min(with_cpus, key=lambda one: one.started)
        assert earliest.kind == "first"
    # the third has had its share, of what others could do, too,
    shared = Counter(one.kind for one in ran["joining"])
    assert shared.pop("late") == 30
    assert shared.total() > 20
    # and what the dead worker was running has run again on another.
    again = run.by_task()
    for lost in doomed(cluster, killed):
        assert [one.worker for one in again[lost.task]] == ["killed", "joining"]


def ended(cluster: Cluster, *workers: Worker) -> int:
    paths = [record(cluster, worker) for worker in workers]
    return sum(path.read_bytes().count(b"\nend") for path in paths if path.exists())


def doomed(cluster: Cluster, worker: Worker) -> list[Execution]:
    """The executions that can only end with their worker."""
    return [one for one in executions(cluster, worker) if one.kind == "doomed" and not one.ended]
