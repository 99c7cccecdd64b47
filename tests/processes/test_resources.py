"""Resources as users give and read them: real workers, real tasks."""

from __future__ import annotations

import os
import subprocess

import pytest

SEES = (
    "import os; print(os.environ['HQ_CPUS'],"
    " ','.join(map(str, sorted(os.sched_getaffinity(0)))),"
    " *[os.environ.get(n, '-') for n in ('HQ_PIN', 'OMP_PROC_BIND', 'OMP_PLACES')])"
)


def outputs(cluster, job: int) -> list[str]:
    """What the tasks of a job have printed, by task."""
    directory = cluster.work / f"job-{job}"
    paths = sorted(directory.glob("*.stdout"), key=lambda path: int(path.stem))
    return [path.read_text().strip() for path in paths]


def rows(table: str) -> dict[str, list[str]]:
    """The lines of each value of a two-column table."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in table.splitlines():
        if line.startswith("|"):
            first, value = (cell.strip() for cell in line.strip("|").split("|", 1))
            name = first or name
            found.setdefault(name, []).append(value)
    return found


def test_a_worker_is_shown_as_it_was_started(cluster):
    cluster.start_server()
    cluster.start_worker(
        "--cpus", "2x2", "--resource", "gpus=[[a,b],[c]]", "--resource", "mem=sum(100.5)",
        "--coupling", "gpus[1]:cpus[1]=7, cpus[0]:gpus[0]", "--min-utilization", "0.5",
        "--detect-resources", "none", "--group", "west", "--time-limit", "1h",
        "--idle-timeout", "90",
    )  # fmt: skip

    table = rows(cluster.run("worker", "info", "1").stdout)
    assert table["Resources"] == [
        "cpus: 2x2 [coupled]",
        "gpus: 1x1 1x2 [coupled]",
        "mem: 100.50 MiB",
    ]
    assert table["Group"] == ["west"]
    assert (table["Time Limit"], table["Idle timeout"]) == (["1h"], ["1m 30s"])
    listed = cluster.run("worker", "list").stdout
    assert "cpus 2x2 [coupled]; gpus 1x1 1x2 [coupled]; mem 100.50 MiB" in listed

    (info,) = cluster.json("worker", "info", "1")
    config = info["configuration"]
    assert config["min_utilization"] == 0.5
    assert config["resources"] == {
        "resources": [
            {"name": "cpus", "kind": "groups", "groups": [["0", "1"], ["2", "3"]]},
            {"name": "gpus", "kind": "groups", "groups": [["a", "b"], ["c"]]},
            {"name": "mem", "kind": "sum", "size": 1_005_000},
        ],
        "coupling": {
            "weights": [
                weight(group1=0, group2=0, value=256),
                weight(group1=1, group2=1, value=7),
            ]
        },
    }


def weight(*, group1: int, group2: int, value: int) -> dict[str, int]:
    ends = {"resource1_idx": 0, "group1_idx": group1, "resource2_idx": 1, "group2_idx": group2}
    return {**ends, "weight": value}


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["--coupling", "cpus[0]:x[0]"], 1, "Resource not found: x"),
        (["--coupling", "cpus[0]:cpus[0]"], 1, "a group cannot be coupled with itself"),
        (["--resource", "x=sum(0)"], 1, "Resource x is empty"),
        (["--min-utilization", "2"], 2, "has to be in the interval [0.0, 1.0]."),
    ],
)
def test_a_worker_that_cannot_be_says_why_in_one_line(cluster, words, code, text):
    done = cluster.run("worker", "start", "--cpus", "2x1", *words, check=code)
    (line,) = [line for line in done.stderr.splitlines() if text in line]
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert line.strip()


def test_what_tasks_ask_for_is_shown(cluster):
    cluster.start_server()
    job = cluster.submit(
        "--cpus", "2 tight!", "--resource", "gpus/nvidia=0.5", "--time-request", "1:30",
        "--weight", "2.5", "--pin", "taskset", "true",
    )  # fmt: skip
    table = rows(cluster.run("job", "info", str(job)).stdout)
    assert table["Resources"] == [
        "cpus: 2 tight!",
        "gpus/nvidia: 0.5 compact",
        "[time: 1m 30s]",
        "[weight: 2.5]",
    ]
    ((shown,),) = [
        s["array"]["resources"] for s in cluster.json("job", "info", str(job))[0]["submits"]
    ]
    assert (shown["n_nodes"], shown["min_time"], shown["weight"]) == (0, 90.0, 25_000)
    assert shown["resources"] == [
        {"resource": "cpus", "request": {"ForceTight": 20_000}},
        {"resource": "gpus/nvidia", "request": {"Compact": 5_000}},
    ]
    assert "taskset" in cluster.run("task", "info", str(job), "0").stdout

    nodes = cluster.submit("--nodes", "2", "--resource", "mem=5", "true")
    assert rows(cluster.run("job", "info", str(nodes)).stdout)["Resources"] == ["nodes: 2"]
    cluster.wait_counts(nodes, waiting=1)


def test_s2_22_pinned_tasks_run_on_their_cpus_and_others_anywhere(cluster):
    cluster.start_server()
    cluster.start_worker("--detect-resources", "cpus")
    anywhere = ",".join(map(str, sorted(os.sched_getaffinity(0))))
    program = ("--array", "0-3", "--cpus", "1", "--wait", "--", "python3", "-c", SEES)

    pinned = cluster.submit("--pin", "taskset", *program)
    free = cluster.submit(*program)

    for line in outputs(cluster, pinned):
        cpus, affinity, *rest = line.split()
        assert (affinity, rest) == (cpus, ["taskset", "-", "-"])
    assert {line.split()[1] for line in outputs(cluster, free)} == {anywhere}
    assert {line.split()[2] for line in outputs(cluster, free)} == {"-"}


def test_s2_23_omp_pins_by_variables_that_the_user_may_set(cluster):
    cluster.start_server()
    cluster.start_worker("--cpus", "[3,7]", OMP_PLACES="cores", OMP_PROC_BIND="false")
    program = ("--cpus", "2 compact!", "--pin", "omp", "--wait", "--", "python3", "-c", SEES)

    ours = cluster.submit(*program)
    users = cluster.submit("--env", "OMP_PLACES=sockets", *program)

    assert outputs(cluster, ours)[0].split()[2:] == ["omp", "close", "{3,7}"]
    assert outputs(cluster, users)[0].split()[2:] == ["omp", "close", "sockets"]


def test_a_task_without_cpus_cannot_be_pinned(cluster):
    cluster.start_server()
    cluster.start_worker("--cpus", "1", "--resource", "x=[1]")
    (cluster.work / "job.yaml").write_text(
        "tasks: {t: {command: 'true', pin: taskset, request: {cpus: 0, x: 1}}}"
    )
    job = cluster.submit("--wait", "job.yaml")
    error = "Pinning failed, no CPU ids allocated for task"
    assert error in cluster.run("task", "info", str(job), "0").stdout


def test_a_task_waits_for_a_worker_that_lives_long_enough(cluster):
    cluster.start_server()
    cluster.start_worker("--cpus", "1", "--time-limit", "5m", name="short")
    long = cluster.submit("--time-request", "10m", "--", "true")
    cluster.submit("--time-request", "1m", "--wait", "--", "true")
    cluster.wait_counts(long, waiting=1)
    cluster.start_worker("--cpus", "1", name="unlimited")
    cluster.run("job", "wait", str(long))
    cluster.wait_counts(long, finished=1)


def test_tasks_see_the_devices_that_the_worker_found(cluster):
    cluster.start_server()
    cluster.start_worker(
        "--cpus", "[4,9]", "--detect-resources", "gpus/nvidia,gpus/amd", "--resource", "mem=sum(9)",
        CUDA_VISIBLE_DEVICES="GPU-5a,7", ROCR_VISIBLE_DEVICES="3",
    )  # fmt: skip
    job = cluster.submit(
        "--cpus", "1.5", "--resource", "gpus/nvidia=all", "--resource", "gpus/amd=0.5",
        "--resource", "mem=0.5", "--wait", "--", "env",
    )  # fmt: skip
    lines = outputs(cluster, job)[0].splitlines()
    wanted = ("HQ_RESOURCE", "HQ_CPUS", "CUDA_", "ROCR_", "OMP_")
    assert sorted(line for line in lines if line.startswith(wanted)) == [
        "CUDA_DEVICE_ORDER=PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES=GPU-5a,7",
        "HQ_CPUS=4,9",
        "HQ_RESOURCE_REQUEST_cpus=1.5 compact",
        "HQ_RESOURCE_REQUEST_gpus_amd=0.5 compact",
        "HQ_RESOURCE_REQUEST_gpus_nvidia=all",
        "HQ_RESOURCE_REQUEST_mem=0.5 compact",
        "HQ_RESOURCE_VALUES_cpus=4,9",
        "HQ_RESOURCE_VALUES_gpus_amd=3",
        "HQ_RESOURCE_VALUES_gpus_nvidia=GPU-5a,7",
        "ROCR_VISIBLE_DEVICES=3",
    ]


def test_hwdetect_offers_what_the_process_may_use(cluster):
    cpu = max(os.sched_getaffinity(0))
    done = subprocess.run(
        ["taskset", "-c", str(cpu), *cluster.command("worker", "hwdetect")],
        env={**cluster.env, "SLURM_JOB_ID": "1", "SLURM_MEM_PER_NODE": "77"},
        cwd=cluster.work,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    lines = done.stdout.splitlines()
    summary, full = lines[: lines.index("")], lines[lines.index("") :]
    assert summary[:2] == ["Summary:", "cpus: 1"]
    assert full[1] == "Full Description:"
    assert f"cpus: [{cpu}]" in full
    assert "mem: sum(77)" in full
