"""What is wrong with matrices, entries, pairs and retries, and where."""

from textwrap import dedent

import pytest

from hqtrio.errors import InputError
from hqtrio.jobfile import JobFileError, load_jobfile

FILES = {
    "empty.txt": b"",
    "nul.txt": b"a\0b\n",
    "bad.json": b"[1, 2",
    "object.json": b'{"a": 1}',
    "deep.json": b"[" * 100_000,
    "ragged.csv": b"a,b\n1,2\n1,2,3\n",
    "twice.csv": b"a,a\n1,2\n",
    "name.csv": b"a b,c\n1,2\n",
    "head.csv": b"a,b\n",
    "quote.csv": b'a\n"x" y\n',
    "latin.csv": b"a\n\xe9\n",
}


def read_file(name):
    if name not in FILES:
        raise InputError(f"Cannot read {name}: No such file or directory")
    return FILES[name]


def refusal(text):
    with pytest.raises(JobFileError) as caught:
        load_jobfile(
            dedent(text).encode(), filename="j", submit_dir="/w", key=b"", read_file=read_file
        )
    return str(caught.value).splitlines()


def task_refusal(keys):
    return refusal(f"tasks:\n a:\n  command: x\n  {keys}\n")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("matrix: 3", "j:4:11: tasks.a.matrix: expected a mapping, got the whole number '3'"),
        ("matrix: {}", "j:4:11: tasks.a.matrix: the matrix names nothing to combine"),
        (
            "matrix: {x: []}",
            "j:4:15: tasks.a.matrix.x: the list is empty, so there would be no task",
        ),
        (
            "matrix: {x: {y: 1}}",
            "j:4:15: tasks.a.matrix.x: expected a list, or a range such as 1-10, got a mapping",
        ),
        ("matrix: {x: [[1]]}", "j:4:16: tasks.a.matrix.x[0]: expected text, got a list"),
        ("matrix: {x: [1, 2, 1]}", "j:4:22: tasks.a.matrix.x[2]: '1' stands here twice"),
        (
            "matrix: {TASK_ID: [1]}",
            "j:4:12: tasks.a.matrix: the name `TASK_ID` is taken by a placeholder of ours",
        ),
        (
            "matrix: {1x: [1]}",
            (
                "j:4:12: tasks.a.matrix: '1x' cannot be used as a placeholder:"
                " a letter or _, then letters, digits, _, - or ."
            ),
        ),
        (
            "matrix: {alpha: [1], exclude: [{alfa: 1}]}",
            "j:4:35: tasks.a.matrix.exclude[0]: the matrix has no `alfa`; did you mean `alpha`?",
        ),
        (
            "matrix: {x: [red, blue], exclude: [{x: rad}]}",
            ("j:4:42: tasks.a.matrix.exclude[0].x: `x` is never 'rad'; did you mean `red`?"),
        ),
        (
            "matrix: {x: 1-5, exclude: [{x: 6}]}",
            "j:4:34: tasks.a.matrix.exclude[0].x: `x` is never '6'",
        ),
        (
            "matrix: {x: [1], exclude: [{}]}",
            "j:4:30: tasks.a.matrix.exclude[0]: the mapping is empty",
        ),
        (
            "matrix: {x: [1, 2], exclude: [{x: 1}, {x: 2}]}",
            "j:4:23: tasks.a.matrix.exclude: nothing is left of 2 combinations",
        ),
        (
            "matrix: {x: [1], y: [2], include: [{x: 3}]}",
            ("j:4:38: tasks.a.matrix.include[0]: a combination names everything; `y` missing"),
        ),
        (
            "matrix: {x: 0-99999, y: 0-99999, z: 0-99999}",
            (
                "j:4:11: tasks.a.matrix: A matrix has at most 100000000 combinations,"
                " not 1000000000000000."
            ),
        ),
        (
            "entries: {xml: f}",
            "j:4:13: tasks.a.entries: unknown key `xml`; known here: csv, json, lines",
        ),
        (
            "entries: {}",
            ("j:4:12: tasks.a.entries: expected one of `lines: FILE`, `json: FILE`, `csv: FILE`"),
        ),
        (
            "entries: {csv: none.csv}",
            "j:4:18: tasks.a.entries.csv: Cannot read none.csv: No such file or directory",
        ),
        (
            "entries: {lines: empty.txt}",
            "j:4:20: tasks.a.entries.lines: empty.txt is empty, so there would be no task",
        ),
        (
            "entries: {lines: nul.txt}",
            (
                "j:4:20: tasks.a.entries.lines: nul.txt holds a NUL character,"
                " which no program can be passed"
            ),
        ),
        (
            "entries: {json: bad.json}",
            (
                "j:4:19: tasks.a.entries.json: Could not parse JSON from bad.json:"
                " Expecting ',' delimiter: line 1 column 6 (char 5)"
            ),
        ),
        (
            "entries: {json: object.json}",
            "j:4:19: tasks.a.entries.json: The top element of object.json has to be an array",
        ),
        (
            "entries: {json: deep.json}",
            "j:4:19: tasks.a.entries.json: deep.json is nested too deeply",
        ),
        (
            "entries: {csv: ragged.csv}",
            "j:4:18: tasks.a.entries.csv: ragged.csv:3: 3 fields, but the header names 2",
        ),
        (
            "entries: {csv: twice.csv}",
            "j:4:18: tasks.a.entries.csv: twice.csv:1: the header names `a` twice",
        ),
        (
            "entries: {csv: name.csv}",
            (
                "j:4:18: tasks.a.entries.csv: name.csv:1: 'a b' cannot be used as a placeholder:"
                " a letter or _, then letters, digits, _, - or ."
            ),
        ),
        (
            "entries: {csv: head.csv}",
            "j:4:18: tasks.a.entries.csv: head.csv is empty, so there would be no task",
        ),
        (
            "entries: {csv: quote.csv}",
            "j:4:18: tasks.a.entries.csv: quote.csv:2: ',' expected after '\"'",
        ),
        (
            "entries: {csv: latin.csv}",
            "j:4:18: tasks.a.entries.csv: latin.csv is not UTF-8; save it as UTF-8",
        ),
        (
            "entries: [{x: 1}, {y: 1}]\n  stdout: '%{x}'",
            "j:4:12: tasks.a.entries: entry 1 has no `x`, which the task uses as %{x}",
        ),
        (
            "retry: {backoff: 1s}",
            "j:4:10: tasks.a.retry: `times` is missing",
        ),
        (
            "retry: -1",
            "j:4:10: tasks.a.retry: expected a number from 0 to 1000000",
        ),
        (
            "retry: {times: 1, backof: 1s}",
            "j:4:21: tasks.a.retry: unknown key `backof`; did you mean `backoff`?",
        ),
        (
            "retry: {times: 1, on: [SIGKIL]}",
            (
                "j:4:26: tasks.a.retry.on[0]: expected an exit code, a signal such as SIGKILL,"
                " `timeout` or `any`, got 'SIGKIL'; did you mean `SIGKILL`?"
            ),
        ),
        (
            "retry: {times: 1, on: 256}",
            "j:4:25: tasks.a.retry.on: expected an exit code from 1 to 255, got '256'",
        ),
        (
            "retry: {times: 1, on: []}",
            "j:4:25: tasks.a.retry.on: the list is empty; leave it out, or write `any`",
        ),
        (
            "retry: {times: 1, factor: 0.5}",
            "j:4:29: tasks.a.retry.factor: expected a number from 1 to 1000000",
        ),
        (
            "retry: {times: 1, backoff: 1m, max_backoff: 1s}",
            "j:4:47: tasks.a.retry.max_backoff: `max_backoff` is less than `backoff`",
        ),
        (
            "retry: {times: 1, backoff: 400d}",
            "j:4:30: tasks.a.retry.backoff: a pause before a retry is at most 366 days",
        ),
        (
            "env: {A: '%{beta}'}",
            (
                "j:4:12: tasks.a.env.A: nobody defines the placeholder %{beta};"
                " known: JOB_ID, TASK_ID, INSTANCE_ID, SUBMIT_DIR, SERVER_UID, CWD"
            ),
        ),
        (
            "matrix: {alpha: [1]}\n  stdin: 'x %{alhpa}'",
            (
                "j:5:10: tasks.a.stdin: nobody defines the placeholder %{alhpa};"
                " did you mean `alpha`?"
            ),
        ),
    ],
)
def test_each_kind_of_mistake_is_told_with_its_place(keys, message):
    assert task_refusal(keys) == [message]


def test_placeholders_of_a_command_are_checked_word_by_word():
    text = """\
        tasks:
          a: {matrix: {n: [1]}, command: [echo, "%{n}", "%{m}"]}
          b: {command: "echo %{n}"}
        """
    assert [line.split("; known")[0] for line in refusal(text)] == [
        "j:2:49: tasks.a.command[2]: nobody defines the placeholder %{m}",
        "j:3:16: tasks.b.command: nobody defines the placeholder %{n}",
    ]


def test_pairs_of_different_size_are_told():
    text = """\
        tasks:
          a: {array: 1-3, command: x}
          b: {array: 1-4, needs: {a: each}, command: x}
          c: {needs: {a: each, d: each}, command: x}
          d: {command: x}
        """
    assert refusal(text) == [
        ("j:3:27: tasks.b.needs.a: `each` needs groups of one size: b has 4 tasks and a has 3"),
        ("j:4:24: tasks.c.needs.d: `each` needs groups of one size: c has 3 tasks and d has 1"),
    ]


def test_a_circle_of_pairs_is_spelled_out():
    text = """\
        tasks:
          a: {needs: {b: each}, command: x}
          b: {needs: {a: each}, command: x}
        """
    assert refusal(text) == ["j:2:15: tasks.a.needs.b: the tasks need each other: a -> b -> a"]


def test_mistakes_of_several_groups_are_told_at_once_and_in_order():
    text = """\
        tasks:
          a: {matrix: {x: []}, command: x, retry: {times: many}}
          b: {entries: {csv: none.csv}, needs: {aa: each}, command: x}
        """
    assert [line.split(": ")[0] for line in refusal(text)] == [
        "j:2:19",
        "j:2:51",
        "j:3:22",
        "j:3:41",
    ]
