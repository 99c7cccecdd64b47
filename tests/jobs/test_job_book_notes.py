"""What listeners hear: notifications of tasks, counts of jobs, workers that come and go."""

from __future__ import annotations

from job_book_story import Story, array_of, given

from hqtrio.jobs.effects import Notify
from hqtrio.messages import client as say
from hqtrio.messages.client import TaskNotice
from hqtrio.messages.records import WorkerConnected, WorkerLost, WorkerStopping
from hqtrio.messages.scheduling import TasksReported
from hqtrio.messages.worker import Note, Started
from hqtrio.model.job import JobHead, Submit
from hqtrio.model.worker import LossReason


def tell(story: Story, worker: int, *notes: Note) -> list[Notify]:
    """What sessions hear of this."""
    story.reports += 1
    fact = Started(b"", b"", b"", b"", notes)
    story.tell(TasksReported(worker, 1, story.reports, (fact,), ()))
    return story.notices


def note(job: int, number: int, text: bytes = b"x", instance: int = 0) -> Note:
    return Note(job << 32 | number, instance, text)


def test_who_asked_for_them_hears_notes_in_order():
    story = Story()
    job = story.submit(array_of(2))
    worker = story.worker()
    story.start(worker)
    story.ask(say.Watch((job,), notes=True), session=5)
    story.ask(say.Watch((job,)), session=6)
    heard = tell(story, worker, note(job, 0, b"a"), note(job, 1, b"b"), note(job, 0, b"c"))
    assert heard == [
        Notify(5, TaskNotice(job, number, worker, text))
        for number, text in ((0, b"a"), (1, b"b"), (0, b"c"))
    ]
    story.end_session(5)
    assert tell(story, worker, note(job, 0)) == []


def test_a_submit_can_listen_from_the_first_moment_on():
    story = Story()
    submit = Submit(b"key", "/home/u", JobHead("x"), 0, (array_of(1),), None)
    job = story.ask(say.SubmitJob(submit, notes=True), session=7).job
    worker = story.worker()
    # Its start is told with its end.
    (heard,) = tell(story, worker, note(job, 0))
    assert heard == Notify(7, TaskNotice(job, 0, worker, b"x"))


def test_a_staged_submit_can_listen_as_well():
    story = Story()
    submit = Submit(b"key", "/home/u", JobHead("x"), 0, (array_of(1),), None)
    story.ask(say.SubmitBegin(submit), session=7)
    job = story.ask(say.SubmitCommit(b"key", notes=True), session=7).job
    worker = story.worker()
    assert len(tell(story, worker, note(job, 0))) == 1


def test_notes_that_make_no_sense_are_dropped():
    story = Story()
    job = story.submit(array_of(2))
    worker = story.worker()
    story.ask(say.Watch((job,), notes=True), session=5)
    story.start(worker)
    for bad in (
        note(job, 2),
        note(99, 0),
        note(job, 0, instance=1),
        note(job, 0, b"x" * 1025),
        Note(-1, 0, b""),
        Note(1 << 70, 0, b""),
    ):
        assert tell(story, worker, bad) == []
    story.end(worker, (job, 0))
    assert tell(story, worker, note(job, 0)) == []


def test_a_forgotten_job_has_no_listeners():
    story = Story()
    job = story.submit(array_of(1))
    worker = story.worker()
    story.ask(say.Watch((job,), notes=True), session=5)
    story.start(worker)
    story.end(worker)
    story.ask(say.ForgetJobs(given(job), (6, 3)))
    assert tell(story, worker, note(job, 0)) == []


# --- beside notifications


def test_b46_restarted_tasks_are_counted_once():
    """They go back to waiting without an event of their own."""
    story = Story()
    job = story.submit(array_of(4))
    story.ask(say.Watch((job,)), session=5)
    seen = []

    def look() -> None:
        seen.extend(notify.notice.row.counts for notify in story.notices)

    for _ in range(3):
        worker = story.worker()
        story.start(worker)
        look()
        story.lose(worker, LossReason.HEARTBEAT_LOST)
        look()
    story.run(story.worker())
    look()
    assert [(c.waiting, c.running, c.finished) for c in seen] == [
        *[(0, 4, 0), (4, 0, 0)] * 3,
        (0, 0, 4),
    ]


def test_s6_04_a_stopped_worker_is_recorded_with_its_reason():
    story = Story()
    worker = story.worker()
    (connected,) = [r for r in story.records if isinstance(r, WorkerConnected)]
    assert (connected.worker, connected.config.hostname) == (worker, "node")
    story.ask(say.StopWorkers(given(worker)))
    # However the connection ends, the request is the reason.
    story.lose(worker, LossReason.CONNECTION_LOST)
    told = [r for r in story.records if isinstance(r, WorkerStopping | WorkerLost)]
    assert [type(record) for record in told] == [WorkerStopping, WorkerLost]
    assert [(record.worker, record.reason) for record in told] == [(worker, LossReason.STOPPED)] * 2
