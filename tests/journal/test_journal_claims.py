"""One owner at a time, where there are no locks, however the steps of many fall together."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.daemon.identity import ProcessIdentity
from actors.server.journal_claims import Claim, Names, claim

FIRST = ProcessIdentity("here", "boot", 1, "17")
LIVES = 2  # of each claimant


class Stepped(Names):
    """Nothing is done before it is one's turn."""

    def __init__(self, wait: Callable[[], None]) -> None:
        self._wait = wait

    def __getattribute__(self, name: str):
        if name in ("listed", "read", "make", "write", "remove"):
            object.__getattribute__(self, "_wait")()
        return object.__getattribute__(self, name)


class Claimants:
    """Processes that claim one journal and lose it again, one step of one of them at a time."""

    def __init__(self, prefix: str, count: int, dies: list[bool]) -> None:
        self.prefix = prefix
        self.owners: list[int] = []
        self.gone: set[int] = {0}
        self.owned = 0
        self.faults: list[BaseException] = []
        self.ended: set[int] = set()
        self._dies = dies
        self._turns = [threading.Semaphore(0) for _ in range(count)]
        self._done = threading.Semaphore(0)
        self._threads = [
            threading.Thread(target=self._run, args=(number,)) for number in range(count)
        ]
        for thread in self._threads:
            thread.start()
            self._done.acquire()

    def step(self, pick: int) -> bool:
        """One of those that go on does what is next; False if all have ended."""
        living = [n for n, thread in enumerate(self._threads) if thread.is_alive()]
        if not living:
            return False
        number = living[pick % len(living)]
        self._turns[number].release()
        self._done.acquire()
        if number in self.ended:
            self._threads[number].join()
        return True

    def _wait(self, number: int) -> None:
        self._done.release()
        self._turns[number].acquire()

    def _run(self, number: int) -> None:
        try:
            for life in range(LIVES):
                self._live(number, 10 * number + life + 10)
        except BaseException as fault:
            self.faults.append(fault)
        self.ended.add(number)
        self._done.release()

    def _live(self, number: int, pid: int) -> None:
        names = Stepped(lambda: self._wait(number))
        found = claim(
            self.prefix, replace(FIRST, pid=pid), lambda owner: owner.pid in self.gone, names
        )
        if isinstance(found, Claim):
            self.owners.append(pid)
            self.owned += 1
            assert self.owners == [pid]
            self._wait(number)
            self.owners.remove(pid)
            if self._dies[number]:
                self.gone.add(pid)
                os.close(found._fd)
            else:
                found.give_up()


@given(
    picks=st.lists(st.integers(0, 5), max_size=60),
    dies=st.lists(st.booleans(), min_size=3, max_size=3),
)
def test_of_all_who_claim_a_journal_one_at_a_time_has_it(picks, dies):
    with tempfile.TemporaryDirectory() as place:
        claimants = Claimants(f"{place}/journal.lock", 3, dies)
        turn = iter(picks)
        rest = 0
        while claimants.step(next(turn, rest)):
            rest += 1
        assert claimants.faults == []
        assert claimants.owned >= 1
        left = os.listdir(place)
        assert len(left) == 1
        assert left[0].startswith("journal.lock.")


@pytest.fixture
def prefix(tmp_path: Path) -> str:
    return str(tmp_path / "journal.lock")


def nobody(owner: ProcessIdentity) -> bool:
    return owner.pid == 0


def everybody(owner: ProcessIdentity) -> bool:
    return True


def test_an_owner_is_named_until_it_gives_up(prefix):
    mine = claim(prefix, FIRST, nobody)
    assert isinstance(mine, Claim)
    assert claim(prefix, replace(FIRST, pid=2), nobody) == FIRST
    mine.give_up()
    again = claim(prefix, replace(FIRST, pid=2), nobody)
    assert isinstance(again, Claim)
    again.give_up()


def test_only_the_last_claim_stays(prefix):
    for _ in range(12):
        mine = claim(prefix, FIRST, everybody)
        assert isinstance(mine, Claim)
        mine.give_up()
    assert os.listdir(Path(prefix).parent) == ["journal.lock.12"]


def test_a_claim_that_nobody_has_written_yet_is_somebodys(prefix):
    Path(f"{prefix}.3").touch()
    assert claim(prefix, FIRST, everybody) is None


def test_a_full_disk_leaves_no_claim(prefix):
    class Full(Names):
        def write(self, fd: int, data: bytes) -> None:
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        claim(prefix, FIRST, nobody, Full())
    assert os.listdir(Path(prefix).parent) == []


def test_somebody_slow_does_not_make_an_old_claim_once_more(prefix):
    """It has found the first owner gone; since then others came and went."""

    class Slow(Names):
        is_slow = True

        def make(self, path: str) -> int:
            if self.is_slow:
                self.is_slow = False
                for _ in range(2):
                    other = claim(prefix, replace(FIRST, pid=2), nobody)
                    assert isinstance(other, Claim)
                    other.give_up()
                assert isinstance(claim(prefix, replace(FIRST, pid=3), nobody), Claim)
            return super().make(path)

    other = claim(prefix, FIRST, nobody)
    assert isinstance(other, Claim)
    other.give_up()
    assert claim(prefix, replace(FIRST, pid=4), nobody, Slow()) == replace(FIRST, pid=3)
    assert os.listdir(Path(prefix).parent) == ["journal.lock.4"]
