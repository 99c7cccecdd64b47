"""Which requests are answered how while the journal takes no more."""

from __future__ import annotations

import pytest
from server_nest import DETAILS, LateJournal, submit

from actors.server.degraded import Health
from hqtrio.messages.client import (
    CancelJobs,
    CloseJobs,
    Failure,
    ListJobs,
    OpenJob,
    Selector,
    ServerInfo,
    StopServer,
    SubmitJob,
    Which,
)
from hqtrio.model.job import JobHead

ALL = Selector(Which.ALL)


class Troubled(LateJournal):
    trouble = "No space left on device"


@pytest.mark.parametrize(
    "request_", [SubmitJob(submit()), OpenJob(JobHead("j")), CloseJobs(ALL), CancelJobs(ALL)]
)
def test_b13_what_would_add_to_the_books_is_refused_with_the_reason(request_) -> None:
    answer = Health(Troubled(), DETAILS).answer(request_)
    assert isinstance(answer, Failure)
    assert "No space left on device" in answer.reason


def test_the_state_of_the_server_is_told_without_its_books() -> None:
    assert Health(Troubled(), DETAILS).answer(ServerInfo()).trouble == "No space left on device"


@pytest.mark.parametrize("request_", [ListJobs(ALL), StopServer()])
def test_what_only_asks_or_ends_goes_on_to_the_books(request_) -> None:
    assert Health(Troubled(), DETAILS).answer(request_) is None
