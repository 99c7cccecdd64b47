"""Whether somebody keeps the server of a directory alive."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace

import pytest

from actors.daemon.identity import this_process
from actors.daemon.keeper import Places, keeper_of


@pytest.fixture
def instance(tmp_path):
    (tmp_path / "001").mkdir()
    (tmp_path / "hq-current").symlink_to("001")
    return tmp_path / "001"


def test_a_living_keeper_is_found_and_after_it_has_withdrawn_there_is_none(tmp_path, instance):
    assert keeper_of(tmp_path) is None
    places = Places(instance)
    places.tell()
    assert keeper_of(tmp_path) == this_process()
    places.withdraw()
    assert keeper_of(tmp_path) is None


def test_it_is_found_from_the_instances_of_restarted_servers(tmp_path, instance):
    places = Places(instance)
    places.tell()
    for name in ("002", "003"):
        (tmp_path / name).mkdir()
        places.tell_in(tmp_path / name)
        (tmp_path / "hq-current").unlink()
        (tmp_path / "hq-current").symlink_to(name)
        assert keeper_of(tmp_path) == this_process()
        assert (tmp_path / name / "server.pid").read_text() == f"{os.getpid()}\n"
    places.withdraw()
    assert [os.listdir(tmp_path / name) for name in ("002", "003")] == [["server.log"]] * 2


@pytest.mark.parametrize(
    "other",
    [
        {"pid": 1 << 22},  # no such process
        {"started": "1"},  # a later process has its number
        {"boot": "before"},  # so has one after a restart of the machine
        {"host": "elsewhere"},  # nobody here can know
    ],
)
def test_a_keeper_that_is_gone_is_none(tmp_path, instance, other):
    told = asdict(replace(this_process(), **other))
    (instance / "server.keeper").write_text(json.dumps(told))
    assert keeper_of(tmp_path) is None


@pytest.mark.parametrize("text", ["", "17", "[]", '{"pid": 1}', '{"host'])
def test_a_file_that_says_nothing_is_no_keeper(tmp_path, instance, text):
    (instance / "server.keeper").write_text(text)
    assert keeper_of(tmp_path) is None
