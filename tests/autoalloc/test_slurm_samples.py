"""What Slurm has said, and what is made of it: every recording."""

from __future__ import annotations

import pytest
from manager_samples import Samples, held

from hqtrio.autoalloc.dialogues import (
    Accepted,
    Answered,
    Cancelled,
    Completed,
    Ended,
    Found,
    NotCancelled,
    Rejected,
    Running,
    Submission,
    Unanswered,
    Unclear,
    Unknown,
    Unsure,
    Waiting,
)
from hqtrio.autoalloc.slurm import Slurm, parse_squeue
from hqtrio.errors import InputError
from hqtrio.model.allocation import Cause, Manager, QueueParams, Rejection
from hqtrio.worker.allocations import slurm_remaining_s

SAMPLES = Samples("slurm_samples")
SUBMISSION = Submission(QueueParams(Manager.SLURM, 60.0), "hq-1-1", 1, "/d/1", "/d", ("hqtrio",))

STATES = {
    "held": Waiting("JobHeldUser"),
    "pending_resources": Waiting("Resources"),
    "pending_dependency": Waiting("Dependency"),
    "pending_begin": Waiting("BeginTime"),
    "pending_partition_down": Waiting("PartitionDown"),
    "pending_over_limit": Waiting("PartitionTimeLimit"),
    "pending_impossible": Waiting("PartitionConfig"),
    "requeued": Waiting("BeginTime"),
    "requeue_immediate": Waiting("BeginTime"),
    "special_exit": Waiting("job requeued in held state"),
    "running": Running(),
    "suspended": Running(),
    "completing": Running(),
    "completed": Ended(Cause.COMPLETED, "COMPLETED"),
    "failed": Ended(Cause.FAILED, "FAILED (NonZeroExitCode)"),
    "failed_signal": Ended(Cause.FAILED, "FAILED (JobLaunchFailure)"),
    "timeout": Ended(Cause.TIME_LIMIT, "TIMEOUT (TimeLimit)"),
    "timeout_by_update": Ended(Cause.TIME_LIMIT, "TIMEOUT (TimeLimit)"),
    "deadline": Ended(Cause.TIME_LIMIT, "DEADLINE (DeadLine)"),
    "cancelled_before_start": Ended(Cause.CANCELLED, "CANCELLED (JobHeldUser)"),
    "cancelled_running": Ended(Cause.CANCELLED, "CANCELLED"),
    "cancelled_running_early": Ended(Cause.CANCELLED, "CANCELLED"),
    "cancelled_after_kill": Ended(Cause.CANCELLED, "CANCELLED"),
    "prolog_failed": Ended(Cause.CANCELLED, "CANCELLED"),
    "prolog_failed_norequeue": Ended(Cause.CANCELLED, "CANCELLED"),
    "node_fail": Ended(Cause.NODE_FAILED, "NODE_FAIL (NodeDown)"),
    "node_fail_later": Ended(Cause.NODE_FAILED, "NODE_FAIL (NodeDown)"),
    "node_fail_admin": Ended(Cause.NODE_FAILED, "NODE_FAIL (NodeDown)"),
    "node_fail_batch_host": Ended(Cause.NODE_FAILED, "NODE_FAIL (NodeDown)"),
    "preempted": Ended(Cause.PREEMPTED, "PREEMPTED"),
}
SUBMITS = {
    "sbatch_ok": Accepted("3"),
    "sbatch_held": Accepted("5"),
    "sbatch_bad_account": Accepted("7"),  # there is no accounting
    "sbatch_too_many_nodes": Accepted("8"),
    "sbatch_time_over_limit": Accepted("9"),
    "sbatch_partition_down": Accepted("10"),
    "sbatch_two_options_one_line": Accepted("11"),
    "sbatch_directive_after_blank": Accepted("12"),
    "enforce_partition_down": Accepted("1"),
    "sbatch_bad_partition": Rejection.ARGUMENTS,
    "sbatch_bad_option": Rejection.ARGUMENTS,
    "sbatch_bad_directive": Rejection.ARGUMENTS,
    "sbatch_no_shebang": Rejection.ARGUMENTS,
    "sbatch_missing_file": Rejection.ARGUMENTS,
    "enforce_too_many_nodes": Rejection.ARGUMENTS,
    "enforce_time_over_limit": Rejection.ARGUMENTS,
    "down_sbatch": Rejection.UNREACHABLE,
    "hang_sbatch": Unsure("sbatch: sbatch: error: Batch job submission failed: Socket timed out "
                          "on send/recv operation"),
}  # fmt: skip
TESTS_ONLY = {
    "sbatch_test_only": None,
    "test_only_in_script": Rejection.ARGUMENTS,
    "test_only_bad_part": Rejection.ARGUMENTS,
    "test_only_too_many": Rejection.ARGUMENTS,
}
CANCELS = {
    "scancel_missing": True,
    "scancel_finished": True,
    "scancel_two": True,
    "scancel_by_name": True,
    "scancel_garbage": False,
    "down_scancel": False,
    "hang_scancel": False,
}
LISTS_THAT_FAIL = ("down_squeue", "hang_squeue", "squeue_missing", "purged_squeue")
# Commands that are not given, or whose answers are in another format than is asked for.
NOT_ASKED = {
    "version", "sbatch_parsable", "squeue_default", "squeue_all", "squeue_missing_two", "sacct",
    "sinfo", "sinfo_node_down", "timefmt_epoch", "timefmt_relative", "timefmt_squeue_epoch",
    "squeue_env_override", "squeue_env_format", "squeue_me", "squeue_name", "squeue_by_name",
    "squeue_all_missing", "squeue_dup_missing", "scontrol_missing",
    "scontrol_one_missing_of_many", "scontrol_many", "scontrol_all", "scontrol_job_json",
    "down_scontrol", "hang_scontrol", "purged_scontrol", "weird_name.scontrol", "array.scontrol",
}  # fmt: skip


def in_our_format(sample: str) -> bytes:
    """A recorded line of `%i|%T|%r|%S|%e|%D|%N` with a directory instead of the nodes."""
    fields = SAMPLES.file(sample, "out").decode().strip().split("|")
    return "|".join((*fields[:5], "/d/1")).encode() + b"\n"


def without_times(status):
    """Recorded without SLURM_TIME_FORMAT, times mean nothing here."""
    match status:
        case Ended(cause, words):
            return Ended(cause, words)
        case Running():
            return Running()
    return status


@pytest.mark.parametrize("state", STATES)
def test_every_state_means_something(state: str) -> None:
    data = in_our_format(f"{state}.squeue")
    ((job, (status, place)),) = parse_squeue(data).items()
    assert without_times(status) == STATES[state]
    assert place == "/d/1"
    _, answer = held(Slurm().statuses([job]), Completed(0, data))
    assert without_times(answer.statuses[job]) == STATES[state]


@pytest.mark.parametrize("name", SUBMITS)
def test_every_answer_to_a_submission(name: str) -> None:
    (command,), answer = held(Slurm().submit(SUBMISSION), SAMPLES.result(name))
    assert command.words == ("sbatch", "/d/1/hq-submit.sh")
    assert command.directory == "/d/1"
    if isinstance(answer, Rejected):
        assert answer.rejection is SUBMITS[name]
        assert "sbatch execution failed" in answer.words
        assert "Stderr: " in answer.words
    else:
        assert answer == SUBMITS[name]


@pytest.mark.parametrize("name", TESTS_ONLY)
def test_every_answer_to_a_test(name: str) -> None:
    (command,), answer = held(Slurm().check(SUBMISSION), SAMPLES.result(name))
    assert command.words[:2] == ("sbatch", "--test-only")
    wanted = TESTS_ONLY[name]
    assert isinstance(answer, Accepted) if wanted is None else answer.rejection is wanted


@pytest.mark.parametrize("name", CANCELS)
def test_every_answer_to_a_cancel(name: str) -> None:
    (command,), answer = held(Slurm().cancel("29", "/d/1"), SAMPLES.result(name))
    assert command.words == ("scancel", "29")
    assert isinstance(answer, Cancelled if CANCELS[name] else NotCancelled)


@pytest.mark.parametrize("name", LISTS_THAT_FAIL)
def test_a_list_that_fails_says_nothing_of_anybody(name: str) -> None:
    _, answer = held(Slurm().statuses(["29"]), SAMPLES.result(name))
    assert isinstance(answer, Unanswered)
    _, answer = held(Slurm().find("hq-1-1", "/d/1"), SAMPLES.result(name))
    assert isinstance(answer, Unanswered)


def test_who_is_not_in_the_list_is_asked_for_by_id() -> None:
    first = b"3|RUNNING|None|1795359552|1795359999|/d/3\n9|PENDING|Priority|N/A|N/A|/home/x\n"
    commands, answer = held(
        Slurm().statuses(["3", "5"]), Completed(0, first), SAMPLES.result("squeue_all_missing")
    )
    assert commands[0].words[:6] == ("squeue", "-h", "-a", "-t", "all", "--me")
    assert commands[1].words[5:7] == ("-j", "5,5")  # one unknown id alone is an error
    assert answer.statuses == {"3": Running(1795359552.0), "5": Unknown()}
    (other,) = answer.others
    assert (other.id, other.directory, other.status) == ("9", "/home/x", Waiting("Priority"))


def test_one_line_that_means_nothing_concerns_its_job_alone() -> None:
    data = b"banner of the site\n3|RUNNING\n4|QUANTUM|None|N/A|N/A|/d/4\n5|RUNNING|None|1|2|/d|5\n"
    _, answer = held(Slurm().statuses(["3", "4", "5"]), Completed(0, data))
    assert isinstance(answer.statuses["3"], Unclear)
    assert answer.statuses["4"] == Unclear("QUANTUM")
    assert answer.statuses["5"] == Running(1.0)
    assert answer.others == ()


def test_a_job_is_found_by_its_directory() -> None:
    data = b"11|PENDING|Priority|N/A|N/A|/d/1\n12|PENDING|Priority|N/A|N/A|/somebody/elses\n"
    (command,), answer = held(Slurm().find("hq-1-1", "/d/1"), Completed(0, data))
    assert "--name=hq-1-1" in command.words
    assert isinstance(answer, Found)
    assert [job.id for job in answer.jobs] == ["11"]


def test_13_banners_around_the_answer_do_no_harm() -> None:
    said = b"Welcome!\n\n  submitted BATCH job 77 on cluster x\nUse it well.\n"
    _, answer = held(Slurm().submit(SUBMISSION), Completed(0, said))
    assert answer == Accepted("77")


def test_what_a_job_around_the_server_has_set_is_not_handed_on() -> None:
    before = {"SLURM_JOB_ID": "1", "SBATCH_PARTITION": "x", "SQUEUE_FORMAT": "%i", "PATH": "/bin",
              "SLURM_CONF": "/etc/s", "SLURM_TIME_FORMAT": "relative"}  # fmt: skip
    assert Slurm().environment(before) == {
        "PATH": "/bin", "SLURM_CONF": "/etc/s", "SLURM_TIME_FORMAT": "%s", "LC_ALL": "C",
    }  # fmt: skip


def test_every_recording_of_scontrol_is_read_or_refused() -> None:
    for name in SAMPLES.names():
        if name.endswith(".scontrol"):
            try:
                left = slurm_remaining_s(SAMPLES.file(name, "out").decode())
            except InputError:
                raise AssertionError(name) from None
            assert left is None or left >= 0


def test_every_recording_is_used_or_has_a_reason() -> None:
    used = {f"{state}.{kind}" for state in STATES for kind in ("squeue", "scontrol")}
    used |= {*SUBMITS, *TESTS_ONLY, *CANCELS, *LISTS_THAT_FAIL, *NOT_ASKED}
    assert used == SAMPLES.names()


def test_an_answer_with_too_little_is_no_answer() -> None:
    _, answer = held(Slurm().statuses(["3"]), Completed(0, b""), Completed(0, b"\xff\xfe\n"))
    assert isinstance(answer, Answered)
    assert answer.statuses == {"3": Unknown()}
