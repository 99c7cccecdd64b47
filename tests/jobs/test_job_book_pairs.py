"""Groups whose tasks wait for the task at their own place, and groups that always start."""

from itertools import count

from hypothesis import given as with_any
from hypothesis import settings
from hypothesis import strategies as st
from job_book_story import EVERY, Story, array_of, body, given

from hqtrio.jobs.effects import Command
from hqtrio.messages import client as say
from hqtrio.messages.scheduling import TasksReady
from hqtrio.model.matrix import Axis, Matrix
from hqtrio.model.task import Ending, TaskState
from hqtrio.wire.codec import encode

WAITING, RUNNING, FINISHED = TaskState.WAITING, TaskState.RUNNING, TaskState.FINISHED
FAILED, CANCELLED, ABORTED = TaskState.FAILED, TaskState.CANCELLED, TaskState.ABORTED


def story_of(*specs, **head):
    story = Story()
    return story, story.worker(), story.submit(*specs, **head)


def fail(story, worker, *tasks):
    story.run(worker, *tasks, ending=Ending.EXITED, code=1)


# --- each


def test_a_task_starts_as_soon_as_the_one_at_its_place_has_finished():
    story, worker, job = story_of(array_of(3), array_of(3, each=(0,)))
    assert list(story.ready) == [(job, 0), (job, 1), (job, 2)]
    story.run(worker, (job, 1))
    assert (job, 4) in story.ready
    assert {(job, 3), (job, 5)}.isdisjoint(story.ready)


def test_a_failure_aborts_only_the_task_at_its_place_and_what_needs_that():
    story, worker, job = story_of(
        array_of(2), array_of(2, each=(0,)), array_of(2, each=(1,)), array_of(1, needs=(2,))
    )
    fail(story, worker, (job, 0))
    assert story.states(job) == [FAILED, WAITING, ABORTED, WAITING, ABORTED, WAITING, ABORTED]
    for _ in range(3):
        story.run(worker)
    assert story.states(job)[1::2] == [FINISHED] * 3
    assert not story.ready
    assert not story.bodies


def test_each_of_two_groups_and_all_of_a_third():
    story, worker, job = story_of(
        array_of(2), array_of(2), array_of(1), array_of(2, each=(0, 1), needs=(2,))
    )
    story.run(worker, (job, 0), (job, 2))
    assert (job, 5) not in story.ready
    story.run(worker, (job, 4))
    assert (job, 5) in story.ready
    story.run(worker, (job, 1))
    assert (job, 6) not in story.ready
    story.run(worker, (job, 3))
    assert (job, 6) in story.ready


def test_everything_that_a_task_waits_for_may_end_in_one_report():
    story, worker, job = story_of(array_of(2), array_of(1), array_of(2, each=(0,), needs=(1,)))
    story.start(worker)
    story.end(worker)
    assert sorted(story.ready) == [(job, 3), (job, 4)]


def test_pairs_of_different_size_are_refused():
    story = Story()
    answer = story.try_submit(array_of(2), array_of(3, each=(0,)))
    assert isinstance(answer, say.Failure)
    assert "not as large" in answer.reason


def test_explain_counts_the_task_at_the_same_place():
    story, worker, job = story_of(array_of(3), array_of(3, each=(0,)))
    explained = story.ask(say.ExplainTask(given(job), 4))
    assert (explained.needs, explained.unfinished) == (1, 1)
    story.run(worker, (job, 1))
    explained = story.ask(say.ExplainTask(given(job), 4))
    assert (explained.needs, explained.unfinished) == (1, 0)


# --- always


def test_a_group_that_always_starts_waits_for_every_end():
    story, worker, job = story_of(array_of(2), array_of(1, needs=(0,), always=True))
    fail(story, worker, (job, 0))
    assert (job, 2) not in story.ready
    story.run(worker, (job, 1))
    assert (job, 2) in story.ready
    story.run(worker, (job, 2))
    assert story.states(job) == [FAILED, FINISHED, FINISHED]
    assert not story.bodies


def test_it_starts_after_aborts_too_and_what_needs_it_goes_on():
    story, worker, job = story_of(
        array_of(1),
        array_of(1, needs=(0,)),
        array_of(1, needs=(1,), always=True),
        array_of(1, needs=(2,)),
    )
    fail(story, worker, (job, 0))
    assert story.states(job) == [FAILED, ABORTED, WAITING, WAITING]
    assert list(story.ready) == [(job, 2)]
    story.run(worker)
    story.run(worker)
    assert story.states(job)[2:] == [FINISHED, FINISHED]


def test_a_task_is_announced_once_when_one_failure_aborts_two_that_it_waits_for():
    story, worker, job = story_of(
        array_of(1),
        array_of(1, each=(0,)),
        array_of(1, each=(0,)),
        array_of(1, each=(1, 2), always=True),
    )
    fail(story, worker, (job, 0))
    assert story.states(job) == [FAILED, ABORTED, ABORTED, WAITING]
    assert list(story.ready) == [(job, 3)]


def test_too_many_failures_abort_everything_but_what_always_starts():
    story, worker, job = story_of(
        array_of(3), array_of(1, needs=(0,)), array_of(1, needs=(0, 1), always=True), max_fails=0
    )
    fail(story, worker, (job, 1))
    assert story.states(job) == [ABORTED, FAILED, ABORTED, ABORTED, WAITING]
    assert list(story.ready) == [(job, 4)]
    fail(story, worker, (job, 4))
    assert story.states(job)[4] == FAILED
    assert story.details_of(job).row.terminated


def test_a_cancel_spares_nothing():
    story, worker, job = story_of(array_of(2), array_of(1, needs=(0,), always=True))
    story.start(worker, (job, 0))
    story.cancel(EVERY)
    assert story.states(job) == [CANCELLED] * 3
    assert not story.ready


def test_always_with_each_follows_every_end_of_its_own_task():
    story, worker, job = story_of(
        array_of(3), array_of(3, each=(0,)), array_of(3, each=(1,), always=True)
    )
    fail(story, worker, (job, 0))
    assert (job, 6) in story.ready
    story.run(worker, (job, 1))
    fail(story, worker, (job, 4))
    assert (job, 7) in story.ready
    assert (job, 8) not in story.ready


def test_always_with_each_after_the_abort_of_a_whole_group():
    story, worker, job = story_of(
        array_of(1), array_of(2, needs=(0,)), array_of(2, each=(1,), always=True)
    )
    fail(story, worker, (job, 0))
    assert sorted(story.ready) == [(job, 3), (job, 4)]


def test_always_with_each_when_too_many_have_failed():
    story, worker, job = story_of(array_of(3), array_of(3, each=(0,), always=True), max_fails=0)
    story.run(worker, (job, 0))
    story.start(worker, (job, 3))
    fail(story, worker, (job, 1))
    assert sorted(story.ready) == [(job, 4), (job, 5)]
    assert story.states(job) == [FINISHED, FAILED, ABORTED, RUNNING, WAITING, WAITING]


# --- matrix


def matrix_of(count, **more):
    matrix = Matrix((Axis("a", ("1", '"x"')), Axis("b", (), ((0, count, 1),))), **more)
    return body("prog", matrix=matrix, fields=("a", "b"))


def test_a_matrix_costs_no_entries_and_each_task_shows_its_combination():
    story, _, job = story_of(array_of(1), array_of(6, body=matrix_of(3)))
    (ready,) = {id(r): r for k, r in story.seen_by_tasks.items() if k != (job, 0)}.values()
    assert ready.entries is None
    assert ready.body.content.first_number == 1
    assert ready.body.content.matrix is not None
    assert [row.entry for row in story.rows(job)][1:3] == [b'{"a":1,"b":0}', b'{"a":1,"b":1}']
    assert story.task(job, 6).entry == b'{"a":"x","b":2}'


def test_a_small_matrix_is_shown_with_its_body_and_a_large_one_is_not():
    large = Matrix((Axis("a", tuple(map(str, range(1000)))),))
    story, _, job = story_of(
        array_of(6, body=matrix_of(3)), array_of(1000, body=body(matrix=large))
    )
    small, without = (part.body for part in story.details_of(job).submits[0].arrays)
    assert small.matrix == matrix_of(3).matrix
    assert without.matrix is None


def test_a_matrix_in_an_open_job_goes_on_after_what_is_there():
    story = Story()
    story.worker()
    job = story.open()
    story.submit(array_of(4), job=job)
    story.submit(array_of(2, body=matrix_of(1)), job=job)
    assert story.seen_by_tasks[job, 4].body.content.first_number == 4
    assert story.task(job, 5).entry == b'{"a":"x","b":0}'


def test_a_matrix_that_does_not_fit_its_array_is_refused():
    story = Story()
    for spec in (
        array_of(5, body=matrix_of(3)),
        array_of(6, ((0, 6, 2),), body=matrix_of(3)),
        array_of(6, body=matrix_of(3), entries=b"x", entry_ends=bytes(48)),
        array_of(6, body=matrix_of(3, exclude=((0,),))),
        array_of(6, body=matrix_of(3, exclude=((2, 0),))),
        array_of(1, body=body("x", matrix=Matrix(()))),
        array_of(1, body=body("x", matrix=Matrix((Axis('q"', ("1",)),)))),
        array_of(1, body=body("x", matrix=Matrix((Axis("a", ("1",)), Axis("a", ("1",)))))),
        array_of(1, body=body("x", matrix=Matrix((Axis("a"),)))),
        array_of(1, body=body("x", matrix=Matrix((Axis("a", (), ((0, 2**31, 1),)),)))),
    ):
        assert isinstance(story.try_submit(spec), say.Failure), spec
    assert not story.ready


# --- against a naive account


@st.composite
def groups(draw):
    """Specs of a few groups of equal size that need each other in every way."""
    size = draw(st.integers(1, 3))
    specs = []
    for index in range(draw(st.integers(2, 5))):
        earlier = st.sets(st.sampled_from(range(index)), max_size=2) if index else st.just(set())
        needs, each = draw(earlier), draw(earlier)
        specs.append((size, tuple(sorted(needs)), tuple(sorted(each)), draw(st.booleans())))
    return specs


def expected_ready(specs, states):
    """Which tasks may start, by the definition."""
    firsts = [sum(size for size, *_ in specs[:i]) for i in range(len(specs) + 1)]
    ready = set()
    for index, (size, needs, each, always) in enumerate(specs):
        for place in range(size):
            wanted = [n for g in needs for n in range(firsts[g], firsts[g + 1])]
            wanted += [firsts[g] + place for g in each]
            good = (FINISHED, FAILED, ABORTED) if always else (FINISHED,)
            number = firsts[index] + place
            if states[number] == WAITING and all(states[n] in good for n in wanted):
                ready.add(number)
    return ready


@settings(max_examples=150, deadline=None)
@with_any(groups(), st.one_of(st.none(), st.integers(0, 2)), st.data())
def test_exactly_those_tasks_are_ready_that_wait_for_nothing(specs, max_fails, data):
    arrays = [array_of(n, needs=a, each=e, always=w) for n, a, e, w in specs]
    story, worker, job = story_of(*arrays, max_fails=max_fails)
    for _ in count():
        states = story.states(job)
        assert {number for _, number in story.ready} == expected_ready(specs, states)
        if not story.ready:
            break
        chosen = data.draw(st.sets(st.sampled_from(sorted(story.ready)), min_size=1, max_size=4))
        story.start(worker, *sorted(chosen))
        rows = []
        for key in sorted(chosen):
            ending = data.draw(st.sampled_from([Ending.FINISHED, Ending.EXITED]))
            if key in story.running[worker]:
                rows.append((key, story.running[worker].pop(key), ending, int(ending), 1.0))
        story.report(worker, ended=rows)
    assert story.details_of(job).row.terminated
    assert not story.bodies


def test_what_is_shown_of_a_job_with_thousands_of_groups_fits_a_frame():
    story, _, job = story_of(*(array_of(1, group=f"group {n}") for n in range(6000)))
    details = story.details_of(job)
    assert len(encode([say.Said(1, details)])) < 1024 * 1024
    (part,) = details.submits
    assert len(part.arrays) > 500
    assert len(part.arrays) + part.graph_tasks == 6000


def test_what_an_abort_sets_free_is_announced_bit_by_bit_and_once():
    """A million tasks at once would keep everybody else waiting."""
    many = 50_000
    story, worker, job = story_of(
        array_of(many), array_of(many, each=(0,), always=True), max_fails=0
    )
    story.run(worker, (job, 7))
    fail(story, worker, (job, 3))
    sizes = [
        sum(count for _, count in effect.value.runs)
        for effect in story.effects
        if isinstance(effect, Command) and isinstance(effect.value, TasksReady)
    ]
    assert len(sizes) > 2 and sum(sizes) == many - 1  # one was free before
    free = {(job, number) for number in range(many, 2 * many)}
    assert set(story.ready) == free
    assert story.counts(job) == say.Counts(waiting=many, finished=1, failed=1, aborted=many - 2)
