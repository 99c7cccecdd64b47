"""Mistakes in job files: every one in one run, with place, reason and remedy."""

from textwrap import dedent

import pytest

from hqtrio.errors import InputError
from hqtrio.jobfile import MAX_FILE_BYTES, JobFileError, load_jobfile


def refusal(text, *, filename="job.yaml"):
    data = text if isinstance(text, bytes) else dedent(text).encode()
    with pytest.raises(JobFileError) as caught:
        load_jobfile(data, filename=filename, submit_dir="/w", key=b"")
    return str(caught.value)


def task_refusal(keys):
    """The error of one task `a` on line 4, with its keys from line 5 on."""
    lines = "\n".join(f"    {line}" for line in dedent(keys).strip().splitlines())
    return refusal(f"name: x\n\ntasks:\n  a:\n{lines}\n")


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file():
    text = """\
        nam: x
        tasks:
          a:
            comand: x
            needs: [b, bb]
            priority: high
            request: {cpus: 0.12345, gp_us: 1}
            retry: often
          b: {needs: a, command: "x '"}
          c: {command: [x], pin: taksset, stdout: "%{FOO}/x", cwd: "%{CWD}"}
        """
    assert refusal(text).splitlines() == [
        "job.yaml:1:1: unknown key `nam`; did you mean `name`?",
        "job.yaml:3:3: tasks.a: `command` or `script` is missing",
        "job.yaml:4:5: tasks.a: unknown key `comand`; did you mean `command`?",
        "job.yaml:5:13: tasks.a.needs[0]: the tasks need each other: a -> b -> a",
        "job.yaml:5:16: tasks.a.needs[1]: no task is called `bb`; did you mean `b`?",
        "job.yaml:6:15: tasks.a.priority: expected a whole number, got the text 'high'",
        (
            "job.yaml:7:21: tasks.a.request.cpus: Resource precision exceeded in '0.12345'"
            " (at most 4 digits after the point)"
        ),
        (
            "job.yaml:7:30: tasks.a.request.gp_us: Unexpected token 'gp_us': expected a resource"
            " name (a letter, then letters, digits or /)"
        ),
        "job.yaml:8:12: tasks.a.retry: expected a whole number, got the text 'often'",
        (
            "job.yaml:9:26: tasks.b.command: cannot split into words: no closing quotation;"
            " quote it, or give a list"
        ),
        (
            "job.yaml:10:26: tasks.c.pin: expected `none`, `taskset`, `omp`, got 'taksset';"
            " did you mean `taskset`?"
        ),
        (
            "job.yaml:10:43: tasks.c.stdout: nobody defines the placeholder %{FOO};"
            " known: JOB_ID, TASK_ID, INSTANCE_ID, SUBMIT_DIR, SERVER_UID, CWD"
        ),
        (
            "job.yaml:10:60: tasks.c.cwd: Working directory path cannot contain the working"
            " directory placeholder `%{CWD}`."
        ),
    ]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("command: []", "job.yaml:5:14: tasks.a.command: No command arguments"),
        ("command: ''", "job.yaml:5:14: tasks.a.command: No command arguments"),
        (
            "command: {a: b}",
            "job.yaml:5:14: tasks.a.command: expected a list of text, or one text, got a mapping",
        ),
        (
            "command: [a, [b]]",
            "job.yaml:5:18: tasks.a.command[1]: expected text, got a list",
        ),
        (
            'command: ["a\\0b"]',
            "job.yaml:5:15: tasks.a.command[0]: a NUL character cannot be passed to a program",
        ),
        (
            "command: a\nscript: b",
            "job.yaml:6:5: tasks.a.script: give either `command` or `script`",
        ),
        ("script: ' '", "job.yaml:5:13: tasks.a.script: the script is empty"),
        (
            "command: a\nshell: [sh]",
            "job.yaml:6:5: tasks.a.shell: `shell` is for a `script`; add one",
        ),
        (
            "command: a\nenv: [A]",
            "job.yaml:6:10: tasks.a.env: expected a mapping, got a list",
        ),
        (
            "command: a\nenv: {A=B: c}",
            "job.yaml:6:11: tasks.a.env: a variable needs a name without `=`",
        ),
        (
            "command: a\nenv: {A: [b]}",
            "job.yaml:6:14: tasks.a.env.A: expected text, got a list",
        ),
        ("command: a\ncwd: ''", "job.yaml:6:10: tasks.a.cwd: a path cannot be empty"),
        (
            "command: a\nstdout: {pth: x}",
            "job.yaml:6:14: tasks.a.stdout: unknown key `pth`; did you mean `path`?",
        ),
        (
            "command: a\nstdout: {path: x, on_close: remove}",
            (
                "job.yaml:6:33: tasks.a.stdout.on_close: expected `none`, `rm-if-finished`,"
                " got 'remove'"
            ),
        ),
        (
            "command: a\ntask_dir: 1",
            "job.yaml:6:15: tasks.a.task_dir: expected true or false, got the whole number '1'",
        ),
        (
            "command: a\npriority: 3000000000",
            "job.yaml:6:15: tasks.a.priority: expected a number from -2147483648 to 2147483647",
        ),
        (
            "command: a\ntime_limit: soon",
            (
                "job.yaml:6:17: tasks.a.time_limit: 'soon' is not a duration. Use either `HH:MM:SS`"
                " or a human notation such as `1h 30m` or `500ms`"
            ),
        ),
        (
            "command: a\ntime_limit: 0",
            "job.yaml:6:17: tasks.a.time_limit: a time limit must be longer than 0 s",
        ),
        (
            "command: a\ncrash_limit: 0",
            "job.yaml:6:18: tasks.a.crash_limit: Crash limit cannot be 0",
        ),
        (
            "command: a\ncrash_limit: always",
            (
                "job.yaml:6:18: tasks.a.crash_limit: expected a whole number, got 'always';"
                " a number from 1 to 65535 or `never-restart`, `unlimited`"
            ),
        ),
        (
            "command: a\narray: 5-1",
            "job.yaml:6:12: tasks.a.array: Invalid range '5-1' in '5-1'",
        ),
        (
            "command: a\narray: 1-3\nentries: [a]",
            "job.yaml:7:5: tasks.a.entries: give at most one of `array`, `entries`, `matrix`",
        ),
        (
            "command: a\nentries: []",
            "job.yaml:6:14: tasks.a.entries: the list is empty, so there would be no task",
        ),
        (
            "command: a\nentries: {lines: f}",
            ("job.yaml:6:22: tasks.a.entries.lines: Cannot read f: no files can be read here"),
        ),
        (
            "command: a\nwhen: alway",
            (
                "job.yaml:6:11: tasks.a.when: expected `success`, `always`, got 'alway';"
                " did you mean `always`?"
            ),
        ),
        (
            "command: a\nneeds: a",
            "job.yaml:6:12: tasks.a.needs: the tasks need each other: a -> a",
        ),
        (
            "command: a\nneeds: {b: some}",
            "job.yaml:6:13: tasks.a.needs.b: no task is called `b`",
        ),
        (
            "command: a\nneeds: {b: eech}",
            (
                "job.yaml:6:16: tasks.a.needs.b: expected `all`, `each`, got 'eech';"
                " did you mean `each`?"
            ),
        ),
        (
            "command: a\nrequest: {cpus: 0}",
            "job.yaml:6:14: tasks.a.request: Resource request is empty",
        ),
        (
            "command: a\nrequest: {cpus: 0.0}",
            "job.yaml:6:21: tasks.a.request.cpus: Zero resources cannot be requested",
        ),
        (
            "command: a\nrequest: {cpus: 2.5x}",
            (
                "job.yaml:6:21: tasks.a.request.cpus: Unexpected token 'x' in '2.5x':"
                " expected a policy (compact, compact!, tight, tight!, scatter)"
            ),
        ),
        (
            "command: a\nrequest: {cpus: [1]}",
            "job.yaml:6:21: tasks.a.request.cpus: expected text, got a list",
        ),
        (
            "command: a\nrequest: [{nodes: 1}, {cpus: 1}]",
            (
                "job.yaml:6:14: tasks.a.request: Resources mixes multi-node and non-multi-node"
                " requests"
            ),
        ),
        ("command: a\nrequest: []", "job.yaml:6:14: tasks.a.request: Resource are empty"),
        (
            "command: a\nrequest: {weight: -1}",
            "job.yaml:6:23: tasks.a.request.weight: Resource weight has to be positive number",
        ),
        (
            "command: a\nrequest: {nodes: 1}\npin: taskset",
            "job.yaml:7:10: tasks.a.pin: tasks on several nodes cannot be pinned",
        ),
    ],
)
def test_each_kind_of_mistake_is_told_with_its_place(keys, message):
    assert message in task_refusal(keys).splitlines()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "job.yaml:1:1: No tasks defined: the file is empty"),
        ("# nothing\n", "job.yaml:1:1: No tasks defined: the file is empty"),
        (
            "- a",
            "job.yaml:1:1: Deserialization error: expected a mapping with `tasks`, got a list",
        ),
        ("tasks: {}", "job.yaml:1:8: tasks: No tasks defined"),
        ("tasks: 3", "job.yaml:1:8: tasks: expected a mapping, got the whole number '3'"),
        ("tasks: [{command: x}]", "job.yaml:1:9: tasks[0]: `name` is missing"),
        (
            "tasks: [{name: a, command: x}, {name: a, command: x}]",
            "job.yaml:1:39: tasks.a: the name `a` is taken by another task",
        ),
        (
            "tasks: {1a: {command: x}}",
            "job.yaml:1:9: tasks: '1a' is not a name: a letter, then letters, digits, _, - or .",
        ),
        (
            'name: "a\\nb"\ntasks: {a: {command: x}}',
            "job.yaml:1:7: name: name cannot have a newline or a tab",
        ),
        (
            "max_fails: -1\ntasks: {a: {command: x}}",
            "job.yaml:1:12: max_fails: expected a number from 0 to 4294967295",
        ),
        (
            "stream: ''\ntasks: {a: {command: x}}",
            "job.yaml:1:9: stream: a path cannot be empty",
        ),
        (
            "defaults: {needs: a}\ntasks: {a: {command: x}}",
            "job.yaml:1:12: defaults.needs: `needs` belongs to a task; move it there",
        ),
        (
            "tasks: {a: {command: x, array: 0-4294967295}, b: {command: x}}",
            "job.yaml:1:47: tasks: a job holds at most 2^32 tasks",
        ),
        (
            "tasks: {a: {command: x}, a: {command: y}}",
            "job.yaml:1:26: Deserialization error: duplicate key 'a' (first in line 1)",
        ),
        (
            "tasks: {[a]: {command: x}}",
            "job.yaml:1:9: Deserialization error: a key must be text, got a list",
        ),
        (
            "tasks: {a: {command: *x}}",
            "job.yaml:1:22: Deserialization error: the alias *x is not defined above",
        ),
        (
            "tasks: &x {a: *x}",
            "job.yaml:1:15: Deserialization error: the alias *x stands inside what it names",
        ),
        (
            "tasks: {a: {<<: x, command: y}}",
            "job.yaml:1:17: Deserialization error: << needs a mapping, got the text 'x'",
        ),
        (
            "tasks: {a: {command: !!python/name:os.system x}}",
            (
                "job.yaml:1:22: the tag tag:yaml.org,2002:python/name:os.system is not supported;"
                " remove it"
            ),
        ),
        (
            "a: 1\n---\nb: 2\n",
            "job.yaml:2:1: Deserialization error: a file holds one document, not several",
        ),
        (
            "a: [x\nb: y\n",
            (
                "job.yaml:2:2: Deserialization error: while parsing a flow sequence,"
                " did not find expected ',' or ']'"
            ),
        ),
        (
            "a: %x\n",
            (
                "job.yaml:1:4: Deserialization error: while scanning for the next token, found"
                " character that cannot start any token; quote a value that begins with %, @"
                " or `, and indent with blanks, not tabs"
            ),
        ),
        ("a:\n  b\x01", "job.yaml:2:4: Deserialization error: control characters are not allowed"),
        (b"a:\n  \xff", "job.yaml:2:3: Deserialization error: not UTF-8; save the file as UTF-8"),
    ],
)
def test_the_file_as_a_whole(text, message):
    assert refusal(text).splitlines()[0] == message


def test_a_circle_is_spelled_out_from_its_first_task():
    text = """\
        tasks:
          z: {command: x, needs: b}
          c: {command: x, needs: [ok, b]}
          b: {command: x, needs: a}
          ok: {command: x}
          a: {command: x, needs: {c: all}}
        """
    assert refusal(text) == (
        "job.yaml:3:31: tasks.c.needs[1]: the tasks need each other: c -> b -> a -> c"
    )


def test_a_misspelt_need_gets_a_suggestion():
    text = "tasks: {prepare: {command: x}, run: {command: x, needs: prepaer}}"
    assert refusal(text).endswith("no task is called `prepaer`; did you mean `prepare`?")


def test_a_mistake_in_the_defaults_is_told_once_and_there():
    text = """\
        defaults: {priority: high}
        tasks: {a: {command: x}, b: {command: x}}
        """
    assert refusal(text) == (
        "job.yaml:1:22: defaults.priority: expected a whole number, got the text 'high'"
    )


def test_a_mistake_behind_an_alias_is_told_once():
    text = """\
        tasks:
          a: {command: x, env: &env {A: [1]}}
          b: {command: x, env: *env}
        """
    assert refusal(text) == "job.yaml:2:33: tasks.a.env.A: expected text, got a list"


def test_after_twenty_problems_the_rest_is_counted():
    lines = refusal("tasks:\n" + "".join(f"  a{i}: {{}}\n" for i in range(50))).splitlines()
    assert len(lines) == 21
    assert lines[19].startswith("job.yaml:21:3: tasks.a19: ")
    assert lines[20] == "job.yaml: 30 more problems are not shown"


def test_the_error_can_be_read_by_programs():
    with pytest.raises(InputError) as caught:
        load_jobfile(b"tasks:\n  a: {}\n", filename="f", submit_dir="/", key=b"")
    (problem,) = caught.value.problems
    assert (problem.line, problem.column, problem.path) == (2, 3, "tasks.a")


def test_foreign_text_never_breaks_a_line():
    text = 'tasks: {a: {command: x, env: {"B\\nC": [1]}, "k\\nk": 1}}'
    assert len(refusal(text).splitlines()) == 2


def test_a_file_that_is_too_large_is_not_even_decoded():
    message = refusal(memoryview(bytes(1)).tobytes() * (MAX_FILE_BYTES + 1))
    assert message == "job.yaml:1:1: the file is too large (at most 256 MiB)"


def test_an_alias_bomb_is_refused_before_it_goes_off():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 40)]
    assert "aliases make the file too large" in refusal("\n".join(lines))


def test_a_merge_bomb_is_refused_as_well():
    keys = ", ".join(f"k{i}: x" for i in range(1000))
    text = f"base: &base {{{keys}}}\n" + "".join(f"m{i}: {{<<: *base}}\n" for i in range(5000))
    assert "aliases make the file too large" in refusal(text)


@pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
def test_deep_nesting_is_refused_without_harm(opening):
    assert "nested deeper than 64 levels" in refusal(opening * 100_000)


def test_deep_nesting_in_toml_is_refused_without_harm():
    assert "Deserialization error" in refusal("a = " + "[" * 100_000, filename="j.toml")


def test_mistakes_in_toml_are_found_behind_long_texts_and_in_the_right_table():
    text = '''\
        [tasks.a]
        command = """
        priority = 'none of ours'
        """
        priority = "x"
        [tasks.b]
        comand = 1
        '''
    assert refusal(text, filename="j.toml").splitlines() == [
        "j.toml:5:1: tasks.a.priority: expected a whole number, got the text 'x'",
        "j.toml:6:2: tasks.b: `command` or `script` is missing",
        "j.toml:7:1: tasks.b: unknown key `comand`; did you mean `command`?",
    ]


def test_a_time_without_quotes_in_toml_gets_the_remedy():
    text = "[tasks.a]\ncommand = 'x'\ntime_limit = 01:30:00\n"
    assert refusal(text, filename="j.toml") == (
        "j.toml:3:1: tasks.a.time_limit: expected text (put it into quotes),"
        " got a date or time '01:30:00'"
    )
