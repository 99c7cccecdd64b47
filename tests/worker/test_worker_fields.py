"""Entries of a matrix and values of placeholders, as a worker hands them to its launchers."""

from worker_bench import Bench, define, enqueue, grant, only, t, with_body

from hqtrio.model.matrix import Axis, Matrix
from hqtrio.model.task import Stdio
from hqtrio.worker.bodies import Body
from hqtrio.worker.launch import Site, entry_values, use_body
from hqtrio.worker.orders import FIELDS, Field, Output, RunTasks

SITE = Site(((b"PATH", b"/bin"),), b"/hq", "/w", "uid")
MATRIX = Matrix((Axis("letter", ('"a"', '"b"')), Axis("n", (), ((1, 3, 1),))))


def test_words_environment_and_input_become_templates_where_something_is_named():
    body = with_body(
        args=(b"run", b"--%{n}", b"%{JOB_ID}/%{SUBMIT_DIR}", b"\xff%{TASK_ID}%{other}"),
        env=((b"A", b"%{letter}"), (b"B", b"plain")),
        stdin=b"in %{n}",
        cwd="%{letter}/%{TASK_ID}",
        stdout=Stdio("%{CWD}/%{n}.txt"),
        fields=("letter", "n"),
        fills=True,
        matrix=MATRIX,
    )
    order = use_body(1, Body(8, 5, body), SITE)
    assert order.args == (
        b"run",
        ("--", FIELDS + 1),
        b"5//here",
        ("\udcff", Field.TASK_ID, "%{other}"),
    )
    env = dict(order.env)
    assert (env[b"A"], env[b"B"]) == ((FIELDS,), b"plain")
    assert order.stdin == ("in ", FIELDS + 1)
    assert order.cwd == (FIELDS, "/", Field.TASK_ID)
    assert order.stdout == Output((Field.CWD, "/", FIELDS + 1, ".txt"))


def test_without_leave_to_fill_words_stay_as_they_are():
    body = with_body(args=(b"%{TASK_ID}",), env=((b"A", b"%{n}"),), stdin=b"%{n}")
    order = use_body(1, Body(8, 5, body), SITE)
    assert order.args == (b"%{TASK_ID}",)
    assert dict(order.env)[b"A"] == b"%{n}"
    assert order.stdin == b"%{n}"


def test_the_worker_knows_each_tasks_combination():
    bench = Bench()
    body = with_body(matrix=MATRIX, first_number=10, fields=("n",))
    bench.server(*define(2, body=body), grant(1, 2))
    effects = bench.server(enqueue(10, 15, 16, klass=2))
    orders = only(effects, RunTasks)
    assert orders[0].entries == (b'{"letter":"a","n":1}',)
    assert orders[0].values == ((b"1",),)
    bench.started(t(10))
    (order,) = only(bench.ended(t(10)), RunTasks)
    assert order.tasks[0] == t(15)
    assert order.entries[0] == b'{"letter":"b","n":3}'
    # Behind the last combination there is nothing; that is no reason to fall over.
    bench.started(t(15))
    runs = only(bench.ended(t(15)), RunTasks) or [order]
    assert runs[-1].entries[-1] == b""
    assert runs[-1].values[-1] == (b"",)


def test_fields_of_entries_that_are_objects():
    body = Body(1, 1, with_body(fields=("x", "y")))
    entries = (
        b'{"x": 1.50, "y": "two \\u00e9"}',
        b"no object",
        b'{"y": [1, {"a": null}]}',
        b"\xff",
    )
    assert entry_values(body, entries) == (
        (b"1.50", "two é".encode()),
        (b"", b""),
        (b"", b'[1, {"a": null}]'),
        (b"", b""),
    )
    assert entry_values(Body(1, 1, with_body()), entries) == ()
