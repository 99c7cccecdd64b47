"""Commands about jobs, from the words that a user types to what the job book makes of them."""

from __future__ import annotations

import json

import pytest
from command_story import CommandStory, quiet_logging

from hqtrio.messages import client as say
from hqtrio.model.job import JobState
from hqtrio.model.task import Ending, TaskState

EXITED = Ending.EXITED


@pytest.fixture
def story(capsys, monkeypatch, tmp_path):
    for name in ("HQ_OUTPUT_MODE", "HQ_DEBUG", "HQ_SERVER_DIR", "RUST_LOG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    restore = quiet_logging()
    yield CommandStory(capsys.readouterr)
    restore()


def submit(story, *words: str) -> int:
    return int(story.hq("--output-mode=quiet", "submit", *words).out)


def listed(story) -> list[str]:
    """`<id> <STATE>` of all jobs."""
    return story.hq("--output-mode=quiet", "job", "list", "--all").out.splitlines()


def finished_failed_running(story) -> int:
    """Three jobs in these states; their worker."""
    worker = story.worker()
    for ending in (Ending.FINISHED, EXITED):
        submit(story, "prog")
        story.run(worker, ending=ending, code=1)
    submit(story, "prog")
    story.start(worker)
    return worker


# --- submit


def test_s1_01_two_submits_wait_for_a_worker_and_finish(story):
    first = story.hq("submit", "/bin/hostname")
    assert (first.out, first.err) == ("Job submitted successfully, job ID: 1\n", "")
    assert json.loads(story.hq("--output-mode=json", "submit", "date").out) == {"id": 2}
    assert listed(story) == ["1 WAITING", "2 WAITING"]
    rows = json.loads(story.hq("--output-mode=json", "job", "list").out)
    assert [row["name"] for row in rows] == ["hostname", "date"]
    story.run(story.worker())
    assert listed(story) == ["1 FINISHED", "2 FINISHED"]
    assert story.hq("job", "list").out.splitlines()[-1] == (
        "There are 2 jobs in total. Use `--all` to display all jobs."
    )


def test_s1_02_consumers_of_a_failed_task_are_aborted(story, tmp_path):
    (tmp_path / "job.toml").write_text(
        '[[task]]\nid = 1\ncommand = ["false"]\n'
        '[[task]]\nid = 2\ncommand = ["b"]\ndeps = [1]\n'
        '[[task]]\nid = 3\ncommand = ["c"]\ndeps = [2]\n'
        '[[task]]\nid = 4\ncommand = ["d"]\n'
    )
    story.hq("job", "submit-file", "job.toml")
    worker = story.worker()
    story.run(worker, (1, 1), ending=EXITED, code=1)
    story.run(worker)
    rows = json.loads(story.hq("--output-mode=json", "task", "list", "1").out)["1"]
    assert [row["state"] for row in rows] == ["failed", "aborted", "aborted", "finished"]
    assert listed(story) == ["1 FAILED"]


def test_s1_03_the_first_failure_is_one_too_many_for_max_fails_zero(story):
    submit(story, "--array", "1-2", "--max-fails", "0", "prog")
    worker = story.worker()
    story.start(worker)
    story.end(worker, (1, 1), ending=EXITED, code=1)
    assert listed(story) == ["1 FAILED"]
    state = story.table("job", "info", "1")["State"].splitlines()
    assert state[-2:] == ["FAILED (1)", "ABORTED (1)"]


def test_s1_04_one_failure_of_200_is_within_max_fails_one(story):
    submit(story, "--array", "1-200", "--max-fails", "1", "prog")
    worker = story.worker()
    story.run(worker, (1, 137), ending=EXITED, code=1)
    story.run(worker)
    state = story.table("job", "info", "1")["State"].splitlines()
    assert state[1:] == ["FAILED (1)", "FINISHED (199)"]


def test_s1_05_four_of_ten_fail_with_max_fails_three(story):
    submit(story, "--array", "1-10", "--max-fails", "3", "prog")
    worker = story.worker()
    for number in (1, 2, 3, 4):
        story.run(worker, (1, number), ending=EXITED, code=1)
    assert not story.ready
    state = story.table("job", "info", "1")["State"].splitlines()
    assert state[1:] == ["FAILED (4)", "ABORTED (6)"]


@pytest.mark.parametrize("content", ["", "[]"])
def test_no_entries_make_a_job_that_is_complete_at_once(story, tmp_path, content):
    """A script that submits a list which happens to be empty goes on."""
    (tmp_path / "list").write_text(content)
    option = "--from-json" if content else "--each-line"
    story.hq("submit", "--wait", option, "list", "prog")
    assert listed(story) == ["1 FINISHED"]
    rows = story.table("job", "info", "1")
    assert (rows["Tasks"], rows["Session"]) == ("0", "closed")
    assert story.hq("job", "forget", "1").log == ["INFO 1 job were forgotten"]


# --- cancel


def test_s1_06_a_running_job_is_cancelled_once(story):
    submit(story, "prog")
    story.start(story.worker())
    first = story.hq("job", "cancel", "1")
    assert first.log == ["INFO Job 1 canceled (1 tasks canceled, 0 tasks already finished)"]
    assert first.out == ""
    assert listed(story) == ["1 CANCELED"]
    assert story.hq("job", "cancel", "1").log == [
        "ERROR Canceling job 1 failed; all tasks are already finished"
    ]


def test_s1_07_ended_jobs_cannot_be_cancelled(story):
    worker = story.worker()
    for ending in (Ending.FINISHED, EXITED):
        submit(story, "prog")
        story.run(worker, ending=ending, code=1)
    for selector, job in (("1", 1), ("2", 2), ("last", 2)):
        text = f"ERROR Canceling job {job} failed; all tasks are already finished"
        assert story.hq("job", "cancel", selector).log == [text]
    assert listed(story) == ["1 FINISHED", "2 FAILED"]


def test_s1_08_a_range_names_an_unknown_job_too(story):
    for _ in range(3):
        submit(story, "prog")
    lines = story.hq("job", "cancel", "1-4").log
    assert [line.split(" (")[0] for line in lines[:3]] == [
        f"INFO Job {job} canceled" for job in (1, 2, 3)
    ]
    assert lines[3:] == ["ERROR Canceling job 4 failed; job not found"]
    assert listed(story) == ["1 CANCELED", "2 CANCELED", "3 CANCELED"]


def test_s1_09_all_means_the_jobs_that_can_be_cancelled(story):
    finished_failed_running(story)
    (line,) = story.hq("job", "cancel", "all").log
    assert line.startswith("INFO Job 3 canceled")
    assert story.hq("job", "cancel", "all").log == ["INFO There is nothing to cancel"]


def reasons(story) -> list[str]:
    lines = story.hq("job", "list", "--all", "--verbose").out.splitlines()
    assert lines[1].split("|")[-2].strip() == "Cancel Reason"
    return [line.split("|")[-2].strip() for line in lines[3:] if line.startswith("|")]


def test_s1_10_the_reason_is_shown_where_something_was_cancelled(story):
    finished_failed_running(story)
    story.hq("job", "cancel", "all", "--reason", "wrong input")
    assert reasons(story) == ["", "", "wrong input"]
    assert story.table("job", "info", "3")["Cancel Reason"] == "wrong input"
    info = json.loads(story.hq("--output-mode=json", "job", "list", "--all").out)
    assert [row["cancel_reason"] for row in info] == [None, None, "wrong input"]


def test_s1_11_the_latest_reason_of_an_open_job_wins(story):
    story.hq("job", "open")
    for reason in ("a", "b"):
        submit(story, "--job", "1", "prog")
        story.hq("job", "cancel", "1", "--reason", reason)
        assert reasons(story) == [reason]
    story.hq("job", "cancel", "1", "--reason", "c")
    assert reasons(story) == ["b"], "nothing was left to cancel"


def test_a_reason_has_at_most_200_bytes(story):
    submit(story, "prog")
    result = story.hq("job", "cancel", "1", "--reason", 101 * "é", code=2)
    assert "Cancel reason must be shorter than 200" in result.err
    assert listed(story) == ["1 WAITING"]
    story.hq("job", "cancel", "1", "--reason", 100 * "é")
    assert reasons(story) == [100 * "é"]


def test_s1_12_what_has_finished_stays_finished(story):
    submit(story, "--array", "1-10", "prog")
    worker = story.worker()
    story.run(worker, *((1, number) for number in range(1, 5)))
    story.start(worker, *((1, number) for number in range(5, 9)))
    assert story.hq("job", "cancel", "last").log == [
        "INFO Job 1 canceled (6 tasks canceled, 4 tasks already finished)"
    ]
    assert listed(story) == ["1 CANCELED"]
    state = story.table("job", "info", "1")["State"].splitlines()
    assert state[1:] == ["FINISHED (4)", "CANCELED (6)"]


def test_s1_13_many_waiting_and_some_running_tasks_are_cancelled(story):
    story.checked = False
    submit(story, "--array", "1-20000", "--stdout=none", "--stderr=none", "prog")
    submit(story, "--array", "1-4", "prog")
    story.start(story.worker(), *((2, number) for number in (1, 2, 3, 4)))
    assert story.hq("job", "cancel", "all").log == [
        "INFO Job 1 canceled (20000 tasks canceled, 0 tasks already finished)",
        "INFO Job 2 canceled (4 tasks canceled, 0 tasks already finished)",
    ]
    story.book.check()
    assert listed(story) == ["1 CANCELED", "2 CANCELED"]
    assert not story.ready


# --- forget


def ended_job(story, worker: int, state: str) -> int:
    job = submit(story, "prog")
    if state == "canceled":
        story.hq("job", "cancel", str(job))
    else:
        story.run(worker, ending=EXITED if state == "failed" else Ending.FINISHED, code=1)
    return job


@pytest.mark.parametrize("state", ["finished", "failed", "canceled"])
def test_s1_24_only_ended_jobs_in_a_given_state_are_forgotten(story, state):
    ignored = "INFO 0 jobs were forgotten, 1 were ignored due to wrong state or invalid ID"
    worker = story.worker()
    job = str(submit(story, "prog"))
    assert story.hq("job", "forget", job).log == [ignored]
    story.start(worker)
    assert story.hq("job", "forget", job).log == [ignored]
    story.end(worker)
    assert story.hq("job", "forget", job).log == ["INFO 1 job were forgotten"]
    job = str(ended_job(story, worker, state))
    other = "failed" if state == "finished" else "finished"
    assert story.hq("job", "forget", job, "--filter", other).log == [ignored]
    assert story.hq("job", "forget", job, "--filter", f"{other},{state}").log == [
        "INFO 1 job were forgotten"
    ]
    assert listed(story) == []
    assert story.hq("job", "info", job).log == [f"ERROR Job {job} not found"]


def test_s1_25_six_of_seven_are_forgotten(story):
    worker = story.worker()
    for state in [*5 * ["finished"], "canceled", "failed"]:
        ended_job(story, worker, state)
    result = story.hq("job", "forget", "all", "--filter", "finished,canceled")
    assert result.log == [
        "INFO 6 jobs were forgotten, 1 were ignored due to wrong state or invalid ID"
    ]
    assert result.out == ""
    assert listed(story) == ["7 FAILED"]


def test_an_open_job_is_not_forgotten_and_a_forgotten_id_is_not_used_again(story):
    story.hq("job", "open")
    assert story.hq("job", "forget", "1").log[0].startswith("INFO 0 jobs were forgotten")
    story.hq("job", "close", "1")
    story.hq("job", "forget", "1")
    assert story.hq("job", "info", "last").log == ["ERROR Job 1 not found"]
    assert submit(story, "prog") == 2


# --- open jobs


def rows_of_list(story, *words: str) -> list[list[str]]:
    lines = story.hq("job", "list", *words).out.splitlines()
    rows = [line for line in lines[3:] if line.startswith("|")]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in rows]


def test_s1_26_an_open_job_is_closed_once(story):
    assert story.hq("job", "open").out == "Job 1 is open.\n"
    assert listed(story) == ["1 OPENED"]
    assert rows_of_list(story) == [["*1", "job", "OPENED", "0"]]
    assert rows_of_list(story, "--filter", "opened,failed") == rows_of_list(story)
    assert "* = Open jobs" in story.hq("job", "list").out
    assert story.table("job", "info", "1")["Session"] == "open"
    assert story.hq("job", "close", "1").log == ["INFO Job 1 closed"]
    assert listed(story) == ["1 FINISHED"]
    assert story.table("job", "info", "1")["Session"] == "closed"
    for _ in range(2):
        assert story.hq("job", "close", "1").log == [
            "ERROR Closing job 1 failed; job is already closed"
        ]
    assert story.hq("job", "close", "7").log == ["ERROR Closing job 7 failed; job not found"]


def test_an_open_job_has_a_name_and_a_limit(story):
    assert story.hq("--output-mode=quiet", "job", "open", "--name", "mine").out == "1\n"
    opened = story.hq("--output-mode=json", "job", "open", "--max-fails", "0").out
    assert json.loads(opened) == {"id": 2}
    assert rows_of_list(story)[0][:2] == ["*1", "mine"]
    submit(story, "--job", "2", "--array", "1-2", "prog")
    story.run(story.worker(), (2, 1), ending=EXITED, code=1)
    assert listed(story) == ["1 OPENED", "2 FAILED"]
    assert not story.ready


def test_s1_27_tasks_of_single_submits_are_numbered_on(story):
    story.hq("job", "open")
    for _ in range(4):
        submit(story, "--job", "1", "prog")
    rows = story.table("job", "info", "1")
    assert rows["Tasks"] == "4; Ids: 0-3"
    assert rows["State"].splitlines()[-1] == "WAITING (4)"
    worker = story.worker()
    story.run(worker)
    assert listed(story) == ["1 OPENED"]
    assert story.table("job", "info", "1")["State"].splitlines()[-1] == "FINISHED (4)"
    for _ in range(2):
        submit(story, "--job", "1", "prog")
    assert story.table("job", "info", "1")["Tasks"] == "6; Ids: 0-5"
    story.run(worker)
    story.hq("job", "close", "1")
    assert listed(story) == ["1 FINISHED"]


def test_s1_28_arrays_of_an_open_job_show_as_one_set(story):
    story.hq("job", "open")
    for ids in ("10-20", "1,3,5", "2,4,6"):
        submit(story, "--job", "1", "--array", ids, "prog")
    assert story.table("job", "info", "1")["Tasks"] == "17; Ids: 1-6,10-20"
    story.hq("job", "close", "1")
    story.run(story.worker())
    assert story.hq("job", "task-ids", "1", "--filter", "finished").out == "1-6,10-20\n"
    assert listed(story) == ["1 FINISHED"]


def test_entries_of_an_open_job_get_one_id_each_behind_the_largest(story, tmp_path):
    (tmp_path / "lines").write_text("a\nb\nc\n")
    story.hq("job", "open")
    submit(story, "--job", "1", "--array", "5", "prog")
    submit(story, "--job", "1", "--each-line", "lines", "prog")
    assert story.table("job", "info", "1")["Tasks"] == "4; Ids: 5-8"
    assert [story.task(1, number).entry for number in (6, 7, 8)] == [b"a", b"b", b"c"]


def test_s1_29_what_cannot_be_submitted_into_a_job(story):
    assert story.hq("submit", "--job", "123", "prog", code=1).err == "Error: Job 123 not found.\n"
    ordinary = submit(story, "--array", "5", "prog")
    story.hq("job", "open")
    story.hq("job", "close", "last")
    for job in (ordinary, 2):
        refused = story.hq("submit", "--job", str(job), "prog", code=1)
        assert refused.err == f"Error: Job {job} is not opened.\n"
    story.hq("job", "open")
    submit(story, "--job", "3", "prog")
    for job, number in (("3", 0), (str(ordinary), 5)):  # the clash comes before the state
        clash = story.hq("submit", "--job", job, "--array", f"{number}-9", "prog", code=1)
        assert clash.err == f"Error: Task {number} already exists in job {job}.\n"
    as_json = story.hq("--output-mode=json", "submit", "--job", "9", "prog", code=1)
    assert json.loads(as_json.out) == {"error": "Error: Job 9 not found."}
    assert [story.counts(job).waiting for job in (1, 2, 3)] == [1, 0, 1]
    assert submit(story, "prog") == 4, "a refused submit takes no number"


def test_name_and_max_fails_are_those_of_the_open_job(story, tmp_path):
    (tmp_path / "job.yaml").write_text("tasks: {one: {command: ls}}\n")
    story.hq("job", "open")
    for option in ("--name", "--max-fails"):
        for what in (["prog"], ["job.yaml"]):
            result = story.hq("submit", "--job", "1", option, "3", *what, code=1)
            assert result.err == (
                f"Parameter {option} is not allowed when submitting to an open job.\n"
            )
    assert story.counts(1).waiting == 0


# --- wait


def test_s1_30_wait_lasts_until_the_job_is_closed(story):
    story.hq("job", "open")
    submit(story, "--job", "1", "prog")
    worker = story.worker()
    story.meanwhile += [
        lambda: story.start(worker),
        lambda: story.end(worker),
        lambda: story.ask(say.CloseJobs(say.Selector(say.Which.ALL))),
    ]
    result = story.hq("job", "wait", "1")
    assert (result.out, result.err) == ("", "")
    assert not story.meanwhile, "it came back too early"
    assert story.hq("--output-mode=json", "job", "wait", "1").out == "{}\n"


def test_s1_31_without_close_only_the_tasks_count(story):
    story.hq("job", "open")
    story.hq("job", "wait", "1", "--without-close")
    submit(story, "--job", "1", "prog")
    worker = story.worker()
    story.meanwhile += [lambda: story.start(worker), lambda: story.end(worker)]
    story.hq("job", "wait", "1", "--without-close")
    assert not story.meanwhile
    assert listed(story) == ["1 OPENED"]


@pytest.mark.parametrize("words", [["job", "wait", "1"], ["job", "wait", "all", "--without-close"]])
def test_b47_wait_fails_when_the_server_disappears(story, words):
    submit(story, "prog")
    result = story.hq(*words, code=1)
    assert result.err.startswith("The connection to the server was lost")


def test_b47_submit_wait_fails_when_the_server_disappears(story):
    result = story.hq("submit", "--wait", "prog", code=1)
    assert result.out == "Job submitted successfully, job ID: 1\n"
    assert result.err.startswith("The connection to the server was lost")


def test_wait_ignores_unknown_jobs_and_bad_ends(story):
    worker = story.worker()
    ended_job(story, worker, "failed")
    ended_job(story, worker, "canceled")
    result = story.hq("job", "wait", "1-5")
    assert (result.out, result.err) == ("", "")


def test_submit_wait_into_an_open_job_waits_for_the_close(story):
    story.hq("job", "open")
    worker = story.worker()
    story.meanwhile += [
        lambda: story.run(worker),
        lambda: story.ask(say.CloseJobs(say.Selector(say.Which.LAST))),
    ]
    story.hq("submit", "--job", "1", "--wait", "prog")
    assert not story.meanwhile


# --- lists


def test_s1_32_an_open_job_is_listed_whatever_its_state(story):
    story.hq("job", "open")
    submit(story, "--job", "1", "prog")
    story.hq("job", "cancel", "1")
    assert rows_of_list(story) == [["*1", "job", "CANCELED", "1"]]
    assert rows_of_list(story, "--filter", "canceled") == [["*1", "job", "CANCELED", "1"]]
    story.hq("job", "close", "1")
    assert rows_of_list(story) == []


def test_s1_33_ids_of_tasks_can_be_submitted_again(story):
    submit(story, "--array", "2,7,9,20-30", "prog")
    worker = story.worker()
    story.run(worker, *((1, number) for number in range(25, 29)), ending=EXITED, code=1)
    assert story.hq("job", "task-ids", "1", "--filter", "failed").out == "25-28\n"
    assert story.hq("job", "task-ids", "1").out == "2,7,9,20-30\n"
    assert story.hq("job", "task-ids", "1", "--filter", "running").out == "\n"
    rest = story.hq("job", "task-ids", "1", "--filter", "waiting,failed").out.strip()
    again = submit(story, "--array", rest, "prog")
    assert story.hq("job", "task-ids", "1-2").out == "1: 2,7,9,20-30\n2: 2,7,9,20-30\n"
    as_json = json.loads(story.hq("--output-mode=json", "job", "task-ids", str(again)).out)
    assert as_json == {"2": [2, 7, 9, *range(20, 31)]}
    assert story.hq("job", "task-ids", "7", code=1).err.startswith("Job Id not found")
    assert story.hq("--output-mode=quiet", "job", "task-ids", "1").out == ""


def test_ids_come_in_as_many_pages_as_it_takes(story):
    story.checked = False
    submit(story, "--array", "1-60000:2,60001-70000", "--stdout=none", "--stderr=none", "prog")
    worker = story.worker()
    story.run(worker, *((1, number) for number in range(60_001, 60_011)), ending=EXITED, code=1)
    odd = ",".join(str(number) for number in range(1, 59_999, 2))
    assert story.hq("job", "task-ids", "1").out == f"{odd},59999,60001-70000\n"
    assert story.hq("job", "task-ids", "1", "--filter", "failed").out == "60001-60010\n"
    assert story.hq("job", "task-ids", "1", "--filter", "failed,waiting").out.endswith(
        ",59999,60001-70000\n"
    )


def test_states_that_do_not_exist_are_refused(story):
    submit(story, "prog")
    for states in ((6,), (-1,), (1 << 40,)):
        assert isinstance(story.ask(say.ListNumbers(1, states)), say.Failure)
    assert story.ask(say.ListNumbers(1, position=1 << 63)) == say.TaskNumbers(())
    assert story.ask(say.ListNumbers(1, position=-5)) == say.TaskNumbers(((0, 1),))


def test_s1_33_steps_are_not_inferred_from_ids(story):
    submit(story, "--array", "0-6:2", "prog")
    assert story.hq("job", "task-ids", "1").out == "0,2,4,6\n"
    assert story.table("job", "info", "1")["Tasks"] == "4; Ids: 0-6:2", "as it was entered"


def test_s1_37_unknown_jobs_are_lines_of_the_log(story):
    assert story.hq("job", "info", "5").log == ["ERROR Job 5 not found"]
    nothing = story.hq("job", "info", "last")
    assert (nothing.out, nothing.err) == ("", "")


# --- paths


def test_paths_are_filled_in_twice(story, tmp_path):
    """Once by the server, as details show; the rest by the worker that runs the task."""
    submit(story, "--array", "1-2", "prog")
    rows = story.table("job", "info", "1")
    assert rows["Working directory"] == str(tmp_path)
    assert rows["Stdout"] == f"{tmp_path}/job-1/%{{TASK_ID}}.stdout"
    assert rows["Stderr"] == f"{tmp_path}/job-1/%{{TASK_ID}}.stderr"

    submit(story, "--cwd", "sub/%{TASK_ID}", "--stdout", "o-%{SERVER_UID}-%{JOB_ID}", "prog")
    rows = story.table("job", "info", "2")
    assert rows["Working directory"] == "sub/%{TASK_ID}", "not absolute while it is open"
    assert rows["Stdout"] == "sub/%{TASK_ID}/o-uid123-2"
    assert rows["Stderr"] == "sub/%{TASK_ID}/job-2/%{TASK_ID}.stderr"

    submit(story, "--cwd", "/x/%{TASK_ID}", "--stdout", "none", "prog")
    rows = story.table("job", "info", "3")
    assert rows["Stdout"] == "<None>"
    assert rows["Stderr"] == "/x/%{TASK_ID}/job-3/%{TASK_ID}.stderr"

    story.run(story.worker(), (2, 0))
    row = story.table("task", "info", "2", "0")
    assert row["Workdir"] == f"{tmp_path}/sub/0"
    assert row["Stdout"] == f"{tmp_path}/sub/0/o-uid123-2"
    assert row["Stderr"] == f"{tmp_path}/sub/0/job-2/0.stderr"


def test_cat_copies_outputs_in_the_order_of_jobs_and_tasks(story, tmp_path):
    for ids in ("3-4", "1"):
        submit(story, "--array", ids, "--stdout", "%{JOB_ID}-%{TASK_ID}", "prog")
    worker = story.worker()
    story.run(worker, (1, 3), (2, 1))
    story.start(worker, (1, 4))
    for name, text in (("1-3", "a\n"), ("1-4", "unfinished"), ("2-1", "c\n")):
        (tmp_path / name).write_text(text)
    assert story.hq("job", "cat", "2,1", "stdout").out == "c\na\nunfinished"
    headed = story.hq("job", "cat", "1", "stdout", "--print-task-header", "--tasks", "3,9")
    assert headed.out == "# Job 1, task 3\na\n"
    assert headed.log == ["WARN Task 9 of job 1 not found"]
    chosen = story.hq("job", "cat", "last", "stdout", "--task-status", "failed,running")
    assert chosen.log == ["WARN No tasks were selected for job 2, there is nothing to print"]
    (tmp_path / "1-4").unlink()
    gone = story.hq("job", "cat", "1", "stdout", "--tasks", "4")
    assert gone.log[0].startswith(f"WARN File at `{tmp_path}/1-4` cannot be opened")
    assert story.hq("job", "cat", "8", "stdout").log == ["ERROR Job 8 was not found"]


def test_a_state_of_every_task_is_one_of_the_books(story):
    """What the words of the filters stand for is what the book counts."""
    worker = finished_failed_running(story)
    submit(story, "prog")
    for job, state in ((1, "finished"), (2, "failed"), (3, "running"), (4, "waiting")):
        assert story.hq("job", "task-ids", str(job), "--filter", state).out == "0\n"
        assert [row[0] for row in rows_of_list(story, "--filter", state)] == [str(job)]
    assert story.task(3, 0).state == TaskState.RUNNING
    story.end(worker)
    assert story.state(3) == JobState.FINISHED
