"""What a task finds when it starts: environment, directory, files, program."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from launcher_node import Node

from hqtrio.ids import task_id
from hqtrio.worker.orders import CloseLane, DropBody, Field, OpenLane, Output, RunTasks, TaskFile

HERE = Field.CWD


async def test_a_lane_runs_its_tasks_one_after_another_into_their_files(node: Node) -> None:
    body = node.body("sh", "-c", "echo $HQ_TASK_ID; echo oops >&2")
    node.run(body, 3, 1, 2)
    assert await node.output_of(2) == "2\n"
    assert [end.task & 0xFF for end in node.ends] == [3, 1, 2]
    assert [node.read(f"{n}.out") for n in (1, 2, 3)] == ["1\n", "2\n", "3\n"]
    assert node.read("2.err") == "oops\n"


async def test_an_idle_launcher_holds_nobodys_directory(node: Node) -> None:
    node.run(node.body("cat", "/proc/self/stat"), 1)
    launcher = int((await node.output_of(1)).rpartition(")")[2].split()[1])
    assert os.readlink(f"/proc/{launcher}/cwd") == "/"  # it left before it told of the end


async def test_lanes_run_side_by_side(node: Node) -> None:
    os.mkfifo(node.place / "meet")
    node.run(node.body("sh", "-c", "echo there > meet"), 1, lane=1)
    node.run(node.body("cat", "meet"), 2, lane=2)
    assert await node.output_of(2) == "there\n"


async def test_a_task_inherits_nothing_of_the_launcher(node: Node) -> None:
    """The launcher ignores signals and holds sockets; a task must see neither."""
    script = """
        cat /proc/self/status > status; cat /proc/self/limits > limits
        ls /proc/self/fd | tr '\\n' ' '; echo; echo $$; ps -o sid= -p $$; pwd; umask"""
    node.run(node.body("sh", "-c", script), 1)
    fds, pid, session, cwd, mask = (await node.output_of(1)).splitlines()
    status = dict(line.split(":\t", 1) for line in node.read("status").splitlines())
    ours = ~(1 << 31 | 1 << 32)  # signals 32 and 33 belong to glibc, which ignores them itself
    assert [int(status[key], 16) & ours for key in ("SigBlk", "SigIgn", "SigCgt")] == [0, 0, 0]
    assert fds.split() == ["0", "1", "2", "3"]  # 3 is ls's own look at the directory
    assert int(pid) == int(session) == node.ends[0].pid
    assert cwd == str(node.place)
    here = os.umask(0)
    os.umask(here)
    assert int(mask, 8) == here
    assert node.read("limits") == limits_as_here()


def limits_as_here() -> str:
    return Path("/proc/self/limits").read_text()


async def test_environment_is_the_bodys_then_the_lanes_then_the_tasks(node: Node) -> None:
    body = node.body("env", env={"A": "body", "B": "body", "OMP_NUM_THREADS": "100"})
    lane = ((b"B", b"lane"), (b"C", b"lane"))
    wins = ((b"OMP_NUM_THREADS", b"2"), (b"OMP_PROC_BIND", b"close"))
    node.tell(OpenLane(1, 7, lane, wins))
    node.tell(RunTasks(1, 7, body, (task_id(9, 4),), (3,), (b"entry \xff",)))
    await node.until(lambda: bool(node.ends))
    lines = (node.place / "4.out").read_bytes().splitlines()
    assert {b"A=body", b"B=lane", b"C=lane", b"OMP_NUM_THREADS=100"} < set(lines)
    assert {b"OMP_PROC_BIND=close", b"HQ_JOB_ID=9", b"HQ_TASK_ID=4"} < set(lines)
    assert {b"HQ_INSTANCE_ID=3", b"HQ_ENTRY=entry \xff"} < set(lines)


async def test_lane_prefix_goes_before_the_command(node: Node) -> None:
    node.tell(OpenLane(1, 7, prefix=(b"env", b"PREFIX=yes")))
    node.tell(RunTasks(1, 7, node.body("printenv", "PREFIX"), (task_id(1, 1),), (0,)))
    assert await node.output_of(1) == "yes\n"


async def test_a_dropped_body_serves_what_is_queued(node: Node) -> None:
    body = node.body("cat", stdin=b"read me\n")
    node.run(body, 1, 2, 3)
    node.tell(DropBody(1, body), CloseLane(1, 1))
    for number in (1, 2, 3):
        assert await node.output_of(number) == "read me\n"


async def test_unknown_bodies_and_lanes_are_refused(node: Node) -> None:
    node.run(99, 1)
    node.tell(RunTasks(1, 98, node.body("true"), (task_id(1, 2),), (0,)))
    assert "no body 99" in (await node.refusal_of(1)).text
    assert "no lane 98" in (await node.refusal_of(2)).text


# --- directories and outputs


async def test_s2_02_parents_of_outputs_are_made(node: Node) -> None:
    body = node.body(
        "sh", "-c", "echo x; echo y >&2", stdout=Output(("o/1/j.out",)), stderr=Output(("e/j.err",))
    )
    node.run(body, 1)
    await node.end_of(1)
    assert (node.read("o/1/j.out"), node.read("e/j.err")) == ("x\n", "y\n")


async def test_s2_03_disabled_outputs_leave_no_file(node: Node) -> None:
    node.run(node.body("sh", "-c", "echo x; echo y >&2", stdout=None, stderr=None), 1)
    await node.end_of(1)
    assert list(node.place.iterdir()) == []


async def test_s2_05_directory_and_outputs_may_depend_on_the_execution(node: Node) -> None:
    body = node.body(
        "pwd",
        cwd=(Field.INSTANCE_ID, "-dir/", Field.TASK_ID),
        stdout=Output((Field.INSTANCE_ID, ".out")),
        stderr=Output((HERE, "/100%/%b/", Field.TASK_ID)),
    )
    node.run(body, 5, instance=2)
    await node.end_of(5)
    assert node.read("2-dir/5/2.out") == f"{node.place}/2-dir/5\n"
    assert (node.place / "2-dir/5/100%/%b/5").exists()


async def test_s2_06_a_missing_directory_is_made_also_a_second_time(node: Node) -> None:
    body = node.body("sh", "-c", "pwd > there; rm -r $PWD", cwd=("new/dir",), stdout=None)
    node.run(body, 1, 2, 3)
    assert (await node.end_of(3)).status == 0
    assert not (node.place / "new/dir").exists()
    assert [end.status for end in node.ends] == [0, 0, 0]


async def test_s2_07_an_impossible_output_directory_refuses_before_the_start(node: Node) -> None:
    node.run(node.body("ls", stdout=Output(("/dev/null/foo.txt",))), 1)
    node.run(node.body("ls", stderr=Output(("/dev/null/foo/bar.txt",))), 2)
    node.run(node.body("true"), 3)
    first, second = await node.refusal_of(1), await node.refusal_of(2)
    assert not first.prepared
    assert first.text == "Cannot create stdout directory `/dev/null`: Not a directory (os error 20)"
    assert not second.prepared
    assert second.text.startswith("Cannot create stderr directory `/dev/null/foo`: Not a directory")
    assert (await node.end_of(3)).status == 0


async def test_an_output_that_is_a_directory_refuses_after_the_start(node: Node) -> None:
    (node.place / "1.err").mkdir()
    node.run(node.body("true"), 1)
    refusal = await node.refusal_of(1)
    assert refusal.prepared
    path = node.place / "1.err"
    assert refusal.text == f"Cannot create stderr file `{path}`: Is a directory (os error 21)"
    assert (node.place / "1.out").exists()


async def test_an_output_pipe_that_nobody_reads_holds_nobody_up(node: Node) -> None:
    os.mkfifo(node.place / "1.out")
    node.run(node.body("true"), 1, 2)
    assert "No such device or address" in (await node.refusal_of(1)).text
    assert (await node.end_of(2)).status == 0


async def test_an_impossible_directory_refuses_after_the_start(node: Node) -> None:
    (node.place / "file").touch()
    body = node.body("true", cwd=("file/dir",), stdout=None, stderr=None)
    node.run(body, 1)
    refusal = await node.refusal_of(1)
    assert refusal.prepared
    assert refusal.text.startswith(f"Could not enter working directory `{node.place}/file/dir`: ")
    body = node.body("true", cwd=("/proc/nope",), stdout=None, stderr=None)
    node.run(body, 2)
    refusal = await node.refusal_of(2)
    assert refusal.prepared
    assert refusal.text.startswith("Could not create working directory `/proc/nope`: ")


async def test_a_directory_of_any_depth_is_made(node: Node) -> None:
    depth = 1500
    body = node.body("true", cwd=("d/" * depth,), stdout=None, stderr=None)
    node.run(body, 1)
    assert (await node.end_of(1)).status == 0
    body = node.body("true", cwd=("d/" * 5000,), stdout=None, stderr=None)
    node.run(body, 2)
    assert "File name too long (os error 36)" in (await node.refusal_of(2)).text
    assert os.system(f"rm -r '{node.place}/d'") == 0  # pytest's own clean-up recurses


async def test_both_outputs_in_one_file_follow_each_other(node: Node) -> None:
    script = "for i in 1 2 3; do echo out $i; echo err $i >&2; done"
    body = node.body("sh", "-c", script, stdout=Output(("both",)), stderr=Output((HERE, "/both")))
    node.run(body, 1)
    await node.end_of(1)
    assert node.read("both").splitlines() == [
        f"{who} {i}" for i in (1, 2, 3) for who in ("out", "err")
    ]


async def test_paths_may_hold_any_bytes(node: Node) -> None:
    name = os.fsdecode(b"caf\xe9-%s-")
    node.run(node.body("pwd", cwd=(name,), stdout=Output((name, Field.TASK_ID))), 1)
    await node.end_of(1)
    raw = os.fsencode(node.place) + b"/caf\xe9-%s-"
    assert Path(os.fsdecode(raw + b"/caf\xe9-%s-1")).read_bytes() == raw + b"\n"


async def test_a_removed_output_directory_is_made_again(node: Node) -> None:
    body = node.body("true", stdout=Output(("logs/", Field.TASK_ID)))
    node.run(body, 1)
    await node.end_of(1)
    (node.place / "logs/1").unlink()
    (node.place / "logs").rmdir()
    node.run(body, 2)
    assert (await node.end_of(2)).status == 0
    assert (node.place / "logs/2").exists()


# --- programs


async def test_s2_08_a_missing_program_is_named_and_leaves_its_outputs(node: Node) -> None:
    out = Output((Field.TASK_ID, ".out"), remove_if_finished=True)
    node.run(node.body("foo", "--bar", "--baz=5", stdout=out), 1)
    refusal = await node.refusal_of(1)
    assert refusal.prepared
    assert refusal.text == (
        'Cannot execute "foo --bar --baz=5": No such file or directory (os error 2)\n'
        "The program that you have tried to execute (`foo`) was not found."
    )
    assert (node.place / "1.out").read_text() == (node.place / "1.err").read_text() == ""


async def test_s2_08_a_file_of_that_name_in_the_directory_is_suggested(node: Node) -> None:
    (node.place / "foo").touch()
    node.run(node.body("foo", "--bar", "--baz=5"), 1)
    assert (await node.refusal_of(1)).text == (
        'Cannot execute "foo --bar --baz=5": No such file or directory (os error 2)\n'
        "The program that you have tried to execute (`foo`) was not found.\n"
        f"The file `{node.place}/foo` exists, maybe you have meant `./foo` instead?"
    )


async def test_s2_09_a_script_without_permission_says_what_to_do(node: Node) -> None:
    (node.place / "test.sh").write_text("echo hello\n")
    node.run(node.body("./test.sh"), 1)
    refusal = await node.refusal_of(1)
    assert refusal.prepared
    assert refusal.text == (
        'Cannot execute "./test.sh": Permission denied (os error 13)\n'
        "The script that you have tried to execute (`./test.sh`) is not executable.\n"
        "Try making it executable or add a shebang line to it."
    )


@pytest.mark.parametrize("first", ["#!/bin/sh\n", ""])
async def test_s2_09_scripts_run_with_and_without_shebang(node: Node, first: str) -> None:
    """Executable text without an interpreter line is the shell's, as execvp has it."""
    script = node.place / "test.sh"
    script.write_text(first + 'echo "$1" "$HQ_TASK_ID"\n')
    script.chmod(0o755)
    node.run(node.body("./test.sh", "hello"), 1, 2)
    node.run(node.body(str(script), "hello"), 3)
    node.run(node.body("test.sh", "hello", env={"PATH": f"/nowhere::{node.place}"}), 4)
    for number in (1, 2, 3, 4):
        assert await node.output_of(number) == f"hello {number}\n"


async def test_programs_are_never_searched_in_the_directory(node: Node) -> None:
    script = node.place / "here"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    for number, path in enumerate(("", ":", "/bin:", ":/bin")):
        node.run(node.body("here", env={"PATH": path}), number)
        assert "maybe you have meant `./here`" in (await node.refusal_of(number)).text


async def test_a_program_that_was_found_may_move_along_the_path(node: Node) -> None:
    places = [node.place / "a", node.place / "b"]
    for place in places:
        place.mkdir()
    env = {"PATH": f"{places[0]}:{places[1]}"}
    (places[0] / "tool").write_text("#!/bin/sh\necho first\n")
    (places[0] / "tool").chmod(0o755)
    body = node.body("tool", env=env)
    node.run(body, 1)
    assert await node.output_of(1) == "first\n"
    (places[0] / "tool").rename(places[1] / "tool")
    node.run(body, 2)
    assert await node.output_of(2) == "first\n"
    (places[1] / "tool").unlink()
    node.run(body, 3)
    assert "was not found" in (await node.refusal_of(3)).text


async def test_an_empty_command_is_refused_after_the_start(node: Node) -> None:
    node.run(node.body(), 1)
    refusal = await node.refusal_of(1)
    assert (refusal.prepared, refusal.text) == (True, "No command arguments")


async def test_a_command_that_no_system_takes_is_refused(node: Node) -> None:
    node.run(node.body("true", b"a\0b"), 1)
    node.run(node.body("true", "x" * (1 << 20)), 2)
    node.run(node.body("true"), 3)
    assert (await node.refusal_of(1)).text.startswith('Cannot execute "true a\0b": ')
    assert "Argument list too long (os error 7)" in (await node.refusal_of(2)).text
    assert (await node.end_of(3)).status == 0


# --- stdin


async def test_s2_11_without_stdin_a_task_reads_nothing(node: Node) -> None:
    node.run(node.body("cat"), 1)
    assert await node.output_of(1) == ""


async def test_s2_12_a_task_need_not_read_its_stdin(node: Node) -> None:
    node.run(node.body("head", "-n1", stdin=b"line\n" * 20_000), 1)
    node.run(node.body("sh", "-c", "exec 0<&-", stdin=b"line\n" * 20_000), 2)
    assert await node.output_of(1) == "line\n"
    assert await node.output_of(2) == ""


async def test_every_task_reads_the_whole_stdin_and_cannot_change_it(node: Node) -> None:
    content = os.urandom(1 << 20)
    spoil = "cat; (printf x >> /proc/self/fd/0) 2> /dev/null; true"
    node.run(node.body("sh", "-c", spoil, stdin=content), 1, 2, 3)
    for number in (1, 2, 3):
        assert (await node.end_of(number)).status == 0
        assert (node.place / f"{number}.out").read_bytes() == content


# --- task directories and scripts


async def test_a_script_is_a_file_in_the_task_directory(node: Node) -> None:
    script = b"echo $0 $HQ_TASK_ID; echo $HQ_TASK_DIR; ls -ld $HQ_TASK_DIR"
    node.run(node.body("bash", "-eu", script=script, task_dir=True), 1)
    name, directory, mode = (await node.output_of(1)).splitlines()
    assert name == f"{directory}/script 1"
    assert Path(directory).parent == node.place / "desk"
    assert Path(directory).name.startswith("t")
    assert mode.startswith("drwx------")
    assert list((node.place / "desk").iterdir()) == []


async def test_a_task_directory_that_cannot_be_made_refuses_before_the_start(node: Node) -> None:
    (node.place / "desk").touch()
    node.run(node.body("true", task_dir=True), 1)
    refusal = await node.refusal_of(1)
    assert not refusal.prepared
    assert refusal.text.startswith(f"Cannot create task directory in `{node.place}/desk`: ")


async def test_a_lane_brings_files_and_a_directory_for_each_of_its_tasks(node: Node) -> None:
    """Also for a task that wants no directory; nothing of it is left afterwards."""
    desk = node.place / "desk"
    files = (TaskFile(b"LIST", b"list", b"a\nb\n"), TaskFile(b"OTHER", b"other", b"c\n"))
    node.tell(OpenLane(1, 7, ((b"COUNT", b"2"),), task_dir_root=str(desk), files=files))
    script = "echo $COUNT $LIST $OTHER; cat $LIST $OTHER; dirname $HQ_TASK_DIR $HQ_ERROR_FILENAME"
    tasks = (task_id(1, 1), task_id(1, 2))
    node.tell(RunTasks(1, 7, node.body("sh", "-c", script), tasks, (0, 0)))
    first, second = await node.output_of(1), await node.output_of(2)
    count, listed, other = first.splitlines()[0].split()
    assert (count, Path(listed).name, Path(other).name) == ("2", "list", "other")
    assert Path(listed).parent == Path(other).parent
    assert first.splitlines()[1:] == ["a", "b", "c", str(desk), str(Path(listed).parent)]
    assert second.splitlines()[1:4] == ["a", "b", "c"]
    assert second.splitlines()[0] != first.splitlines()[0]
    assert list(desk.iterdir()) == []


async def test_files_of_a_lane_lie_in_the_directory_that_the_task_wants(node: Node) -> None:
    files = (TaskFile(b"LIST", b"list", b"a\n"),)
    node.tell(OpenLane(1, 7, task_dir_root=str(node.place / "elsewhere"), files=files))
    body = node.body("sh", script=b"cat $LIST; ls $HQ_TASK_DIR", task_dir=True)
    node.tell(RunTasks(1, 7, body, (task_id(1, 1),), (0,)))
    assert (await node.output_of(1)).split() == ["a", "list", "script"]
    assert not (node.place / "elsewhere").exists()


async def test_files_that_cannot_be_written_refuse_before_the_start(node: Node) -> None:
    files = (TaskFile(b"LIST", b"no/list", b"a\n"),)
    desk = node.place / "desk"
    node.tell(OpenLane(1, 7, task_dir_root=str(desk), files=files))
    node.tell(RunTasks(1, 7, node.body("true"), (task_id(1, 1),), (0,)))
    assert not (await node.refusal_of(1)).prepared
    assert list(desk.iterdir()) == []


async def test_the_launcher_stays_small(node: Node) -> None:
    """Until it execs a task's peak is the launcher's own, so that one must be small."""
    node.run(node.body("sh", "-c", "grep VmHWM /proc/$PPID/status"), 1)
    assert int((await node.output_of(1)).split()[1]) < 24 << 10
    assert node.ends[0].peak_kib == 0
    script = "bytearray(100 << 20).count(0)"
    node.run(node.body(sys.executable, "-I", "-S", "-c", script), 2)
    end = await node.end_of(2)
    assert 100 << 10 <= end.peak_kib < 200 << 10
    assert end.cpu_s > 0
