"""What PBS has said, and what is made of it: every recording."""

from __future__ import annotations

import json

import pytest
from manager_samples import Samples, held

from hqtrio.autoalloc.dialogues import (
    Accepted,
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
from hqtrio.autoalloc.pbs import Pbs
from hqtrio.model.allocation import Cause, Manager, QueueParams, Rejection

SAMPLES = Samples("pbs_samples")
SUBMISSION = Submission(QueueParams(Manager.PBS, 60.0), "hq-1-1", 1, "/d/1", "/d", ("hqtrio",))

# Id, and status without the times.
STATES = {
    "running": ("5.pbs0", Running()),
    "walltime_mid": ("14.pbs0", Running()),
    "held_running": ("27.pbs0", Running()),
    "exiting_trap": ("28.pbs0", Running()),
    "exiting_trap2": ("28.pbs0", Running()),
    "exiting_maybe": ("5.pbs0", Running()),
    "suspended": ("15.pbs0", Running()),
    "array": ("25[].pbs0", Running()),
    "after_blank": ("22.pbs0", Running()),
    "nodefail_before_y": ("31.pbs0", Running()),
    "evil_V": ("1000.pbs0", Running()),
    "numeric_name": ("1001.pbs0", Running()),
    "held": ("6.pbs0", Waiting("held")),
    "waiting": ("7.pbs0", Waiting("")),
    "queued_impossible": ("8.pbs0", Waiting("Can Never Run: Insufficient amount of resource: "
                                            "ncpus (R: 9 A: 8 T: 8)")),
    "queued_resources": ("9.pbs0", Waiting("Not Running: Insufficient amount of resource: ncpus "
                                           "(R: 6 A: 5 T: 8)")),
    "nodefail_rerunable": ("31.pbs0", Waiting("Not Running: Insufficient amount of resource: "
                                              "host ")),
    "nodefail_rerunable_later": ("31.pbs0", Waiting("Not Running: Insufficient amount of "
                                                    "resource: host ")),
    "finished_ok": ("10.pbs0", Cause.COMPLETED),
    "finished_failed": ("11.pbs0", Cause.FAILED),
    "finished_signal": ("12.pbs0", Cause.FAILED),
    "finished_no_program": ("13.pbs0", Cause.FAILED),
    "walltime_exceeded": ("14.pbs0", Cause.TIME_LIMIT),
    "deleted_running": ("5.pbs0", Cause.CANCELLED),
    "deleted_queued": ("8.pbs0", Cause.CANCELLED),
    "deleted_held": ("6.pbs0", Cause.CANCELLED),
    "nodefail_not_rerunable": ("32.pbs0", Cause.NODE_FAILED),
    "nodefail_not_rerunable_later": ("32.pbs0", Cause.NODE_FAILED),
    "two_selects": ("20.pbs0", None),
}  # fmt: skip
SUBMITS = {
    "qsub_ok": "5.pbs0",
    "qsub_multi_options_one_line": "17.pbs0",
    "qsub_two_selects": "20.pbs0",
    "qsub_name_digit": "21.pbs0",
    "qsub_directive_after_blank": "22.pbs0",
    "qsub_no_shebang": "23.pbs0",
    "qsub_V": "1000.pbs0",
    "qsub_bad_queue": Rejection.ARGUMENTS,
    "qsub_bad_option": Rejection.ARGUMENTS,
    "qsub_bad_directive": Rejection.ARGUMENTS,
    "qsub_bad_resource": Rejection.ARGUMENTS,
    "qsub_bad_select": Rejection.ARGUMENTS,
    "qsub_select_and_nodes": Rejection.ARGUMENTS,
    "qsub_missing_file": Rejection.ARGUMENTS,
    "qsub_name_with_space": Rejection.ARGUMENTS,
    "qsub_name_long": Rejection.ARGUMENTS,
    "qsub_name_300": Rejection.ARGUMENTS,
    "qsub_name_slash": Rejection.ARGUMENTS,
    "qsub_path_with_space": Rejection.ARGUMENTS,
    "qsub_over_walltime": Rejection.ARGUMENTS,
    "qsub_disabled_queue": Rejection.OTHER,
    "down_qsub": Rejection.UNREACHABLE,
    "hang_qsub": None,
}
CANCELS = {
    "qdel_queued": True,
    "qdel_held": True,
    "qdel_waiting": True,
    "qdel_running": True,
    "qdel_finished": True,
    "qdel_again": True,
    "qdel_unknown": True,
    "qdel_mixed": True,
    "qdel_history": True,
    "down_qdel": False,
    "hang_qdel": False,
}
LISTS_THAT_FAIL = ("down_qstat.json", "hang_qstat.json", "qstat_garbage.json")
# Commands that are not given here, or recordings that have a test of their own below.
OTHERS = {
    "version", "qstat_default", "qstat_default_after", "qsig_suspend_denied", "qrerun_denied",
    "qhold_running", "pbsnodes_down", "qsub_evil", "evil.json", "qstat_two_with_f_each.json",
    "qstat_two.json", "qstat_all.json", "qstat_short_id.json",
    "qstat_unknown.json", "qstat_known_and_unknown.json", "qstat_unknown_first.json",
    "qstat_after_history_delete.json", "qstat_finished_without_x.json",
    "nohistory_qstat_x.json", "nohistory_qstat.json", "nohistory_unknown.json",
    "nohistory_finished.json",
}  # fmt: skip


def asked(ids, *names):
    """What `statuses` says after these recorded answers."""
    commands, answer = held(Pbs().statuses(ids), *map(SAMPLES.result, names))
    return commands, answer


@pytest.mark.parametrize("state", STATES)
def test_every_state_means_something(state: str) -> None:
    job, wanted = STATES[state]
    (command,), answer = asked([job], f"{state}.json")
    assert command.words == ("qstat", "-f", "-F", "json", "-x", job)
    status = answer.statuses[job]
    if isinstance(wanted, Cause):
        assert isinstance(status, Ended)
        assert status.cause is wanted
        assert status.words
    elif wanted is not None:
        assert status == wanted
    else:
        assert not isinstance(status, Unknown | Unclear)


@pytest.mark.parametrize("name", SUBMITS)
def test_every_answer_to_a_submission(name: str) -> None:
    (command,), answer = held(Pbs().submit(SUBMISSION), SAMPLES.result(name))
    assert command.words == ("qsub", "/d/1/hq-submit.sh")
    wanted = SUBMITS[name]
    match answer:
        case Accepted(job):
            assert job == wanted
        case Rejected(rejection, words):
            assert rejection is wanted
            assert words.startswith("qsub execution failed")
        case Unsure():
            assert wanted is None


@pytest.mark.parametrize("name", CANCELS)
def test_every_answer_to_a_cancel(name: str) -> None:
    (command,), answer = held(Pbs().cancel("6.pbs0", "/d/1"), SAMPLES.result(name))
    assert command.words == ("qdel", "6.pbs0")
    assert isinstance(answer, Cancelled if CANCELS[name] else NotCancelled)


@pytest.mark.parametrize("name", LISTS_THAT_FAIL)
def test_a_list_that_fails_says_nothing_of_anybody(name: str) -> None:
    _, answer = asked(["33.pbs0"], name)
    assert isinstance(answer, Unanswered)


def test_known_jobs_have_their_state_beside_unknown_ones() -> None:
    for name in ("qstat_known_and_unknown.json", "qstat_unknown_first.json"):
        _, answer = asked(["99999.pbs0", "5.pbs0"], name)
        assert answer.statuses == {"99999.pbs0": Unknown(), "5.pbs0": Running()}
    for job, name in (("99999.pbs0", "qstat_unknown.json"),
                      ("6.pbs0", "qstat_after_history_delete.json")):  # fmt: skip
        _, answer = asked([job], name)
        assert answer.statuses == {job: Unknown()}


def test_a_server_without_history_is_asked_once_more() -> None:
    commands, answer = asked(["33.pbs0"], "nohistory_qstat_x.json", "nohistory_qstat.json")
    assert "-x" not in commands[1].words
    assert answer.statuses == {"33.pbs0": Running()}
    _, answer = asked(["35.pbs0"], "nohistory_unknown.json", "nohistory_finished.json")
    assert answer.statuses == {"35.pbs0": Unknown()}


def test_ids_are_the_same_with_and_without_the_name_of_the_server() -> None:
    _, answer = asked(["5"], "qstat_short_id.json")
    assert answer.statuses == {"5": Running()}
    _, answer = asked(["6.pbs0.site"], "held.json")
    assert answer.statuses == {"6.pbs0.site": Waiting("held")}
    _, answer = asked(["5.pbs0"], "qstat_finished_without_x.json")
    assert isinstance(answer, Unanswered)  # it speaks of another job


def test_of_several_jobs_pbs_may_tell_of_the_first_one_only() -> None:
    commands, answer = asked(["5.pbs0", "6.pbs0"], "qstat_two.json", "held.json")
    assert commands[0].words[-2:] == ("5.pbs0", "6.pbs0")
    assert commands[1].words[-2:] == ("-x", "6.pbs0")
    assert answer.statuses == {"5.pbs0": Running(), "6.pbs0": Waiting("held")}


def test_an_answer_that_mentions_nobody_is_none() -> None:
    _, answer = asked(["5.pbs0", "77.pbs0"], "qstat_two.json", "qstat_two.json")
    assert isinstance(answer, Unanswered)
    for data in (b"", b"{", b"[]", b'{"Jobs": 5}', b'{"Jobs": {"5.pbs0": 5}}', b"\xff"):
        _, answer = held(Pbs().statuses(["5.pbs0"]), Completed(0, data))
        assert isinstance(answer, Unanswered), data
    odd = json.dumps({"Jobs": {"5.pbs0": {"job_state": 7}}}).encode()
    _, answer = held(Pbs().statuses(["5.pbs0"]), Completed(0, odd))
    assert isinstance(answer.statuses["5.pbs0"], Unclear)


def test_other_jobs_of_the_user_are_told_with_their_directories() -> None:
    commands, answer = held(
        Pbs("user").statuses(["5.pbs0"]),
        SAMPLES.result("running.json"),
        Completed(0, b"5.pbs0\n6.pbs0\n"),
        SAMPLES.result("held.json"),
    )
    assert commands[1].words == ("qselect", "-u", "user")
    assert commands[2].words[-1] == "6.pbs0"
    (other,) = answer.others
    assert (other.id, other.directory, other.status) == ("6.pbs0", "/home/user", Waiting("held"))


def test_a_job_is_found_by_its_directory() -> None:
    results = (Completed(0, b"5.pbs0\n"), Completed(0, b"5.pbs0\n"), SAMPLES.result("running.json"))
    _, answer = held(Pbs("user").find("hq-1-1", "/home/user"), *results)
    assert isinstance(answer, Found)
    assert [job.id for job in answer.jobs] == ["5.pbs0"]
    _, answer = held(Pbs("user").find("hq-1-1", "/elsewhere"), *results)
    assert answer == Found(())
    _, answer = held(Pbs("user").find("x", "/x"), Completed(0, b""), Completed(0, b""))
    assert answer == Found(())


def test_what_a_job_around_the_server_has_set_is_not_handed_on() -> None:
    before = {"PBS_JOBID": "1", "PBS_ENVIRONMENT": "x", "PBS_O_HOST": "h", "PBS_DEFAULT": "s",
              "PBS_CONF_FILE": "/etc/pbs.conf", "PATH": "/bin"}  # fmt: skip
    assert Pbs().environment(before) == {
        "PBS_DEFAULT": "s", "PBS_CONF_FILE": "/etc/pbs.conf", "PATH": "/bin", "LC_ALL": "C",
    }  # fmt: skip


def test_every_recording_is_used_or_has_a_reason() -> None:
    used = {f"{state}.json" for state in STATES}
    used |= {*SUBMITS, *CANCELS, *LISTS_THAT_FAIL, *OTHERS}
    assert used == SAMPLES.names()
