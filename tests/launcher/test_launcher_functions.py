"""Functions in interpreters of their own and in warm ones: what they find, and what they leave."""

from __future__ import annotations

import math
import os
import pickle
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from launcher_node import Node, lives, true

from actors.launcher.interpreters import Interpreters
from actors.launcher.waiting import Waiter
from hqtrio.api.payload import pack_arguments, pack_call, pack_function, pickled
from hqtrio.ids import task_id
from hqtrio.worker.orders import (
    CloseLane,
    Field,
    KillTasks,
    OpenLane,
    Output,
    RunTasks,
    SignalTasks,
)

FRESH, WARM = 1, 100
BOTH = pytest.mark.parametrize("calls", [FRESH, WARM], ids=["fresh", "warm"])


def function(
    node: Node,
    call: Callable[..., Any],
    *args: Any,
    calls: int = WARM,
    results: str | None = "",
    **options: Any,
) -> int:
    """Make a body known whose tasks call this."""
    stdin = pack_call(call, args, {}, results=results)
    return node.body(sys.executable, stdin=stdin, task_dir=True, calls=calls, **options)


async def value_of(node: Node, number: int) -> Any:
    end = await node.end_of(number)
    assert end.status == 0, end.error
    if not end.result:
        return None
    assert end.result[:1] == b"V"
    return pickle.loads(end.result[1:])


async def error_of(node: Node, number: int) -> tuple[str, str, BaseException | None]:
    """Name, traceback and exception."""
    end = await node.end_of(number)
    assert end.status == 1
    assert end.result[:1] == b"E"
    name, text, pickled = pickle.loads(end.result[1:])
    return name, text, pickled and pickle.loads(pickled)


def pid() -> int:
    return os.getpid()


def boom() -> None:
    raise LookupError("nothing here")


def leave(code: int) -> None:
    os._exit(code)


# --- what both kinds promise


@BOTH
async def test_a_function_returns_prints_and_raises(node: Node, calls: int) -> None:
    def speak(name: str) -> dict[str, int]:
        print("to you,", name)
        print("loudly", file=sys.stderr)
        return {name: len(name)}

    node.run(function(node, speak, "Ada", calls=calls), 1)
    node.run(function(node, boom, calls=calls), 2)
    node.run(function(node, lambda: None, calls=calls), 3)
    assert await value_of(node, 1) == {"Ada": 3}
    assert (node.read("1.out"), node.read("1.err")) == ("to you, Ada\n", "loudly\n")
    name, text, error = await error_of(node, 2)
    assert name == "LookupError"
    assert isinstance(error, LookupError)
    assert text.startswith("Traceback (most recent call last):\n")
    assert text.endswith("LookupError: nothing here\n")
    assert "runner.py" not in text
    assert (await node.end_of(2)).error == text == node.read("2.err")
    assert await value_of(node, 3) is None


@BOTH
@pytest.mark.parametrize("what", [SystemExit(0), KeyboardInterrupt()])
async def test_whatever_is_raised_is_a_failure(node: Node, calls: int, what: BaseException) -> None:
    def raises() -> None:
        raise what

    node.run(function(node, raises, calls=calls), 1)
    name, _, _ = await error_of(node, 1)
    assert name == type(what).__name__


@BOTH
async def test_a_function_finds_its_own_surroundings(node: Node, calls: int) -> None:
    names = ("HQ_TASK_ID", "HQ_INSTANCE_ID", "HQ_ENTRY", "MINE")

    def look() -> list[Any]:
        place = os.environ["HQ_TASK_DIR"]
        found = [os.getcwd(), os.listdir(place), *map(os.environ.get, names), os.getsid(0)]
        Path(place, "left").write_text("over")
        os.environ["MINE"] = "changed"
        os.environ["HQ_ENTRY"] = "changed"
        os.environ["NEW"] = "variable"
        os.chdir("/")
        sys.path.append("/nowhere")
        assert sys.stdin.read() == ""
        return [*found, os.getpid() == found[-1], "NEW" in os.environ, sys.argv]

    key = function(
        node, look, calls=calls, env={"MINE": "own"}, cwd=(str(node.place / "at"), Field.TASK_ID)
    )
    node.run(key, 1, entries=[b"first"])
    node.run(key, 2, instance=3, entries=[b"second"])
    for number, instance, entry in (1, "0", "first"), (2, "3", "second"):
        found = await value_of(node, number)
        assert found[:2] == [f"{node.place}/at{number}", []]
        assert found[2:6] == [str(number), instance, entry, "own"]
        assert found[7:] == [True, True, ["-c"]]
    assert node.read("at1/1.out") == ""


@BOTH
async def test_large_results_go_to_files_and_need_a_place(node: Node, calls: int) -> None:
    def many() -> bytes:
        return bytes(100_000)

    node.run(function(node, many, calls=calls, results=str(node.place / "results")), 1)
    node.run(function(node, many, calls=calls), 2)
    end = await node.end_of(1)
    assert end.result[:1] == b"F"
    assert pickle.loads(Path(os.fsdecode(end.result[1:])).read_bytes()) == bytes(100_000)
    name, text, _ = await error_of(node, 2)
    assert name == "ValueError" and "without a directory" in text


@BOTH
async def test_a_long_traceback_keeps_its_end(node: Node, calls: int) -> None:
    def deep(left: int) -> None:
        if not left:
            raise ValueError("x" * 5000 + " the end")
        deep(left - 1)

    node.run(function(node, deep, 50, calls=calls), 1)
    _, text, _ = await error_of(node, 1)
    end = await node.end_of(1)
    assert len(end.result) <= 2048 and len(end.error) <= 2048
    assert text.endswith(" the end\n") and end.error.endswith(" the end\n")
    assert node.read("1.err").count("x" * 5000) == 1


@BOTH
async def test_an_exception_with_an_endless_name_is_told(node: Node, calls: int) -> None:
    def fails() -> None:
        raise type("X" * 3000, (Exception,), {})("hi")

    node.run(function(node, fails, calls=calls), 1)
    name, _, _ = await error_of(node, 1)
    assert name.endswith("XXX")


@BOTH
async def test_what_nobody_wants_is_not_told(node: Node, calls: int) -> None:
    node.run(function(node, lambda: bytes(1_000_000), calls=calls, results=None), 1)
    assert await value_of(node, 1) is None


@BOTH
@pytest.mark.parametrize("payload", [b"", b"garbage", pickle.dumps(7), pickle.dumps({})])
async def test_garbage_is_a_failure_of_its_task(node: Node, calls: int, payload: bytes) -> None:
    key = node.body(sys.executable, stdin=payload, task_dir=True, calls=calls)
    node.run(key, 1)
    assert (await node.end_of(1)).status == 1
    node.run(function(node, lambda: 7, calls=calls), 2)
    assert await value_of(node, 2) == 7


@BOTH
async def test_arguments_may_lie_in_the_entry(node: Node, calls: int) -> None:
    stdin = pack_function(pickled(lambda *args, **kwargs: (args, kwargs)), results="")
    key = node.body(sys.executable, stdin=stdin, task_dir=True, calls=calls)
    large = "x" * 100_000  # more than a socket takes at once
    node.run(key, 1, 2, entries=[pack_arguments((1, 2), {"c": 3}), pack_arguments([large[:9]], {})])
    assert await value_of(node, 1) == ((1, 2), {"c": 3})
    assert await value_of(node, 2) == (("x" * 9,), {})
    stdin = pack_function(pickled(len), results="")
    key = node.body(sys.executable, stdin=stdin, task_dir=True, calls=calls)
    node.run(key, 3, entries=[pack_arguments([large], {})])
    assert await value_of(node, 3) == 100_000


@BOTH
async def test_an_interpreter_that_does_not_exist_is_refused(node: Node, calls: int) -> None:
    stdin = pack_call(pid, (), {}, results=None)
    node.run(node.body("/nowhere/python", stdin=stdin, task_dir=True, calls=calls), 1)
    refused = await node.refusal_of(1)
    assert refused.prepared and "/nowhere/python" in refused.text
    assert list((node.place / "desk").iterdir()) == []


@BOTH
async def test_one_that_is_no_python_fails_with_its_own_words(node: Node, calls: int) -> None:
    stdin = pack_call(pid, (), {}, results=None)
    node.run(node.body("cat", stdin=stdin, task_dir=True, calls=calls), 1)
    end = await node.end_of(1)
    assert end.status == 1 and ("cat" in node.read("1.err") or calls == FRESH)


@BOTH
async def test_code_of_another_version_is_refused_before_it_crashes(node: Node, calls: int) -> None:
    for number, (call, args) in enumerate(((lambda: 1, ()), (len, ((),)), (map, (lambda: 1,)))):
        payload = pickle.loads(pack_call(call, args, {}, results=""))
        stdin = pickle.dumps({**payload, "python": (3, 1)})
        node.run(node.body(sys.executable, stdin=stdin, task_dir=True, calls=calls), number)
    for number in (0, 2):
        name, text, _ = await error_of(node, number)
        assert name == "RuntimeError" and "the version of Python that pickled it (3.1, and" in text
    assert await value_of(node, 1) == 0


# --- warm interpreters


async def test_an_interpreter_serves_a_number_of_calls(node: Node) -> None:
    node.run(function(node, pid, calls=3), *range(1, 8))
    pids = [await value_of(node, number) for number in range(1, 8)]
    assert [pids.count(one) for one in dict.fromkeys(pids)] == [3, 3, 1]
    assert pids == sorted(pids, key=pids.index)
    await true(lambda: not any(map(lives, pids[:6])))
    assert lives(pids[6])
    node.tell(CloseLane(1, 1))
    node.run(function(node, pid, calls=3), 8, lane=2)  # slots come and go between calls
    assert await value_of(node, 8) == pids[6]


async def test_another_job_or_environment_gets_another_interpreter(node: Node) -> None:
    first = function(node, pid)
    node.run(first, 1)
    node.run(first, 2)
    node.run(function(node, pid, env={"OTHER": "1"}), 3)
    node.run(function(node, lambda: os.getpid(), env={"OTHER": "1"}), 4)
    pids = [await value_of(node, number) for number in range(1, 5)]
    assert pids[0] == pids[1] != pids[2] == pids[3]
    node.tell(RunTasks(1, 1, first, (task_id(2, 1),), (0,)))
    await node.until(lambda: any(end.task == task_id(2, 1) for end in node.ends))
    (other,) = (end.pid for end in node.ends if end.task == task_id(2, 1))
    assert other not in pids


async def test_a_crash_ends_its_own_call_only(node: Node) -> None:
    def crash() -> None:
        print("before")
        os.kill(os.getpid(), signal.SIGSEGV)

    node.run(function(node, pid), 1)
    node.run(function(node, leave, 3), 2)
    node.run(function(node, pid), 3)
    node.run(function(node, crash), 4)
    node.run(function(node, pid), 5)
    pids = [await value_of(node, number) for number in (1, 3, 5)]
    assert len(set(pids)) == 3
    assert (await node.end_of(2)).status == 3
    assert (await node.end_of(4)).status == -signal.SIGSEGV


async def test_a_function_that_leaves_by_itself_may_say_why(node: Node) -> None:
    def leave_with_words() -> None:
        Path(os.environ["HQ_ERROR_FILENAME"]).write_text("no more milk")
        os._exit(9)

    node.run(function(node, leave_with_words), 1)
    end = await node.end_of(1)
    assert (end.status, end.error) == (9, "no more milk")


async def test_a_function_is_interrupted_and_killed_like_a_process(node: Node) -> None:
    def wait(name: str) -> None:
        import time

        Path(name).write_text("runs\n")
        while True:
            try:
                time.sleep(100)
            except KeyboardInterrupt:
                if name == "polite":
                    raise

    for number, name in enumerate(("polite", "stubborn"), 1):
        node.run(function(node, wait, name), number, lane=number)
        node.run(function(node, pid), number + 10, lane=number)
        assert await node.text(name) == "runs"
    tasks = tuple(task_id(1, number) for number in (1, 2))
    before = [run.pid for run in node.starts]
    node.tell(SignalTasks(1, signal.SIGINT, tasks))
    name, _, _ = await error_of(node, 1)
    assert name == "KeyboardInterrupt"
    node.tell(KillTasks(1, tasks))
    assert (await node.end_of(2)).status == -signal.SIGKILL
    for number in (11, 12):
        assert await value_of(node, number) not in before
    await true(lambda: not any(map(lives, before)))


async def test_children_of_a_killed_function_are_killed(node: Node) -> None:
    def spawn() -> None:
        import subprocess

        child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
        Path("child").write_text(f"{child.pid}\n")
        child.wait()

    node.run(function(node, pid), 1)
    node.run(function(node, spawn), 2)
    child = int(await node.text("child"))
    task = (task_id(1, 2),)
    node.tell(SignalTasks(1, signal.SIGINT, task), KillTasks(1, task))
    await node.end_of(2)
    await true(lambda: not lives(child))


async def test_what_cannot_be_undone_ends_the_interpreter(node: Node) -> None:
    def thread() -> int:
        import threading

        threading.Thread(target=threading.Event().wait, daemon=True).start()
        return os.getpid()

    def mask() -> int:
        os.umask(0o77)
        return os.getpid()

    def handler() -> int:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        return os.getpid()

    def children_are_nobodys() -> int:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        return os.getpid()

    def limit() -> int:
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_NOFILE, (300, 300))
        return os.getpid()

    def nice() -> int:
        os.nice(3)
        return os.getpid()

    def leak() -> int:
        for _ in range(50):
            os.dup(2)
        return os.getpid()

    for number, call in enumerate((thread, mask, handler, children_are_nobodys, limit, nice, leak)):
        node.run(function(node, call), 2 * number + 1)
        node.run(function(node, pid), 2 * number + 2)
        assert await value_of(node, 2 * number + 1) != await value_of(node, 2 * number + 2)


async def test_closing_what_is_not_its_own_costs_a_function_its_answer_only(node: Node) -> None:
    def close(end: int) -> str:
        os.closerange(3, end)
        return "closed"

    node.run(function(node, close, 100), 1)  # as daemons do
    node.run(function(node, close, 1000), 2)
    node.run(function(node, pid), 3)
    assert await value_of(node, 1) == "closed"
    end = await node.end_of(2)
    assert end.status == 1 and "without an answer" in end.error
    assert await value_of(node, 3)


@BOTH
@pytest.mark.parametrize("results", ["", None])
async def test_who_leaves_without_an_answer_has_not_finished(
    node: Node, calls: int, results: str | None
) -> None:
    """As a program in another language may do, whose end is that of the interpreter."""
    node.run(function(node, leave, 0, calls=calls, results=results), 1)
    end = await node.end_of(1)
    assert end.status == 1 and "without an answer" in end.error


async def test_what_could_not_be_printed_is_not_printed_by_the_next_call(node: Node) -> None:
    def say(text: str) -> None:
        sys.stdout.write(text)

    node.run(function(node, say, "secret", stdout=Output(("/dev/full",))), 1)
    node.run(function(node, say, "mine"), 2)
    assert (await node.end_of(1)).status == 1
    assert await node.output_of(2) == "mine"


async def test_an_answer_belongs_to_one_call(node: Node) -> None:
    """A function that finds the socket and forges one ends its interpreter, and nobody is told
    another call's result."""

    def forge(fd: int) -> str:
        import struct

        os.write(fd, struct.pack("<8sidIIII", bytes(8), 0, 0.0, 0, 1, 0, 2) + b"V!")
        return "true"

    for number, fd in ((1, 200), (2, 200)):
        node.run(function(node, forge, fd), number)
        node.run(function(node, str, number), number + 10)
    for number in (1, 2):
        assert (await node.end_of(number)).status == -signal.SIGKILL
        assert await value_of(node, number + 10) == str(number)


async def test_a_result_that_does_not_fit_leaves_nothing_behind(node: Node) -> None:
    def limited() -> bytes:
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
        os.environ.clear()
        return bytes(100_000)

    place = node.place / "results"
    node.run(function(node, limited, results=str(place)), 1)
    name, _, _ = await error_of(node, 1)
    assert name == "OSError"
    assert list(place.iterdir()) == []


async def test_a_forked_child_that_comes_back_does_not_answer(node: Node) -> None:
    def fork() -> int:
        child = os.fork()
        if child:
            os.waitpid(child, 0)
        return os.getpid() if child else -1

    node.run(function(node, fork), 1)
    node.run(function(node, pid), 2)
    assert await value_of(node, 1) == await value_of(node, 2)


async def test_what_was_printed_is_there_when_the_call_has_ended(node: Node) -> None:
    def say(text: str) -> None:
        sys.stdout.write(text)

    for number in range(1, 6):
        node.run(function(node, say, "x" * number), number)
    for number in range(1, 6):
        await node.end_of(number)
        assert node.read(f"{number}.out") == "x" * number


async def test_output_that_cannot_be_written_is_a_failure(node: Node) -> None:
    node.run(function(node, print, "lost", stdout=Output(("/dev/full",))), 1)
    end = await node.end_of(1)
    assert end.status == 1 and "No space left" in end.error


async def test_usage_is_that_of_the_call(node: Node) -> None:
    def work() -> None:
        import time

        begun = time.process_time()
        while time.process_time() < begun + 0.3:
            pass

    node.run(function(node, work), 1)
    node.run(function(node, lambda: None), 2)
    first, second = await node.end_of(1), await node.end_of(2)
    assert first.cpu_s > 0.29 and first.peak_kib > 1000
    assert 0 <= second.cpu_s < 0.2


async def test_an_interpreter_that_dies_idle_is_replaced(node: Node) -> None:
    node.run(function(node, pid), 1)
    old = await value_of(node, 1)
    os.kill(old, signal.SIGKILL)
    await true(lambda: not lives(old))
    node.run(function(node, pid), 2)
    assert await value_of(node, 2) != old


async def test_calls_at_the_same_time_have_interpreters_of_their_own(node: Node) -> None:
    os.mkfifo(node.place / "gate")

    def wait() -> int:
        with open("gate"):
            return os.getpid()

    key = function(node, wait)
    for lane in (1, 2):
        node.run(key, lane, lane=lane)
        await node.start_of(lane)
    with open(node.place / "gate", "w"):
        assert await value_of(node, 1) != await value_of(node, 2)


async def test_resources_of_another_slot_are_another_environment(node: Node) -> None:
    def cpus() -> tuple[str | None, int]:
        return os.environ.get("HQ_CPUS"), os.getpid()

    key = function(node, cpus)
    for lane in (7, 8):
        node.tell(OpenLane(1, lane, env=((b"HQ_CPUS", b"%d" % lane),)))
        node._lanes.add(lane)
        node.run(key, lane, lane=lane)
    (seven, one), (eight, other) = await value_of(node, 7), await value_of(node, 8)
    assert (seven, eight) == ("7", "8") and one != other


async def test_lies_over_our_socket_harm_nobody_else(node: Node) -> None:
    def lie() -> None:
        for fd in range(3, 20):
            try:
                os.write(fd, b"\xff" * 4096)
            except OSError:
                pass
        os._exit(0)

    node.run(function(node, lie), 1)
    node.run(function(node, pid), 2)
    await node.end_of(1)
    assert await value_of(node, 2)


# --- which interpreters are kept


class Pool:
    """Interpreters without processes: their ends of the sockets are here."""

    def __init__(self, place: Path) -> None:
        self.all = Interpreters()
        self.all.watch(Waiter())
        self.place, self.pids = place, 0
        self.theirs: dict[int, int] = {}

    def begin(self, job: int = 1) -> int:
        """A call; the pid of its interpreter."""
        kind = job, (b"python",), frozenset([(b"A", b"1")])
        one = self.all.fitting(kind)
        if one is None:

            def spawn(words: list[bytes], link: int, directory: bytes) -> int:
                self.pids += 1
                self.theirs[self.pids] = os.dup(link)
                return self.pids

            one = self.all.start(kind, bytes(self.place), spawn)
        null = os.open(os.devnull, os.O_RDWR)
        assert self.all.call(one, b"/", [(b"HQ_TASK_ID", b"1")], (null,) * 3)
        os.close(null)
        return one.pid

    def is_let_go(self, pid: int) -> bool:
        """Its socket was closed; what was sent before is read first."""
        os.set_blocking(self.theirs[pid], False)
        try:
            while os.read(self.theirs[pid], 1 << 16):
                pass
        except BlockingIOError:
            return False
        except ConnectionError:
            pass
        return True

    def close(self) -> None:
        for pid in range(1, self.pids + 1):
            self.all.spoil(pid)
            self.all.reaped(pid, 0, 0.0, 0)
        for fd in self.theirs.values():
            os.close(fd)


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Pool]:
    made = Pool(tmp_path)
    yield made
    made.close()


def test_who_is_idle_for_a_while_is_let_go(pool: Pool) -> None:
    one, two = pool.begin(), pool.begin()
    assert pool.all.due_at == math.inf
    pool.all.rest(one, 10, now=100.0)
    pool.all.rest(two, 10, now=105.0)
    assert pool.all.due_at == 110.0
    pool.all.let_go_idle(109.9)
    assert not pool.is_let_go(one)
    pool.all.let_go_idle(110.0)
    assert pool.is_let_go(one) and not pool.is_let_go(two)
    assert pool.begin() == two and pool.all.due_at == math.inf
    assert pool.begin() not in (one, two)


def test_no_more_are_kept_than_were_ever_busy_at_once(pool: Pool) -> None:
    pids = []
    for job in range(1, 5):
        pids.append(pool.begin(job))
        pool.all.rest(pids[-1], 10, now=float(job))
    assert [pool.is_let_go(pid) for pid in pids] == [True, True, True, False]


def test_one_that_died_idle_is_found_out_before_a_call_is_lost(pool: Pool) -> None:
    pid = pool.begin()
    pool.all.rest(pid, 10, now=1.0)
    os.close(pool.theirs.pop(pid))
    kind = 1, (b"python",), frozenset([(b"A", b"1")])
    one = pool.all.fitting(kind)
    assert one is not None
    assert not pool.all.call(one, b"/", [], (0, 0, 0))
    assert pool.all.fitting(kind) is None
    assert pool.all.reaped(pid, -9, 1.0, 0) == (-9, -1.0, 0, "", b"")
    assert pool.all.reaped(pid, 0, 1.0, 0) is None
    assert list(pool.place.iterdir()) == []
