"""Submits of many named groups travel in frames of bounded size."""

import pytest

from hqtrio.client.submits import fits_one_frame, parts_of
from hqtrio.errors import InputError
from hqtrio.jobfile import load_jobfile
from hqtrio.jobs.effects import Answer, ClientAsked
from hqtrio.jobs.machine import JobBook
from hqtrio.messages import client as say
from hqtrio.messages.client import Call, SubmitBegin, SubmitCommit
from hqtrio.model.job import ArraySpec, JobHead, Submit
from hqtrio.model.matrix import Axis, Matrix
from hqtrio.model.task import Stdio, TaskBody
from hqtrio.now import Now
from hqtrio.wire.codec import encode

FRAME_MAX = 1024 * 1024
GROUPS = 5000


def many_groups():
    lines = ["tasks:"]
    for n in range(GROUPS):
        needs = f", needs: t{n - 1}" if n % 10 else ""
        lines.append(f"  t{n}: {{command: [echo, '{n}'], entries: [a{n}, b]{needs}}}")
    return load_jobfile("\n".join(lines).encode(), filename="j.yaml", submit_dir="/w", key=b"key")


def test_five_thousand_named_groups_travel_in_bounded_frames_and_arrive_whole():
    submit = many_groups()
    assert not fits_one_frame(submit)
    begin, *parts, commit = parts_of(submit)
    assert isinstance(begin, SubmitBegin)
    assert isinstance(commit, SubmitCommit)
    assert all(len(encode([Call(1, part)])) < FRAME_MAX // 2 for part in (begin, *parts))
    book = JobBook("uid", b"h", say.ServerDetails("uid", "h", 1, "h", 2, "0", 7, 0.0))
    now = Now(0.0, 1e6)
    answers = []
    for number, part in enumerate((begin, *parts, commit)):
        effects = book.handle(ClientAsked(1, number, part), now)
        answers += [effect.response for effect in effects if isinstance(effect, Answer)]
    assert answers[-1] == say.Submitted(1)
    while (at := book.next_deadline()) < 1.0:
        book.tick(Now(at, 1e6))
    book.check()
    (rows,) = [
        effect.response
        for effect in book.handle(
            ClientAsked(1, 0, say.ListTasks(1, numbers=((9990, 10, 1),))), now
        )
    ]
    assert [row.group for row in rows.rows][-2:] == ["t4999", "t4999"]
    assert [row.entry for row in rows.rows][-2:] == [b"a4999", b"b"]


def test_a_body_that_fits_no_frame_is_refused_by_the_name_of_its_group():
    values = tuple(f'"{n:0200}"' for n in range(2000))
    body = TaskBody((b"x",), (), "/", Stdio(None), Stdio(None), "/w",
                    matrix=Matrix((Axis("a", values),)))  # fmt: skip
    submit = Submit(b"k", "/w", JobHead("j"), arrays=(ArraySpec(body, 2000, group="large"),))
    with pytest.raises(InputError, match=r"of `large` take .* put large inputs into files"):
        list(parts_of(submit))
