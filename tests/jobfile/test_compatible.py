"""The compatible dialect: job files of HyperQueue."""

import struct
from textwrap import dedent

import pytest

from hqtrio.jobfile import JobFileError, load_jobfile
from hqtrio.model.resources import ONE_CPU, UNIT, Need, Policy, Request
from hqtrio.model.task import Stdio


def load(text, *, filename="job.yaml", **options):
    return load_jobfile(
        dedent(text).encode(), filename=filename, submit_dir="/w", key=b"", **options
    )


def refusal(text, **options):
    with pytest.raises(JobFileError) as caught:
        load(text, **options)
    return str(caught.value)


def test_a_graph_of_tasks():
    submit = load(
        """
        name: pipeline
        max_fails: 3
        task:
          - id: 10
            command: [python3, prepare.py, --size, "100"]
            env: {LEVEL: "2"}
            stdout: "prep-%{TASK_ID}.out"
          - id: 11
            command: [./train]
            deps: [10]
            time_limit: 1h 30m
            stderr: {path: train.err, on_close: rm-if-finished}
            request:
              - resources: {cpus: 4 compact!, gpus/nvidia: 1}
                weight: 2.0
              - resources: {cpus: 16}
                time_request: 20m
        """
    )
    assert (submit.head.name, submit.head.max_fails) == ("pipeline", 3)
    graph = submit.graph
    assert [(task.number, task.needs) for task in graph.tasks] == [(10, ()), (11, (10,))]
    prepare, train = (graph.bodies[task.body] for task in graph.tasks)
    assert prepare.env == ((b"LEVEL", b"2"),)
    assert prepare.stdout == Stdio("prep-%{TASK_ID}.out")
    assert train.time_limit_s == 5400
    assert train.stderr == Stdio("train.err", remove_if_finished=True)
    assert graph.variants[graph.tasks[0].variants] == ONE_CPU
    assert graph.variants[graph.tasks[1].variants] == (
        Request(
            (Need("cpus", 4 * UNIT, Policy.FORCE_COMPACT), Need("gpus/nvidia", UNIT)),
            weight=20_000,
        ),
        Request((Need("cpus", 16 * UNIT),), time_s=1200.0),
    )


def test_tasks_without_id_follow_the_largest_one():
    submit = load(
        "task: [{command: [a]}, {command: [b], id: 12}, {command: [c], id: 3},"
        " {command: [d]}, {command: [e]}]"
    )
    assert [task.number for task in submit.graph.tasks] == [13, 12, 3, 14, 15]


def test_without_any_id_the_first_is_one():
    submit = load("task: [{command: [a]}, {command: [b]}]")
    assert [task.number for task in submit.graph.tasks] == [1, 2]
    assert submit.head.name == ""


def test_equal_bodies_requests_and_settings_are_kept_once():
    graph = load("task:\n" + "- {command: [a], priority: 3}\n" * 50).graph
    assert len(graph.tasks) == 50
    assert (len(graph.bodies), len(graph.variants), len(graph.settings)) == (1, 1, 1)


def test_tasks_come_behind_those_they_need():
    graph = load(
        "task: [{id: 1, command: [a], deps: [3]}, {id: 2, command: [b]}, {id: 3, command: [c]}]"
    ).graph
    assert [task.number for task in graph.tasks] == [2, 3, 1]


def test_an_array_with_ids():
    (array,) = load("array: {ids: '2,7,20-23:3', command: [a]}").arrays
    assert array.count == 4
    assert array.ranges == ((2, 1, 1), (7, 1, 1), (20, 2, 3))
    (array,) = load("array: {ids: 5, command: [a]}").arrays
    assert array.ranges == ((5, 1, 1),)


def test_an_array_with_entries():
    (array,) = load("array: {entries: [a, bb, 7], command: [a]}").arrays
    assert array.ranges == ((0, 3, 1),)
    assert array.entries == b"abb7"
    assert struct.unpack("<3Q", array.entry_ends) == (1, 3, 4)
    (array,) = load("array: {entries: [a, b], ids: '7,3', command: [a]}").arrays
    assert array.ranges == ((7, 1, 1), (3, 1, 1))
    (array,) = load("array: {entries: [a, b], command: [a]}", job=2).arrays
    assert (array.count, array.ranges) == (2, ())


def test_scalars_follow_the_core_schema():
    (array,) = load("array: {ids: 1, command: [a, no, on, 1:30, 1e3, 007]}").arrays
    assert array.body.args == (b"a", b"no", b"on", b"1:30", b"1e3", b"007")
    message = refusal("array: {ids: 1, command: [a, true]}")
    assert message == (
        "job.yaml:1:30: array.command[1]: Deserialization error: expected text"
        " (put it into quotes), got the boolean 'true'"
    )


def test_requests_get_no_cpu_of_their_own_and_floats_round_up():
    (array,) = load(
        "array: {ids: 1, command: [a], request: [{resources: {gpus: 0.00001, mem: 2}}]}"
    ).arrays
    assert array.variants == (Request((Need("gpus", 1), Need("mem", 2 * UNIT))),)


def test_multi_node_requests():
    (array,) = load("array: {ids: 1, command: [a], request: [{n_nodes: 2}]}").arrays
    assert array.variants == (Request(nodes=2),)


def test_memory_has_units_of_its_own():
    text = "array: {ids: 1, command: [a], request: [{resources: {mem: 1.5 GiB}}]}"
    assert load(text).arrays[0].variants == (Request((Need("mem", 1536 * UNIT),)),)


def test_null_means_absent_and_data_layer_is_accepted():
    assert load("{name: null, data_layer: true, task: [{command: [a], cwd: null}]}") == load(
        "task: [{command: [a]}]"
    )


def test_manual_and_program_disagree_about_on_close_and_both_are_right():
    for key in ("on_close", "mode"):
        text = f"array: {{ids: 1, command: [a], stdout: {{path: p, {key}: none, other: 1}}}}"
        assert load(text).arrays[0].body.stdout == Stdio("p")


def test_into_an_open_job_tasks_may_need_what_is_there_already():
    submit = load("task: [{id: 5, command: [a], deps: [3]}]", job=2)
    assert submit.graph.tasks[0].needs == (3,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x", "job.yaml:1:1: tasks: No tasks defined"),
        ("task: []", "job.yaml:1:7: No tasks defined"),
        (
            "{task: [{command: [a]}], array: {ids: 1, command: [a]}}",
            "job.yaml:1:26: Definition of array job and individual task cannot be mixed",
        ),
        (
            "array: {command: [a]}",
            "job.yaml:1:8: array: One of attributes of array must be defined: 'ids', 'entries'",
        ),
        (
            "array: {ids: 1-3, entries: [a], command: [a]}",
            (
                "job.yaml:1:28: array.entries: Items 'ids' and 'entries' does not match:"
                " 3 ids (1-3), 1 entries"
            ),
        ),
        (
            "task: [{id: 1, command: [a]}, {id: 1, command: [b]}]",
            "job.yaml:1:31: task[1].id: Task 1 is defined multiple times",
        ),
        (
            "task: [{id: 1, command: [a], deps: [2]}, {id: 2, command: [b], deps: [1]}]",
            (
                "job.yaml:1:37: task[0].deps[0]: Task 1 is part of dependency cycle or has"
                " an invalid dependencies (1 -> 2 -> 1)"
            ),
        ),
        (
            "task: [{id: 1, command: [a], deps: [9]}]",
            (
                "job.yaml:1:37: task[0].deps[0]: Task 1 is part of dependency cycle or has"
                " an invalid dependencies (this file has no task 9)"
            ),
        ),
        (
            "task: [{command: []}]",
            "job.yaml:1:18: task[0].command: No command arguments",
        ),
        (
            "task: [{id: 1}]",
            "job.yaml:1:8: task[0]: Deserialization error: `command` is missing",
        ),
        (
            "task: [{command: [a], tme_limit: 1s}]",
            (
                "job.yaml:1:23: task[0]: Deserialization error: unknown key `tme_limit`;"
                " did you mean `time_limit`?"
            ),
        ),
        (
            "task: [{command: [a], time_limit: 1:30}]",
            (
                "job.yaml:1:35: task[0].time_limit: '1:30' is not a duration."
                " Use a notation such as `1h 30m` or `500ms`"
            ),
        ),
        (
            "task: [{command: [a], crash_limit: 0}]",
            "job.yaml:1:36: task[0].crash_limit: Crash limit cannot be 0",
        ),
        (
            "task: [{command: [a], stdout: {path: x}}]",
            "job.yaml:1:31: task[0].stdout: Deserialization error: `on_close` is missing",
        ),
        (
            "task: [{command: [a], request: [{resources: {cpus: 1}}, {n_nodes: 1}]}]",
            (
                "job.yaml:1:32: task[0].request: Resources mixes multi-node and non-multi-node"
                " requests"
            ),
        ),
        (
            "task: [{command: [a], request: [{weight: 0}]}]",
            "job.yaml:1:42: task[0].request[0].weight: Resource weight has to be positive number",
        ),
        (
            "task: [{command: [a], pin: omp, request: [{n_nodes: 2}]}]",
            "job.yaml:1:28: task[0].pin: tasks on several nodes cannot be pinned",
        ),
        (
            "array: {ids: 1, command: [a], request: [{n_nodes: 2}], pin: taskset}",
            "job.yaml:1:61: array.pin: tasks on several nodes cannot be pinned",
        ),
        (
            "{stream: 'x-%{TASK_ID}', task: [{command: [a]}]}",
            (
                "job.yaml:1:10: stream: nobody defines the placeholder %{TASK_ID};"
                " known: JOB_ID, SUBMIT_DIR, SERVER_UID"
            ),
        ),
        (
            "{tasks: {a: {command: a}}, task: [{command: [a]}]}",
            (
                "job.yaml:1:28: `task` belongs to the compatible dialect and `tasks` to the native"
                " one; a file uses one of them"
            ),
        ),
    ],
)
def test_each_kind_of_mistake_is_told_with_its_place(text, message):
    assert message in refusal(text).splitlines()


def test_more_than_32_variants_are_too_many():
    text = "task: [{command: [a], request: [" + "{resources: {cpus: 1}}, " * 33 + "]}]"
    assert "Too many resource variants" in refusal(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[[task]]\ncommand = ['a', 1]\n",
            (
                "j.toml:2:1: task[0].command[1]: Deserialization error: expected text"
                " (put it into quotes), got the whole number '1'"
            ),
        ),
        (
            "[[task]]\ncommand = ['a']\n\n[[task]]\ncommand = ['a']\n  deps = ['1']\n",
            (
                "j.toml:6:3: task[1].deps[0]: Deserialization error: expected a whole number,"
                " got the text '1'"
            ),
        ),
        (
            "[array]\nids = '1-3'\ncommand = ['a']\n[array.env]\nA = 1\n",
            (
                "j.toml:5:1: array.env.A: Deserialization error: expected text"
                " (put it into quotes), got the whole number '1'"
            ),
        ),
        ("task = \n", "j.toml:1:8: Deserialization error: Invalid value"),
        ("[[task]\n", "j.toml:1:7: Deserialization error: Expected ']]' at the end of an array"),
    ],
)
def test_toml_is_typed_strictly_and_mistakes_have_a_place(text, message):
    assert refusal(text, filename="j.toml").startswith(message)
