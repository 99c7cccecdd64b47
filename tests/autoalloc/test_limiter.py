"""Back-off after failures, and when they are too many."""

from hqtrio.autoalloc.limiter import Limiter, Limits
from hqtrio.model.allocation import Rejection

QUICK = Limits(2, 2, (0.0, 1.0, 10.0))


def ready(limiter: Limiter, at: float, limits: Limits = QUICK) -> bool:
    return not limiter.wait_s(limits, at)


def test_delays_grow_with_each_failure_and_no_further() -> None:
    limiter = Limiter()
    assert ready(limiter, 0.0)
    for at, too_early, again in ((0.0, 0.5, 2.0), (2.0, 7.0, 13.0), (13.0, 22.0, 24.0)):
        limiter.attempt(at)
        limiter.reject(Rejection.OTHER, "no")
        assert not ready(limiter, too_early)
        assert ready(limiter, again)


def test_a_first_attempt_never_waits_and_without_failures_nobody_does() -> None:
    limiter = Limiter()
    limiter.attempt(5.0)
    assert ready(limiter, 5.0)
    limiter.accept()
    assert ready(limiter, 5.0)


def test_an_accepted_submission_forgives_submissions_only() -> None:
    limiter = Limiter()
    limiter.attempt(0.0)
    limiter.reject(Rejection.OTHER, "no")
    limiter.fail("crashed")
    limiter.accept()
    assert limiter.submission_failures == 0
    assert not ready(limiter, 0.5)
    limiter.succeed()
    assert ready(limiter, 0.5)


def test_so_many_failures_in_a_row_are_too_many() -> None:
    limiter = Limiter(was_accepted=True)
    for count in range(2):
        assert limiter.verdict(QUICK) == "", count
        limiter.reject(Rejection.OTHER, "not today")
    assert limiter.verdict(QUICK) == "the last 2 submissions have failed: not today"
    limiter = Limiter()
    limiter.fail("one")
    limiter.succeed()
    limiter.fail("two")
    assert limiter.verdict(QUICK) == ""
    limiter.fail("three")
    assert limiter.verdict(QUICK) == "the last 2 allocations have failed: three"
    assert limiter.verdict(Limits(1)).startswith("the last 2 allocations")


def test_what_passes_by_itself_is_tried_for_ever_and_ever_more_slowly() -> None:
    limiter = Limiter()
    for at in range(50):
        limiter.attempt(float(at))
        limiter.reject(Rejection.UNREACHABLE if at % 2 else Rejection.LIMITS, "down")
    assert limiter.verdict(QUICK) == ""
    assert limiter.wait_s(Limits(), 49.0) == 900.0


def test_arguments_that_were_never_accepted_are_refused_once() -> None:
    limiter = Limiter()
    limiter.reject(Rejection.ARGUMENTS, "no such partition")
    assert "no such partition" in limiter.verdict(QUICK)
    known = Limiter(was_accepted=True)
    known.reject(Rejection.ARGUMENTS, "no such partition")
    assert known.verdict(QUICK) == ""


def test_a_failure_that_was_none_is_taken_back() -> None:
    limiter = Limiter()
    limiter.attempt(0.0)
    limiter.fail("lost")
    limiter.pardon()
    assert ready(limiter, 0.0)
    assert limiter.allocation_failures == 0


def test_a_clock_that_is_set_back_makes_nobody_wait_longer() -> None:
    limiter = Limiter()
    limiter.attempt(1000.0)
    limiter.reject(Rejection.OTHER, "no")
    assert limiter.wait_s(QUICK, 0.0) == 1.0
