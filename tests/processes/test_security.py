"""Peers that are not let in, and those that are and mean harm: each costs itself only.

Everything here is told to the peer and to the log, and an honest client is served afterwards.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import secrets
import signal
import socket
import ssl
import stat
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from process_cluster import Cluster, processes_with, wait_until

from hqtrio.errors import RemoteFault
from hqtrio.messages import client as ask
from hqtrio.messages.client import Call, Said, Selector, SubmitJob, Which
from hqtrio.messages.columns import f32, f64, i32, read_u32, read_u64, u32, u64
from hqtrio.messages.worker import (
    Bounced,
    Closed,
    Ended,
    Enqueue,
    Fact,
    Goodbye,
    Grant,
    Heartbeat,
    Register,
    Rejected,
    Report,
    Retracted,
    Started,
    ToWorker,
)
from hqtrio.model.job import ArraySpec, GraphSpec, GraphTask, JobHead, Submit
from hqtrio.model.resources import ONE_CPU, Descriptor, Link, Need, Request, single_pool
from hqtrio.model.task import Stdio, TaskBody, TaskSettings
from hqtrio.model.worker import LossReason, WorkerConfig
from hqtrio.net.access import AccessFile, Role, read_access, write_access
from hqtrio.net.connection import Connection, ConnectionEnded
from hqtrio.net.connector import connect
from hqtrio.net.identity import parse_bundle
from hqtrio.net.listener import raise_file_limit
from hqtrio.net.tls import client_context
from hqtrio.wire.codec import FRAME_MAX

PATIENCE_S = 60.0
MEMORY_KIB = 64 << 10  # what any of these attacks may add to the server's memory
NAN = float("nan")


@pytest.fixture
def cluster(cluster: Cluster) -> Cluster:
    # What a silent worker has is given to others after a second; the default is two minutes.
    cluster.start_server("--host", "localhost", "--worker-grace", "1s")
    return cluster


def access_of(cluster: Cluster) -> AccessFile:
    return read_access(cluster.server_dir, "full")


def memory_kib(cluster: Cluster) -> int:
    """Resident memory of the server, the first process of the cluster."""
    text = Path(f"/proc/{cluster.processes[0].pid}/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0])


def wait_logged(cluster: Cluster, text: str, count: int = 1) -> None:
    wait_until(
        lambda: cluster.log("server").count(text) >= count,
        lambda: f"{text!r} in {cluster.log('server')[-3000:]}",
    )


def assert_unharmed(cluster: Cluster) -> None:
    """The server is the one of the beginning and serves an honest client."""
    assert cluster.processes[0].poll() is None, cluster.log("server")
    assert cluster.run("--output-mode=quiet", "job", "summary").returncode == 0
    assert "Traceback" not in cluster.log("server"), cluster.log("server")


@asynccontextmanager
async def connected(cluster: Cluster, role: Role) -> AsyncIterator[Connection[Any]]:
    """An authenticated peer that may do as it likes; it has to be done in time."""
    expects = Said if role == "client" else ToWorker
    with trio.fail_after(PATIENCE_S):
        async with connect(access_of(cluster).endpoint(role), role, expects) as connection:
            yield connection


async def last_words(connection: Connection[Any]) -> str:
    """What the server says at the end of the connection."""
    while True:
        try:
            await connection.receive()
        except RemoteFault as fault:
            return str(fault)


# --- credentials


def with_keys(access: AccessFile, client: str | None, worker: str | None) -> AccessFile:
    change = msgspec.structs.replace
    return AccessFile(
        access.version,
        access.server_uid,
        change(access.endpoint("client"), secret_key=client),
        change(access.endpoint("worker"), secret_key=worker),
    )


def test_credentials_that_do_not_fit_are_refused_with_the_reason(cluster):
    own = access_of(cluster)
    cluster.run("server", "generate-access", "other", "--client-port=1", "--worker-port=1")
    foreign = read_access(cluster.work / "other", "full")
    client, worker = (own.endpoint(role).secret_key for role in ("client", "worker"))
    others = (foreign.endpoint(role).secret_key for role in ("client", "worker"))
    cases = {
        # (what the peer reads, what the log says)
        "swapped": (
            with_keys(own, worker, client),
            "refused: this credential is not accepted on the {} port",
            "its credential is not accepted on the {} port",
        ),
        "foreign": (
            with_keys(own, *others),
            "refused: that is not the server of this access file",
            "{} port: refused 127.0.0.1",
        ),
        "none": (
            with_keys(own, None, None),
            "refused: the {} port demands a credential",
            "{} port: refused 127.0.0.1",
        ),
    }
    for name, (record, told, logged) in cases.items():
        directory = cluster.root / name
        directory.mkdir()
        write_access(directory / "access.json", record)
        for role, command in (("client", ("job", "list")), ("worker", ("worker", "start"))):
            done = cluster.run("--server-dir", str(directory), *command, check=1)
            assert told.format(role) in done.stderr, (name, role, done.stderr)
            wait_logged(cluster, logged.format(role))
    assert_unharmed(cluster)


async def test_a_peer_without_certificate_is_told_so(cluster):
    key = access_of(cluster).endpoint("client").secret_key
    assert key is not None
    bundle = parse_bundle(key, "")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=bundle.server_certificate)
    with trio.fail_after(PATIENCE_S):
        for role in ("client", "worker"):
            raw = await trio.open_tcp_stream("localhost", access_of(cluster).endpoint(role).port)
            tls = trio.SSLStream(raw, context, server_hostname=bundle.server_name)
            await tls.do_handshake()
            with pytest.raises(trio.BrokenResourceError) as refused:
                await tls.receive_some()
            assert "CERTIFICATE_REQUIRED" in str(refused.value.__cause__)
            await trio.aclose_forcefully(tls)
            wait_logged(cluster, f"{role} port: refused 127.0.0.1")
    wait_logged(cluster, "it has no credential", 2)
    assert_unharmed(cluster)


# --- before authentication


def first_flight(cluster: Cluster) -> bytes:
    """How an honest handshake begins."""
    key = access_of(cluster).endpoint("worker").secret_key
    assert key is not None
    context, name = client_context(key)
    outgoing = ssl.MemoryBIO()
    half = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with contextlib.suppress(ssl.SSLWantReadError):
        half.do_handshake()
    return outgoing.read()


@pytest.mark.parametrize("role", ["client", "worker"])
async def test_whoever_speaks_no_tls_is_answered_and_logged(cluster, role):
    noises = {
        b"GET / HTTP/1.1\r\n\r\n": ("plain HTTP", b"demands a credential"),
        b"hello?\r\n": ("does not speak TLS 1.3", b""),
        b"\0" * 1_000_000: ("does not speak TLS 1.3", b""),
        b"\x16\x03\x01" + os.urandom(100_000): ("does not speak TLS 1.3", b""),
        b"": ("gone during the handshake", b""),
        first_flight(cluster)[:-7]: ("gone during the handshake", b""),
    }
    before = memory_kib(cluster)
    for noise, (reason, answer) in noises.items():
        seen = cluster.log("server").count(reason)
        with trio.fail_after(PATIENCE_S):
            port = access_of(cluster).endpoint(role).port
            stream = await trio.open_tcp_stream("localhost", port)
            heard = b""
            with contextlib.suppress(trio.BrokenResourceError):
                await stream.send_all(noise)
                await stream.send_eof()
                while part := await stream.receive_some():
                    heard += part
            await stream.aclose()
        assert answer in heard
        wait_logged(cluster, reason, seen + 1)
    assert memory_kib(cluster) < before + MEMORY_KIB
    assert_unharmed(cluster)


@pytest.fixture
def many_files() -> Iterator[None]:
    before = raise_file_limit()
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 5000:
        pytest.skip("too few open files are allowed here")
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_2000_half_open_connections_keep_nobody_out(cluster, many_files):
    before = memory_kib(cluster)
    access, hello = access_of(cluster), first_flight(cluster)
    with contextlib.ExitStack() as sockets:
        for number in range(2000):
            port = access.endpoint("worker" if number % 2 else "client").port
            half = sockets.enter_context(socket.create_connection(("localhost", port)))
            half.sendall(hello if number % 4 > 1 else hello[: number % 3])
        cluster.start_worker("--cpus", "1", name="honest")
        cluster.run("submit", "--wait", "--", "true")
        assert cluster.counts(1) == {"finished": 1}
        assert memory_kib(cluster) < before + 2 * MEMORY_KIB
    assert_unharmed(cluster)


# --- frames


def nested(depth: int) -> bytes:
    return b"\x81" * depth + b"\x00"


FRAMES = {
    "over_the_limit": (b"\0" * (FRAME_MAX + 1), f"over the limit of {FRAME_MAX} bytes", False),
    "no_cbor": (b"\xff\xff\xff", "refused: frame is not plain CBOR", True),
    "nothing": (b"", "refused: frame is not plain CBOR", True),
    "cut": (b"\x9b" + b"\xff" * 8, "refused: frame is not plain CBOR", True),
    "deep": (nested(100_000), "refused: frame is not plain CBOR", True),
    "map": (b"\xa1\x61a\x01", "refused: frame is not plain CBOR", True),
    "big_number": (b"\xc2\x41\x01", "refused: frame is not plain CBOR", True),
    "wrong_type": (b"\x81\x82\x01\x63abc", "refused: frame with a message of wrong type", True),
    "unknown_tag": (b"\x81\x81\x19\x03\xe7", "refused: frame with a message of wrong type", True),
    "no_list": (b"\x01", "refused: frame with a message of wrong type", True),
}


@pytest.mark.parametrize("role", ["client", "worker"])
async def test_a_bad_frame_ends_its_connection_with_a_reason(cluster, role):
    before = memory_kib(cluster)
    for name, (frame, reason, is_logged_alike) in FRAMES.items():
        logged = reason.removeprefix("refused: ") if is_logged_alike else "over the limit"
        seen = cluster.log("server").count(logged)
        async with connected(cluster, role) as connection:
            await connection._transport.send(frame)
            assert reason in await last_words(connection), name
        wait_logged(cluster, logged, seen + 1)
    assert memory_kib(cluster) < before + MEMORY_KIB
    assert_unharmed(cluster)


# --- a worker that is let in


ONE_CPU_WORKER = Descriptor((single_pool("cpus", ("0",)),))


def hello(**changes: Any) -> Register:
    config = WorkerConfig("evil", "evil", "/", "g", ONE_CPU_WORKER)
    return Register(msgspec.structs.replace(config, **changes), secrets.token_bytes(16))


REGISTRATIONS: dict[str, tuple[Register, str]] = {
    "NaN heartbeat": (hello(heartbeat_s=NAN), "must be a number of seconds, got nan"),
    "short heartbeat": (hello(heartbeat_s=0.1), "must be longer than 150 ms"),
    "endless limit": (hello(time_limit_s=float("inf")), "the time limit of a worker must be"),
    "NaN idle timeout": (hello(idle_timeout_s=NAN), "the idle timeout of a worker must be"),
    "no cpus": (hello(descriptor=Descriptor((single_pool("cpus", ()),))), "cpus is empty"),
    "long name": (hello(hostname="x" * 100_000), "at most 4096 characters"),
    "coupling": (
        hello(descriptor=Descriptor(ONE_CPU_WORKER.pools, (Link(7, 7, 7, 7),))),
        "the coupling of a worker names",
    ),
}


async def test_impossible_registrations_are_refused_with_the_reason(cluster):
    for name, (register, reason) in REGISTRATIONS.items():
        async with connected(cluster, "worker") as connection:
            await connection.send([register])
            try:
                (rejected,) = await connection.receive()
                assert isinstance(rejected, Rejected), name
                told = rejected.reason
            except ConnectionEnded as ended:
                told = str(ended)
            assert reason in told, name
        wait_logged(cluster, reason)
    async with connected(cluster, "worker") as connection:
        await connection.send([Heartbeat()])
        assert "the first frame is not a registration" in await last_words(connection)
    assert cluster.run("worker", "info", "all").returncode == 0
    assert_unharmed(cluster)


def ended(task: int, instance: int, slot: int, **changes: Any) -> Ended:
    rows = (u64([task]), u32([instance]), u32([slot]), b"\0", i32([0]))
    fact = Ended(*rows, f64([1.0]), f64([0.0]), f32([0.0]), u32([0]))
    return msgspec.structs.replace(fact, **changes)


def nonsense(task: int, instance: int, slot: int) -> dict[str, tuple[Fact, str]]:
    """Facts about a task that was really shipped, none of which can be true."""
    row = (u64([task]), u32([instance]))
    return {
        "never shipped": (ended(77 << 32, 0, slot), "is not held here"),
        "another instance": (ended(task, instance + 9, slot), "was reported as instance"),
        "NaN age": (ended(task, instance, slot, ended_ages=f64([NAN])), "no number of seconds"),
        "no age": (ended(task, instance, slot, started_ages=b""), "columns of one fact differ"),
        "half a row": (ended(task, instance, slot, codes=b"ab"), "columns of one fact differ"),
        "short column": (ended(task, instance, slot, peak_kib=b""), "columns of one fact differ"),
        "unknown ending": (ended(task, instance, slot, endings=b"\xff"), "unknown ending 255"),
        "unknown slot": (ended(task, instance, 4242), "slot 4242 was reported, but is not open"),
        "text of no row": (ended(task, instance, slot, texts=((7, "x"),)), "belongs to no row"),
        "slot closed twice": (Closed(u32([slot, slot])), "closed twice in one report"),
        "slot never open": (Closed(u32([4242])), "slot 4242 was closed, but was never open"),
        "odd column": (Closed(b"abc"), "not a whole number of rows"),
        "too many rows": (Closed(u32(range(5001))), "at most 5000 are allowed"),
        "unasked retract": (Retracted(5, b""), "retract 5 was answered, but never asked"),
        "stranger given back": (Bounced(u64([1]), u32([0]), "time"), "is not held here"),
        "started nowhere": (Started(*row, u32([4242]), f64([0.0])), "slot 4242 was reported"),
    }


async def receive_task(connection: Connection[Any]) -> tuple[int, int, int]:
    """Task, instance and slot that the server sends to a worker that has just registered."""
    slot = task = instance = -1
    while slot < 0 or task < 0:
        for message in await connection.receive():
            match message:
                case Grant():
                    slot = message.slot
                case Enqueue():
                    task, instance = read_u64(message.firsts)[0], read_u32(message.instances)[0]
    return task, instance, slot


async def test_a_worker_that_reports_nonsense_loses_its_connection_and_nothing_else(cluster):
    job = cluster.submit("--crash-limit", "unlimited", "--array", "1-50", "--", "true")
    before = memory_kib(cluster)
    for name in nonsense(1, 0, 1):
        async with connected(cluster, "worker") as connection:
            await connection.send([hello()])
            fact, reason = nonsense(*await receive_task(connection))[name]
            await connection.send([Report(1, (fact,))])
            told = await last_words(connection)
            assert "closed by the peer: refused: " in told, (name, told)
            assert reason in told, (name, told)
        wait_logged(cluster, reason)
    async with connected(cluster, "worker") as connection:
        await connection.send([hello()])
        await receive_task(connection)
        await connection.send([hello()])
        assert "registered twice on one connection" in await last_words(connection)
    async with connected(cluster, "worker") as connection:
        await connection.send([hello()])
        await receive_task(connection)
        await connection.send([Report(3, ()), Report(3, ())])
        assert "report 3 came after report 3" in await last_words(connection)
    assert memory_kib(cluster) < before + MEMORY_KIB
    assert cluster.counts(job) == {"waiting": 50}
    cluster.start_worker("--cpus", "2", name="honest")
    cluster.wait_counts(job, finished=50)
    assert_unharmed(cluster)


async def test_a_worker_cannot_fill_the_server_or_the_terminal_with_words(cluster):
    before = memory_kib(cluster)
    async with connected(cluster, "client") as client, connected(cluster, "worker") as connection:
        await connection.send([hello(hostname="\x1b[2J\x1b]0;evil\x07")])
        await connection.receive()
        for number in range(1, 101):  # 90 MB in all
            await client.send([Call(number, array())])
            await client.receive()
            task, instance, slot = await receive_task(connection)
            words = f"{number}\x1b[31m\r" + "x" * 900_000
            fact = ended(task, instance, slot, endings=b"\1", texts=((0, words),))
            await connection.send([Report(number, (fact, Closed(u32([slot]))))])
    assert memory_kib(cluster) < before + MEMORY_KIB
    for words in (("worker", "list", "--all"), ("task", "list", "1"), ("task", "info", "1", "0")):
        assert "\x1b" not in cluster.run(*words).stdout
    assert_unharmed(cluster)


async def test_a_goodbye_that_lies_costs_its_worker_only(cluster):
    job = cluster.submit("--", "true")
    async with connected(cluster, "worker") as connection:
        await connection.send([hello()])
        await receive_task(connection)
        await connection.send([Goodbye(LossReason.HEARTBEAT_LOST)])
    cluster.start_worker("--cpus", "1", name="honest")
    cluster.wait_counts(job, finished=1)


# --- a client that is let in


BODY = TaskBody((b"true",), (), "/", Stdio(None), Stdio(None), "/")


def array(**changes: Any) -> SubmitJob:
    spec = msgspec.structs.replace(ArraySpec(BODY, 1), **changes)
    return SubmitJob(Submit(secrets.token_bytes(8), "/", JobHead("evil"), arrays=(spec,)))


def graph(*tasks: GraphTask) -> SubmitJob:
    spec = GraphSpec((BODY,), (ONE_CPU,), (TaskSettings(),), tasks)
    return SubmitJob(Submit(secrets.token_bytes(8), "/", JobHead("evil"), graph=spec))


def given(*ranges: tuple[int, int, int]) -> Selector:
    return Selector(Which.GIVEN, ranges)


REQUESTS: dict[str, tuple[ask.Request, str]] = {
    "10^9 tasks": (array(count=10**9), "cannot have more than 100000000 tasks"),
    "10^9 ids": (array(count=10**9, ranges=((0, 10**9, 1),)), "cannot have more than 100000000"),
    "negative count": (array(count=-1), "cannot have -1 tasks"),
    "other count": (array(count=3, ranges=((0, 9, 1),)), "are not as many"),
    "negative ids": (array(count=5, ranges=((-3, 5, 1),)), "Invalid range of task ids"),
    "step 0": (array(count=5, ranges=((0, 5, 0),)), "Invalid range of task ids"),
    "ids too large": (array(count=2, ranges=((2**32 - 1, 2, 1),)), "are not possible"),
    "ids twice": (array(count=4, ranges=((0, 2, 1), (1, 2, 1))), "defined more than once"),
    "tangled ids": (
        array(count=300_000, ranges=tuple((i, 1000, 300) for i in range(300))),
        "Too many long ranges",
    ),
    "needs itself": (array(needs=(0,)), "can only need arrays before it"),
    "entries": (array(count=3, entries=b"ab", entry_ends=u64([1, 2])), "cannot share 2 entries"),
    "entry ends": (array(entries=b"ab", entry_ends=b"x"), "Invalid ends of entries"),
    "no request": (array(variants=()), "Resource are empty"),
    "negative cpus": (
        array(variants=(Request((Need("cpus", -1),)),)),
        "amount of cpus is out of range",
    ),
    "NaN time": (
        array(variants=(Request((Need("cpus", 1),), 0, NAN),)),
        "A time request must be a duration",
    ),
    "priority": (array(settings=TaskSettings(2**40)), "is out of range"),
    "NaN limit": (
        array(body=msgspec.structs.replace(BODY, time_limit_s=NAN)),
        "A time limit of nan s is not possible",
    ),
    "cycle": (
        graph(GraphTask(1, 0, 0, 0, (2,)), GraphTask(2, 0, 0, 0, (1,))),
        "Invalid dependency on 2",
    ),
    "self": (graph(GraphTask(1, 0, 0, 0, (1,))), "Invalid dependency on 1"),
    "stranger": (graph(GraphTask(1, 0, 0, 0, (-9,))), "Invalid dependency on -9"),
    "no body": (graph(GraphTask(1, 5, 0, 0)), "that were not sent"),
    "negative id": (graph(GraphTask(-1, 0, 0, 0)), "Task id -1 is not possible"),
    "twice": (graph(GraphTask(1, 0, 0, 0), GraphTask(1, 0, 0, 0)), "defined more than once"),
    "part": (ask.SubmitPart(b"?", 0, b"x", u64([1])), "was not begun"),
    "commit": (ask.SubmitCommit(b"?"), "was not begun"),
    "job": (SubmitJob(Submit(b"?", "/", job=-1)), "Job -1 not found"),
    "cancel": (ask.CancelJobs(given((0, 2**60, 1))), "too many for one request"),
    "negative jobs": (ask.CloseJobs(given((-5, 3, 1))), "Invalid range of ids"),
    "deep selector": (ask.ListJobs(given(*[(0, 1, 1)] * 60_000)), "too many for one request"),
    "reason": (ask.CancelJobs(given(), "x" * 1000), "must be shorter"),
    "watch": (ask.Watch(tuple(range(6000))), "At most 5000 jobs"),
    "info": (ask.JobInfo(2**63), "not found"),
    "tasks": (ask.ListTasks(-1, -1, ((0, 2**32, 1),), (), -1), "Job -1 not found"),
}


async def test_nonsense_requests_are_refused_with_the_reason(cluster):
    before = memory_kib(cluster)
    async with connected(cluster, "client") as connection:
        for name, (request, reason) in REQUESTS.items():
            await connection.send([Call(7, request)])
            (said,) = await connection.receive()
            assert said.number == 7
            assert isinstance(said.response, ask.Failure), (name, said)
            assert reason in said.response.reason, (name, said)
    assert memory_kib(cluster) < before + MEMORY_KIB
    assert cluster.json("job", "list", "--all") == []
    assert_unharmed(cluster)


async def test_a_client_that_asks_faster_than_it_reads_is_cut_off(cluster):
    before = memory_kib(cluster)
    async with connected(cluster, "client") as connection:
        await connection.send([Call(n, ask.ServerInfo()) for n in range(1, 50_000)])
        await last_words(connection)  # a frame may be cut in the middle: then there are none
    wait_logged(cluster, "1024 messages unread")
    assert memory_kib(cluster) < before + MEMORY_KIB
    assert_unharmed(cluster)


async def test_a_submit_that_is_never_finished_leaves_nothing(cluster):
    before = memory_kib(cluster)
    for _ in range(20):
        async with connected(cluster, "client") as connection:
            begin = array(count=10**6).submit
            await connection.send([Call(1, ask.SubmitBegin(begin))])
            for number in range(2, 12):
                part = ask.SubmitPart(begin.key, 0, b"x" * 900_000, u64([900_000 * number]))
                await connection.send([Call(number, part)])
                await connection.receive()
    assert memory_kib(cluster) < before + MEMORY_KIB
    assert cluster.json("job", "list", "--all") == []
    assert_unharmed(cluster)


# --- suspended peers


TASKS = 400_000


def finished(cluster: Cluster, job: int) -> int:
    """Of a job of so many tasks that one must not ask for each of them."""
    rows = cluster.json("job", "list", "--all")
    (stats,) = (row["task_stats"] for row in rows if row["id"] == job)
    assert sum(stats.values()) == stats["finished"] + stats["waiting"] + stats["running"]
    return stats["finished"]


def test_a_suspended_viewer_harms_nobody_and_resumes(cluster):
    job = cluster.submit("--array", f"1-{TASKS}", "--stdout=none", "--stderr=none", "--", "true")
    viewers = [
        cluster.start("job", "progress", str(job), name="progress"),
        cluster.start("job", "wait", str(job), name="wait"),
        cluster.start("submit", "--progress", "--array", f"1-{TASKS}", "--stdout=none",
                      "--stderr=none", "--", "true", name="submit"),
    ]  # fmt: skip
    wait_until(lambda: len(cluster.json("job", "list")) == 2)
    before = memory_kib(cluster)
    cluster.start_worker("--zero-worker", "--cpus", "4")
    for viewer in viewers:
        viewer.send_signal(signal.SIGSTOP)
    wait_until(lambda: finished(cluster, job) == TASKS)
    wait_until(lambda: finished(cluster, job + 1) == TASKS)
    assert memory_kib(cluster) < before + 2 * MEMORY_KIB
    cluster.run("submit", "--wait", "--", "true")
    for viewer in viewers:
        assert viewer.poll() is None
        viewer.send_signal(signal.SIGCONT)
    assert [viewer.wait(PATIENCE_S) for viewer in viewers] == [0, 0, 0]
    assert_unharmed(cluster)


def test_a_suspended_worker_keeps_only_its_own_tasks(cluster):
    frozen = cluster.start_worker(
        "--zero-worker", "--cpus", "4", "--heartbeat", "500ms", name="frozen"
    )
    words = ("--crash-limit", "unlimited", "--stdout=none", "--stderr=none", "--", "true")
    job = cluster.submit("--array", f"1-{TASKS}", *words)
    wait_until(lambda: finished(cluster, job) > 0)
    frozen.send_signal(signal.SIGSTOP)
    before = memory_kib(cluster)
    cluster.start_worker("--zero-worker", "--cpus", "2", name="honest")
    cluster.run("submit", "--wait", "--priority", "5", "--array", "1-20", "--", "true")
    assert finished(cluster, job + 1) == 20
    wait_until(
        lambda: (
            "1 HEARTBEAT LOST"
            in cluster.run("--output-mode=quiet", "worker", "list", "--all").stdout
        )
    )
    wait_until(lambda: finished(cluster, job) == TASKS)
    assert memory_kib(cluster) < before + 2 * MEMORY_KIB
    frozen.send_signal(signal.SIGCONT)
    # It was replaced; what it still reports is not counted a second time.
    wait_until(
        lambda: (
            frozen.poll() is not None
            or cluster.run("--output-mode=quiet", "worker", "list").stdout.count("RUNNING") == 2
        )
    )
    assert finished(cluster, job) == TASKS
    assert_unharmed(cluster)


# --- secrets


def secrets_of(cluster: Cluster) -> list[bytes]:
    """Lines of every private key, and of nothing else."""
    record = json.loads((cluster.server_dir / "hq-current" / "access.json").read_text())
    found = []
    for role in ("client", "worker"):
        keys = record[role]["secret_key"].split("-----BEGIN PRIVATE KEY-----")[1:]
        assert keys
        for key in keys:
            body = key.split("-----END")[0].strip()
            found += [line.encode() for line in body.split("\n") if len(line) > 30]
    return found


def test_keys_are_in_no_command_line_no_log_no_environment_and_no_open_file(cluster):
    cluster.run("server", "stop")
    mark = {"HQTRIO_TEST_MARK": str(cluster.root)}
    done = cluster.run("--debug", "server", "start", "--daemon", "--host", "localhost", **mark)
    printed = [done.stdout, done.stderr]
    try:
        cluster.start_worker("--cpus", "1", name="worker", HQ_DEBUG="1", RUST_LOG="trace", **mark)
        script = "env; tr '\\0' '\\n' < /proc/$PPID/environ; touch up; sleep 1000"
        job = cluster.submit("--", "sh", "-c", script)
        wait_until((cluster.work / "up").exists)
        for words in (("server", "info"), ("worker", "info", "1"), ("job", "info", str(job))):
            for mode in ("cli", "json"):
                done = cluster.run("--debug", f"--output-mode={mode}", *words)
                printed += [done.stdout, done.stderr]
        keys = secrets_of(cluster)
        shown = "\n".join(printed).encode()
        for process in processes_with(f"HQTRIO_TEST_MARK={cluster.root}"):
            for name in ("cmdline", "environ"):
                shown += Path(f"/proc/{process}/{name}").read_bytes()
        allowed = {"access.json"}
        for path in cluster.root.rglob("*"):
            if path.is_file() and not path.is_symlink():
                assert not stat.S_IMODE(path.stat().st_mode) & 0o077 or path.name not in allowed
                if path.name not in allowed:
                    shown += path.read_bytes()
        assert len(shown) > 1000
        assert not [key for key in keys if key in shown]
        private = [cluster.server_dir, cluster.server_dir / "001", cluster.server_dir / "002"]
        assert [stat.S_IMODE(path.stat().st_mode) for path in private] == [0o700] * 3
        for path in (cluster.server_dir / "002").iterdir():
            assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path
    finally:
        cluster.run("server", "stop")


def test_access_files_are_private_under_any_umask(cluster):
    files = ("full", "--client-file=client", "--worker-file=worker")
    ports = ("--client-port=1", "--worker-port=1")
    command = cluster.command("server", "generate-access", *files, *ports)
    subprocess.run(
        ["sh", "-c", 'umask 0; exec "$@"', "sh", *command],
        cwd=cluster.work, env=cluster.env, check=True, capture_output=True,
    )  # fmt: skip
    for name in ("full", "client", "worker"):
        assert stat.S_IMODE((cluster.work / name).stat().st_mode) == 0o400
