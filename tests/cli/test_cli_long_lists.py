"""Listings that are longer than anybody wants to hold."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hqtrio.cli.main import run
from hqtrio.cli.render.json_text import Array, json_text
from hqtrio.cli.session import Session
from hqtrio.client.views import BodyPaths, resolve
from hqtrio.messages.client import (
    ArrayPart,
    Counts,
    Failure,
    JobDetails,
    JobInfo,
    JobRow,
    JobRows,
    ListJobs,
    ListTasks,
    SubmitPartInfo,
    TaskRow,
    TaskRows,
)
from hqtrio.model.resources import ONE_CPU
from hqtrio.model.task import Stdio, TaskBody, TaskSettings, TaskState

PAGE = 1000
BODY = TaskBody((b"true",), (), "/data", Stdio("%{CWD}/%{TASK_ID}.out"), Stdio(None), "/data")


def page_of(first, count, next_position, state=TaskState.FINISHED, error=""):
    rows = tuple(
        TaskRow(n, state, 0, (1,), 1.7e9, 1.7e9 + 1, error=error)
        for n in range(first, first + count)
    )
    return TaskRows(rows, (BODY,), (ONE_CPU,), (TaskSettings(),), ((1, "node1"),), next_position)


def job_row(number, **counts):
    return JobRow(number, "j", Counts(**counts), False, None, True)


class Watched(io.StringIO):
    """An output that remembers how much had arrived when each page was asked for."""

    def __init__(self):
        super().__init__()
        self.lengths = []


def script(server, pages, out=None, details=None):
    def tasks(request):
        if out is not None:
            out.lengths.append(out.tell())
        first = request.position
        last = first + PAGE >= pages * PAGE
        return page_of(first, PAGE, -1 if last else first + PAGE)

    server.on(ListJobs, JobRows((job_row(1, finished=pages * PAGE),), 1)).on(ListTasks, tasks)
    if details is not None:
        server.on(JobInfo, details)


def array_details(count):
    part = ArrayPart(BODY, ((0, count, 1),), ONE_CPU, TaskSettings())
    submits = (SubmitPartInfo("/data", (part,)),)
    return JobDetails(job_row(1, finished=count), None, 1.0, 2.0, submits, ((0, count, 1),), (), ())


@pytest.mark.parametrize(
    ("words", "held"),
    [
        ("task list 1", 10),
        ("task list 1 --output-mode json", 0),
        ("job info 1 --output-mode json", 0),
    ],
)
def test_a_long_listing_is_printed_while_it_arrives(server, words, held):
    out, pages = Watched(), 40
    script(server, pages, out, array_details(pages * PAGE))

    assert run(words.split(), Session(connect=server.connect, out=out)) == 0

    # When a page is asked for, all but the last two have been printed.
    share = out.tell() / pages
    for page, length in enumerate(out.lengths):
        if page > held + 2:
            assert length >= (page - 2) * share * 0.9, page


def test_a_long_table_is_as_regular_as_a_short_one(hq, server):
    script(server, 30)

    lines = hq("task", "list", "1").lines

    assert len(lines) == 30 * PAGE + 4
    assert {len(line) for line in lines} == {len(lines[0])}
    assert {line.count("|") for line in lines[3:-1]} == {6}
    assert lines[0] == lines[2] == lines[-1]
    assert lines[3].split("|")[1:3] == ["          0 ", " FINISHED "]


def test_a_cell_wider_than_the_first_rows_sticks_out_of_a_long_table(hq, server):
    def tasks(request):
        first = request.position
        error = "broken " * 20 if first == 20 * PAGE else ""
        return page_of(first, PAGE, first + PAGE if first < 20 * PAGE else -1, error=error)

    server.on(ListJobs, JobRows((job_row(1, failed=1),), 1)).on(ListTasks, tasks)

    lines = hq("task", "list", "1", "-v").lines

    assert lines[3 + 20 * PAGE].split("|")[5].strip() == ("broken " * 20).strip()


def test_json_of_many_pages_reads_as_one_value(hq, server):
    script(server, 3, details=array_details(3 * PAGE))

    (listed,) = json.loads(hq("task", "list", "1", "--output-mode", "json").out).values()
    (job,) = json.loads(hq("job", "info", "1", "--output-mode", "json").out)

    assert [task["id"] for task in listed] == list(range(3 * PAGE))
    assert job["tasks"] == listed
    assert job["submits"][0]["array"]["program"]["args"] == ["true"]


def test_streamed_json_looks_as_if_it_were_printed_at_once(hq, server):
    script(server, 2, details=array_details(2 * PAGE))

    for words in ("task list 1", "job info 1"):
        text = hq(*words.split(), "--output-mode", "json").out
        assert text == json.dumps(json.loads(text), indent=2, sort_keys=True) + "\n"


def test_jobs_without_tasks_have_empty_lists(hq, server):
    server.on(ListJobs, JobRows((job_row(1), job_row(2)), 2))
    server.on(ListTasks, page_of(0, 0, -1))
    assert hq("task", "list", "1-2", "--output-mode", "json").out == (
        '{\n  "1": [],\n  "2": []\n}\n'
    )

    server.on(ListJobs, JobRows((), 0, unknown=(3,)))
    assert hq("task", "list", "3", "--output-mode", "json").out == "{}\n"
    assert hq("job", "info", "3", "--output-mode", "json").out == "[]\n"


def test_an_open_job_with_graphs_and_arrays_tells_its_submits_in_order(hq, server):
    array = ArrayPart(BODY, ((5, 2, 1),), ONE_CPU, TaskSettings())
    submits = (
        SubmitPartInfo("/data", (), graph_tasks=2),
        SubmitPartInfo("/data", (array,)),
        SubmitPartInfo("/data", (array,), graph_tasks=1),
    )
    details = JobDetails(job_row(1, finished=6), None, 1.0, 2.0, submits, ((1, 6, 1),), (), ())
    script(server, 1, details=details)
    server.on(ListTasks, page_of(1, 7, -1))

    (job,) = json.loads(hq("job", "info", "1", "--output-mode", "json").out)

    graph, single, mixed = job["submits"]
    assert [len(graph["graph"]), list(single), len(mixed["graph"])] == [2, ["array"], 2]
    assert len(job["tasks"]) == 7


def test_a_server_that_is_lost_half_way_is_named_on_standard_error(hq, server):
    def tasks(request):
        return Failure("Job 1 not found.") if request.position else page_of(0, PAGE, PAGE)

    script(server, 2, details=array_details(2 * PAGE))
    server.on(ListTasks, tasks)

    result = hq("job", "info", "1", "--output-mode", "json")

    assert (result.code, result.err) == (1, "Error: Job 1 not found.\n")
    assert '"error"' not in result.out


def test_the_next_page_is_asked_for_before_this_one_is_used(hq, server):
    script(server, 3)

    assert hq("task", "list", "1", "--output-mode", "json").code == 0

    positions = [request.position for request in server.asked if isinstance(request, ListTasks)]
    assert positions == [0, PAGE, 2 * PAGE]


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(values)
def test_json_is_printed_as_the_standard_library_does(value):
    assert json.loads(json_text(value)) == value
    assert json_text(value) == json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)


def test_bytes_that_are_no_text_are_printed_as_escapes():
    assert json_text({"path": "/data/\udcff"}) == '{\n  "path": "/data/\\udcff"\n}'


@given(st.lists(st.lists(values, max_size=3), max_size=4), st.integers(0, 3))
def test_a_list_in_parts_is_the_list_as_a_whole(parts, depth):
    out = io.StringIO()
    array = Array(out, depth)
    for part in parts:
        array.add(part)
    array.close()

    flat = [value for part in parts for value in part]
    assert out.getvalue() == json_text(flat).replace("\n", "\n" + "  " * depth)


pieces = st.lists(
    st.sampled_from(["a", "/", ".", "%{TASK_ID}", "%{INSTANCE_ID}", "%{JOB_ID}", "%{X}", "%{CWD}"])
).map("".join)


@given(pieces, pieces, st.integers(0, 2**32 - 1), st.integers(0, 3))
def test_shared_paths_are_those_of_each_task(cwd, stdout, number, instance):
    body = TaskBody((), (), cwd.replace("%{CWD}", ""), Stdio(stdout), Stdio(None), "/home/u")
    names = {"JOB_ID": "7", "TASK_ID": str(number), "INSTANCE_ID": str(instance)}

    paths = BodyPaths(7, body)

    assert paths.of(number, instance, b"") == resolve(body, names)
    assert paths.of(number + 1, instance, b"") == resolve(
        body, {**names, "TASK_ID": str(number + 1)}
    )


def test_an_answer_of_another_kind_is_the_peers_fault(hq, server):
    server.on(ListJobs, JobRows((job_row(1),), 1)).on(ListTasks, JobRows((), 0))

    result = hq("task", "list", "1")

    assert result.code == 1
    assert "The server answered ListTasks by JobRows" in result.err
