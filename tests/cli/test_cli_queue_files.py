"""Files that describe allocation queues: what they mean, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from hqtrio.cli.queue_files import queue_of
from hqtrio.errors import InputError
from hqtrio.messages.allocations import AddQueue, QueueAnswer, TryQueue
from hqtrio.messages.client import Done
from hqtrio.model.allocation import Manager, QueueParams, WorkerOptions
from hqtrio.model.resources import UNIT
from hqtrio.model.worker import OnServerLost

EXAMPLES = sorted((Path(__file__).parents[2] / "configs" / "alloc").glob("*"))

FULL = """\
manager: pbs
name: foo
time_limit: 01:10:15
backlog: 2
max_workers_per_alloc: 3
max_worker_count: 12
max_node_hours: 0.5
min_utilization: 0.25
worker:
  cpus: 2x8
  resources: {x: sum(1.5), y: "[a,b]"}
  coupling: cpus[0]:cpus[1]
  group: g
  no_hyper_threading: true
  detect_resources: [cpus, mem]
  overview_interval: 10s
  idle_timeout: 30m
  on_server_lost: stop
  time_limit: 1h
  start_cmd: module load A && ulimit -c 0
  stop_cmd: rm -r /tmp/x
  wrap_cmd: podman run image
  program: /fast/hqtrio
args: [-q, long, "two words"]
"""


def test_every_key():
    params = queue_of(FULL, "q.yaml")

    descriptor = params.descriptor
    assert [(pool.resource, pool.size) for pool in descriptor.pools] == [
        ("cpus", 16 * UNIT), ("x", UNIT * 3 // 2), ("y", 2 * UNIT),
    ]  # fmt: skip
    assert params == QueueParams(
        Manager.PBS, 4215.0, "foo", 2, 3, 12, 0.5, 0.25, ("-q", "long", "two words"),
        WorkerOptions(
            cpus="2x8",
            resources=("x=sum(1.5)", "y=[a,b]"),
            coupling="cpus[0]:cpus[1]",
            group="g",
            no_hyper_threading=True,
            detect="cpus,mem",
            overview_interval_s=10.0,
            on_server_lost=OnServerLost.STOP,
            time_limit_s=3600.0,
            idle_timeout_s=1800.0,
            start_cmd="module load A && ulimit -c 0",
            stop_cmd="rm -r /tmp/x",
            wrap_cmd="podman run image",
            program="/fast/hqtrio",
        ),
        descriptor,
    )  # fmt: skip


def test_a_file_and_the_same_options_describe_the_same_queue(hq, server, tmp_path):
    file = tmp_path / "q.yaml"
    file.write_text(FULL)
    server.on(AddQueue, QueueAnswer(1))
    words = [
        "--name=foo", "--time-limit=01:10:15", "-b", "2",
        "-m", "3", "--max-worker-count=12", "--max-node-hours=0.5",
        "--min-utilization=0.25", "--cpus=2x8", "--resource", "x=sum(1.5)",
        "--resource", "y=[a,b]", "--coupling=cpus[0]:cpus[1]", "--group=g",
        "--no-hyper-threading", "--detect-resources=cpus,mem", "--overview-interval=10s",
        "--idle-timeout=30m",
        "--on-server-lost=stop", "--worker-time-limit=1h", "--worker-program=/fast/hqtrio",
    ]  # fmt: skip
    commands = ["--worker-start-cmd", "module load A && ulimit -c 0"]
    commands += ["--worker-stop-cmd", "rm -r /tmp/x", "--worker-wrap-cmd", "podman run image"]

    codes = [
        hq("alloc", "add", "pbs", *words, *commands, "--", "-q", "long", "two words").code,
        hq("alloc", "add", str(file)).code,
    ]

    typed, written = server.asked
    assert codes == [0, 0]
    assert typed == written


def test_the_least_that_a_queue_has():
    params = queue_of("manager: slurm\ntime_limit: 90s\n", "q.yaml")

    assert params == QueueParams(Manager.SLURM, 90.0)


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.name)
def test_every_example_is_read_and_says_how_it_is_used(hq, server, file):
    server.on(TryQueue, Done())

    result = hq("alloc", "dry-run", str(file))

    assert result.code == 0, result.err
    assert f"configs/alloc/{file.name}" in file.read_text()


def test_the_examples_show_both_managers_and_what_queues_can_have():
    params = [queue_of(file.read_text(), file.name) for file in EXAMPLES]

    assert {one.manager for one in params} == set(Manager)
    assert any(one.max_node_hours for one in params)
    assert any(one.max_workers_per_alloc > 1 for one in params)
    assert any(one.worker.resources for one in params)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ("--partition=a -A p", ("--partition=a", "-A", "p")),
        ("\"--comment='a b' -x\"", ("--comment=a b", "-x")),
        ("[--comment=a b, -x]", ("--comment=a b", "-x")),
        ("[]", ()),
    ],
)
def test_arguments_are_a_list_or_a_text_that_a_shell_would_split(args, words):
    assert queue_of(f"manager: pbs\ntime_limit: 1h\nargs: {args}", "q").manager_args == words


BASE = "manager: slurm\ntime_limit: 1h\n"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("time_limit: 1h", "q.yaml:1:1: `manager` is missing"),
        ("manager: pbs", "q.yaml:1:1: `time_limit` is missing"),
        ("[a]", "q.yaml:1:1: expected a mapping, got a list"),
        ("a: b: c", "q.yaml:1:5: Deserialization error: mapping values are not allowed"),
        (BASE + "manger: slurm", "q.yaml:3:1: unknown key `manger`; did you mean `manager`?"),
        (BASE + "time-limit: 1h", "q.yaml:3:1: unknown key `time-limit`; did you mean `time_limi"),
        (BASE + "worker: {cpu: 4}", "q.yaml:3:10: worker: unknown key `cpu`; did you mean `cpus`?"),
        (BASE + "worker: [4]", "q.yaml:3:9: worker: expected a mapping, got a list"),
        (
            "manager: lsf\ntime_limit: 1h",
            "q.yaml:1:10: manager: expected `pbs`, `slurm`, got 'lsf'",
        ),
        ("manager: pbs\ntime_limit: soon", "q.yaml:2:13: time_limit: 'soon' is not a duration"),
        (BASE + "backlog: 0", "q.yaml:3:10: backlog: Backlog has to be at least 1"),
        (BASE + "max_workers_per_alloc: 0", "q.yaml:3:24: max_workers_per_alloc: must lie between"),
        (BASE + "max_node_hours: -1", "q.yaml:3:17: max_node_hours: Node hours have to be more"),
        (BASE + "min_utilization: 2", "q.yaml:3:18: min_utilization: expected a number from 0.0"),
        (BASE + "min_utilization: .nan", "q.yaml:3:18: min_utilization: expected a number"),
        (BASE + "args: 'a \"b'", "q.yaml:3:7: args: no closing quotation"),
        (BASE + "args: {a: b}", "q.yaml:3:7: args: expected text, got a mapping"),
        (BASE + "worker:\n  cpus: 4y", "q.yaml:4:9: worker.cpus: Unexpected token"),
        (BASE + "worker: {cpus: [0, 1]}", "q.yaml:3:16: worker.cpus: expected text"),
        (
            BASE + "worker:\n  resources: {x: sum(a)}",
            "q.yaml:4:18: worker.resources.x: Unexpected token 'a'",
        ),
        (
            BASE + "worker:\n  resources: {a b: sum(1)}",
            "q.yaml:4:20: worker.resources.a b: Unexpected token 'a b'",
        ),
        (
            BASE + "worker:\n  detect_resources: [all, cpus]",
            "q.yaml:4:21: worker.detect_resources: `all` cannot be combined with others",
        ),
        (
            BASE + "worker:\n  time_limit: 2h",
            "q.yaml:3:1: worker: Worker time limit cannot be larger than queue time limit",
        ),
        (
            BASE + "worker: {cpus: 2, resources: {cpus: '[a]'}}",
            "q.yaml:3:1: worker: Parameters --cpus and --resource cpus=... cannot be combined",
        ),
        (
            BASE + "---\na: 1",
            "q.yaml:3:1: Deserialization error: a file holds one document, not sev",
        ),
        ("", "q.yaml: it is empty; a queue has at least `manager` and `time_limit`"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(text, error):
    with pytest.raises(InputError) as raised:
        queue_of(text, "q.yaml")

    assert str(raised.value).startswith(error)


def test_every_mistake_is_told_at_once():
    with pytest.raises(InputError) as raised:
        queue_of("manager: lsf\ntime_limit: x\nworker: {cpus: y, group: [a]}\n", "q.yaml")

    places = [line.split(": ")[0] for line in str(raised.value).splitlines()]
    assert places == ["q.yaml:1:10", "q.yaml:2:13", "q.yaml:3:16", "q.yaml:3:26"]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (None, "Cannot read {file}: No such file or directory"),
        (b"manager: \xff", "Cannot read {file}: byte 9 is not UTF-8; save it as UTF-8"),
        (b"#" * (1 << 20) + b"#", "Cannot read {file}: it is larger than a queue can be"),
    ],
)
@pytest.mark.parametrize("command", ["add", "dry-run"])
def test_a_file_that_cannot_be_read(hq, server, tmp_path, command, data, text):
    file = tmp_path / "q.yaml"
    if data is not None:
        file.write_bytes(data)

    result = hq("alloc", command, str(file))

    assert (result.code, result.err) == (1, text.format(file=file) + "\n")
    assert server.asked == []


@pytest.mark.parametrize(("words", "trial"), [([], True), (["--no-dry-run"], False)])
def test_a_file_is_tried_first_as_well(hq, server, tmp_path, words, trial):
    file = tmp_path / "q.yaml"
    file.write_text(BASE)
    server.on(AddQueue, QueueAnswer(3))

    result = hq("alloc", "add", str(file), *words)

    assert result.code == 0
    assert result.err.endswith("INFO Allocation queue 3 successfully created\n")
    assert server.asked == [AddQueue(QueueParams(Manager.SLURM, 3600.0), trial)]


@pytest.mark.parametrize("word", ["--backlog=2", "more"])
def test_a_file_stands_alone(hq, server, tmp_path, word):
    file = tmp_path / "q.yaml"
    file.write_text(BASE)

    result = hq("alloc", "add", str(file), word)

    assert result.code == 2
    assert f"unexpected argument '{word.partition('=')[0]}' found" in result.err
    assert server.asked == []
