"""The native dialect: what a good file asks for."""

import struct
from textwrap import dedent

import pytest

from hqtrio.jobfile import load_jobfile
from hqtrio.model.resources import ONE_CPU, UNIT, Need, Policy, Request
from hqtrio.model.task import NEVER_RESTART, UNLIMITED, PinMode, Stdio


def load(text, *, filename="job.yaml", **options):
    return load_jobfile(
        dedent(text).encode(), filename=filename, submit_dir="/home/u", key=b"key", **options
    )


def only_array(text, **options):
    (array,) = load(text, **options).arrays
    return array


def task(keys, **options):
    """The array made of one task with these keys (a flow mapping without its braces)."""
    return only_array(f"tasks: {{a: {{command: [x], {keys}}}}}", **options)


def test_a_single_task_gets_the_defaults_of_the_command_line():
    submit = load("tasks: {a: {command: [./prog, arg]}}", filename="dir/sweep.one.yaml")
    assert submit.key == b"key"
    assert submit.submit_dir == "/home/u"
    assert submit.head.name == "sweep.one"
    assert submit.head.max_fails is None
    (array,) = submit.arrays
    assert array.group == "a"
    assert (array.count, array.ranges) == (1, ((0, 1, 1),))
    assert array.variants == ONE_CPU
    assert array.settings.priority == 0
    assert array.settings.crash_limit == 5
    body = array.body
    assert body.args == (b"./prog", b"arg")
    assert body.cwd == "%{SUBMIT_DIR}"
    assert body.stdout == Stdio("%{CWD}/job-%{JOB_ID}/%{TASK_ID}.stdout")
    assert body.stderr == Stdio("%{CWD}/job-%{JOB_ID}/%{TASK_ID}.stderr")
    assert body.submit_dir == "/home/u"


def test_every_key_of_a_task_reaches_the_submit():
    array = only_array(
        """
        name: all keys
        max_fails: 3
        tasks:
          a:
            command: run 'one word' "$HOME"
            env: {A: 1, B: two}
            cwd: /scratch/%{JOB_ID}
            stdin: some text
            stdout: none
            stderr: {path: "%{TASK_ID}.err", on_close: rm-if-finished}
            task_dir: true
            pin: omp
            priority: -5
            time_limit: 1h 30m
            crash_limit: unlimited
            array: 3-9:3
            request: {cpus: 2 tight!, mem: all, time: 10m, weight: 2.5}
        """
    )
    body = array.body
    assert body.args == (b"run", b"one word", b"$HOME")
    assert body.env == ((b"A", b"1"), (b"B", b"two"))
    assert body.cwd == "/scratch/%{JOB_ID}"
    assert body.stdin == b"some text"
    assert body.stdout == Stdio(None)
    assert body.stderr == Stdio("%{TASK_ID}.err", remove_if_finished=True)
    assert body.task_dir
    assert body.pin is PinMode.OMP
    assert body.time_limit_s == 5400
    assert array.settings.priority == -5
    assert array.settings.crash_limit == UNLIMITED
    assert array.ranges == ((3, 3, 3),)
    assert array.variants == (
        Request(
            (Need("cpus", 2 * UNIT, Policy.FORCE_TIGHT), Need("mem", 0, Policy.ALL)),
            time_s=600.0,
            weight=25_000,
        ),
    )


@pytest.mark.parametrize(
    "source", ["no", "1e3", "0700", "1:30:00", "007", "true", "null", "~", "1_000", "0x10", ".5"]
)
def test_text_means_its_source_and_not_what_yaml_guesses(source):
    array = only_array(
        f"""
        tasks:
          a:
            command: [prog, {source}]
            env: {{A: {source}}}
            entries: [{source}]
        """
    )
    assert array.body.args[1] == source.encode()
    assert array.body.env == ((b"A", source.encode()),)
    assert array.entries == source.encode()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1:30:00", 5400), ("90", 90), ("01:30", 90), ("1h 30m", 5400), ("'500ms'", 0.5)],
)
def test_durations_are_read_in_every_form_of_the_command_line(text, seconds):
    array = task(f"time_limit: {text}, request: {{time: {text}}}")
    assert array.body.time_limit_s == seconds
    assert array.variants[0].time_s == seconds


@pytest.mark.parametrize(
    ("request_text", "variants"),
    [
        ("{}", ONE_CPU),
        ("{gpus/nvidia: 0.5}", (Request((Need("cpus", UNIT), Need("gpus/nvidia", 5000))),)),
        ("{cpus: 0, mem: 10}", (Request((Need("mem", 10 * UNIT),)),)),
        ("{cpus: all}", (Request((Need("cpus", 0, Policy.ALL),)),)),
        ("{nodes: 2}", (Request(nodes=2),)),
        (
            "[{cpus: 4 compact!}, {cpus: 1, weight: 0.5}]",
            (
                Request((Need("cpus", 4 * UNIT, Policy.FORCE_COMPACT),)),
                Request((Need("cpus", UNIT),), weight=5000),
            ),
        ),
    ],
)
def test_requests(request_text, variants):
    assert task(f"request: {request_text}").variants == variants


@pytest.mark.parametrize(
    ("text", "limit"), [("3", 3), ("65535", 65535), ("never-restart", NEVER_RESTART)]
)
def test_crash_limits(text, limit):
    assert task(f"crash_limit: {text}").settings.crash_limit == limit


def test_entries_travel_as_one_blob():
    array = task("entries: [one, '', three]")
    assert array.count == 3
    assert array.entries == b"onethree"
    assert struct.unpack("<3Q", array.entry_ends) == (3, 3, 8)


def test_a_script_goes_to_its_shell_as_a_file():
    body = only_array("tasks: {a: {script: 'echo hi'}}").body
    assert body.script == b"echo hi"
    assert body.args == body.shell == (b"bash", b"-euo", b"pipefail")
    assert body.task_dir
    body = only_array("tasks: {a: {script: 'print(1)', shell: [python3]}}").body
    assert body.args == body.shell == (b"python3",)


def test_groups_are_numbered_in_file_order_and_sent_in_order_of_need():
    submit = load(
        """
        tasks:
          last: {needs: [left, right], command: x}
          left: {needs: first, array: 1-10, command: x}
          right: {needs: {first: all}, entries: [a, b], command: x}
          first: {command: x}
        """
    )
    assert [(a.group, a.ranges, a.needs) for a in submit.arrays] == [
        ("first", ((13, 1, 1),), ()),
        ("left", ((1, 10, 1),), (0,)),
        ("right", ((11, 2, 1),), (0,)),
        ("last", ((0, 1, 1),), (1, 2)),
    ]


def test_tasks_may_be_a_list_with_names():
    submit = load(
        """
        tasks:
          - name: one
            command: x
          - {name: two, needs: one, command: y}
        """
    )
    assert [array.group for array in submit.arrays] == ["one", "two"]


def test_defaults_merge_env_and_request_and_replace_the_rest():
    submit = load(
        """
        defaults:
          env: {A: "1", B: "2"}
          request: {cpus: 2, mem: 5}
          command: echo default
          stdout: default.txt
          priority: 7
        tasks:
          plain:
          own:
            env: {B: "3", C: "4"}
            request: {cpus: 4}
            stdout: own.txt
            script: echo own
            priority: 0
          variants:
            request: [{cpus: 1}, {mem: 9}]
        """.replace("plain:\n", "plain: {}\n")
    )
    plain, own, variants = submit.arrays
    assert plain.body.args == (b"echo", b"default")
    assert plain.body.env == ((b"A", b"1"), (b"B", b"2"))
    assert plain.settings.priority == 7
    assert own.body.env == ((b"A", b"1"), (b"B", b"3"), (b"C", b"4"))
    assert own.body.script == b"echo own"
    assert own.body.stdout == Stdio("own.txt")
    assert own.settings.priority == 0
    assert own.variants == (Request((Need("cpus", 4 * UNIT), Need("mem", 5 * UNIT))),)
    assert variants.variants == (
        Request((Need("cpus", UNIT), Need("mem", 5 * UNIT))),
        Request((Need("cpus", 2 * UNIT), Need("mem", 9 * UNIT))),
    )


def test_aliases_and_merge_keys_work():
    submit = load(
        """
        tasks:
          a: &base
            command: &words [echo, x]
            env: &env {A: "1"}
          b:
            <<: *base
            priority: 2
            env:
              <<: [{B: "2", A: "9"}, *env]
              C: "3"
          c: {command: *words}
        """
    )
    a, b, c = submit.arrays
    assert a.body.args == b.body.args == c.body.args
    assert dict(b.body.env) == {b"A": b"9", b"B": b"2", b"C": b"3"}
    assert b.settings.priority == 2


def test_null_means_that_the_key_is_absent():
    assert task("cwd: null, stdout: ~, priority: ") == task("")


def test_the_command_line_wins_over_the_file():
    text = "{name: file, max_fails: 1, tasks: {a: {command: x}, b: {command: x, priority: 2}}}"
    submit = load(text, name="line", max_fails=0, priority=9)
    assert (submit.head.name, submit.head.max_fails) == ("line", 0)
    assert [array.settings.priority for array in submit.arrays] == [9, 2]


def test_into_an_open_job_the_server_numbers_the_tasks():
    submit = load("{name: x, tasks: {a: {command: x}, b: {array: 5-7, command: x}}}", job=3)
    assert (submit.head, submit.job) == (None, 3)
    assert [(array.count, array.ranges) for array in submit.arrays] == [(1, ()), (3, ())]
    assert task("array: 5-7", job=3).ranges == ((5, 3, 1),)


def test_toml_has_the_same_keys():
    toml = """
        name = "x"
        [defaults]
        env = { A = 1 }
        [tasks.a]
        command = "echo hi"
        time_limit = "1:30:00"
        [tasks.b]
        needs = "a"
        command = ["x"]
        array = "1-3"
        request = { cpus = 2, "gpus/nvidia" = 0.5, weight = 1.5 }
    """
    yaml = """
        name: x
        defaults: {env: {A: 1}}
        tasks:
          a: {command: echo hi, time_limit: 1:30:00}
          b:
            needs: a
            command: [x]
            array: 1-3
            request: {cpus: 2, gpus/nvidia: 0.5, weight: 1.5}
    """
    assert load(toml, filename="j.toml") == load(yaml)


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm():
    text = b"\xef\xbb\xbftasks:\r\n  a:\r\n    command: x\r\n"
    assert load_jobfile(text, filename="j", submit_dir="/", key=b"").arrays[0].group == "a"


def test_a_million_tasks_are_one_array():
    array = task("array: 1-1_000_000")
    assert array.count == 1_000_000
    assert array.ranges == ((1, 1_000_000, 1),)
