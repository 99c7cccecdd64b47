"""Commands, environment, input and paths in which each execution's own values are filled in."""

from __future__ import annotations

from launcher_node import Node

from hqtrio.ids import task_id
from hqtrio.worker.orders import FIELDS, Field, OpenLane, Output, RunTasks, UseBody

NAME, SIZE = FIELDS, FIELDS + 1


def use(node: Node, key: int = 1, **more) -> UseBody:
    name, _, value = node.mark.partition("=")
    chosen = {
        "args": (b"printf", b"%s\n", ("<", NAME, ">"), (Field.TASK_ID, "-", Field.INSTANCE_ID)),
        "env": ((b"PATH", b"/usr/bin:/bin"), (name.encode(), value.encode())),
        "submit_dir": str(node.place),
        "cwd": (str(node.place),),
        "stdout": Output((Field.TASK_ID, ".out")),
        "stderr": Output((Field.TASK_ID, ".err")),
        **more,
    }
    return UseBody(1, key, **chosen)


def run(node: Node, *values: tuple[bytes, ...], lane: int = 1) -> None:
    tasks = tuple(task_id(1, number) for number in range(1, len(values) + 1))
    node.tell(RunTasks(1, lane, 1, tasks, (4,) * len(tasks), values=values))


async def test_words_are_filled_in_for_each_task(node: Node) -> None:
    node.tell(use(node), OpenLane(1, 1))
    run(node, (b"ann", b"1"), (b"b \xff%s", b"2"))
    assert await node.output_of(1) == "<ann>\n1-4\n"
    await node.end_of(2)
    assert (node.place / "2.out").read_bytes() == b"<b \xff%s>\n2-4\n"


async def test_environment_and_input_are_filled_in(node: Node) -> None:
    env = (*use(node).env, (b"SIZE", ("size ", SIZE)), (b"LANE", (NAME,)))
    script = (b"sh", b"-c", b'cat; echo "$SIZE $LANE"')
    node.tell(use(node, args=script, env=env, stdin=("hello ", NAME, "\n")))
    node.tell(OpenLane(1, 1, env=((b"LANE", b"the lane's"),)))
    run(node, (b"ann", b"1"), (b"bob", b"2"))
    assert await node.output_of(1) == "hello ann\nsize 1 the lane's\n"
    assert await node.output_of(2) == "hello bob\nsize 2 the lane's\n"


async def test_the_prefix_of_a_lane_does_not_shift_the_words(node: Node) -> None:
    node.tell(use(node), OpenLane(1, 1, prefix=(b"env", b"A=1")))
    run(node, (b"ann", b"1"))
    assert await node.output_of(1) == "<ann>\n1-4\n"


async def test_directories_and_files_are_named_after_values(node: Node) -> None:
    node.tell(
        use(
            node,
            args=(b"pwd",),
            cwd=("runs/", NAME),
            stdout=Output((Field.CWD, "/", SIZE, ".txt")),
        ),
        OpenLane(1, 1),
    )
    run(node, (b"ann", b"1"), (b"bob", b"2"))
    await node.end_of(1)
    await node.end_of(2)
    assert node.read("runs/ann/1.txt") == f"{node.place}/runs/ann\n"
    assert node.read("runs/bob/2.txt") == f"{node.place}/runs/bob\n"


async def test_a_value_may_make_a_path_absolute(node: Node) -> None:
    away = node.place / "away"
    node.tell(use(node, args=(b"pwd",), stdout=Output((NAME, ".txt"))), OpenLane(1, 1))
    run(node, (f"{away}/here".encode(), b""), (b"there", b""))
    await node.end_of(1)
    await node.end_of(2)
    assert node.read("away/here.txt") == node.read("there.txt") == f"{node.place}\n"
