"""How workers come, are listed, and leave."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from process_cluster import Cluster, wait_until

HOLD = "while ! test -e go; do sleep 0.05; done"


def states(cluster: Cluster, *args: str) -> list[str]:
    """`<id> <state>` of each worker listed."""
    return cluster.run("--output-mode=quiet", "worker", "list", *args).stdout.splitlines()


def info(cluster: Cluster, worker: int) -> dict[str, str]:
    """First lines of the rows of `worker info`."""
    found: dict[str, str] = {}
    for line in cluster.run("worker", "info", str(worker)).stdout.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|", 1)]
        if line.startswith("|") and cells[0]:
            found[cells[0]] = cells[1]
    return found


def start_workers(cluster: Cluster, count: int, *args: str) -> dict[int, object]:
    """So many workers at once, by their ids."""
    begun = {
        f"host{n}": cluster.start(
            "worker", "start", "--cpus", "1", "--hostname", f"host{n}", *args, name=f"w{n}"
        )
        for n in range(count)
    }
    cluster.run("worker", "wait", str(count))
    rows = cluster.json("worker", "list")
    return {row["id"]: begun[row["configuration"]["hostname"]] for row in rows}


# --- coming and going


def test_s3_01_workers_are_numbered_in_order_and_only_connected_ones_listed(cluster):
    cluster.start_server()
    first = cluster.start_worker("--cpus", "1", name="w1")
    second = cluster.start_worker("--cpus", "1", name="w2")
    assert states(cluster) == ["1 RUNNING", "2 RUNNING"]
    second.terminate()
    assert second.wait(60) == 0
    assert states(cluster) == ["1 RUNNING"]
    assert states(cluster, "--all") == ["1 RUNNING", "2 CONNECTION LOST"]
    first.terminate()
    assert first.wait(60) == 0
    assert states(cluster) == []
    cluster.start_worker("--cpus", "1", name="w3")
    assert states(cluster) == ["3 RUNNING"]
    assert states(cluster, "--filter", "offline") == ["1 CONNECTION LOST", "2 CONNECTION LOST"]


def test_s3_02_and_s3_04_stop_takes_ranges_the_last_one_and_all(cluster):
    cluster.start_server()
    workers = start_workers(cluster, 10)
    assert sorted(workers) == list(range(1, 11))
    cluster.run("worker", "stop", "8-10")
    assert [workers[n].wait(60) for n in (8, 9, 10)] == [0, 0, 0]
    stopped = [f"{n} STOPPED" for n in (8, 9, 10)]
    running = [f"{n} RUNNING" for n in range(1, 8)]
    assert states(cluster, "--filter", "offline") == stopped
    assert states(cluster, "--filter", "running") == running

    done = cluster.run("worker", "stop", "last")
    assert "Stopping worker 10 failed; worker is already stopped" in done.stderr
    assert states(cluster) == running
    done = cluster.run("worker", "stop", "6-8")
    assert "Stopping worker 8 failed; worker is already stopped" in done.stderr
    done = cluster.run("worker", "stop", "all")
    assert [f"Worker {n} stopped" in done.stderr for n in range(1, 9)] == [True] * 5 + [False] * 3
    assert "failed" not in done.stderr
    assert [process.wait(60) for process in workers.values()] == [0] * 10
    assert states(cluster) == []


def test_s3_03_unknown_workers_do_not_keep_others_from_being_stopped(cluster):
    cluster.start_server()
    workers = start_workers(cluster, 3)
    done = cluster.run("worker", "stop", "1-4")
    assert "Stopping worker 4 failed; worker not found" in done.stderr
    assert [process.wait(60) for process in workers.values()] == [0, 0, 0]
    assert states(cluster, "--all") == ["1 STOPPED", "2 STOPPED", "3 STOPPED"]


def test_s3_05_only_time_without_work_counts_as_idle(cluster):
    """Of worker and server the worker's own timeout counts."""
    cluster.start_server("--idle-timeout", "1h")
    worker = cluster.start_worker("--cpus", "1", "--heartbeat", "500ms", "--idle-timeout", "1s")
    job = cluster.submit("--", "sleep", "2")
    assert worker.wait(60) == 0
    assert states(cluster, "--all") == ["1 IDLE TIMEOUT"]
    assert cluster.counts(job) == {"finished": 1}
    (row,) = cluster.json("worker", "list", "--all")
    (task,) = cluster.json("task", "info", str(job), "0")
    assert row["ended"]["at"] > task["finished_at"]


def test_s3_06_a_worker_that_cannot_take_what_is_left_is_idle(cluster):
    cluster.start_server()
    worker = cluster.start_worker(
        "--cpus", "1", "--idle-timeout", "1500ms", "--time-limit", "20s", "--heartbeat", "500ms"
    )
    job = cluster.submit("--array", "1-20", "--time-request", "18.5s", "--", "sleep", "1")
    assert worker.wait(60) == 0
    assert states(cluster, "--all") == ["1 IDLE TIMEOUT"]
    counts = cluster.counts(job)
    assert counts["waiting"] + counts["finished"] == 20
    assert 1 <= counts["finished"] <= 3


# --- the server is lost


@pytest.mark.parametrize("policy", ["stop", "finish-running"])
def test_s3_09_without_a_task_the_worker_ends_as_soon_as_the_server_is_lost(cluster, policy):
    server = cluster.start_server()
    worker = cluster.start_worker("--cpus", "1", "--on-server-lost", policy)
    server.kill()
    assert worker.wait(30) == 1


def test_s3_10_policy_stop_ends_the_task_before_it_can_do_more(cluster):
    server = cluster.start_server()
    worker = cluster.start_worker("--cpus", "1", "--on-server-lost", "stop")
    cluster.submit("--", "sh", "-c", f"touch up; {HOLD}; touch late")
    wait_until((cluster.work / "up").exists)
    server.kill()
    assert worker.wait(60) == 1
    (cluster.work / "go").touch()
    assert not (cluster.work / "late").exists()
    assert list(cluster.root.glob("hq-worker*")) == []


def test_s3_11_finish_running_ends_after_the_one_task_that_runs(cluster):
    server = cluster.start_server()
    worker = cluster.start_worker("--cpus", "1", "--on-server-lost", "finish-running")
    script = f"touch up; {HOLD}; touch done-$HQ_TASK_ID"
    cluster.submit("--array", "1-10", "--", "sh", "-c", script)
    wait_until((cluster.work / "up").exists)
    server.kill()
    wait_until(lambda: lost(cluster))
    assert worker.poll() is None
    (cluster.work / "go").touch()
    assert worker.wait(60) == 1
    assert [path.name for path in cluster.work.glob("done-*")] == ["done-1"]


def lost(cluster: Cluster) -> bool:
    """The worker's end of its connection is closed."""
    (worker,) = (p for p in cluster.processes if "worker" in p.args)
    found = []
    for fd in os.listdir(f"/proc/{worker.pid}/fd"):
        try:
            found.append(os.readlink(f"/proc/{worker.pid}/fd/{fd}"))
        except OSError:
            continue
    inodes = {name[8:-1] for name in found if name.startswith("socket:[")}
    tcp = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
    return not any(line.split()[9] in inodes for line in tcp.splitlines() if len(line.split()) > 9)


@pytest.mark.parametrize("how", ["signal", "time limit"])
def test_b26_while_it_finishes_what_runs_signals_and_its_time_limit_count(cluster, how):
    server = cluster.start_server()
    limit = ("--time-limit", "6s") if how == "time limit" else ()
    worker = cluster.start_worker("--cpus", "1", "--on-server-lost", "finish-running", *limit)
    cluster.submit("--", "sh", "-c", "touch up; sleep 1000")
    wait_until((cluster.work / "up").exists)
    server.kill()
    wait_until(lambda: lost(cluster))
    if how == "signal":
        worker.terminate()
    assert worker.wait(60) == 0


def test_s3_12_a_stop_counts_whatever_the_policy(cluster):
    cluster.start_server()
    worker = cluster.start_worker("--cpus", "1", "--on-server-lost", "finish-running")
    job = cluster.submit("--", "sleep", "3600")
    cluster.wait_counts(job, running=1)
    cluster.run("worker", "stop", "1")
    assert worker.wait(60) == 0
    assert states(cluster, "--all") == ["1 STOPPED"]


# --- batch managers

QSTAT = """
import json, sys
assert sys.argv[1:] == ["-f", "1234.srv", "-F", "json"], sys.argv
used = {"walltime": "00:13:45"}
job = {"Resource_List": {"walltime": "01:12:34"}, "resources_used": used}
print(json.dumps({"Jobs": {"1234.srv": job}}))
"""
SCONTROL = """
import sys
assert sys.argv[1:] == ["show", "job", "1234"], sys.argv
print("JobId=1234 JobName=x\\n   RunTime=00:01:34 TimeLimit=00:15:00 TimeMin=N/A")
"""
PBS = {"PBS_ENVIRONMENT": "PBS_BATCH", "PBS_JOBID": "1234.srv"}
SLURM = {"SLURM_JOB_ID": "1234"}


def tools(cluster: Cluster, **programs: str) -> dict[str, str]:
    """A path on which these come first."""
    directory = cluster.root / "bin"
    directory.mkdir(exist_ok=True)
    for name, code in programs.items():
        path = directory / name
        path.write_text(f"#!{sys.executable}\n{code}")
        path.chmod(0o755)
    return {"PATH": f"{directory}:{os.environ['PATH']}"}


@pytest.mark.parametrize(
    ("manager", "number", "environment", "limits"),
    [
        ("PBS", "1234.srv", PBS, ("58m 49s", "58m 48s")),
        ("SLURM", "1234", SLURM, ("13m 26s", "13m 25s")),
    ],
)
def test_s3_13_b32_a_worker_knows_its_allocation(cluster, manager, number, environment, limits):
    path = tools(cluster, qstat=QSTAT, scontrol=SCONTROL)
    cluster.start_server()
    cluster.start_worker("--cpus", "1", name="w1", **path, **environment)
    row = info(cluster, 1)
    assert (row["Manager"], row["Manager Job ID"], row["Group"]) == (manager, number, number)
    assert row["Time Limit"] in limits
    (listed,) = cluster.json("worker", "list")
    spelled = {"PBS": "PBS", "SLURM": "Slurm"}[manager]
    assert listed["allocation"] == {"manager": spelled, "id": number}

    none = ("--manager", "none")
    cluster.start_worker("--cpus", "1", *none, name="w2", **path, **environment)
    row = info(cluster, 2)
    assert (row["Manager"], row["Manager Job ID"], row["Group"]) == ("None", "N/A", "default")
    assert row["Time Limit"] == "None"

    more = ("--group", "g", "--time-limit", "1h")
    cluster.start_worker("--cpus", "1", *more, name="w3", **path, **environment)
    assert (info(cluster, 3)["Group"], info(cluster, 3)["Time Limit"]) == ("g", "1h")


@pytest.mark.parametrize(
    ("environment", "code", "why"),
    [
        (PBS, None, "qstat: No such file or directory"),
        (SLURM, "import sys; sys.exit('no such job')", "scontrol: no such job"),
    ],
)
def test_s3_14_a_worker_starts_although_its_manager_says_nothing(cluster, environment, code, why):
    name = "qstat" if environment is PBS else "scontrol"
    path = tools(cluster, **({} if code is None else {name: code}))
    cluster.start_server()
    cluster.start_worker("--cpus", "1", **path, **environment)
    assert why in cluster.log("worker")
    assert info(cluster, 1)["Time Limit"] == "None"


def test_s3_14_a_manager_that_is_asked_for_has_to_be_there(cluster):
    for name, missing in (("pbs", "PBS_ENVIRONMENT"), ("slurm", "SLURM_JOB_ID/SLURM_JOBID")):
        done = cluster.run("worker", "start", "--manager", name, check=1)
        assert f"{missing} not found" in done.stderr


def test_b25_the_end_of_an_allocation_is_no_crash(cluster):
    """A batch manager ends what runs too long by SIGTERM."""
    soon = SCONTROL.replace("00:01:34", "00:14:30")
    cluster.start_server()
    worker = cluster.start_worker("--cpus", "1", **tools(cluster, scontrol=soon), **SLURM)
    job = cluster.submit("--crash-limit", "1", "--", "sleep", "1000")
    cluster.wait_counts(job, running=1)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(60) == 0
    assert states(cluster, "--all") == ["1 TIME LIMIT REACHED"]
    cluster.wait_counts(job, waiting=1)


# --- what it does


def test_s3_16_work_that_uses_too_little_of_a_worker_waits(cluster):
    cluster.start_server()
    three = ("--cpus", "3", "--array", "1-3", "--weight", "2", "--", "sh", "-c", HOLD)
    small = cluster.submit(*three)
    whole = cluster.submit("--cpus", "all", "--", "true")
    cluster.start_worker("--cpus", "12", "--min-utilization", "1.0")
    cluster.wait_counts(whole, finished=1)
    assert cluster.counts(small) == {"waiting": 3}
    cluster.run("job", "cancel", str(small))

    four = cluster.submit("--cpus", "3", "--array", "1-4", "--", "sh", "-c", HOLD)
    cluster.wait_counts(four, running=4)
    again = cluster.submit("--cpus", "all", "--", "true")
    assert cluster.counts(again) == {"waiting": 1}
    (cluster.work / "go").touch()
    cluster.wait_counts(again, finished=1)
    (cluster.work / "go").unlink()

    small = cluster.submit(*three)
    assert cluster.counts(small) == {"waiting": 3}
    large = cluster.submit("--cpus", "6", "--array", "1-3", "--", "sh", "-c", HOLD)
    cluster.wait_counts(small, running=2, waiting=1)
    cluster.wait_counts(large, running=1, waiting=2)


def test_s3_19_a_worker_tells_what_it_does(cluster):
    cluster.start_server()
    workers = start_workers(cluster, 2)
    assert {info(cluster, n)["Runtime Info"] for n in workers} == {"assigned tasks: 0"}
    assert info(cluster, 1)["Last task started"] == ""
    one = cluster.submit("--", "sh", "-c", HOLD)
    cluster.wait_counts(one, running=1)
    told = sorted(info(cluster, n)["Runtime Info"] for n in workers)
    assert told == ["assigned tasks: 0", "assigned tasks: 1; running tasks: 1"]
    (cluster.work / "go").touch()
    cluster.wait_counts(one, finished=1)
    (cluster.work / "go").unlink()

    both = cluster.submit("--nodes", "2", "--", "sh", "-c", HOLD)
    cluster.wait_counts(both, running=1)
    rows = [info(cluster, n) for n in workers]
    assert sorted(row["Runtime Info"] for row in rows) == [
        "running multinode task; main node",
        "running multinode task; secondary node",
    ]
    assert all(row["Last task started"].startswith(f"{both}@0; Time: ") for row in rows)
    (cluster.work / "go").touch()
    cluster.wait_counts(both, finished=1)
    wait_until(lambda: {info(cluster, n)["Runtime Info"] for n in workers} == {"assigned tasks: 0"})


def gpu_tools(cluster: Cluster) -> dict[str, str]:
    """Programs that tell of one card of the one vendor, and of two of the other."""
    tools = cluster.root / "tools"
    tools.mkdir()
    nvidia = "echo 'BUS1, 10.0 %, 100 MiB, 200 MiB'"
    card = '"PCI Bus": "AMD%d", "GPU use (%%)": "1.5", "GPU memory use (%%)": "12.5"'
    cards = ", ".join(f'"card{n}": {{{card % n}}}' for n in (10, 9))
    for name, script in {"nvidia-smi": nvidia, "rocm-smi": f"echo '{{{cards}}}'"}.items():
        (tools / name).write_text(f"#!/bin/sh\n{script}\n")
        (tools / name).chmod(0o755)
    return {"PATH": f"{tools}:{os.environ['PATH']}"}


def load_of(cluster: Cluster, worker: int):
    """What JSON mode shows of the worker's load, if it has told it."""
    (row,) = cluster.json("worker", "info", str(worker))
    return row.get("hw-state")


def test_s3_15_a_worker_tells_how_busy_its_node_is(cluster):
    cluster.start_server()
    gpus = ("--resource", "gpus/nvidia=[0]", "--resource", "gpus/amd=[0,1]")
    every = ("--overview-interval", "10ms")
    cluster.start_worker("--cpus", "1", *gpus, *every, name="w1", **gpu_tools(cluster))
    wait_until(lambda: load_of(cluster, 1))
    state = load_of(cluster, 1)["state"]
    assert list(state) == sorted(
        ["timestamp", "cpu_usage", "memory_usage", "network_usage", "nvidia_gpus", "amd_gpus"]
    )
    shares = state["cpu_usage"]["cpu_per_core_percent_usage"]
    assert len(shares) == os.cpu_count() and all(0 <= share <= 100 for share in shares)
    assert 0 < state["memory_usage"]["free"] < state["memory_usage"]["total"]
    assert state["network_usage"]["rx_bytes"] > 0
    assert state["nvidia_gpus"]["gpus"] == [
        {"id": "BUS1", "processor_usage": 10.0, "mem_usage": 50.0}
    ]
    assert state["amd_gpus"]["gpus"] == [
        {"id": f"AMD{n}", "processor_usage": 1.5, "mem_usage": 12.5} for n in (9, 10)
    ]
    wait_until(lambda: load_of(cluster, 1)["state"]["timestamp"] > state["timestamp"])
    table = info(cluster, 1)
    assert table["Overview interval"] == "10ms" and table["Load"].startswith("cpus: ")
    assert "hw-state" not in cluster.json("worker", "list")[0]


def test_s3_15_without_an_interval_nothing_is_told_and_missing_tools_are_said_once(cluster):
    cluster.start_server()
    cluster.start_worker("--cpus", "1", "--overview-interval", "0s", name="silent")
    gpus = ("--resource", "gpus/nvidia=[0]")
    every = ("--overview-interval", "10ms")
    cluster.start_worker("--cpus", "1", *gpus, *every, name="told", PATH="/nowhere")
    wait_until(lambda: load_of(cluster, 2))
    first = load_of(cluster, 2)["state"]["timestamp"]
    wait_until(lambda: load_of(cluster, 2)["state"]["timestamp"] > first)
    assert load_of(cluster, 2)["state"]["nvidia_gpus"] is None
    assert load_of(cluster, 2)["state"]["amd_gpus"] is None
    assert cluster.log("told").count("nvidia-smi: No such file or directory") == 1
    assert load_of(cluster, 1) is None
    assert info(cluster, 1)["Overview interval"] == "None" and "Load" not in info(cluster, 1)
