"""How tasks end: codes, signals, usage, error files, clean-up; taking back, signals and kills."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import trio
from launcher_node import Node, lives, true

from hqtrio.ids import task_id
from hqtrio.worker.orders import (
    Field,
    KillTasks,
    LauncherSaid,
    OpenLane,
    Output,
    RunTasks,
    SignalTasks,
    TakeBack,
)

STAY = "echo up > up.$HQ_TASK_ID; sleep 1000"


async def test_exit_codes_signals_and_times_are_reported(node: Node) -> None:
    node.run(node.body("sh", "-c", "exit 7"), 1)
    node.run(node.body("sh", "-c", "kill -SEGV $$"), 2)
    node.run(node.body("sh", "-c", "sleep 0.2"), 3)
    assert (await node.end_of(1)).status == 7
    assert (await node.end_of(2)).status == -signal.SIGSEGV
    end = await node.end_of(3)
    assert end.status == 0
    assert end.started_age_s - end.ended_age_s >= 0.2
    assert end.ended_age_s >= 0
    assert end.lane == 1


async def test_a_task_that_stays_is_told_as_started(node: Node) -> None:
    node.run(node.body("sh", "-c", STAY), 1)
    start = await node.start_of(1)
    assert start.lane == 1
    assert Path(f"/proc/{start.pid}").exists()
    assert node.ends == []


async def test_many_short_tasks_are_each_told_once(node: Node) -> None:
    body = node.body("true", stdout=None, stderr=None)
    for lane in range(1, 9):
        node.run(body, *range(lane * 100, lane * 100 + 100), lane=lane)
    await node.until(lambda: len(node.ends) == 800)
    assert sorted(end.task for end in node.ends) == [task_id(1, n) for n in range(100, 900)]
    for said in node.said:
        if isinstance(said, LauncherSaid):
            assert not {run.task for run in said.started} & {end.task for end in said.ended}


async def test_answers_do_not_wait_until_every_lane_is_at_its_end(node: Node) -> None:
    """With many lanes of short tasks there is always somebody to bury."""
    body = node.body("true", stdout=None, stderr=None)
    for lane in range(1, 33):
        node.run(body, *range(lane * 100, lane * 100 + 20), lane=lane)
    await node.until(lambda: len(node.ends) == 640)
    assert sum(isinstance(said, LauncherSaid) and bool(said.ended) for said in node.said) > 5


# --- task directory, error file, rm-if-finished


@pytest.mark.parametrize(("script", "status"), [("true", 0), ("exit 1", 1), ("kill -9 $$", -9)])
async def test_s2_13_the_task_directory_goes_however_the_task_ends(
    node: Node, script: str, status: int
) -> None:
    make = "mkdir -p $HQ_TASK_DIR/a/b; touch $HQ_TASK_DIR/a/b/c; chmod 0 $HQ_TASK_DIR/a/b; "
    keep = "ln -s $PWD/keep $HQ_TASK_DIR/link; [ -d $HQ_TASK_DIR ] && echo $HQ_TASK_DIR; "
    (node.place / "keep").mkdir()
    (node.place / "keep/me").touch()
    node.run(node.body("sh", "-c", make + keep + script, task_dir=True), 1)
    assert (await node.end_of(1)).status == status
    assert node.read("1.out").startswith(f"{node.place}/desk/t")
    assert list((node.place / "desk").iterdir()) == []
    assert (node.place / "keep/me").exists()


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ("printf 'Testing message' > $HQ_ERROR_FILENAME; exit 1", "Testing message"),
        (": > $HQ_ERROR_FILENAME; exit 1", "Task created an error file, but it is empty"),
        ("exit 1", ""),
        ("echo ignored > $HQ_ERROR_FILENAME", ""),
        ("mkdir $HQ_ERROR_FILENAME; exit 1", ""),
        ("mkfifo $HQ_ERROR_FILENAME; exit 1", "Task created an error file, but it is empty"),
        (r"printf '\303(' > $HQ_ERROR_FILENAME; kill -9 $$", "\ufffd("),
        (
            "head -c 2048 /dev/zero | tr '\\0' a > $HQ_ERROR_FILENAME; exit 1",
            "a" * 2048 + "\n[The message was truncated]",
        ),
        (
            "head -c 10000 /dev/zero | tr '\\0' a > $HQ_ERROR_FILENAME; exit 1",
            "a" * 2048 + "\n[The message was truncated]",
        ),
    ],
)
async def test_s2_14_error_files(node: Node, script: str, text: str) -> None:
    node.run(node.body("sh", "-c", script, task_dir=True), 1)
    assert (await node.end_of(1)).error == text


async def test_s2_20_outputs_that_go_when_the_task_finished(node: Node) -> None:
    body = node.body(
        "sh",
        "-c",
        "[ -e $HQ_TASK_ID.out ] && [ -e $HQ_TASK_ID.err ] && exit $HQ_ENTRY",
        stdout=Output((Field.TASK_ID, ".out"), remove_if_finished=True),
        stderr=Output((Field.TASK_ID, ".err"), remove_if_finished=True),
    )
    node.run(body, 1, 2, entries=[b"0", b"3"])
    assert (await node.end_of(1)).status == 0
    assert (await node.end_of(2)).status == 3
    assert sorted(path.name for path in node.place.iterdir()) == ["2.err", "2.out"]


# --- leftovers


async def test_a_leftover_of_a_task_that_ended_normally_is_left_alone(node: Node) -> None:
    node.run(node.body("sh", "-c", "setsid sleep 1000 & echo $! > left"), 1)
    await node.end_of(1)
    node.run(node.body("true"), 2)
    await node.end_of(2)
    await true(lambda: int(node.read("left")) in node.alive())


@pytest.mark.slow
async def test_a_thousand_tasks_with_background_children_leave_no_zombie(node: Node) -> None:
    body = node.body("sh", "-c", "sleep 0.01 &", stdout=None, stderr=None)
    for lane in range(1, 5):
        node.run(body, *range(lane * 250, lane * 250 + 250), lane=lane)
    await node.until(lambda: len(node.ends) == 1000)
    await node.all_gone()
    node.run(node.body("sh", "-c", "echo $PPID"), 1)
    launcher = int(await node.output_of(1))
    await true(lambda: not children(launcher))


def children(pid: int) -> list[int]:
    """Direct children, zombies included."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(stat.parent.name))
    return found


# --- take back


async def test_taking_back_reaches_into_lanes_and_spares_what_runs(node: Node) -> None:
    body = node.body("sh", "-c", STAY)
    node.run(body, 1, 2, 3, lane=1)
    node.run(body, 4, 5, lane=2)
    await node.text("up.1")
    await node.text("up.4")
    node.tell(TakeBack(1, 17, tuple(task_id(1, number) for number in (5, 1, 3, 9))))
    await node.until(
        lambda: any(said.taken for said in node.said if isinstance(said, LauncherSaid))
    )
    taken = [said.taken for said in node.said if isinstance(said, LauncherSaid) and said.taken]
    assert taken == [((17, (task_id(1, 3), task_id(1, 5))),)]
    running = (task_id(1, 1), task_id(1, 4))
    node.tell(SignalTasks(1, signal.SIGKILL, running))
    await node.text("up.2")
    await node.until(lambda: len(node.ends) == 2)
    assert sorted(end.task for end in node.ends) == [task_id(1, 1), task_id(1, 4)]
    assert not (node.place / "up.3").exists()


# --- signals and kills


async def test_a_signal_reaches_the_whole_group(node: Node) -> None:
    node.run(node.body("sh", "-c", "sleep 1000 & echo up > up; wait"), 1)
    await node.text("up")
    node.tell(SignalTasks(1, signal.SIGTERM, (task_id(1, 1), task_id(1, 99))))
    assert (await node.end_of(1)).status == -signal.SIGTERM
    await node.all_gone()


async def test_s2_16_a_task_may_handle_the_signal(node: Node) -> None:
    script = "trap 'echo handled > handled; exit 3' INT; echo up > up; while :; do sleep 0.01; done"
    node.run(node.body("sh", "-c", script), 1)
    await node.text("up")
    node.tell(SignalTasks(1, signal.SIGINT, (task_id(1, 1),)))
    assert (await node.end_of(1)).status == 3
    assert node.read("handled") == "handled\n"


FAMILY = """
    trap '' INT TERM
    sleep 1000 &
    setsid sleep 1000 &
    (setsid sh -c 'sleep 1000 & echo up > daemon; wait' &)
    env -i /bin/sh -c 'trap "" INT; setsid sleep 1000 & echo $! > nameless; wait' &
    echo up > task; while :; do sleep 1000; done"""


async def family_is_up(node: Node) -> int:
    """All of FAMILY run; the pid of the one that cannot be known by its environment."""
    await node.text("daemon")
    await node.text("task")
    return int(await node.text("nameless"))


async def test_a_kill_reaches_sessions_daemons_and_the_nameless(node: Node) -> None:
    node.run(node.body("sh", "-c", FAMILY), 1)
    node.run(node.body("sh", "-c", "echo $$ > other; exec sleep 1000"), 2, lane=2)
    nameless = await family_is_up(node)
    other = int(await node.text("other"))
    node.tell(SignalTasks(1, signal.SIGINT, (task_id(1, 1),)))
    node.tell(KillTasks(1, (task_id(1, 1),)))
    assert (await node.end_of(1)).status == -signal.SIGKILL
    await true(lambda: node.alive() == [other] and not lives(nameless))


async def test_what_survives_a_signalled_task_can_still_be_killed(node: Node) -> None:
    """The task obeys the first signal, its children do not."""
    script = "(trap '' INT; setsid sleep 1000 & echo up > up; sleep 1000) & wait"
    node.run(node.body("sh", "-c", script), 1)
    await node.text("up")
    node.tell(SignalTasks(1, signal.SIGINT, (task_id(1, 1),)))
    await node.end_of(1)
    await true(lambda: node.alive() != [])
    node.tell(KillTasks(1, (task_id(1, 1),)))
    await node.all_gone()


async def test_a_kill_of_a_task_that_ended_or_never_was_is_harmless(node: Node) -> None:
    node.run(node.body("sh", "-c", "setsid sleep 1000 & echo $! > left"), 1)
    await node.end_of(1)
    node.tell(KillTasks(1, (task_id(1, 1), task_id(1, 2))))
    node.run(node.body("true"), 3)
    assert (await node.end_of(3)).status == 0
    # What was left behind may still be on its way to `sleep`: in an exec it has no environment.
    await true(lambda: len(node.alive()) == 1)


async def test_a_kill_spares_a_later_run_of_the_task_that_was_signalled(node: Node) -> None:
    """The first run obeys at once; a second before the kill is due, the task runs again."""
    body = node.body("sh", "-c", "echo up > up.$HQ_INSTANCE_ID; read line < go")
    os.mkfifo(node.place / "go")
    node.run(body, 1, instance=0)
    await node.text("up.0")
    node.tell(SignalTasks(1, signal.SIGINT, (task_id(1, 1),)))
    await node.end_of(1)
    node.run(body, 1, instance=1)
    await node.text("up.1")
    node.tell(KillTasks(1, (task_id(1, 1),)))
    node.run(node.body("true"), 2, lane=2)
    await node.end_of(2)
    async with await trio.open_file(node.place / "go", "w") as go:
        await go.write("\n")
    await node.until(lambda: len(node.ends) == 3)
    ends = [end.status for end in node.ends if end.task == task_id(1, 1)]
    assert ends == [-signal.SIGINT, 0]


async def test_two_instances_of_a_task_never_run_at_once(node: Node) -> None:
    """The later one waits, in whatever lane, and each end is told with its own lane."""
    body = node.body("sh", "-c", "echo up > up.$HQ_INSTANCE_ID; read line < go.$HQ_INSTANCE_ID")
    for instance in range(3):
        os.mkfifo(node.place / f"go.{instance}")
    node.run(body, 1, lane=1, instance=0)
    await node.text("up.0")
    node.run(body, 1, lane=2, instance=1)
    node.run(body, 1, lane=2, instance=2)
    node.run(node.body("true"), 9, lane=3)
    await node.end_of(9)
    assert not (node.place / "up.1").exists()
    for instance in range(3):
        await node.text(f"up.{instance}")
        async with await trio.open_file(node.place / f"go.{instance}", "w") as go:
            await go.write("\n")
    await node.until(lambda: len([end for end in node.ends if end.task == task_id(1, 1)]) == 3)
    ends = [end for end in node.ends if end.task == task_id(1, 1)]
    assert [end.lane for end in ends] == [1, 2, 2]
    for said in node.said:
        if isinstance(said, LauncherSaid):
            assert not {run.task for run in said.started} & {end.task for end in said.ended}


async def test_a_lane_that_waits_for_an_instance_goes_on_when_its_next_is_taken_back(
    node: Node,
) -> None:
    body = node.body("sh", "-c", STAY)
    node.run(body, 1, lane=1, instance=0)
    await node.text("up.1")
    node.run(body, 1, lane=2, instance=1)
    node.run(node.body("true"), 2, lane=2)
    node.tell(TakeBack(1, 1, (task_id(1, 1),)))
    assert (await node.end_of(2)).status == 0


async def test_a_lane_number_may_be_used_again(node: Node) -> None:
    node.tell(OpenLane(1, 3, ((b"WHO", b"first"),)))
    body = node.body("printenv", "WHO")
    node.tell(RunTasks(1, 3, body, (task_id(1, 1),), (0,)))
    assert await node.output_of(1) == "first\n"
    node.tell(OpenLane(1, 3, ((b"WHO", b"second"),)))
    node.tell(RunTasks(1, 3, body, (task_id(1, 2),), (0,)))
    assert await node.output_of(2) == "second\n"
