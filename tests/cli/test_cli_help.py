"""What the program says of itself: help, suggestions, completion, documentation."""

from __future__ import annotations

import os
import subprocess
import sys

import click
import pytest

from hqtrio import __version__
from hqtrio.cli.main import root


def commands(group=root, words=()):
    """Every command of the program, with the words that name it."""
    context = click.Context(group)
    for word in group.list_commands(context):
        command = group.get_command(context, word)
        if isinstance(command, click.Group):
            yield from commands(command, (*words, word))
        else:
            yield (*words, word), command


COMMANDS = dict(commands())


def test_every_command_and_every_option_is_explained():
    silent = [words for words, command in COMMANDS.items() if not command.help]
    silent += [
        (*words, *option.opts)
        for words, command in COMMANDS.items()
        for option in command.params
        if isinstance(option, click.Option) and not option.hidden and not option.help
    ]

    assert silent == []


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_has_a_help_page(hq, words):
    if words[0] == "output-log":
        words = (words[0], "DIR", *words[1:])
    result = hq(*words, "--help")

    assert (result.code, result.err) == (0, "")
    assert result.lines[0].startswith(f"Usage: hqtrio {' '.join(words)} ")
    assert "--server-dir" in result.out


def test_names_of_one_command_never_differ_from_its_groups_list():
    for words, command in COMMANDS.items():
        assert command.name == words[-1]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("jbo list", "unrecognized subcommand 'jbo', did you mean 'job'?"),
        ("job lst", "unrecognized subcommand 'lst', did you mean 'list'?"),
        ("server strat", "unrecognized subcommand 'strat', did you mean 'start'?"),
        (
            "submit --prority 3 ls",
            "unexpected argument '--prority' found, did you mean '--priority'?",
        ),
        ("task list 1 --task-stat=x", "'--task-stat' found, did you mean '--task-status'?"),
        ("worker list --output-mod json", "found, did you mean '--output-mode'?"),
        ("job frobnicate", "unrecognized subcommand 'frobnicate'\n"),
        ("job list --zzz", "unexpected argument '--zzz' found\n"),
    ],
)
def test_what_was_probably_meant_is_named(hq, server, words, text):
    result = hq(*words.split())

    assert result.code == 2
    assert text in result.err.partition("\n\n")[0] + "\n"
    assert server.asked == []


def test_hidden_options_are_not_suggested(hq):
    assert "'--status'" not in hq("job", "forget", "1", "--statuss", "failed").err


# --- doc


@pytest.mark.parametrize(
    ("words", "path"),
    [
        ("doc", ""),
        ("doc job", "jobs/jobs"),
        ("doc tasks", "jobs/jobs"),
        ("doc taskarray", "jobs/arrays"),
        ("doc resources", "jobs/resources"),
        ("doc workers", "deployment/worker"),
        ("doc slurm", "deployment/allocation"),
        ("doc python", "python"),
        ("doc faq --output-mode json", "faq"),
    ],
)
def test_doc_prints_an_address_and_nothing_else(hq, server, words, path):
    result = hq(*words.split())

    assert (result.code, result.err) == (0, "")
    assert result.out == f"https://hqtrio.readthedocs.io/en/{__version__}/{path}\n"


def test_doc_opens_a_browser(hq, monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", lambda url: opened.append(url) or True)

    result = hq("doc", "faq", "--open")

    assert (result.code, result.out) == (0, "")
    assert opened == [f"https://hqtrio.readthedocs.io/en/{__version__}/faq"]


def test_doc_of_an_unknown_topic_or_without_a_browser(hq, monkeypatch):
    assert hq("doc", "nothing").code == 2

    monkeypatch.setattr("webbrowser.open", lambda url: False)
    result = hq("doc", "--open")
    assert result.code == 1
    assert "There is no browser to open https://" in result.err


# --- completion


@pytest.mark.parametrize("shell", ["bash", "fish", "zsh"])
def test_a_completion_script_goes_to_stdout_and_the_remark_to_stderr(hq, shell):
    result = hq("generate-completion", shell)

    assert result.code == 0
    assert f"_HQTRIO_COMPLETE={shell}_complete" in result.out
    assert result.err == f"Generating completion file for {shell}...\n"


@pytest.mark.parametrize(("words", "code"), [("elvish", 1), ("tcsh", 2), ("", 2)])
def test_other_shells_have_no_completion(hq, words, code):
    result = hq("generate-completion", *words.split())

    assert (result.code, result.out) == (code, "")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("hqtrio jo", ["job", "journal"]),
        ("hqtrio job l", ["list"]),
        ("hqtrio server s", ["start", "stop"]),
        ("hqtrio job list --fil", ["--filter"]),
        ("hqtrio job list --filter wa", ["waiting"]),
        ("hqtrio job list --filter waiting,ru", ["waiting,running"]),
        ("hqtrio --output-mode q", ["quiet"]),
        ("hqtrio generate-completion ba", ["bash"]),
        ("hqtrio submit --dir", ["--directives"]),
    ],
)
def test_words_are_completed(line, words):
    done = subprocess.run(
        [sys.executable, "-m", "hqtrio"],
        env={
            **os.environ,
            "_HQTRIO_COMPLETE": "bash_complete",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(line.split()) - 1),
        },
        capture_output=True,
        text=True,
        check=False,
    )

    assert [answer.partition(",")[2] for answer in done.stdout.splitlines()] == words
    assert (done.returncode, done.stderr) == (0, "")


def test_bash_accepts_its_script(hq):
    script = hq("generate-completion", "bash").out

    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
