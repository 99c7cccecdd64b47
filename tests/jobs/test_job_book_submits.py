"""Submits: what is refused, what arrives in parts, what is too large for one go."""

import pytest
from hypothesis import given as draw
from hypothesis import strategies as st
from job_book_story import EVERY, Story, array_of, body, graph
from job_book_story import given as ids_of

from hqtrio.ids import task_id
from hqtrio.jobs.effects import ClientAsked, Command
from hqtrio.jobs.numbering import Numbering
from hqtrio.messages import client as say
from hqtrio.messages.client import Failure
from hqtrio.messages.columns import u64
from hqtrio.messages.records import SubmitBegun, SubmitCommitted, SubmitContinued, SubmitDropped
from hqtrio.messages.scheduling import TasksCancelled, TasksReady, TasksReported
from hqtrio.messages.worker import Ended, Started
from hqtrio.model.job import GraphSpec, GraphTask, JobHead, Submit
from hqtrio.model.requests import make_request
from hqtrio.model.resources import ONE_CPU, Need, Policy, Request
from hqtrio.model.task import Ending, TaskSettings, TaskState
from hqtrio.now import Now


@pytest.fixture
def story() -> Story:
    return Story()


def cpus(amount: int, **more) -> Request:
    return Request((Need("cpus", amount),), **more)


MANY_NEEDS = make_request([Need(f"r{i}", 1) for i in range(257)])
MIXED = "Resources mixes multi-node and non-multi-node requests"
TWICE = "Resource 'a' defined more than once"


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (array_of(1, variants=()), "Resource are empty"),
        (array_of(1, variants=ONE_CPU * 33), "Too many resource variants"),
        (array_of(1, variants=(cpus(1), Request(nodes=2))), MIXED),
        (array_of(1, variants=(cpus(0),)), "Zero resources cannot be requested"),
        (array_of(1, variants=(cpus(-5),)), "out of range"),
        (array_of(1, variants=(Request(),)), "Resource request is empty"),
        (array_of(1, variants=(Request((Need("a", 1), Need("a", 2))),)), TWICE),
        (array_of(1, variants=(Request((Need("", 1),)),)), "expected a resource name"),
        (array_of(1, variants=(cpus(1, time_s=float("nan")),)), "time request"),
        (array_of(1, variants=(cpus(1, weight=0),)), "weight has to be positive"),
        (array_of(1, variants=(Request((Need("a", 1), Need("cpus", 1))),)), "must be sorted"),
        (array_of(1, variants=(MANY_NEEDS,)), "names at most 256 resources"),
        (array_of(1, settings=TaskSettings(crash_limit=-2)), "crash limit"),
        (array_of(1, settings=TaskSettings(priority=2**40)), "Priority"),
        (array_of(1, body=body(cwd="%{CWD}/foo")), "Working directory path cannot contain"),
        (array_of(1, body=body(time_limit_s=float("inf"))), "time limit"),
        (array_of(-1), "cannot have -1 tasks"),
        (array_of(3, ((0, 2, 1),)), "not as many"),
        (array_of(2, ((0, 1, 1), (0, 1, 1))), "Task 0 is defined more than once."),
        (array_of(4, ((0, 2, 2), (1, 2, 1))), "Task 2 is defined more than once."),
        (array_of(1, ((-1, 1, 1),)), "Invalid range"),
        (array_of(1, ((0, 1, 0),)), "Invalid range"),
        (array_of(2, ((2**32 - 1, 2, 1),)), "are not possible"),
        (array_of(2**40), "cannot have more than"),
        (array_of(2, entries=b"ab", entry_ends=u64([1])), "cannot share 1 entries"),
        (array_of(2, entries=b"ab", entry_ends=u64([2, 1])), "must not decrease"),
        (array_of(2, entries=b"ab", entry_ends=u64([1, 3])), "must end where"),
        (array_of(2, entries=b"ab", entry_ends=b"123"), "Invalid ends"),
        (array_of(1, needs=(0,)), "can only need arrays before it"),
    ],
)
def test_b35_a_bad_submit_is_refused_and_leaves_nothing(story, spec, reason):
    answer = story.try_submit(spec)
    assert isinstance(answer, Failure)
    assert reason in answer.reason
    assert story.records == []
    assert story.submit(array_of(1)) == 1, "a refused submit costs no job id"


@pytest.mark.parametrize(
    ("tasks", "reason"),
    [
        (graph({1: (1,)}), "Invalid dependency on 1"),
        (graph({1: (2,), 2: ()}), "Invalid dependency on 2"),
        (graph({1: (-1,)}), "Invalid dependency on -1"),
        (
            GraphSpec((body(),), (ONE_CPU,), (TaskSettings(),), (GraphTask(1, 0, 0, 0),) * 2),
            "Task 1 is defined more than once.",
        ),
        (GraphSpec((), (ONE_CPU,), (TaskSettings(),), (GraphTask(1, 0, 0, 0),)), "not sent"),
        (
            GraphSpec((body(),), (ONE_CPU,), (TaskSettings(),), (GraphTask(2**32, 0, 0, 0),)),
            "not possible",
        ),
    ],
)
def test_b35_a_bad_graph_is_refused(story, tasks, reason):
    answer = story.try_submit(tasks=tasks)
    assert isinstance(answer, Failure)
    assert reason in answer.reason


def test_all_of_a_pool_needs_no_amount(story):
    story.submit(array_of(1, variants=(Request((Need("cpus", 0, Policy.ALL),)),)))


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (JobHead("a\tb"), "tab"),
        (JobHead("x", max_fails=-1), "max-fails"),
    ],
)
def test_a_bad_head_is_refused(story, head, reason):
    for request in (say.OpenJob(head), say.SubmitJob(Submit(b"", "/", head))):
        assert reason in story.ask(request).reason


def test_numbers_given_and_numbers_chosen_do_not_meet(story):
    job = story.submit(array_of(2), array_of(2, ((0, 2, 1),)), tasks=graph({10: (0,)}))
    rows = story.rows(job)
    assert [row.number for row in rows] == [0, 1, 10, 11, 12]
    assert sorted(n for _, n in story.ready) == [0, 1, 11, 12]
    worker = story.worker()
    story.run(worker, (job, 0))
    assert (job, 10) in story.ready


def test_duplicate_dependencies_are_one(story):
    job = story.submit(tasks=graph({1: (), 2: (1, 1, 1)}))
    story.run(story.worker())
    assert list(story.ready) == [(job, 2)]
    assert story.task(job, 2).needs == (1,)


# --- in parts


def begin(story: Story, *specs, key: bytes = b"k", tasks=None, session: int = 1, job: int = 0):
    head = None if job else JobHead("big")
    submit = Submit(key, "/home/u", head, job, specs, tasks)
    return story.ask(say.SubmitBegin(submit), session)


def commit(story: Story, key: bytes = b"k", session: int = 1):
    return story.ask(say.SubmitCommit(key), session)


def test_entries_arrive_in_parts(story):
    assert begin(story, array_of(4, entries=b"a", entry_ends=u64([1]))) == say.Done()
    part = say.SubmitPart(b"k", 0, b"bbc", u64([3, 4]))
    assert story.ask(part) == say.Done()
    assert story.ask(say.SubmitPart(b"k", 0, b"d", u64([5]))) == say.Done()
    assert story.ask(say.ListJobs(EVERY)).total == 0
    assert commit(story) == say.Submitted(1)
    assert [row.entry for row in story.rows(1)] == [b"a", b"bb", b"c", b"d"]
    kinds = [type(record) for record in story.records]
    assert kinds == [SubmitBegun, SubmitContinued, SubmitContinued, SubmitCommitted]
    assert commit(story).reason.startswith("This submit was not begun")


def test_a_graph_in_parts_refers_to_what_came_before(story):
    begin(story, tasks=graph({1: ()}))
    more = GraphSpec((body("second"),), (), (), (GraphTask(2, 1, 0, 0, (1,)),))
    assert story.ask(say.SubmitPart(b"k", graph=more)) == say.Done()
    assert commit(story) == say.Submitted(1)
    worker = story.worker()
    story.run(worker)
    assert story.seen_by_tasks[(1, 2)].body.content.args == (b"second",)


def test_a_refused_part_ends_the_submit(story):
    begin(story, array_of(1))
    assert isinstance(story.ask(say.SubmitPart(b"k", 5, b"x", u64([1]))), Failure)
    assert isinstance(commit(story), Failure)
    assert isinstance(story.records[-1], SubmitDropped)


def test_parts_end_with_their_session(story):
    begin(story, array_of(1), session=1)
    begin(story, array_of(2), session=2)
    story.end_session(1)
    assert isinstance(commit(story, session=1), Failure)
    assert commit(story, session=2) == say.Submitted(1)
    assert story.counts(1).waiting == 2


def test_a_session_has_few_submits_under_way(story):
    for key in (b"1", b"2", b"3", b"4"):
        assert begin(story, array_of(1), key=key) == say.Done()
    assert isinstance(begin(story, array_of(1), key=b"5"), Failure)
    assert begin(story, array_of(2), key=b"4") == say.Done()
    assert commit(story, b"4") == say.Submitted(1)
    assert story.counts(1).waiting == 2


def test_a_job_closed_meanwhile_takes_no_commit(story):
    job = story.open()
    begin(story, array_of(1), job=job)
    story.ask(say.CloseJobs(EVERY))
    assert commit(story) == Failure(f"Job {job} is not opened.")
    begin(story, array_of(1), job=job)
    story.ask(say.ForgetJobs(EVERY, (2,)))
    assert commit(story) == Failure(f"Job {job} not found.")


# --- large


def test_a_million_tasks_are_submitted_and_cancelled_as_one_thing(story):
    story.checked = False
    count = 1_000_000
    commands = []
    story.take = commands.extend
    request = say.SubmitJob(Submit(b"", "/", JobHead("m"), 0, (array_of(count),)))
    story.tell(ClientAsked(1, 1, request))
    (ready,) = [c.value for c in commands if isinstance(c, Command)]
    assert isinstance(ready, TasksReady)
    assert ready.runs == ((1 << 32, count),)
    commands.clear()
    story.tell(ClientAsked(1, 2, say.CancelJobs(EVERY)))
    cancelled = [c.value for c in commands if isinstance(c, Command)]
    assert cancelled[0] == TasksCancelled(((1 << 32, count),))
    story.book.check()


def test_a_stepped_million_is_announced_slice_by_slice(story):
    story.checked = False
    story.submit(array_of(10_000, ((0, 10_000, 2),)))
    assert len(story.ready) == 10_000
    assert (1, 19_998) in story.ready


def test_a_large_graph_is_announced_in_slices_and_ends_meanwhile(story):
    count = 6000
    tasks = graph({n: (n - 1,) if n % 2 else () for n in range(count)})
    story.checked = False
    story.submit(tasks=tasks)
    assert len(story.ready) == count // 2
    story.run(story.worker())
    assert len(story.ready) == count // 2
    story.run(1)
    story.book.check()
    assert story.counts(1).finished == count
    assert not story.bodies


def test_a_failure_in_a_wide_graph_aborts_everybody(story):
    story.checked = False
    count = 20_000
    story.submit(tasks=graph({n: (0,) if n else () for n in range(count)}))
    story.run(story.worker(), ending=Ending.EXITED, code=1)
    story.book.check()
    assert story.counts(1) == say.Counts(failed=1, aborted=count - 1)


def test_rare_states_are_found_over_many_pages(story):
    story.checked = False
    story.submit(array_of(120_000))
    worker = story.worker()
    story.start(worker, (1, 119_999))
    rows = story.rows(1, states=(TaskState.RUNNING,))
    assert [row.number for row in rows] == [119_999]


def test_cancelling_many_jobs_answers_once_when_all_is_done(story):
    story.checked = False
    for _ in range(350):
        story.submit(array_of(1))
    assert len(story.cancel(EVERY)) == 350
    assert story.ask(say.ForgetJobs(EVERY, (4,))) == say.Forgotten(350, 0)
    story.book.check()


def test_huge_selectors_are_refused(story):
    story.submit(array_of(1))
    answer = story.ask(say.CancelJobs(say.Selector(say.Which.GIVEN, ((1, 2**31, 1),))))
    assert isinstance(answer, Failure)


# --- whatever a client or worker may send

NUMBERS = st.one_of(st.integers(-2, 12), st.sampled_from([2**31, 2**32 - 1, 2**32, 2**63]))
RANGES = st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS), max_size=4).map(tuple)
SELECTORS = st.builds(say.Selector, st.sampled_from(say.Which), RANGES)
STATES = st.lists(NUMBERS, max_size=3).map(tuple)
PARTS = st.builds(say.SubmitPart, st.sampled_from([b"k", b"x"]), NUMBERS, st.binary(), st.binary())
ARRAYS = st.builds(array_of, NUMBERS, RANGES, entries=st.binary(), entry_ends=st.binary())
SUBMITS = st.builds(
    Submit,
    st.sampled_from([b"", b"k", b"x" * 65]),
    st.text(),
    st.none() | st.builds(JobHead, st.text(), st.none() | NUMBERS, st.booleans()),
    NUMBERS,
    st.lists(ARRAYS, max_size=2).map(tuple),
)
REQUESTS = st.one_of(
    st.builds(say.SubmitJob, SUBMITS),
    st.builds(say.SubmitBegin, SUBMITS),
    PARTS,
    st.just(say.SubmitCommit(b"k")),
    st.builds(say.OpenJob, st.builds(JobHead, st.text(), st.none() | NUMBERS)),
    st.builds(say.CloseJobs, SELECTORS),
    st.builds(say.CancelJobs, SELECTORS, st.text()),
    st.builds(say.ForgetJobs, SELECTORS, STATES),
    st.builds(say.ListJobs, SELECTORS, NUMBERS, NUMBERS),
    st.builds(say.JobInfo, NUMBERS),
    st.builds(say.ListTasks, NUMBERS, NUMBERS, RANGES, STATES, NUMBERS),
    st.builds(say.Watch, STATES),
    st.builds(say.ListWorkers, SELECTORS, NUMBERS, NUMBERS),
    st.builds(say.StopWorkers, SELECTORS),
)


@draw(st.lists(REQUESTS, max_size=8))
def test_every_request_gets_an_answer(requests):
    story = Story()
    story.submit(array_of(3, ((1, 3, 2),)))
    story.open()
    for request in requests:
        assert story.ask(request) is not None


def test_columns_of_unequal_length_are_ignored_and_receipted(story):
    job = story.submit(array_of(2))
    story.worker()
    story.reports += 1
    facts = (Ended(u64([job << 32]), b"", b"", b"\0\0", b"", b"", b"", b"", b""),)
    odd = (Started(b"123", b"", b"", b""),)
    story.tell(TasksReported(1, 1, story.reports, odd, facts))
    assert story.counts(job).waiting == 2


# --- numbering


@draw(
    st.lists(
        st.tuples(st.integers(0, 400), st.integers(1, 90), st.integers(1, 4)),
        max_size=12,
    ),
    st.integers(0, 900),
)
def test_numbering_agrees_with_a_dict(ranges, probe):
    numbering, known = Numbering(), {}
    for start, count, step in ranges:
        numbers = range(start, start + count * step, step)
        common = [n for n in numbers if n in known]
        found = numbering.clash([(start, count, step)])
        assert (found >= 0) == bool(common)
        if common:
            assert found in common
            continue
        for number in numbers:
            known[number] = len(known)
        numbering.add(start, count, step)
    assert numbering.count == len(known)
    assert numbering.largest == max(known, default=-1)
    for number in range(1000):
        assert numbering.position(number) == known.get(number, -1)
    order = list(known)
    assert [numbering.number(p) for p in range(len(order))] == order
    assert list(numbering.walk(probe)) == sorted((n, p) for n, p in known.items() if n >= probe)
    if order:
        middle = len(order) // 2
        runs = numbering.runs(middle, len(order) - middle)
        assert [n for a, c in runs for n in range(a, a + c)] == order[middle:]
    if numbering.shift >= 0:
        assert order == list(range(numbering.shift, numbering.shift + len(order)))
    merged = [n for a, c, s in numbering.merged() for n in range(a, a + c * s, s)]
    assert sorted(merged) == sorted(known)


def test_q3_each_entry_gets_one_number_after_the_highest(story):
    job = story.open()
    story.submit(array_of(1, ((7, 1, 1),)), job=job)
    story.submit(array_of(3, entries=b"abc", entry_ends=u64([1, 2, 3])), job=job)
    rows = story.rows(job)
    assert [(row.number, row.entry) for row in rows[1:]] == [(8, b"a"), (9, b"b"), (10, b"c")]


def test_q18_a_task_may_need_one_that_was_submitted_before(story):
    job = story.open()
    story.submit(array_of(1, ((3, 1, 1),)), job=job)
    story.submit(tasks=graph({7: (3,)}), job=job)
    assert story.task(job, 7).needs == (3,)
    answer = story.try_submit(tasks=graph({8: (5,)}), job=job)
    assert answer == Failure("Invalid dependency on 5")


def test_q23_whether_a_number_is_taken_is_asked_before_whether_the_job_is_open(story):
    job = story.submit(array_of(2))
    taken = story.try_submit(array_of(1, ((1, 1, 1),)), job=job)
    closed = story.try_submit(array_of(1, ((2, 1, 1),)), job=job)
    assert taken == Failure(f"Task 1 already exists in job {job}.")
    assert closed == Failure(f"Job {job} is not opened.")


def test_many_groups_are_announced_a_few_at_a_time_in_order_and_not_after_a_cancel(story):
    many = [array_of(1, ((number, 1, 1),), group=f"g{number}") for number in range(3000)]
    answer = story.book.handle(
        ClientAsked(1, 1, say.SubmitJob(Submit(b"", "/home/u", JobHead("j"), 0, tuple(many)))),
        Now(0.0, 0.0),
    )
    announced = [e.value.runs for e in answer if isinstance(e, Command)]
    assert 0 < len(announced) < 1000
    while (at := story.book.next_deadline()) < 1.0:
        slice_of = story.book.tick(Now(at, 0.0))
        assert len(slice_of) < 1000
        announced += [e.value.runs for e in slice_of if isinstance(e, Command)]
    assert announced == [((task_id(1, number), 1),) for number in range(3000)]

    story.book.handle(
        ClientAsked(1, 2, say.SubmitJob(Submit(b"", "/home/u", JobHead("k"), 0, tuple(many)))),
        Now(1.0, 0.0),
    )
    story.book.handle(ClientAsked(1, 3, say.CancelJobs(ids_of(2))), Now(1.0, 0.0))
    while (at := story.book.next_deadline()) < 2.0:
        late = story.book.tick(Now(at, 0.0))
        assert not any(isinstance(e, Command) and isinstance(e.value, TasksReady) for e in late)
