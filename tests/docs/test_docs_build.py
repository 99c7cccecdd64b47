"""The guide builds without a warning, and its reference is the program's."""

from __future__ import annotations

import subprocess
import sys
from html import unescape
from pathlib import Path

import click
import pytest

from hqtrio.cli.doc import TOPICS
from hqtrio.cli.main import root

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("guide")
    words = ["build", "--strict", "--quiet", "--site-dir", str(target)]
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", *words],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    return target


def commands(group: click.Group, words: tuple[str, ...] = ()):
    context = click.Context(group)
    for word in group.list_commands(context):
        command = group.get_command(context, word)
        if isinstance(command, click.Group):
            yield from commands(command, (*words, word))
        else:
            yield " ".join(("hqtrio", *words, word)), command


def test_the_reference_names_every_command_and_every_option(site):
    page = unescape((site / "reference" / "index.html").read_text())
    sections = {part.split("<", 1)[0]: part for part in page.split("<h2 id=")}
    sections = {
        name: part
        for name, _ in commands(root)
        for part in sections.values()
        if f">{name}<" in part.partition("</h2>")[0]
    }
    missing = [
        f"{name} {option.opts[0]}"
        for name, command in commands(root)
        for option in command.params
        if isinstance(option, click.Option)
        and not option.hidden
        and option.expose_value
        and option.opts[0] not in sections.get(name, "")
    ]

    assert missing == []
    assert len(sections) == len(list(commands(root)))


def test_hidden_options_stay_hidden(site):
    hidden = [
        option.opts[0]
        for name, command in commands(root)
        if name == "hqtrio worker start"
        for option in command.params
        if isinstance(option, click.Option) and option.hidden
    ]
    page = (site / "reference" / "index.html").read_text()

    assert hidden != []
    assert [option for option in hidden if option in page] == []


def test_the_topics_of_the_doc_command_have_their_pages(site):
    missing = {path for path in TOPICS.values() if not (site / path / "index.html").is_file()}

    assert missing == set()


def test_a_reader_needs_no_network(site):
    # Links may lead anywhere; what a page loads by itself is in the site.
    loaded = [
        f"{page.relative_to(site)}: {word}"
        for page in site.rglob("*.html")
        for tag in page.read_text().split("<")
        if tag.startswith(("script", "link", "img"))
        for word in tag.split()
        if "://" in word and "canonical" not in tag
    ]

    assert loaded == []
