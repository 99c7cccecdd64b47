"""What managers are given: directives, and the command that starts a worker."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from manager_samples import held
from msgspec.structs import replace

from hqtrio.autoalloc.checks import check_params
from hqtrio.autoalloc.dialogues import Completed, NotStarted, Rejected, Submission
from hqtrio.autoalloc.pbs import Pbs
from hqtrio.autoalloc.script import clock
from hqtrio.autoalloc.slurm import Slurm
from hqtrio.errors import InputError
from hqtrio.model.allocation import Manager, QueueParams, Rejection, WorkerOptions, worker_args
from hqtrio.model.worker import OnServerLost
from hqtrio.worker.definitions import parse_cpus

ADAPTERS = {Manager.SLURM: Slurm(), Manager.PBS: Pbs()}
BOTH = pytest.mark.parametrize("manager", list(Manager), ids=lambda manager: manager.name)
PLACE = "/srv/001/autoalloc/1/001"


def files(manager: Manager, nodes: int = 1, *, trial: bool = False, variables=(), **fields):
    worker = fields.pop("worker", WorkerOptions())
    params = QueueParams(manager, fields.pop("time_limit_s", 3600.0), worker=worker, **fields)
    submission = Submission(
        params, "hq-1-1", nodes, PLACE, "/srv/001", ("/opt/hqtrio",), variables, trial
    )
    return ADAPTERS[manager].files(submission)


def script(manager: Manager, nodes: int = 1, **fields) -> str:
    return files(manager, nodes, **fields)["hq-submit.sh"]


def directives(manager: Manager, nodes: int = 1, **fields) -> list[str]:
    prefix = "#SBATCH " if manager is Manager.SLURM else "#PBS "
    lines = script(manager, nodes, **fields).splitlines()
    assert lines[0] == "#!/bin/bash"
    return [line.removeprefix(prefix) for line in lines if line.startswith(prefix)]


def command(manager: Manager, **fields) -> str:
    return script(manager, **fields).splitlines()[-1]


# --- directives


def test_11_of_pbs() -> None:
    args = ("--foo=bar", "a", "b", "--baz", "42")
    assert directives(Manager.PBS, time_limit_s=180.0, manager_args=args) == [
        "-l select=1",
        "-N hq-1-1",
        f"-o {PLACE}/stdout",
        f"-e {PLACE}/stderr",
        "-l walltime=00:03:00",
        "-r n",
        "--foo=bar a b --baz 42",
    ]


def test_12_of_slurm() -> None:
    args = ("--foo=bar", "a", "b", "--baz", "42")
    assert directives(Manager.SLURM, time_limit_s=180.0, manager_args=args) == [
        "--nodes=1",
        "--job-name=hq-1-1",
        f"--output={PLACE}/stdout",
        f"--error={PLACE}/stderr",
        "--time=00:03:00",
        "--no-requeue",
        "--foo=bar a b --baz 42",
    ]


def test_a_users_selection_stands_for_itself() -> None:
    for words in (("-l", "select=1:ncpus=8"), ("-lselect=2:mem=1gb",), ("-l", "nodes=host1")):
        lines = directives(Manager.PBS, manager_args=words)
        assert sum("select=" in line or "nodes=" in line for line in lines) == 1
    assert "-l place=scatter" in directives(Manager.PBS, 2)
    assert "-l place=scatter" not in directives(Manager.PBS, 2, manager_args=("-l", "place=free"))


def test_a_trial_is_held() -> None:
    assert "-h" in directives(Manager.PBS, trial=True)
    assert "--hold" in directives(Manager.SLURM, trial=True)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(180.0, "00:03:00"), (259200.0, "72:00:00"), (0.2, "00:00:01"), (59.5, "00:01:00")],
)
def test_walltimes_have_hours_without_end(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_words_keep_their_boundaries() -> None:
    lines = directives(Manager.SLURM, manager_args=("--comment", "two words"))
    assert lines[-1] == "--comment 'two words'"


# --- the worker's command


@BOTH
def test_the_plain_command(manager: Manager) -> None:
    assert command(manager) == (
        f'/opt/hqtrio worker start --idle-timeout "5m" --manager "{manager.name.lower()}"'
        ' --server-dir "/srv/001" --on-server-lost "reconnect" --time-limit "1h"'
    )


def test_14_several_nodes_of_pbs() -> None:
    found = files(Manager.PBS, 2)
    line = found["hq-submit.sh"].splitlines()[-1]
    assert line == f"pbsdsh -- bash -l -c '{PLACE}/hq-worker.sh'"
    assert "worker start --idle-timeout" in found["hq-worker.sh"]


def test_15_several_nodes_of_slurm() -> None:
    line = files(Manager.SLURM, 2)["hq-submit.sh"].splitlines()[-1]
    assert line == f"srun --overlap --ntasks=2 --nodes=2 {PLACE}/hq-worker.sh"


def test_17_all_options_of_a_worker_in_their_order() -> None:
    worker = WorkerOptions(
        cpus="2x8",
        resources=("x=sum(100)", "y=range(1-4)", "z=[1,2,4]"),
        no_hyper_threading=True,
        detect="cpus,mem",
        coupling="cpus[0]:y",
        group="mine",
        overview_interval_s=10.0,
    )
    params = QueueParams(Manager.PBS, 3600.0, min_utilization=0.2, worker=worker)
    assert " ".join(worker_args(params)) == (
        '--cpus "2x8" --resource "x=sum(100)" --resource "y=range(1-4)" --resource "z=[1,2,4]"'
        ' --coupling "cpus[0]:y" --group mine --no-hyper-threading --detect-resources cpus,mem'
        ' --overview-interval "10s" --min-utilization 0.2 --on-server-lost "reconnect"'
        ' --time-limit "1h"'
    )


@BOTH
def test_18_variables_stand_in_front(manager: Manager) -> None:
    line = command(manager, variables=(("RUST_LOG", "debug"),))
    assert line.startswith("RUST_LOG=debug /opt/hqtrio worker start")


@BOTH
def test_19_20_21_times_and_policy(manager: Manager) -> None:
    worker = WorkerOptions(
        idle_timeout_s=1800.0, on_server_lost=OnServerLost.STOP, time_limit_s=1800.0
    )
    line = command(manager, worker=worker)
    assert '--idle-timeout "30m"' in line
    assert '--on-server-lost "stop"' in line
    assert '--time-limit "30m"' in line


@BOTH
def test_22_23_what_precedes_follows_and_wraps(manager: Manager) -> None:
    worker = WorkerOptions(start_cmd="init.sh", stop_cmd="unload.sh", wrap_cmd=" podman run image ")
    line = command(manager, worker=worker, variables=(("RUST_LOG", "x"),))
    assert line.startswith("init.sh && RUST_LOG=x podman run image /opt/hqtrio worker start")
    assert line.endswith('--time-limit "1h"; unload.sh')


@BOTH
def test_another_program_may_be_the_worker(manager: Manager) -> None:
    line = command(manager, worker=WorkerOptions(program="/local/my hqtrio"))
    assert line.startswith("'/local/my hqtrio' worker start")


@BOTH
def test_the_shell_outlives_the_signals_of_its_job(manager: Manager) -> None:
    assert "trap : TERM" in script(manager).splitlines()
    assert "trap : TERM" in files(manager, 3)["hq-worker.sh"].splitlines()


WORDS = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FFF, exclude_categories=["Cs"]))


@given(WORDS.filter(bool), WORDS.filter(bool), WORDS, st.integers(1, 2))
def test_whatever_the_words_a_shell_gives_them_back(
    cpus: str, resource: str, value: str, nodes: int
) -> None:
    worker = WorkerOptions(cpus=cpus, resources=(resource,), group=value, program="/bin/echo_words")
    found = files(Manager.SLURM, nodes, worker=worker, variables=(("X", value),))
    text = found.get("hq-worker.sh", found["hq-submit.sh"])
    line = text.strip("\n").split("\n")[-1].replace("/bin/echo_words", "printf '%s\\0' \"$X\"", 1)
    # The assignment is for the command alone: of a builtin it can be seen afterwards.
    said = subprocess.run(
        ["bash", "-c", f"X=; {line}"], capture_output=True, timeout=30, check=True
    )
    words = said.stdout.decode().split("\0")[1:-1]
    assert words[words.index("--cpus") + 1] == cpus
    assert words[words.index("--resource") + 1] == resource
    if value:
        assert words[words.index("--group") + 1] == value


@BOTH
@pytest.mark.parametrize("nodes", [1, 2])
def test_every_script_is_one_for_bash(manager: Manager, nodes: int, tmp_path: Path) -> None:
    worker = WorkerOptions(start_cmd="echo 'it''s'", stop_cmd='echo "b"', wrap_cmd="time -p")
    for name, text in files(manager, nodes, worker=worker).items():
        (tmp_path / name).write_text(text)
        subprocess.run(["bash", "-n", str(tmp_path / name)], check=True, timeout=30)


# --- trials and programs


@BOTH
def test_37_a_program_that_is_missing(manager: Manager) -> None:
    submission = Submission(QueueParams(manager, 60.0), "hq-0-1", 1, PLACE, "/srv", ("hqtrio",))
    _, answer = held(ADAPTERS[manager].submit(submission), NotStarted("No such file or directory"))
    program = "sbatch" if manager is Manager.SLURM else "qsub"
    assert answer == Rejected(
        Rejection.NO_PROGRAM, f"{program} start failed: No such file or directory"
    )


@BOTH
def test_38_what_the_program_says_is_passed_on(manager: Manager) -> None:
    submission = Submission(QueueParams(manager, 60.0), "hq-0-1", 1, PLACE, "/srv", ("hqtrio",))
    _, answer = held(ADAPTERS[manager].submit(submission), Completed(1, b"out\n", b"FOOBAR\n"))
    program = "sbatch" if manager is Manager.SLURM else "qsub"
    assert answer.words == (
        f"{program} execution failed\nExit code: 1\nStderr: FOOBAR\nStdout: out"
    )


@given(st.binary(max_size=300), st.binary(max_size=100), st.integers(0, 255))
def test_no_bytes_whatsoever_make_an_adapter_fail(out: bytes, err: bytes, code: int) -> None:
    result = Completed(code, out, err)
    submission = Submission(QueueParams(Manager.PBS, 60.0), "hq-0-1", 1, PLACE, "/srv", ("hqtrio",))
    for adapter in (Slurm(), Pbs("user")):
        for dialogue in (
            adapter.submit(submission),
            adapter.check(submission),
            adapter.find("hq-1-1", PLACE),
            adapter.statuses(["1", "2.pbs"]),
            adapter.cancel("1", PLACE),
        ):
            with pytest.raises(StopIteration) as end:
                next(dialogue)
                for _ in range(10):
                    dialogue.send(result)
            assert end.value.value is not None


# --- what no queue can be

GOOD = QueueParams(Manager.SLURM, 60.0)


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"backlog": 0}, "Backlog has to be at least 1"),
        ({"max_workers_per_alloc": 0}, "Workers per allocation have to be"),
        ({"max_worker_count": 0}, "pause it instead"),
        ({"min_utilization": 1.5}, "0.0 to 1.0"),
        ({"time_limit_s": 0.0}, "at least a second"),
        ({"max_node_hours": 0.0}, "more than 0"),
        ({"name": "a/b"}, "cannot be used"),
        ({"name": "a b"}, "cannot be used"),
        ({"name": "x" * 201}, "at most 200 characters"),
        ({"name": "-x"}, "cannot begin"),
        ({"manager_args": ("a\nb",)}, "one line"),
        ({"worker": WorkerOptions(start_cmd="a\nb")}, "script"),
        ({"worker": WorkerOptions(group="\0")}, "zero byte"),
        (
            {"worker": WorkerOptions(time_limit_s=120.0)},
            "Worker time limit cannot be larger than queue time limit",
        ),
    ],
    ids=str,
)
def test_what_no_queue_can_be(fields, part: str) -> None:
    check_params(GOOD, "/srv/001")
    with pytest.raises(InputError, match=part) as caught:
        check_params(replace(GOOD, **fields), "/srv/001")
    assert "\n" not in str(caught.value)


def test_pbs_needs_a_directory_without_blanks() -> None:
    check_params(GOOD, "/my place/001")
    with pytest.raises(InputError, match="--server-dir"):
        check_params(replace(GOOD, manager=Manager.PBS), "/my place/001")


def test_what_is_declared_is_what_workers_declare() -> None:
    assert parse_cpus("2x8").size == 16 * 10_000
