"""What a submit brings along: scripts with directives, entries, standard input, output paths."""

from __future__ import annotations

import pytest


@pytest.fixture
def work(cluster):
    """A server, a worker with two cpus, and the directory that jobs are submitted from."""
    cluster.start_server()
    cluster.start_worker("--cpus", "2")
    return cluster.work


def outputs(cluster, job: int | str = "last") -> list[str]:
    return cluster.run("job", "cat", str(job), "stdout").stdout.splitlines()


def test_s2_09_and_s2_27_a_script_brings_its_interpreter_and_options(cluster, work):
    """It need not be executable, and its directives end where the program begins."""
    script = work / "test.sh"
    script.write_text(
        "#!/bin/bash -u\n"
        '#HQ --name abc --array=1-2 --env "A=1 2"\n'
        "# and\n"
        "#HQ --env=B=script\n"
        'echo "$A $B $HQ_TASK_ID $1 $-"\n'
        "#HQ --array=5\n"
    )
    for name in ("test.sh", "./test.sh", str(script)):
        done = cluster.run("submit", "--wait", "--env", "B=typed", name, "x")
        assert "Some environment variables were ignored" in done.stderr
        first, second = outputs(cluster)
        assert (first.split()[:5], second.split()[:5]) == (
            ["1", "2", "typed", "1", "x"],
            ["1", "2", "typed", "2", "x"],
        )
        assert "u" in first.split()[5], "the interpreter got its option"
    rows = cluster.json("job", "list", "--all")
    assert {row["name"] for row in rows} == {"abc"}
    assert {row["task_stats"]["finished"] for row in rows} == {2}


def test_s2_28_a_script_on_stdin_may_have_directives_too(cluster, work):
    text = "#!/no/such/thing\n#HQ --array 3-4 --cpus=2\necho $HQ_TASK_ID on $HQ_CPUS\n"
    cluster.run("submit", "--wait", "--stdin", "--directives=stdin", "bash", stdin=text)
    assert outputs(cluster) == ["3 on 0,1", "4 on 0,1"]
    cluster.run("submit", "--wait", "--stdin", "bash", stdin=text)
    assert outputs(cluster) == ["0 on 0"]


def test_run_obeys_directives_and_its_cpus_are_those_of_the_machine(cluster):
    (cluster.work / "test.sh").write_text("#!/bin/sh\n#HQ --cpus=2 --array=1-2\necho $HQ_CPUS\n")
    cluster.run("run", "--no-progress", "--cpus", "3", "test.sh")
    read = [(cluster.work / f"job-1/{task}.stdout").read_text() for task in (1, 2)]
    assert read == ["0,1\n", "0,1\n"]


def test_s2_11_stdin_reaches_tasks_only_if_it_was_asked_for(cluster, work):
    for options, words in ((["--stdin"], ["executed"]), ([], [])):
        cluster.run("submit", "--wait", *options, "bash", stdin="echo executed\n")
        assert outputs(cluster) == words


@pytest.mark.parametrize("end", ["", "\n"])
def test_s2_24_lines_become_entries_byte_by_byte(cluster, work, end):
    (work / "lines").write_bytes(b"One\n\nT\xffree\nFour " + end.encode())
    program = ["--", "sh", "-c", "printf '%s=[%s]\\n' $HQ_TASK_ID \"$HQ_ENTRY\""]
    cluster.run("submit", "--wait", "--each-line", "lines", *program)
    read = b"".join((work / f"job-1/{task}.stdout").read_bytes() for task in range(4))
    assert read == b"0=[One]\n1=[]\n2=[T\xffree]\n3=[Four ]\n"
    assert cluster.counts(1) == {"finished": 4}


def test_s2_25_and_s2_26_items_become_entries_and_an_array_chooses(cluster, work):
    program = ["--", "sh", "-c", 'echo "$HQ_TASK_ID $HQ_ENTRY"']
    (work / "items.json").write_text('[123, {"x":\n[1,2,3]}, 2.5]')
    cluster.run("submit", "--wait", "--from-json", "items.json", *program)
    assert outputs(cluster) == ["0 123", '1 {"x":[1,2,3]}', "2 2.5"]

    (work / "lines").write_text("".join(f"L{n}\n" for n in range(1, 8)))
    cluster.run("submit", "--wait", "--each-line", "lines", "--array", "2-4, 6", *program)
    assert outputs(cluster) == ["2 L3", "3 L4", "4 L5", "6 L7"]

    (work / "seven.json").write_text("[10, 11, 12, 13, 14, 15, 16]")
    chosen = "2-3, 5, 6, 7, 1000"
    cluster.run("submit", "--wait", "--from-json", "seven.json", "--array", chosen, *program)
    assert outputs(cluster) == ["2 12", "3 13", "5 15", "6 16"]

    (work / "top.json").write_text('{"x": []}')
    refused = cluster.run("submit", "--from-json", "top.json", *program, check=1)
    assert "The top element of the provided JSON file has to be an array" in refused.stderr


def test_one_path_for_both_outputs_is_one_file_in_the_order_of_writing(cluster, work):
    script = "for i in 1 2 3; do echo out $i; echo err $i >&2; done"
    both = ["--stdout=all-%{TASK_ID}.log", "--stderr=./all-%{TASK_ID}.log"]
    cluster.run("submit", "--wait", "--array", "1-2", *both, "--", "sh", "-c", script)
    expected = "".join(f"out {i}\nerr {i}\n" for i in (1, 2, 3))
    assert [(work / f"all-{task}.log").read_text() for task in (1, 2)] == [expected, expected]

    both = [f"--{channel}=gone.log:rm-if-finished" for channel in ("stdout", "stderr")]
    cluster.run("submit", "--wait", *both, "--", "sh", "-c", "test -e gone.log && touch was-there")
    assert (work / "was-there").exists()
    assert not (work / "gone.log").exists()
    cluster.run("submit", "--wait", *both, "--", "sh", "-c", "echo kept; echo too >&2; exit 1")
    assert (work / "gone.log").read_text() == "kept\ntoo\n"


def test_b39_paths_may_hold_colons(cluster, work):
    cluster.run(
        "submit", "--wait", r"--stdout=out\:10\:30", r"--stderr=err\:1:rm-if-finished",
        "--cwd", "at:noon", "--", "sh", "-c", "ls; pwd",
    )  # fmt: skip
    directory = work / "at:noon"
    assert (directory / "out:10:30").read_text() == f"err:1\nout:10:30\n{directory}\n"
    assert not (directory / "err:1").exists()


def test_s2_29_and_s2_30_paths_hold_what_is_known_when_the_task_starts(cluster, work):
    uid = cluster.json("server", "info")["server_uid"]
    cluster.run(
        "submit", "--wait", "--cwd", "run-%{TASK_ID}-%{INSTANCE_ID}", "--array", "4-5",
        "--stdout", "out-%{SERVER_UID}-%{JOB_ID}", "--stderr", "%{SUBMIT_DIR}/%{JOB_ID}-%{TASK_ID}",
        "--", "sh", "-c", "pwd; echo err >&2",
    )  # fmt: skip
    for task in (4, 5):
        directory = work / f"run-{task}-0"
        assert (directory / f"out-{uid}-1").read_text() == f"{directory}\n"
        assert (work / f"1-{task}").read_text() == "err\n"
    (row,) = cluster.json("task", "info", "1", "5")
    assert row["stdout"] == str(work / f"run-5-0/out-{uid}-1")
    assert row["cwd"] == str(work / "run-5-0")


def test_an_open_job_takes_tasks_while_others_run(cluster, work):
    opened = cluster.json("job", "open", "--name", "mine")
    assert opened == {"id": 1}
    # A task submits more tasks into its own job.
    more = 'test $HQ_TASK_ID -gt 2 || $HQ submit --job $HQ_JOB_ID -- sh -c "$0" "$0"'
    cluster.run("submit", "--job", "1", "--", "sh", "-c", more, more)
    cluster.wait_counts(1, finished=4)
    assert cluster.run("--output-mode=quiet", "job", "list").stdout == "1 OPENED\n"
    waiting = cluster.start("job", "wait", "1", name="wait")
    cluster.run("job", "wait", "1", "--without-close")
    assert waiting.poll() is None
    assert "Job 1 closed" in cluster.run("job", "close", "all").stderr
    assert waiting.wait(60) == 0
    assert cluster.run("job", "task-ids", "1").stdout == "0-3\n"
