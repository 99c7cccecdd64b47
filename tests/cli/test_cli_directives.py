"""`#HQ` lines: where they are looked for, how they are read, who wins."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hqtrio.cli.directives import HEAD_BYTES, parse_directives, split_words
from hqtrio.errors import InputError
from hqtrio.ids import parse_ids
from hqtrio.messages.client import SubmitJob, Submitted
from hqtrio.model.resources import CPUS, UNIT, Need
from hqtrio.model.task import DEFAULT_CRASH_LIMIT, UNLIMITED, PinMode, Stdio


@pytest.fixture
def submit(hq, server, tmp_path, monkeypatch):
    """Write a script, submit something; the submit and the result."""
    monkeypatch.chdir(tmp_path)
    server.on(SubmitJob, Submitted(1))

    def perform(script, *words, name="test.sh", code=0):
        (tmp_path / name).write_text(script)
        server.asked.clear()
        result = hq("submit", *(words or (name,)))
        assert result.code == code, result.err
        return (server.asked[0].submit if server.asked else None), result

    return perform


def args_of(submit):
    return [arg.decode() for arg in submit.arrays[0].body.args]


# --- how a line is cut into words


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--a b\t--c=d  ", ["--a", "b", "--c=d"]),
        ('--cpus="2 compact"', ["--cpus=2 compact"]),
        ('"a b"c "" d', ["a bc", "", "d"]),
        (r'"a \" b" c', [r"a \" b", "c"]),
        (r'"a\\" b', [r"a\\", "b"]),
        ("'a b'", ["'a", "b'"]),
        (r"a\ b c", [r"a\ b", "c"]),
        (r"\"a b", [r"\"a", "b"]),
        (r"a\\ b", [r"a\\", "b"]),
        ("", []),
    ],
)
def test_words_of_a_line(line, words):
    assert split_words(line) == words


def test_an_open_quote_is_named_with_its_line(submit):
    _, result = submit('#!/bin/bash\n#HQ --name="abc\n', code=1)

    assert result.err == (
        'Could not parse directives from line 2 of test.sh: a quotation mark (") is not closed\n'
    )


# --- what counts


def test_s2_27_directives_apply_until_the_first_command(submit):
    script = '#!/bin/bash\n\n#HQ --name abc --array=1-10\n# text\n  #HQ --cpus="2 compact"\n'
    made, result = submit(f"{script}sleep 1\n#HQ --name late\n")

    assert result.err == ""
    assert made.head.name == "abc"
    (array,) = made.arrays
    assert array.ranges == parse_ids("1-10").ranges
    assert array.variants[0].needs == (Need(CPUS, 2 * UNIT),)


@pytest.mark.parametrize(
    "script", ["#HQ--name x\n", "#HQ\n", "#hq --name x\n", "#HQ \n", "#HQ   \n"]
)
def test_lines_that_are_no_directives(submit, script):
    made, _ = submit(f"{script}ls\n")

    assert made.head.name == "test.sh"


def test_scripts_of_windows_are_read(submit):
    made, _ = submit("#!/bin/bash\r\n#HQ --name abc\r\n\r\n#HQ --priority=-3\r\nls\r\n")

    assert (made.head.name, made.arrays[0].settings.priority) == ("abc", -3)
    assert args_of(made) == ["/bin/bash", "test.sh"]


def test_only_the_head_of_a_script_counts(submit):
    filler = "# x\n" * (HEAD_BYTES // 4)
    made, _ = submit(f"{filler[:-16]}#HQ --priority=55\n{filler}#HQ --name late\n")

    # The line that the limit cuts behind `--priority=5` is not half believed.
    assert made.head.name == "test.sh"
    assert made.arrays[0].settings.priority == 0


def test_every_option_of_tasks_may_stand_in_a_script(submit):
    made, _ = submit(
        "#HQ --name n --max-fails=3 --resource gpus=1 --time-request 10 --weight 2.5\n"
        "#HQ --pin omp --cwd /x --stdout=none --stderr=:rm-if-finished --env A=1 --env B\n"
        "#HQ --priority -4 --time-limit 60sec --task-dir --crash-limit unlimited --array 1-2\n"
    )

    assert (made.head.name, made.head.max_fails) == ("n", 3)
    (array,) = made.arrays
    body, (request,) = array.body, array.variants
    assert request.needs == (Need(CPUS, UNIT), Need("gpus", UNIT))
    assert (request.time_s, request.weight) == (10, 25_000)
    assert (body.pin, body.cwd, body.task_dir, body.time_limit_s) == (PinMode.OMP, "/x", True, 60)
    assert body.stdout == Stdio(None)
    assert body.stderr.remove_if_finished
    assert body.env == ((b"A", b"1"), (b"B", b""))
    assert (array.settings.priority, array.settings.crash_limit) == (-4, UNLIMITED)
    assert array.ranges == parse_ids("1-2").ranges

    nodes, _ = submit("#HQ --nodes 4\n")
    assert nodes.arrays[0].variants[0].nodes == 4


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("--foo=bar", "unexpected argument '--foo' found"),
        ("--wait", "unexpected argument '--wait' found"),
        ("--job 3", "unexpected argument '--job' found"),
        ("--stdin", "unexpected argument '--stdin' found"),
        ("--directives=off", "unexpected argument '--directives' found"),
        ("--server-dir /x", "unexpected argument '--server-dir' found"),
        ("--help", "unexpected argument '--help' found"),
        ("ls", "unexpected argument 'ls' found"),
        ("-- ls", "unexpected argument 'ls' found"),
        ("--cpus 0", "Zero resources cannot be requested"),
        ("--nodes 2 --cpus 1", "'--nodes <NODES>' cannot be used with '--cpus <CPUS>'"),
        ("--name a --name b", "'--name <NAME>' cannot be used multiple times"),
    ],
)
@pytest.mark.parametrize("words", [("test.sh",), ("--directives", "file", "test.sh")])
def test_s2_28_invalid_directives_fail_the_submit(submit, line, text, words):
    made, result = submit(f"#!/bin/bash\n#HQ {line}\n", *words, code=1)

    assert made is None
    assert result.err.startswith("You have used invalid parameter(s) after a #HQ directive")
    assert text in result.err
    assert result.err.count("\n") == 1


def test_s2_28_switched_off_directives_are_not_looked_at(submit):
    made, result = submit("#!/bin/bash\n#HQ --foo=bar\n", "--directives", "off", "test.sh")

    assert (args_of(made), result.err) == (["test.sh"], "")


# --- where


def test_s2_27_only_a_program_that_ends_in_sh_is_looked_into_by_itself(submit):
    script = "#!/bin/bash\n#HQ --name abc\n"

    ignored, _ = submit(script, name="test.bash")
    assert (ignored.head.name, args_of(ignored)) == ("test.bash", ["test.bash"])

    read, _ = submit(script, "--directives=file", "test.bash", "-x", name="test.bash")
    assert (read.head.name, args_of(read)) == ("abc", ["/bin/bash", "test.bash", "-x"])


@pytest.mark.parametrize("words", [["no.sh"], ["--directives=file", "no"], ["dir.sh"]])
def test_a_script_that_cannot_be_read_is_refused(submit, tmp_path, words):
    (tmp_path / "dir.sh").mkdir()
    made, result = submit("", *words, code=1)

    assert made is None
    assert result.err.startswith(f"Could not parse directives from {words[-1]}")


def test_a_program_file_without_text_has_no_directives(submit, tmp_path):
    (tmp_path / "binary").write_bytes(b"\x7fELF\0\xff#HQ --name x\n")
    made, _ = submit("", "--directives=file", "./binary")

    assert (made.head.name, args_of(made)) == ("binary", ["./binary"])


# --- shebang


@pytest.mark.parametrize(
    ("shebang", "words"),
    [
        ("#!/bin/bash -l", ["/bin/bash", "-l"]),
        ("#! /usr/bin/env  python3", ["/usr/bin/env", "python3"]),
        ("  #!/bin/sh", ["/bin/sh"]),
        ("#!", []),
        ("\n#!/bin/sh", []),
    ],
)
def test_s2_28_the_interpreter_of_the_script_runs_it(submit, shebang, words):
    made, _ = submit(f"{shebang}\nls\n", "test.sh", "a", "b")

    assert args_of(made) == [*words, "test.sh", "a", "b"]
    assert made.head.name == (words[0].split("/")[-1] if words else "test.sh")


def test_directives_from_stdin_ignore_the_interpreter(submit, monkeypatch):
    text = b"#!/no/such/thing\n#HQ --name abc\nls\n"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text)))
    made, _ = submit("", "--stdin", "--directives=stdin", "bash")

    assert (made.head.name, args_of(made)) == ("abc", ["bash"])
    assert made.arrays[0].body.stdin == text


def test_with_stdin_the_interpreter_of_the_program_is_left_alone(submit, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"data")))
    made, _ = submit("#!/bin/bash\n#HQ --name abc\n", "--stdin", "test.sh")

    assert (made.head.name, args_of(made)) == ("abc", ["test.sh"])


def test_s2_28_directives_from_stdin_need_stdin(submit):
    made, result = submit("", "--directives=stdin", "bash", code=1)

    assert made is None
    assert result.err == ("You have to use `--stdin` when you specify `--directives=stdin`\n")


# --- who wins


def test_what_is_typed_wins(submit):
    script = "#HQ --name script --priority 3 --crash-limit 9 --weight 4 --cpus 8 --cwd /script\n"
    made, result = submit(
        script, "--name", "typed", "--crash-limit", "5", "--weight", "1", "--cpus", "1", "test.sh"
    )

    assert result.err == ""
    assert made.head.name == "typed"
    (array,) = made.arrays
    # Typed values win even where they are the defaults; what was not typed is the script's.
    assert (array.settings.priority, array.settings.crash_limit) == (3, DEFAULT_CRASH_LIMIT)
    assert (array.variants[0].weight, array.variants[0].needs) == (UNIT, (Need(CPUS, UNIT),))
    assert array.body.cwd == "/script"


def test_b34_the_weight_of_a_script_counts(submit):
    made, _ = submit("#HQ --weight 2.5\n")

    assert made.arrays[0].variants[0].weight == 25_000


def test_b34_of_a_variable_given_both_ways_the_typed_value_wins(submit):
    script = "#HQ --env A=script --env ONLY=script\n"
    made, result = submit(script, "--env", "A=typed", "--env", "MORE=typed", "test.sh")

    assert dict(made.arrays[0].body.env) == {
        b"A": b"typed", b"ONLY": b"script", b"MORE": b"typed",
    }  # fmt: skip
    assert "WARN Some environment variables were ignored" in result.err
    assert result.err.rstrip().endswith(": A")


def test_resources_add_up_and_none_is_named_twice(submit):
    made, _ = submit("#HQ --resource a=1\n", "--resource", "b=2", "test.sh")
    assert made.arrays[0].variants[0].needs == (
        Need(CPUS, UNIT), Need("a", UNIT), Need("b", 2 * UNIT),
    )  # fmt: skip

    _, twice = submit("#HQ --resource a=1\n", "--resource", "a=2", "test.sh", code=1)
    assert "Resource 'a' defined more than once" in twice.err
    _, cpus = submit("#HQ --resource cpus=1\n", "--cpus", "2", "test.sh", code=1)
    assert "--cpus and --resource cpus=... cannot be combined" in cpus.err


def test_nodes_typed_against_cpus_of_the_script_are_no_conflict(submit):
    made, _ = submit("#HQ --cpus 8\n", "--nodes", "2", "test.sh")

    assert made.arrays[0].variants[0].nodes == 2


def test_s2_27_what_chooses_the_tasks_is_taken_from_one_place(submit, tmp_path):
    (tmp_path / "lines").write_text("a\nb\nc\n")

    made, _ = submit("#HQ --array 10-20\n", "--each-line", "lines", "test.sh")
    assert (made.arrays[0].count, made.arrays[0].ranges) == (3, ())

    made, _ = submit("#HQ --each-line lines --array 0-1\n", "--array", "7", "test.sh")
    assert (made.arrays[0].ranges, made.arrays[0].entries) == (((7, 1, 1),), b"")

    made, _ = submit("#HQ --each-line lines --array 0-1\n")
    assert (made.arrays[0].count, made.arrays[0].entries) == (2, b"ab")


def test_a_name_in_the_script_is_refused_for_an_open_job(submit):
    for line, option in (("--name x", "--name"), ("--max-fails 0", "--max-fails")):
        made, result = submit(f"#HQ {line}\n", "--job", "3", "test.sh", code=1)
        assert made is None
        assert result.err == (
            f"Parameter {option} is not allowed when submitting to an open job.\n"
        )


def test_bytes_that_are_no_text_reach_the_task(tmp_path):
    found = parse_directives(b'#HQ --env "A=\xff\xfe"\n', "x.sh")

    assert found.options["env"] == (("A", "\udcff\udcfe"),)


WORDS = st.sampled_from(
    [
        "--name",
        "--cpus=2",
        "--array",
        "1-3",
        "--nodes=1",
        "-1",
        "--",
        "-x",
        "--env",
        "=",
        '"a b"',
        "é",
    ]
)


@given(
    st.lists(st.lists(WORDS | st.text(max_size=5), max_size=5), max_size=4), st.binary(max_size=9)
)
def test_any_script_is_read_or_refused_in_one_line(lines, rest):
    head = "".join(f"#HQ {' '.join(words)}\n" for words in lines)
    try:
        found = parse_directives(head.encode("utf-8", "surrogatepass") + rest, "x.sh")
    except InputError as error:
        refusal = str(error)
    else:
        refusal = ""
        assert found.given <= found.options.keys()
    assert "\n" not in refusal


@given(st.lists(st.text('ab"\\ \t=-', max_size=8), max_size=5))
def test_quoted_words_are_cut_where_they_were_joined(words):
    # Inside quotes a backslash belongs to the text, and keeps a quote behind it from ending it.
    kept = [word.replace('"', "").replace("\\", "") for word in words]
    assert split_words(" \t".join(f'"{word}"' for word in kept)) == kept
