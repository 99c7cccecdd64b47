"""What functions return: kept with their tasks, told in the order of the ends."""

from __future__ import annotations

from itertools import chain

from job_book_story import EVERY, Story, array_of, given, graph
from restart_story import RestartStory
from test_job_book_compactions import compact

from hqtrio.jobs.history import remembered
from hqtrio.jobs.replay import Replay
from hqtrio.journal.ordering import in_order
from hqtrio.messages import client as say
from hqtrio.messages.columns import read_u32
from hqtrio.messages.records import ServerStarted, TasksEnded
from hqtrio.model.job import JobState
from hqtrio.model.retry import Retry
from hqtrio.model.task import Ending, TaskSettings, TaskState

FINISHED, FAILED = int(TaskState.FINISHED), int(TaskState.FAILED)
CANCELLED, ABORTED = int(TaskState.CANCELLED), int(TaskState.ABORTED)


def ends_of(story: Story, job: int, after: int = 0) -> list[tuple[int, int, bytes]]:
    """Number, state and result of all that ended after so many."""
    found = []
    more = True
    while more:
        page = story.ask(say.ListEnds(job, after))
        results = dict(page.results)
        numbers = read_u32(page.numbers)
        found += [(n, page.states[row], results.get(row, b"")) for row, n in enumerate(numbers)]
        assert page.after == after + len(numbers)
        after, more = page.after, page.more
    return found


def with_results() -> tuple[RestartStory, int]:
    """One task has returned something, one nothing, one has raised, one waits."""
    story = RestartStory()
    worker = story.worker()
    job = story.submit(array_of(4, ((10, 4, 5),)))
    story.start(worker, (job, 10), (job, 15), (job, 20))
    story.end(worker, (job, 15), (job, 10), results={(job, 15): b"Vfifteen"})
    story.end(worker, (job, 20), ending=Ending.EXITED, code=1, results={(job, 20): b"Eoh"})
    return story, job


def test_ends_are_told_in_the_order_in_which_they_were_learned() -> None:
    story, job = with_results()
    assert ends_of(story, job) == [
        (10, FINISHED, b""), (15, FINISHED, b"Vfifteen"), (20, FAILED, b"Eoh"),
    ]  # fmt: skip
    (worker,) = story.running
    story.run(worker)
    assert ends_of(story, job, 3) == [(25, FINISHED, b"")]
    assert ends_of(story, job, 4) == []
    assert story.ask(say.ListEnds(job, 1 << 62)).after == 4
    assert story.ask(say.ListEnds(job, -7)) == story.ask(say.ListEnds(job))
    assert story.ask(say.ListEnds(job)).errors == ((2, "Program terminated with exit code 1."),)


def test_a_job_that_grows_keeps_the_order() -> None:
    story = Story()
    worker = story.worker()
    job = story.open()
    for first in (0, 9):
        story.submit(array_of(9, ((first, 9, 1),)), job=job)
        story.run(worker, (job, first + 4))
        ends_of(story, job)
    story.run(worker)
    assert [n for n, _, _ in ends_of(story, job)] == [4, 13, *(n for n in range(18) if n % 9 != 4)]


def test_every_way_to_end_is_an_end() -> None:
    story = Story()
    worker = story.worker()
    job = story.submit(tasks=graph({1: (), 2: (1,), 3: ()}))
    story.run(worker, (job, 1), ending=Ending.EXITED, code=2)
    story.cancel(given(job))
    assert ends_of(story, job) == [(1, FAILED, b""), (2, ABORTED, b""), (3, CANCELLED, b"")]


def test_results_outlive_servers_compactions_and_the_memory_of_no_journal() -> None:
    story, job = with_results()
    expected = sorted(ends_of(story, job))
    records = [
        compact(story.records),
        compact(list(in_order(story.records))),
        list(chain(*remembered(story.book._tables, ServerStarted("u", "0", 0.0)))),
    ]
    for told in records:
        kept = chain(*(record.results for record in told if isinstance(record, TasksEnded)))
        assert sorted(result for _, result in kept) == [b"Eoh", b"Vfifteen"]
    story.kill()
    assert sorted(ends_of(story, job)) == expected


def test_a_result_counts_with_its_end_only() -> None:
    story = Story()
    worker = story.worker()
    job = story.submit(array_of(3, settings=TaskSettings(retry=Retry(1))))
    story.start(worker, (job, 0), (job, 1))
    old = story.running[worker][(job, 0)]
    story.end(worker, (job, 0), ending=Ending.EXITED, code=1, results={(job, 0): b"Efirst"})
    assert ends_of(story, job) == []
    story.start(worker, (job, 0))
    late = ((job, 0), old, Ending.FINISHED, 0, 1.0)
    other = ((job, 1), story.running[worker].pop((job, 1)), Ending.FINISHED, 0, 1.0)
    results = [(0, b"Vlate"), (1, b"Vright"), (2, b"Vno row"), (1 << 31, b"V")]
    story.report(worker, ended=[late, other], results=results)
    assert ends_of(story, job) == [(1, FINISHED, b"Vright")]
    story.end(worker, (job, 0), results={(job, 0): b"Vsecond"})
    assert ends_of(story, job) == [(1, FINISHED, b"Vright"), (0, FINISHED, b"Vsecond")]
    restored = Replay("uid123")
    for record in story.records:
        restored.apply(record)
    assert restored.tables.jobs[job].results == {0: b"Vsecond", 1: b"Vright"}


def test_results_of_rows_that_do_not_exist_are_nobodys() -> None:
    story = RestartStory()
    worker = story.worker()
    job = story.submit(array_of(2))
    story.start(worker, (job, 0))
    row = ((job, 0), story.running[worker].pop((job, 0)), Ending.FINISHED, 0, 1.0)
    story.report(worker, ended=[row], results=[(-1, b"V"), (1, b"V"), (1 << 40, b"V")])
    assert ends_of(story, job) == [(0, FINISHED, b"")]
    story.kill()
    assert ends_of(story, job) == [(0, FINISHED, b"")]


def test_large_results_come_in_pages() -> None:
    story = Story()
    worker = story.worker()
    job = story.submit(array_of(1000))
    story.start(worker)
    story.end(worker, results={(job, n): b"V" + bytes(2000) for n in range(1000)})
    page = story.ask(say.ListEnds(job))
    assert page.more and 100 < page.after < 1000
    assert [n for n, _, _ in ends_of(story, job)] == list(range(1000))


def test_forgotten_jobs_have_no_ends() -> None:
    story, job = with_results()
    story.cancel(EVERY)
    story.ask(say.ForgetJobs(given(job), (JobState.FAILED,)))
    assert isinstance(story.ask(say.ListEnds(job)), say.Failure)
    assert isinstance(story.ask(say.ListEnds(0)), say.Failure)
