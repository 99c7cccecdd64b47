"""`hqtrio.Executor` as users of `concurrent.futures` know executors, and what happens around it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ALL_COMPLETED, CancelledError, as_completed, wait
from pathlib import Path
from typing import Any

import pytest
import trio
from process_cluster import PATIENCE_S, Cluster, lives, processes_with, wait_until

from hqtrio.api import calls
from hqtrio.api.environment import PythonEnv
from hqtrio.api.resources import ResourceRequest
from hqtrio.api.results import TaskFailed
from hqtrio.api.validation import ValidationException
from hqtrio.errors import HqError
from hqtrio.local.executor import Executor

pytestmark = pytest.mark.slow
TIMEOUT_S = 60.0


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Executor]:
    """With a server and a worker of its own."""
    place = tmp_path_factory.mktemp("own")
    with Executor(cores=2, cwd=place, results_dir=place / "results") as executor:
        yield executor


def double(x: int) -> int:
    return 2 * x


# --- concurrent.futures


def test_a_call_has_a_result(own: Executor) -> None:
    assert own.submit(lambda a, *, b: (a, b), 1, b="two").result(TIMEOUT_S) == (1, "two")
    assert own.submit(print, "nobody hears this").result(TIMEOUT_S) is None


def test_many_calls_come_back_in_their_order(own: Executor) -> None:
    assert list(own.map(lambda x, y: x * y, range(2500), range(2500))) == [
        x * x for x in range(2500)
    ]
    assert list(own.map(str, [])) == []


def test_what_a_function_is_bound_to_may_change(own: Executor) -> None:
    known: dict[str, int] = {}
    for value in (1, 2):
        known["a"] = value
        assert own.submit(known.get, "a").result(TIMEOUT_S) == value


def test_who_cannot_be_unpickled_here_harms_nobody_else(own: Executor) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return exit_here, ()

    error = own.submit(lambda: Trap()).exception(TIMEOUT_S)
    assert isinstance(error, TaskFailed) and "cannot be read" in str(error)
    assert own.submit(double, 1).result(TIMEOUT_S) == 2


def exit_here() -> None:
    if "pytest" in sys.modules and "HQ_TASK_ID" not in os.environ:
        raise SystemExit("here")


def test_a_callback_cannot_wait_and_need_not(tmp_path: Path) -> None:
    heard: list[BaseException | None] = []
    executor = Executor(cores=1, cwd=tmp_path)
    future = executor.submit(double, 1)

    def callback(_: Any) -> None:
        executor.shutdown()
        heard.append(executor._shared.portal.is_own_thread and None)

    future.add_done_callback(callback)
    assert future.result(TIMEOUT_S) == 2
    executor.shutdown()
    assert heard


def test_arguments_in_files_go_with_their_calls(tmp_path: Path) -> None:
    place = tmp_path / "results"
    with Executor(cores=1, cwd=tmp_path, results_dir=place) as executor:
        assert list(executor.map(len, [bytes(200_000)] * 4)) == [200_000] * 4
        assert [path for path in place.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    "end",
    ["executor.shutdown(wait=False)", "executor = None", "executor = executor.options(priority=1)",
     "del executor", "future.add_done_callback(lambda f: executor.shutdown())"],
)  # fmt: skip
def test_calls_are_carried_out_however_a_script_ends(tmp_path: Path, end: str) -> None:
    script = (
        "import pathlib, time\n"
        "from hqtrio import Executor\n"
        "def work(n):\n"
        "    time.sleep(0.3)\n"
        "    pathlib.Path(str(n)).touch()\n"
        "executor = Executor(cores=2)\n"
        "for n in range(3): future = executor.submit(work, n)\n"
        f"{end}\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "2"]


def test_an_executor_that_nobody_knows_leaves_nothing(tmp_path: Path) -> None:
    executor = Executor(cores=1, cwd=tmp_path)
    shared, future = executor._shared, executor.submit(double, 1)
    del executor
    assert future.result(TIMEOUT_S) == 2
    shared.portal.join()


def test_a_forked_child_leaves_its_parents_executor_alone(tmp_path: Path) -> None:
    with Executor(cores=1, cwd=tmp_path) as executor:
        assert executor.submit(double, 1).result(TIMEOUT_S) == 2
        child = os.fork()
        if not child:
            executor.shutdown()
            os._exit(0)
        os.waitpid(child, 0)
        assert executor.submit(lambda: bytes(100_000)).result(TIMEOUT_S) == bytes(100_000)


@pytest.mark.parametrize("form", ["with executor:", "if executor:"])
def test_a_second_interrupt_ends_everything(tmp_path: Path, form: str) -> None:
    script = (
        "import threading, time\n"
        "from hqtrio import Executor\n"
        "executor = Executor(cores=1)\n"
        "def tell():\n"
        "    while not executor._shared.is_shut_down: time.sleep(0.01)\n"
        "    print('leaves', flush=True)\n"
        "threading.Thread(target=tell, daemon=True).start()\n"
        f"{form}\n"
        "    future = executor.submit(time.sleep, 1000)\n"
        "    executor.submit(print)\n"
        "    while not future.running(): time.sleep(0.01)\n"
        "    print('runs', flush=True)\n"
        "    future.result()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in ("runs\n", "leaves\n"):
        assert process.stdout.readline() == line
        process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=PATIENCE_S)
    # At the interpreter's end there is nobody to be told.
    assert said.count("KeyboardInterrupt") == (2 if form == "with executor:" else 1)
    assert list(tmp_path.rglob("*")) == []


def test_a_buffer_reads_arguments_as_they_are_needed(own: Executor) -> None:
    read = []

    def numbers() -> Iterator[int]:
        for number in range(20):
            read.append(number)
            yield number

    results = own.map(lambda x: x + 1, numbers(), buffersize=3)
    assert next(results) == 1 and len(read) == 4
    assert list(results) == list(range(2, 21))
    for options in ({"chunksize": 0}, {"buffersize": 0}):
        with pytest.raises(ValueError, match="at least 1"):
            own.map(len, [], **options)
    with pytest.raises(TimeoutError):
        list(own.map(time.sleep, [0.5], timeout=0.01))
    own.map(time.sleep, [0.001] * 10).close()  # type: ignore[attr-defined]


def test_completed_ones_come_first(own: Executor, tmp_path: Path) -> None:
    gate = tmp_path / "gate"

    def held() -> str:
        while not gate.exists():
            time.sleep(0.01)
        return "held"

    slow, quick = own.submit(held), own.submit(lambda: "quick")
    completed = as_completed([slow, quick], timeout=TIMEOUT_S)
    assert next(completed) is quick
    assert not slow.done() and slow.running() and not slow.cancel()
    gate.touch()
    assert next(completed).result() == "held"
    done, undone = wait([slow, quick], timeout=TIMEOUT_S, return_when=ALL_COMPLETED)
    assert len(done) == 2 and not undone


def test_exceptions_are_raised_here_with_their_traceback(own: Executor) -> None:
    class Custom(Exception):
        def __init__(self, a: int, b: int) -> None:
            super().__init__(a, b)

    def fails() -> None:
        raise Custom(1, 2)

    error = own.submit(fails).exception(TIMEOUT_S)
    assert type(error).__name__ == "Custom" and error.args == (1, 2)
    assert "in fails" in str(error.__cause__) and "Custom: (1, 2)" in str(error.__cause__)
    with pytest.raises(ZeroDivisionError):
        list(own.map(lambda x: 1 // x, [1, 0, 2]))


def test_an_exception_that_cannot_travel_is_told_in_words(own: Executor) -> None:
    def fails() -> None:
        class Local(Exception):
            def __reduce__(self) -> Any:
                raise TypeError("not me")

        raise Local("lost")

    error = own.submit(fails).exception(TIMEOUT_S)
    assert isinstance(error, TaskFailed) and "Local: lost" in str(error)


def test_what_cannot_be_pickled_is_an_exception_of_the_call(own: Executor, tmp_path: Path) -> None:
    with (tmp_path / "open").open("w") as file:
        refused = own.submit(print, file).exception(TIMEOUT_S)
        assert "pickle" in f"{type(refused).__name__} {refused}".lower()
    with pytest.raises(TypeError):
        list(own.map(len, [(x for x in "abc")]))
    assert isinstance(own.submit(lambda: (x for x in "abc")).exception(TIMEOUT_S), TypeError)
    assert isinstance(own.submit(5).exception(TIMEOUT_S), TypeError)  # type: ignore[arg-type]


def test_large_functions_arguments_and_results_travel_in_files(own: Executor) -> None:
    constant = os.urandom(3_000_000)
    result = own.submit(lambda given: given + constant, constant).result(TIMEOUT_S)
    assert result == constant + constant
    assert list(own.map(len, [bytes(200_000)] * 3)) == [200_000] * 3


def test_changed_closures_and_globals_are_seen(own: Executor) -> None:
    factor, memory = 1, [1]
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec("K = 1\ndef f(x): return K * x", scope)
    for value in (1, 2, 3):
        factor, scope["K"] = value, value
        memory.append(value)
        assert own.submit(lambda x: x * factor, 10).result(TIMEOUT_S) == 10 * value
        assert own.submit(lambda: len(memory)).result(TIMEOUT_S) == value + 1
        assert own.submit(scope["f"], 10).result(TIMEOUT_S) == 10 * value


def test_options_of_single_calls(own: Executor, tmp_path: Path) -> None:
    def look() -> tuple[str, str | None, int]:
        print("said")
        return os.getcwd(), os.environ.get("MINE"), len(os.environ["HQ_CPUS"].split(","))

    two = own.options(
        resources=ResourceRequest(cpus=2), cwd=tmp_path, env={"MINE": "x"}, stdout="out"
    )
    assert two.submit(look).result(TIMEOUT_S) == (str(tmp_path), "x", 2)
    assert (tmp_path / "out").read_text() == "said\n"
    assert own.submit(look).result(TIMEOUT_S)[1:] == (None, 1)
    late = own.options(time_limit=0.3).submit(time.sleep, 100).exception(TIMEOUT_S)
    assert isinstance(late, TaskFailed) and "Time limit" in str(late)


def test_what_the_own_worker_will_never_have_is_refused(
    own: Executor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValidationException, match="needs cpus 3, and there are 2"):
        own.options(resources=ResourceRequest(cpus=3))
    with pytest.raises(ValidationException, match="needs 2 nodes"):
        own.options(resources=ResourceRequest(n_nodes=2))
    either = own.options(resources=[ResourceRequest(cpus=3), ResourceRequest(cpus=2)])
    assert either.submit(double, 2).result(TIMEOUT_S) == 4

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(ValidationException, match="resources: no call could ever run here"):
        Executor(cores=1, cwd=tmp_path, resources=ResourceRequest(resources={"wands": 1}))
    assert (list(tmp_path.iterdir()), processes_with(str(tmp_path))) == ([], [])


@pytest.mark.parametrize(
    "options",
    [{"resources": 7}, {"nonsense": 1}, {"time_limit": "x"}, {"crash_limit": 0}, {"env": {1: 2}},
     {"pin": "tight"}, {"priority": 0.5}, {"stdout": 7}],
)  # fmt: skip
def test_bad_options_are_named(own: Executor, options: dict[str, Any]) -> None:
    with pytest.raises(ValidationException, match=next(iter(options))):
        own.options(**options)


def test_asyncio_and_trio_can_wait_for_calls(own: Executor) -> None:
    async def in_asyncio() -> list[int]:
        loop = asyncio.get_running_loop()
        first = asyncio.wrap_future(own.submit(double, 1))
        return await asyncio.gather(first, loop.run_in_executor(own, double, 2))

    assert asyncio.run(in_asyncio()) == [2, 4]
    assert trio.run(own.call, double, 3) == 6

    async def impatient() -> None:
        with trio.move_on_after(0.2) as scope:
            await own.call(time.sleep, 1.0)
        assert scope.cancelled_caught

    trio.run(impatient)
    with pytest.raises(ZeroDivisionError):
        trio.run(own.call, divmod, 1, 0)


def test_prints_of_calls_do_not_mix(own: Executor, tmp_path: Path) -> None:
    noisy = own.options(cwd=tmp_path, stdout="%{TASK_ID}.out")
    assert list(noisy.map(print, range(50))) == [None] * 50
    assert sorted(path.read_text() for path in tmp_path.glob("*.out")) == sorted(
        f"{number}\n" for number in range(50)
    )


# --- an executor of one's own


def test_nothing_is_taken_after_the_end_and_nothing_is_left(tmp_path: Path) -> None:
    executor = Executor(cores=1, cwd=tmp_path, results_dir=tmp_path / "results")
    future = executor.submit(os.getpid)
    executor.submit(lambda: bytes(100_000))
    executor.shutdown()
    assert future.done()
    wait_until(lambda: not lives(future.result()))
    for call in (executor.submit, executor.map):
        with pytest.raises(RuntimeError, match="after shutdown"):
            call(double, 1) if call is executor.submit else call(double, [1])
    executor.shutdown()
    assert list(tmp_path.rglob("*")) == []


def test_what_was_not_sent_can_be_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "AHEAD", 3)
    gate = tmp_path / "gate"

    def held(number: int) -> int:
        while not gate.exists():
            time.sleep(0.01)
        return number

    with Executor(cores=1, cwd=tmp_path) as executor:
        futures = [executor.submit(held, number) for number in range(10)]
        wait_until(lambda: sum(future.running() for future in futures) == 3)
        assert futures[5].cancel() and not futures[0].cancel()
        executor.shutdown(wait=False, cancel_futures=True)
        gate.touch()
    assert [future.result() for future in futures[:3]] == [0, 1, 2]
    assert all(future.cancelled() for future in futures[3:])


def test_a_job_is_followed_by_another_when_it_is_full(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "CALLS_PER_JOB", 10)
    monkeypatch.setattr(calls, "_BATCH", 4)
    cluster.start_server()
    cluster.start_worker("--cpus", "2")
    with Executor(cluster.server_dir, cwd=cluster.work) as executor:
        assert list(executor.map(lambda x: 2 * x, range(45))) == [2 * x for x in range(45)]
    rows = cluster.json("job", "list", "--all")
    assert [row["task_count"] for row in rows] == [rows[-1]["task_count"]]  # others are forgotten


def test_without_a_server_there_is_no_executor(tmp_path: Path) -> None:
    with pytest.raises(HqError, match="server"):
        Executor(tmp_path)


def test_the_interpreter_waits_for_its_calls(tmp_path: Path) -> None:
    script = (
        "import pathlib, time\n"
        "from hqtrio.local.executor import Executor\n"
        "def work(n):\n"
        "    time.sleep(0.2)\n"
        "    pathlib.Path(str(n)).touch()\n"
        "executor = Executor(cores=2)\n"
        "for n in range(4): executor.submit(work, n)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "2", "3"]


def test_a_forked_child_is_told_that_it_has_no_executor(own: Executor) -> None:
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            own.submit(double, 1).result(5)
        except RuntimeError as error:
            os.write(write, str(error).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    with open(read, "rb") as heard:
        assert b"forked" in heard.read()


# --- when something dies


def test_a_call_whose_worker_dies_is_carried_out_again(cluster: Cluster) -> None:
    cluster.start_server()
    first = cluster.start_worker("--cpus", "1", name="first")
    with Executor(cluster.server_dir, cwd=cluster.work) as executor:

        def once() -> str:
            if not os.path.exists("begun"):
                Path("begun").touch()
                time.sleep(1000)
            return os.environ["HQ_INSTANCE_ID"]

        future = executor.submit(once)
        wait_until(lambda: (cluster.work / "begun").exists())
        first.kill()
        cluster.start_worker("--cpus", "1", name="second")
        assert future.result(TIMEOUT_S) == "1"


@pytest.mark.parametrize("death", [signal.SIGKILL, signal.SIGTERM])
def test_results_outlive_a_server(cluster: Cluster, death: int) -> None:
    server = cluster.start_server("--journal", "journal")
    cluster.start_worker("--cpus", "2")
    gate = cluster.work / "gate"
    gone: list[int] = []

    def held(number: int) -> int:
        while not gate.exists():
            time.sleep(0.01)
        return number

    with Executor(cluster.server_dir, cwd=cluster.work) as executor:
        assert executor.submit(double, 1).result(TIMEOUT_S) == 2
        futures = [executor.submit(held, number) for number in range(20)]
        wait_until(lambda: all(future.running() for future in futures))
        server.send_signal(death)
        server.wait(PATIENCE_S)
        later = executor.submit(double, 4)
        gate.touch()
        cluster.start_server("--journal", "journal", name="second")
        gone += [future.result(TIMEOUT_S) for future in futures]
        assert later.result(TIMEOUT_S) == 8
    assert gone == list(range(20))


def test_a_worker_of_ones_own_that_dies_is_told_to_every_call(tmp_path: Path) -> None:
    with Executor(cores=1, cwd=tmp_path) as executor:
        worker = executor.submit(_worker_pid).result(TIMEOUT_S)
        future = executor.submit(time.sleep, 1000)
        wait_until(future.running)
        os.kill(worker, signal.SIGKILL)
        assert isinstance(future.exception(TIMEOUT_S), HqError)
        assert isinstance(executor.submit(double, 1).exception(TIMEOUT_S), HqError)


def _worker_pid() -> int:
    """The worker started the launcher, which started this interpreter."""
    launcher = Path(f"/proc/{os.getppid()}/stat").read_text()
    return int(launcher.rpartition(")")[2].split()[1])


def test_another_servers_jobs_are_not_taken_for_ones_own(cluster: Cluster) -> None:
    """Without a journal the next server counts from one again."""
    server = cluster.start_server("--journal", "none")
    with Executor(cluster.server_dir, cwd=cluster.work) as executor:
        lost = executor.submit(double, 1)
        wait_until(lost.running)
        wait_until(lambda: bool(cluster.json("job", "list")))
        server.kill()
        server.wait(PATIENCE_S)
        cluster.start_server("--journal", "none", name="second")
        assert cluster.submit("--array", "0-3", "--", "true") == 1
        cluster.start_worker("--cpus", "1")
        cluster.run("job", "wait", "1")
        assert isinstance(lost.exception(TIMEOUT_S), HqError)
        assert executor.submit(double, 2).result(TIMEOUT_S) == 4


def test_a_job_that_somebody_forgets_is_lost_and_no_more_than_that(cluster: Cluster) -> None:
    cluster.start_server()
    cluster.start_worker("--cpus", "1")
    with Executor(cluster.server_dir, cwd=cluster.work) as executor:
        assert executor.submit(double, 1).result(TIMEOUT_S) == 2
        cluster.run("job", "close", "1")
        cluster.run("job", "forget", "1")
        assert executor.submit(double, 2).result(TIMEOUT_S) == 4
        assert cluster.json("job", "list", "--all")[0]["id"] == 2


def test_a_server_that_never_comes_back_is_told_to_every_call(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "PATIENCE_S", 0.5)
    server = cluster.start_server()
    with Executor(cluster.server_dir, cwd=cluster.work) as executor:
        future = executor.submit(double, 1)
        wait_until(future.running)
        server.kill()
        assert isinstance(future.exception(TIMEOUT_S), HqError)
        assert isinstance(executor.submit(double, 1).exception(TIMEOUT_S), HqError)


def test_somebody_else_ends_the_job(cluster: Cluster) -> None:
    cluster.start_server()
    with Executor(cluster.server_dir, cwd=cluster.work) as executor:
        for command in ("cancel", "close"):
            future = executor.submit(double, 1)
            wait_until(future.running)
            wait_until(lambda: bool(cluster.json("job", "list")))
            cluster.run("job", command, "last")
            if command == "cancel":
                with pytest.raises(CancelledError):
                    future.result(TIMEOUT_S)
                cluster.run("job", "close", "last")
        later = executor.submit(double, 2)
        cluster.start_worker("--cpus", "1")
        assert (future.result(TIMEOUT_S), later.result(TIMEOUT_S)) == (2, 4)
        assert later.done()


def test_a_fresh_interpreter_for_each_call(own: Executor, tmp_path: Path) -> None:
    with Executor(cores=1, cwd=tmp_path, python_env=PythonEnv(sys.executable, fresh=True)) as each:
        pids = list(each.map(lambda _: os.getpid(), range(3)))
    assert len(set(pids)) == 3


def test_a_prologue_runs_before(tmp_path: Path) -> None:
    env = PythonEnv(sys.executable, prologue="export ABC=def")
    with Executor(cores=1, cwd=tmp_path, python_env=env) as executor:
        assert executor.submit(lambda: os.environ["ABC"]).result(TIMEOUT_S) == "def"
