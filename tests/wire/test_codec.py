"""Frames: what is promised to every peer, and what no bytes can do."""

from __future__ import annotations

import gc
import inspect
import tracemalloc
from types import ModuleType
from typing import Any, get_args

import cbor2
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hqtrio.errors import RemoteFault
from hqtrio.messages import client, worker
from hqtrio.messages.client import (
    AmountCondition,
    Call,
    ExplainTask,
    Failure,
    JobRows,
    NodesCondition,
    Said,
    Selector,
    ServerInfo,
    SubmitJob,
    TaskExplained,
    TaskNotice,
    TimeCondition,
    Which,
    WorkerFit,
)
from hqtrio.messages.worker import (
    Closed,
    Drain,
    Ended,
    FromWorker,
    Grant,
    Heartbeat,
    HeldSlot,
    Note,
    Report,
    Started,
    ToWorker,
)
from hqtrio.model.job import ArraySpec, JobHead, Submit
from hqtrio.model.resources import CPUS, ONE_CPU, UNIT, Claim, Request
from hqtrio.model.task import Stdio, TaskBody
from hqtrio.wire.codec import DEPTH_MAX, FRAME_MAX, Decoder, encode

FROM_WORKER: Decoder[Any] = Decoder(FromWorker)
TO_WORKER: Decoder[Any] = Decoder(ToWorker)
CALLS: Decoder[Any] = Decoder(Call)
SAID: Decoder[Any] = Decoder(Said)
HELD_SLOTS: Decoder[Any] = Decoder(HeldSlot)
DECODERS = (FROM_WORKER, TO_WORKER, CALLS, SAID)

# Tags are promises: an entry here is only ever added. Facts, what a worker says and what it is
# told are three unions with numbers of their own, as are requests and responses.
TAGS = {
    "Fact": "Started 1 Ended 2 Closed 3 Bounced 4 Retracted 5",
    "FromWorker": "Register 1 Report 2 Heartbeat 3 Goodbye 4 Overview 5 HeldMore 6",
    "ToWorker": (
        "Registered 1 Rejected 2 DefineClass 3 DefineBody 4 Forget 5 Grant 6 Enqueue 7 Retract 8 "
        "Drain 9 Undrain 10 Cancel 11 Ack 12 Stop 13 ServerStops 14"
    ),
    "Request": (
        "ServerInfo 1 StopServer 2 SubmitJob 3 SubmitBegin 4 SubmitPart 5 SubmitCommit 6 OpenJob 7 "
        "CloseJobs 8 CancelJobs 9 ForgetJobs 10 ListJobs 11 JobInfo 12 ListTasks 13 Watch 14 "
        "ListWorkers 15 StopWorkers 16 WatchWorkers 17 ExplainTask 18 ListNumbers 19 ListEnds 21"
    ),
    "Response": (
        "Failure 1 Done 2 ServerDetails 3 Submitted 4 Verdicts 5 Forgotten 6 JobRows 7 "
        "JobDetails 8 TaskRows 9 WorkerRows 10 JobNotice 11 WorkerNotice 12 "
        "TaskExplained 13 TaskNotice 14 TaskNumbers 15 TaskEnds 16"
    ),
    "Condition": "TimeCondition 1 AmountCondition 2 NodesCondition 3",
}


TAGS["AnyRequest"] = (
    f"{TAGS['Request']} DebugDump 20 StreamEvents 26 FlushJournal 27 PruneJournal 28"
)


@pytest.mark.parametrize("union", TAGS)
def test_tags_are_only_ever_appended(union: str) -> None:
    module: ModuleType = client if hasattr(client, union) else worker
    members = get_args(getattr(module, union))
    words = TAGS[union].split()
    promised = dict(zip(words[::2], words[1::2], strict=True))
    actual = {member.__name__: str(member.__struct_config__.tag) for member in members}
    assert {name: actual.get(name) for name in promised} == promised
    assert len(set(actual.values())) == len(actual)


def test_every_tagged_message_belongs_to_a_union() -> None:
    for module in (worker, client):
        unions = {member for name in TAGS for member in get_args(getattr(module, name, None))}
        for _, kind in inspect.getmembers(module, inspect.isclass):
            config = getattr(kind, "__struct_config__", None)
            if config is not None and config.tag is not None and kind.__module__ == module.__name__:
                assert kind in unions, kind


CONDITIONS = (TimeCondition(2.0), AmountCondition(CPUS, UNIT, 0), NodesCondition(2, 1))

GOLDEN = [
    (FROM_WORKER, [Heartbeat()], "818103"),
    (FROM_WORKER, [Report(5, (Closed(b"\1\0\0\0"),))], "818302058182034401000000"),
    (
        FROM_WORKER,
        [Report(1, (Ended(*[b"a"] * 9, texts=((0, "é"),), results=((0, b"V"),)),))],
        "81830201818c0241614161416141614161416141614161416181820062c3a9818200" + "4156",
    ),
    (
        FROM_WORKER,
        [Report(2, (Started(b"", b"", b"", b"", (Note(5, 1, b"hi"),)),))],
        "8183020281860140404040818305014268" + "69",
    ),
    (SAID, [Said(0, TaskNotice(1, 2, 3, b"hi"))], "818200850e01020342" + "6869"),
    (TO_WORKER, [Drain(b""), Drain(b"\1", 2)], "8283094000830941" + "0102"),
    (TO_WORKER, [Grant(5, 1, 0, Claim(), ("a.x", "b"))], "818606050100818082" + "63612e786162"),
    (
        HELD_SLOTS,
        [HeldSlot(3, (Request(nodes=2),), 0, Claim(), True, ("h", "i"))],
        "81860381848002fb0000000000000000192710008180f58261686169",
    ),
    (CALLS, [Call(7, ServerInfo())], "81820781" + "01"),
    (SAID, [Said(0, Failure("no"))], "818200820162" + "6e6f"),
    (SAID, [Said(3, JobRows((), 0, False, ()))], "818203850780" + "00f480"),
    (CALLS, [], "80"),
    (CALLS, [Call(2, ExplainTask(Selector(Which.LAST), 5, 3))], "81820284128201800503"),
    (
        SAID,
        [Said(2, TaskExplained(1, 5, 2, 1, ONE_CPU, 3, (WorkerFit(4, (CONDITIONS,)),)))],
        (
            "8182028c0d010502018184818364637075731927100000fb0000000000000000192710038182048183"
            "8301fb4000000000000000f6840264637075731927100083030201f400f660"
        ),
    ),
]


@pytest.mark.parametrize(("decoder", "messages", "golden"), GOLDEN)
def test_golden_bytes(decoder: Decoder[Any], messages: list[Any], golden: str) -> None:
    assert encode(messages).hex() == golden
    assert decoder.decode(bytes.fromhex(golden)) == messages


def test_a_worker_that_knows_no_results_is_understood() -> None:
    old = "81830201818b0241614161416141614161416141614161416181820062c3a9"
    assert FROM_WORKER.decode(bytes.fromhex(old)) == [
        Report(1, (Ended(*[b"a"] * 9, texts=((0, "é"),)),))
    ]


def test_a_message_with_fields_that_are_not_known_yet_is_read() -> None:
    assert TO_WORKER.decode(cbor2.dumps([[9, b"", 1, "new", [1]]])) == [Drain(b"", 1)]


def test_a_message_without_its_later_fields_gets_their_defaults() -> None:
    assert FROM_WORKER.decode(cbor2.dumps([[2, 1, [[2, *[b""] * 9]]]])) == [
        Report(1, (Ended(*[b""] * 9),))
    ]
    assert TO_WORKER.decode(cbor2.dumps([[9, b""], [6, 5, 1, 0, [[]]]])) == [
        Drain(b"", 0),
        Grant(5, 1, 0, Claim(), ()),
    ]


def body(path: str) -> TaskBody:
    return TaskBody((b"/bin/\xff",), (), path, Stdio(path), Stdio(None), path)


@settings(deadline=None)
@given(st.binary())
@example(b"/tmp/\xff\xfe")
@example("/tmp/ü".encode())
def test_text_that_is_not_utf8_comes_back_as_the_same_bytes(path: bytes) -> None:
    text = path.decode("utf-8", "surrogateescape")
    submit = Submit(b"key", text, JobHead(text), arrays=(ArraySpec(body(text), 1),))
    (call,) = CALLS.decode(encode([Call(1, SubmitJob(submit))]))
    assert call.request.submit == submit
    assert call.request.submit.submit_dir.encode("utf-8", "surrogateescape") == path


BAD = {
    "nothing": b"",
    "two_items": b"\x80\x80",
    "byte_after_the_end": encode([Heartbeat()]) + b"\0",
    "cut": encode([Heartbeat()])[:-1],
    "not_an_array": b"\x03",
    "unknown_tag": b"\x81\x81\x18\x63",
    "tag_of_no_type": b"\x81\x81\x61a",
    "missing_field": b"\x81\x82\x02\x00",
    "wrong_type": cbor2.dumps([[2, "1", []]]),
    "bool_for_number": cbor2.dumps([[2, True, []]]),
    "text_for_bytes": cbor2.dumps([[2, 1, [[3, "AAAA"]]]]),
    "bytes_for_text": cbor2.dumps([[1, [b"host"]]]),
    "null": b"\x81\xf6",
    "undefined": b"\x81\xf7",
    "simple": b"\x81\xf8\xff",
    "break": b"\x81\xff",
    "map": b"\x81\xa0",
    "map_with_colliding_keys": cbor2.dumps({k << 61: 0 for k in range(99)}),
    "indefinite_array": b"\x9f\x81\x03\xff",
    "indefinite_bytes": b"\x81\x82\x09\x5f\x41\x00\xff",
    "deep": b"\x81" * 100_000,
    "just_too_deep": b"\x81" * (DEPTH_MAX + 1) + b"\x80",
    "huge_array": b"\x9b" + b"\xff" * 8,
    "large_array": b"\x9a\x7f\xff\xff\xff",
    "huge_arrays": b"\x9a\x00\x0f\xff\xff" * 30,
    "huge_bytes": b"\x5b" + b"\x7f" * 8 + b"x",
    "large_bytes": b"\x5a\x7f\xff\xff\xff" + b"x",
    "huge_text": b"\x7b" + b"\xff" * 8,
    "huge_map": b"\xbb" + b"\xff" * 8,
    "reserved_head": b"\x81\x1c",
    "over_the_limit": bytes(FRAME_MAX + 1),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_frame_is_the_peers_fault(name: str) -> None:
    with pytest.raises(RemoteFault, match="frame"):
        FROM_WORKER.decode(BAD[name])


def test_a_huge_declared_length_costs_nothing() -> None:
    tracemalloc.start()
    for name in ("huge_array", "large_array", "huge_arrays", "huge_bytes", "large_bytes"):
        with pytest.raises(RemoteFault):
            FROM_WORKER.decode(BAD[name])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 << 20


REGISTERED_TAGS = [*range(300), *range(1000, 1005), 15309736, 43000, 43001, 55799, 55800, 2**64 - 1]
CONTENTS = [0, "a", "2013-03-21T20:04:00Z", b"\0", [], [0, 1], {}, {0: 1}]


def test_no_tag_of_cbor_is_understood() -> None:
    """Or a peer could have patterns compiled, dates and numbers of any size made."""
    for tag in REGISTERED_TAGS:
        for content in CONTENTS:
            tagged = cbor2.dumps(cbor2.CBORTag(tag, content))
            for frame in (tagged, b"\x81" + tagged, b"\x81\x82\x09" + tagged):
                with pytest.raises(RemoteFault):
                    TO_WORKER.decode(frame)


@pytest.mark.parametrize("item", [b"\x80", b"\xa0", b"\x81\x00", b"\x20", b"\xf6", b"\x60"])
def test_the_memory_for_a_frame_of_tiny_items_is_bounded(item: bytes) -> None:
    count = (FRAME_MAX - 5) // len(item)
    frame = b"\x9a" + count.to_bytes(4, "big") + item * count
    gc.collect()
    tracemalloc.start()
    with pytest.raises(RemoteFault):
        FROM_WORKER.decode(frame)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 128 * FRAME_MAX


# --- any bytes, and nearly right ones

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=30,
)
golden = st.sampled_from([bytes.fromhex(frame) for _, _, frame in GOLDEN])


def survives(frame: bytes) -> None:
    for decoder in DECODERS:
        try:
            messages = decoder.decode(frame)
        except RemoteFault:
            continue
        again = encode(messages)  # bytes are compared, since not a number equals nothing
        assert encode(decoder.decode(again)) == again


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_messages_or_the_peers_fault(frame: bytes) -> None:
    survives(frame)


@settings(deadline=None)
@given(plain)
def test_any_cbor_is_messages_or_the_peers_fault(item: object) -> None:
    survives(cbor2.dumps(item))
    survives(cbor2.dumps([[1, item, item], [2, item], [3], [9, item]]))


@settings(max_examples=300, deadline=None)
@given(golden, st.data())
def test_a_damaged_frame_is_messages_or_the_peers_fault(frame: bytes, data: st.DataObject) -> None:
    damaged = bytearray(frame)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    survives(bytes(damaged))
