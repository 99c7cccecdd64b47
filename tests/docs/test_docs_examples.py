"""Every example of the guide does what its page says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from guide_examples import CODE, Command, Page, difference, read_commands, read_page
from guide_shell import Shell

GUIDE = Path(__file__).parents[2] / "docs"
PAGES = sorted(path for path in GUIDE.rglob("*.md") if read_page(path).commands)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    made = Shell(tmp_path)
    try:
        yield made
    finally:
        made.close()


def wrong(page: Page, shell: Shell) -> list[str]:
    """What is not as the page says; empty where all is."""
    found = []
    for at, command in enumerate(page.commands):
        code_is_shown = any(after.text == CODE for after in page.commands[at + 1 : at + 2])
        code, printed = shell.perform(command.text)
        problem = difference(command.output, printed)
        if problem is None and code and not code_is_shown:
            problem = f"exit code {code}:\n{printed}"
        if problem is not None:
            place = f"{page.path.relative_to(GUIDE)}:{command.line}"
            found.append(f"{place}: $ {command.text}\n{problem}")
    return found


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(GUIDE)))
def test_the_examples_of_the_page_do_what_it_says(path: Path, shell: Shell):
    page = read_page(path)
    shell.lay_out(page)
    for words in page.session:
        shell.begin(words)

    problems = wrong(page, shell)

    assert not problems, "\n\n".join(problems)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(GUIDE)))
def test_every_file_that_a_page_shows_is_used_by_its_commands(path: Path):
    page = read_page(path)
    typed = " ".join(command.text for command in page.commands)
    shown = " ".join(page.files.values())

    unused = [name for name in page.files if name not in typed and name not in shown]

    assert unused == []


# --- the checker itself


def command(*lines: str) -> Command:
    (one,) = read_commands(list(lines), 1)
    return one


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("a b", "a   b\n"),
        ("id ...", "id 17\n"),
        ("+----+", "+-----------+\n"),
        ("first\n...\nlast", "first\nlast\n"),
        ("first\n...\nlast", "first\none\ntwo\nlast\n"),
        ("...\nlast", "one\nlast\n"),
    ],
)
def test_output_that_fits(shown, printed):
    assert difference(shown.split("\n"), printed) is None


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("a b", "ab\n"),
        ("id ...", "ident\n"),
        ("one", "one\ntwo\n"),
        ("one\ntwo", "one\n"),
        ("first\n...\nlast", "first\nlast\nmore\n"),
        ("a.c", "abc\n"),
    ],
)
def test_output_that_does_not_fit(shown, printed):
    assert difference(shown.split("\n"), printed) is not None


def test_a_failing_command_is_noticed_unless_its_code_is_shown(tmp_path, shell):
    (tmp_path / "page.md").write_text("```console\n$ false\n$ false\n$ echo $?\n1\n$ true\n```\n")
    page = read_page(tmp_path / "page.md")
    page.path = GUIDE / "page.md"

    (problem,) = wrong(page, shell)

    assert problem.startswith("page.md:2: $ false\nexit code 1")


def test_a_command_may_take_several_lines():
    assert command("$ for i in 1 2; do", ">   echo $i; done", "1", "2").text.count("\n") == 1


def test_a_block_that_nobody_checks_is_refused(tmp_path):
    (tmp_path / "page.md").write_text("```yaml\ntasks: 1\n```\n")

    with pytest.raises(ValueError, match=r"page\.md:2: a block of `yaml` must be"):
        read_page(tmp_path / "page.md")
