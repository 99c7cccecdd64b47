"""What a simulated server records restores its job book, at any time of a stormy life."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from simulated_server import Server
from simulation import simulate
from simulation_scenarios import SCENARIOS

from hqtrio.jobs.replay import Replay

sys.path.append(str(Path(__file__).resolve().parent.parent / "jobs"))
from same_book import same_tables

EVERY = 50  # groups of records


@pytest.mark.parametrize("name", ["chaos", "graphs"])
def test_the_records_restore_the_book(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    replays: dict[Server, Replay] = {}
    compared: list[int] = []
    append, turn = Server._append, Server._turn_book

    def replay_too(server, records):
        replay = replays.setdefault(server, Replay(server.book._server_uid))
        for record in records:
            replay.apply(record)
        return append(server, records)

    def compare_after(server, batch):
        turn(server, batch)
        if server in replays and server._groups % EVERY == 0:
            tables = replays[server].tables
            same_tables(tables, server.book._tables, server.world.timeline.instant().wall)
            compared.append(sum(job.count for job in tables.jobs.values()))

    monkeypatch.setattr(Server, "_append", replay_too)
    monkeypatch.setattr(Server, "_turn_book", compare_after)
    simulate(SCENARIOS[name], 1)
    assert len(compared) > 10
    assert sum(compared) > 100
