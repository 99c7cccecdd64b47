"""Matrix, entries, pairs, cleanups and retries in the native dialect: what a good file asks for."""

from itertools import pairwise
from textwrap import dedent

import pytest

from hqtrio.errors import InputError
from hqtrio.jobfile import load_jobfile
from hqtrio.messages.columns import read_u64
from hqtrio.model.fields import field_texts
from hqtrio.model.matrix import Combinations
from hqtrio.model.retry import Retry


def load(text, *, filename="job.yaml", files=None, **options):
    def read_file(name):
        if name not in (files or {}):
            raise InputError(f"Cannot read {name}: No such file or directory")
        return files[name]

    return load_jobfile(
        dedent(text).encode(),
        filename=filename,
        submit_dir="/home/u",
        key=b"",
        read_file=read_file,
        **options,
    )


def groups(text, **options):
    return {array.group: array for array in load(text, **options).arrays}


def only(keys, **options):
    return load(f"tasks: {{a: {{command: [x], {keys}}}}}", **options).arrays[0]


def entries_of(array):
    if array.body.matrix is not None:
        combinations = Combinations(array.body.matrix)
        return [combinations.entry(place).decode() for place in range(combinations.count)]
    ends = [0, *read_u64(array.entry_ends)]
    return [array.entries[a:b].decode() for a, b in pairwise(ends)]


# --- matrix


def test_a_matrix_makes_one_task_per_combination_with_the_last_name_fastest():
    array = only("matrix: {alpha: [0.1, 0.25], name: [x, 'y z'], seed: 3-4}")
    assert array.count == 8
    assert array.ranges == ((0, 8, 1),)
    assert array.entries == b""
    assert entries_of(array) == [
        '{"alpha":0.1,"name":"x","seed":3}',
        '{"alpha":0.1,"name":"x","seed":4}',
        '{"alpha":0.1,"name":"y z","seed":3}',
        '{"alpha":0.1,"name":"y z","seed":4}',
        '{"alpha":0.25,"name":"x","seed":3}',
        '{"alpha":0.25,"name":"x","seed":4}',
        '{"alpha":0.25,"name":"y z","seed":3}',
        '{"alpha":0.25,"name":"y z","seed":4}',
    ]


@pytest.mark.parametrize(
    ("source", "json"),
    [
        ("0.1", "0.1"),
        ("1e3", "1e3"),
        ("-2", "-2"),
        ("true", "true"),
        ("007", '"007"'),
        ("0700", '"0700"'),
        ("no", '"no"'),
        ("1:30:00", '"1:30:00"'),
        ("~", '"~"'),
        ("'5'", '"5"'),
        ("+5", '"+5"'),
        (".5", '".5"'),
        ('"a\\"b\\\\é"', '"a\\"b\\\\é"'),
    ],
)
def test_values_keep_their_source_text_and_are_numbers_where_json_writes_them_so(source, json):
    array = only(f"matrix: {{v: [{source}]}}")
    (entry,) = entries_of(array)
    assert entry == f'{{"v":{json}}}'
    assert field_texts(entry.encode(), ["v"]) == (source.strip("'"),) or source.startswith('"')


def test_included_combinations_follow_and_excluded_ones_are_left_out():
    array = only(
        "matrix: {a: [1, 2, 3], b: [x, y],"
        " exclude: [{a: 2}, {a: 3, b: x}], include: [{b: z, a: 9}, {a: 2, b: x}]}"
    )
    assert entries_of(array) == [
        '{"a":1,"b":"x"}',
        '{"a":1,"b":"y"}',
        '{"a":3,"b":"y"}',
        '{"a":9,"b":"z"}',
        '{"a":2,"b":"x"}',
    ]
    assert array.count == 5


def test_values_of_a_range_can_be_excluded():
    array = only("matrix: {n: '0-20:5,7', exclude: [{n: 10}, {n: 7}]}")
    assert entries_of(array) == ['{"n":0}', '{"n":5}', '{"n":15}', '{"n":20}']


def test_a_million_combinations_are_one_body():
    array = only("matrix: {a: 1-1000, b: 1-1000}")
    assert array.count == 1_000_000
    assert len(array.body.matrix.axes) == 2
    assert Combinations(array.body.matrix).entry(999_999) == b'{"a":1000,"b":1000}'


def test_names_of_a_matrix_are_placeholders_everywhere():
    array = groups(
        """
        tasks:
          a:
            matrix: {alpha: [1, 2], seed: 1-3, unused: [0]}
            command: [./sim, --alpha, "%{alpha}", "%{TASK_ID}"]
            env: {SEED: "%{seed}"}
            cwd: "work/%{alpha}"
            stdin: "alpha=%{alpha}"
            stdout: "out/%{alpha}/%{seed}.txt"
            stderr: {path: "%{seed}.err", on_close: rm-if-finished}
        """
    )["a"]
    assert array.body.fields == ("alpha", "seed")
    assert array.body.fills
    assert array.body.args[2] == b"%{alpha}"
    assert array.body.stdout.path == "out/%{alpha}/%{seed}.txt"


def test_a_script_stays_as_it_is_and_its_environment_is_filled():
    array = groups(
        """
        tasks:
          a:
            matrix: {alpha: [1, 2]}
            script: curl -w '%{http_code}' "$ALPHA"
            env: {ALPHA: "%{alpha}"}
        """
    )["a"]
    assert array.body.script == b"curl -w '%{http_code}' \"$ALPHA\""
    assert array.body.fields == ("alpha",)


def test_without_placeholders_nothing_is_filled():
    assert not only("matrix: {a: [1]}").body.fills
    assert only("matrix: {a: [1]}").body.fields == ()


def test_a_matrix_in_toml():
    array = groups(
        """
        [tasks.a]
        command = ["x", "%{alpha}", "%{on}"]
        matrix = {alpha = [0.5, 1], on = [true], name = ["a"], seed = "1-2"}
        """,
        filename="job.toml",
    )["a"]
    assert entries_of(array)[0] == '{"alpha":0.5,"on":true,"name":"a","seed":1}'
    assert array.count == 4


# --- entries


def test_mappings_as_entries_are_json_and_their_fields_placeholders():
    array = only("entries: [{x: 1, y: [a, 2]}, {x: two, y: {z: no}}], stdout: 'o/%{x}'")
    assert entries_of(array) == ['{"x":1,"y":["a",2]}', '{"x":"two","y":{"z":"no"}}']
    assert array.body.fields == ("x",)
    assert field_texts(entries_of(array)[0].encode(), ["y", "x"]) == ('["a",2]', "1")


def test_entries_may_differ_in_fields_that_are_not_used():
    array = only("entries: [{x: 1, y: 2}, {x: 3}, plain], stdout: o")
    assert entries_of(array) == ['{"x":1,"y":2}', '{"x":3}', "plain"]


def test_entries_from_the_lines_of_a_file():
    array = only("entries: {lines: cases.txt}", files={"cases.txt": b"one\n\ntwo three\n\xff\n"})
    assert array.count == 4
    assert array.entries == b"onetwo three\xff"


def test_entries_from_a_json_file_are_its_items():
    data = b'[{"b": 1.50, "a": "\xc3\xa9"}, "text", 3, null]'
    array = only("entries: {json: d.json}", files={"d.json": data})
    assert entries_of(array) == ['{"a":"é","b":1.5}', '"text"', "3", "null"]


def test_entries_from_a_csv_file_are_mappings_named_by_its_header():
    data = b'\xef\xbb\xbfname,size\r\nalpha,010\r\n"b,c","two\nlines"\r\n\r\n'
    array = only("entries: {csv: d.csv}, stdout: '%{name}.txt'", files={"d.csv": data})
    assert entries_of(array) == [
        '{"name":"alpha","size":"010"}',
        '{"name":"b,c","size":"two\\nlines"}',
    ]
    assert array.body.fields == ("name",)


# --- needs and when


def test_the_example_of_a_sweep():
    found = groups(
        """
        tasks:
          prepare: {command: x}
          simulate:
            needs: prepare
            matrix: {alpha: [0.1, 0.2, 0.5], seed: 1-100}
            command: [./sim, "%{alpha}", "%{seed}"]
            retry: {times: 2, backoff: 10s}
          check:
            needs: {simulate: each}
            command: ./check %{alpha} %{seed}
          report: {needs: check, command: x}
          clean: {needs: report, when: always, command: rm -rf scratch}
        """
    )
    assert list(found) == ["prepare", "simulate", "check", "report", "clean"]
    assert [array.count for array in found.values()] == [1, 300, 300, 1, 1]
    assert [array.ranges[0][0] for array in found.values()] == [0, 1, 301, 601, 602]
    assert [array.needs for array in found.values()] == [(), (0,), (), (2,), (3,)]
    assert [array.each for array in found.values()] == [(), (), (1,), (), ()]
    assert [array.always for array in found.values()] == [False, False, False, False, True]
    assert found["check"].body.matrix == found["simulate"].body.matrix
    assert found["check"].body.fields == ("alpha", "seed")


def test_pairs_pass_entries_on_through_any_order_of_the_file():
    found = groups(
        """
        tasks:
          third: {needs: {second: each}, command: "x %{n}"}
          second: {needs: {first: each}, command: x}
          first: {entries: [{n: 1}, {n: 2}], command: x}
        """
    )
    assert [array.count for array in found.values()] == [2, 2, 2]
    assert entries_of(found["third"]) == ['{"n":1}', '{"n":2}']
    assert found["third"].body.fields == ("n",)


def test_a_group_with_entries_of_its_own_keeps_them():
    found = groups(
        """
        tasks:
          a: {array: 1-2, command: x}
          b: {needs: {a: each}, entries: [p, q], command: x}
        """
    )
    assert entries_of(found["b"]) == ["p", "q"]


def test_when_without_needs_says_nothing():
    assert not only("when: always").always


def test_when_and_retry_may_be_defaults():
    found = groups(
        """
        defaults: {when: always, retry: 2}
        tasks: {a: {command: x}, b: {command: x, needs: a, retry: 0}}
        """
    )
    assert found["b"].always
    assert found["a"].settings.retry == Retry(2)
    assert found["b"].settings.retry is None


# --- retry


@pytest.mark.parametrize(
    ("source", "retry"),
    [
        ("3", Retry(3)),
        ("0", None),
        ("{times: 2, backoff: 10s}", Retry(2, backoff_s=10.0)),
        (
            "{times: 2, backoff: 1:30:00, factor: 1.5}",
            Retry(2, backoff_s=5400.0, factor=1.5, max_backoff_s=5400.0),
        ),
        (
            "{times: 2, backoff: 1s, factor: 1, max_backoff: 5m}",
            Retry(2, backoff_s=1.0, factor=1.0, max_backoff_s=300.0),
        ),
        ("{times: 1, on: any}", Retry(1)),
        ("{times: 1, on: [3, any]}", Retry(1, codes=(3,))),
        ("{times: 1, on: timeout}", Retry(1, on_any=False, on_time_limit=True)),
        (
            "{times: 1, on: [1, 255, SIGKILL, TERM, timeout]}",
            Retry(1, False, (1, 255), (9, 15), True),
        ),
    ],
)
def test_a_retry_in_each_form(source, retry):
    assert only(f"retry: {source}").settings.retry == retry


def test_retry_is_no_part_of_the_compatible_dialect():
    with pytest.raises(InputError, match="unknown key `retry`"):
        load("task: [{command: [x], retry: 3}]")


def test_memory_is_asked_for_in_the_units_of_memory():
    (request,) = only("request: {mem: 16 GiB}").variants
    assert [need.amount for need in request.needs if need.resource == "mem"] == [16 * 1024 * 10_000]
