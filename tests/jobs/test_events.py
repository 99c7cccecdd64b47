"""What users read of what happens: events from the records of a job book."""

import json

import pytest
from job_book_story import EVERY, Story, array_of, body, given, graph

from hqtrio.journal.events import Events
from hqtrio.journal.lines import Lines
from hqtrio.journal.ordering import in_order
from hqtrio.messages import client as ask
from hqtrio.messages.columns import f64, u32, u64
from hqtrio.messages.records import ServerStarted, ServerStopped, VariantsChosen
from hqtrio.messages.scheduling import TasksReported, WorkerBusy
from hqtrio.messages.worker import Started
from hqtrio.model.load import NodeLoad
from hqtrio.model.retry import Retry
from hqtrio.model.task import Ending, TaskSettings
from hqtrio.model.worker import LossReason


def told(records, *, live=False, before=None):
    """The events of these records."""
    events = Events(Lines(), before)
    if live:
        events.begin_live()
    return [json.loads(line)["event"] for record in records for line in events.of(record)]


def briefly(events):
    """Each event as its type and what it is about."""
    brief = []
    for event in events:
        about = event.get("job", event.get("job_id", event.get("id")))
        tasks = [task["job_task_id"] for task in event.get("tasks", ())]
        brief.append((event["type"], about, *tasks, *([event["task"]] if "task" in event else [])))
    return brief


def test_events_of_a_job_in_the_order_in_which_they_happen():
    story = Story()
    worker = story.worker()
    job = story.submit(array_of(3, ((0, 3, 1),)))
    story.start(worker, (job, 0), (job, 1))
    story.end(worker, (job, 0))
    story.end(worker, (job, 1), ending=Ending.EXITED, code=3)
    story.run(worker, (job, 2))
    story.lose(worker, LossReason.STOPPED)
    assert briefly(told(story.records)) == [
        ("worker-connected", worker),
        ("job-created", job),
        ("task-started", job, 0),
        ("task-started", job, 1),
        ("task-finished", job, 0),
        ("task-failed", job, 1),
        ("task-started", job, 2),
        ("task-finished", job, 2),
        ("job-completed", job),
        ("worker-lost", worker),
    ]


def test_events_have_the_fields_that_scripts_read():
    story = Story()
    worker = story.worker()
    job = story.submit(
        array_of(2, ((4, 2, 3),), body=body("true", time_limit_s=1.5)), name="n", max_fails=7
    )
    story.start(worker)
    story.end(worker, (job, 4), ending=Ending.EXITED, code=3)
    connected, created, started, _, failed = told(story.records)
    assert connected["configuration"]["on_server_lost"] == "Reconnect"
    assert connected["configuration"]["heartbeat_interval"] == {"secs": 8, "nanos": 0}
    assert created == {
        "type": "job-created",
        "job": job,
        "closed_job": True,
        "job_desc": {"name": "n", "max_fails": 7},
        "submit_desc": {
            "submit_dir": "/home/u",
            "stream_path": None,
            "task_desc": {
                "ids": {"ranges": [{"start": 4, "count": 2, "step": 3}]},
                "resources": {
                    "variants": [
                        {
                            "n_nodes": 0,
                            "min_time": {"secs": 0, "nanos": 0},
                            "weight": 10000,
                            "resources": [{"resource": "cpus", "policy": {"Compact": 10000}}],
                        }
                    ]
                },
                "time_limit": {"secs": 1, "nanos": 500000000},
                "priority": 0,
                "crash_limit": {"MaxCrashes": 5},
            },
        },
    }
    assert started == {
        "type": "task-started", "job": job, "task": 4, "instance": 0, "worker": worker
    }  # fmt: skip
    assert failed == {
        "type": "task-failed", "job": job, "task": 4,
        "error": "Program terminated with exit code 3.",
    }  # fmt: skip


def test_events_are_dated_in_utc_to_the_millisecond():
    events = Events(Lines())
    for at, text in (
        (0.0, "1970-01-01T00:00:00.000Z"),
        (951_782_399.9996, "2000-02-29T00:00:00.000Z"),
        (1_709_210_096.25, "2024-02-29T12:34:56.250Z"),
        (4_102_444_799.999, "2099-12-31T23:59:59.999Z"),
    ):
        (line,) = events.of(ServerStarted("u", "0", at))
        assert json.loads(line)["time"] == text


def test_a_cancel_names_its_reason_and_then_every_task_that_it_ends():
    story = Story()
    worker = story.worker()
    job = story.submit(array_of(4, ((0, 4, 1),)))
    story.run(worker, (job, 2))
    story.cancel(given(job), "enough")
    assert [e for e in told(story.records) if e["type"] == "job-cancel"] == [
        {"type": "job-cancel", "job_id": job, "reason": "enough"}
    ]
    assert briefly(told(story.records))[-3:] == [
        ("job-cancel", job),
        ("task-canceled", None, 0, 1, 3),
        ("job-completed", job),
    ]


def test_a_cancel_of_very_many_tasks_is_told_in_parts():
    story = Story()
    job = story.submit(array_of(12_000, ((0, 12_000, 1),)))
    story.cancel(given(job))
    parts = [len(e["tasks"]) for e in told(story.records) if e["type"] == "task-canceled"]
    assert parts == [5000, 5000, 2000]


def test_aborted_consumers_are_told_before_the_failure_of_what_they_need():
    story = Story()
    worker = story.worker()
    job = story.submit(tasks=graph({1: (), 2: (1,), 3: (2,), 4: ()}))
    story.run(worker, (job, 1), ending=Ending.EXITED, code=1)
    created, *_ = (e for e in told(story.records) if e["type"] == "job-created")
    assert created["submit_desc"]["task_desc"] == {"n_tasks": 4}
    assert briefly(told(story.records))[-3:] == [
        ("task-started", job, 1),
        ("task-aborted", None, 2, 3),
        ("task-failed", job, 1),
    ]


def test_too_many_failures_abort_the_rest():
    story = Story()
    worker = story.worker()
    job = story.submit(array_of(4, ((0, 4, 1),)), max_fails=0)
    story.run(worker, (job, 1), ending=Ending.EXITED, code=1)
    assert briefly(told(story.records))[-3:] == [
        ("task-failed", job, 1),
        ("task-aborted", None, 0, 2, 3),
        ("job-completed", job),
    ]


def test_open_jobs_are_told_as_such():
    story = Story()
    job = story.open("box")
    story.submit(array_of(1), job=job)
    story.ask(ask.CloseJobs(given(job)))
    events = told(story.records)
    assert briefly(events) == [("job-open", job), ("job-created", job), ("job-close", job)]
    assert events[0] == {"type": "job-open", "job_id": job, "name": "box", "max_fails": None}
    assert events[1]["closed_job"] is False
    assert events[1]["job_desc"]["name"] == "box"


def test_b45_an_open_job_without_active_tasks_is_told_to_those_who_listen_now():
    story = Story()
    worker = story.worker()
    job = story.open("box")
    story.submit(array_of(1, ((0, 1, 1),)), job=job)
    story.run(worker)
    assert told(story.records, live=True)[-1] == {"type": "job-idle", "job_id": job}
    assert "job-idle" not in {event["type"] for event in told(story.records)}


def test_b45_what_a_task_says_has_a_type_bytes_and_text():
    line = Lines().notified(ask.TaskNotice(2, 7, 3, b"a\xff"), 0.0)
    assert json.loads(line)["event"] == {
        "type": "task-notify",
        "task_id": {"job_id": 2, "job_task_id": 7},
        "worker_id": 3,
        "message": [97, 255],
        "text": "a�",
    }


def test_b46_a_task_that_lost_its_worker_is_told_to_wait_again():
    story = Story()
    worker = story.worker()
    job = story.submit(array_of(2, ((0, 2, 1),)))
    story.start(worker, (job, 0))
    story.lose(worker)
    waits = {"type": "task-requeued", "job": job, "task": 0, "instance": 1}
    assert told(story.records)[-2:] == [
        {"type": "worker-lost", "id": worker, "reason": "ConnectionLost"},
        waits,
    ]
    # What runs when the server stops does so no more.
    story.start(story.worker(), (job, 0))
    events = told([*story.records, ServerStopped(story.now.wall)])
    assert events[-2:] == [{**waits, "instance": 2}, {"type": "server-stop"}]


def test_a_failed_task_that_is_tried_again_is_told_with_its_error():
    story = Story()
    worker = story.worker()
    settings = TaskSettings(retry=Retry(2, backoff_s=60.0))
    job = story.submit(array_of(1, ((0, 1, 1),), settings=settings))
    story.run(worker, ending=Ending.EXITED, code=1)
    event = told(story.records)[-1]
    assert event.pop("next_try_at").endswith("Z")
    assert event == {
        "type": "task-requeued", "job": job, "task": 0, "instance": 1, "failed_tries": 1,
        "error": "Program terminated with exit code 1.",
    }  # fmt: skip


def test_a_multi_node_task_names_all_its_workers():
    story = Story()
    workers = (story.worker(), story.worker())
    job = story.submit(array_of(1, ((0, 1, 1),)))
    story.start(workers[0], nodes=workers)
    assert told(story.records)[-1] == {
        "type": "task-started", "job": job, "task": 0, "instance": 0, "workers": list(workers)
    }  # fmt: skip


def test_s6_05_a_variant_that_is_not_the_first_is_told():
    story = Story()
    worker = story.worker()
    job = story.submit(array_of(2, ((0, 2, 1),)))
    started = Started(u64([job << 32, job << 32 | 1]), u32([0, 0]), u32([1, 2]), f64([0.0, 0.0]))
    story.tell(TasksReported(worker, 1, 1, (started,), (), (), ((job << 32 | 1, 2),)))
    first, second = told(story.records)[-2:]
    assert "variant" not in first
    assert second["variant"] == 2


def test_how_busy_a_worker_is_comes_with_its_name():
    story = Story()
    worker = story.worker()
    story.tell(WorkerBusy(worker, NodeLoad((12.5, 0.0), 100, 60)))
    event = told(story.records)[-1]
    assert (event["type"], event["id"]) == ("worker-overview", worker)
    state = event["hw-state"]["state"]
    assert state["cpu_usage"] == {"cpu_per_core_percent_usage": [12.5, 0.0]}
    assert state["memory_usage"] == {"total": 100, "free": 60}


def test_tasks_that_no_record_has_told_of_are_told_all_the_same():
    """A journal that was pruned may begin anywhere."""
    story = Story()
    worker = story.worker()
    job = story.submit(array_of(2, ((0, 2, 1),)))
    story.run(worker)
    tail = [r for r in story.records if type(r).__name__.startswith(("TasksS", "TasksE", "JobC"))]
    assert briefly(told(tail)) == [
        ("task-started", job, 0),
        ("task-started", job, 1),
        ("task-finished", job, 0),
        ("task-finished", job, 1),
        ("job-completed", job),
    ]


def run(story, worker, *tasks, **how):
    """These tasks run for the second that their end tells of."""
    story.start(worker, *tasks)
    story.wait(1)
    story.end(worker, *tasks, **how)


def long_story():
    """Something of everything."""
    story = Story()
    story.records += [ServerStarted("uid123", "0", 0.0)]
    first, second = story.worker(), story.worker()
    plain = story.submit(array_of(6, ((0, 6, 1),)))
    box = story.open("box")
    story.submit(array_of(2, ((0, 2, 1),)), job=box)
    chain = story.submit(tasks=graph({5: (), 6: (5,), 7: (6,), 9: ()}), max_fails=3)
    story.wait(1)
    story.start(first, (plain, 0), (plain, 1), (box, 0))
    story.wait(1)
    story.end(first, (plain, 1))
    story.wait(1)
    run(story, second, (chain, 5), ending=Ending.EXITED, code=1)
    story.wait(1)
    story.lose(first, LossReason.HEARTBEAT_LOST)
    story.wait(1)
    run(story, second, (plain, 0), (box, 0))
    story.wait(1)
    story.cancel(given(box), "first")
    story.wait(1)
    story.submit(array_of(3, ((10, 3, 1),)), job=box)
    run(story, second, (box, 10))
    story.wait(1)
    story.cancel(given(box), "second")
    story.wait(1)
    story.submit(array_of(40, ((100, 40, 1),)), job=box)
    run(story, second, (chain, 9))
    story.wait(1)
    story.ask(ask.CloseJobs(given(box)))
    story.wait(1)
    story.cancel(EVERY, "last")
    story.lose(second, LossReason.STOPPED)
    return story


@pytest.mark.parametrize("again", [1, 7])
def test_a_viewer_that_was_cut_misses_nothing_and_hears_nothing_twice(again):
    """It hears the same history from its beginning, and tells only what is news; also if it is cut
    once more while it does so."""
    records = long_story().records
    events = Events(Lines())
    whole = [line for record in records for line in events.of(record)]
    for cut in range(len(records)):
        first = Events(Lines())
        lines = [line for record in records[:cut] for line in first.of(record)]
        second = Events(Lines(), first)
        lines += [line for record in records[: cut + again] for line in second.of(record)]
        third = Events(Lines(), second)
        lines += [line for record in records for line in third.of(record)]
        assert lines == whole, cut


def test_g4_3_b49_memory_tells_what_a_journal_would():
    """Without a journal the past is what the book remembers: the last run of each task."""
    story = long_story()
    parts = list(story.book.remember())
    remembered = [record for part in parts for record in part]
    memory = told(in_order(remembered))
    lost = {(e["job"], e["task"]) for e in told(story.records) if e["type"] == "task-requeued"}
    journal = [
        event
        for event in told(story.records)
        if event["type"] != "task-requeued"
        and not (event.get("instance") == 0 and (event["job"], event["task"]) in lost)
    ]

    def comparable(events):
        return sorted(
            json.dumps(event | {"reason": ""} if event["type"] == "job-cancel" else event)
            for event in events
        )

    assert comparable(memory) == comparable(journal)
    assert memory[0]["type"] == "server-start"
    for kind in ("job-close", "job-cancel", "job-completed", "worker-lost", "task-aborted"):
        assert kind in {event["type"] for event in memory}


def test_memory_is_told_in_the_order_of_time():
    story = long_story()
    remembered = [record for part in story.book.remember() for record in part]
    events = Events(Lines())
    times = [json.loads(line)["time"] for r in in_order(remembered) for line in events.of(r)]
    assert times == sorted(times)


def test_memory_is_told_as_it_was_when_it_was_asked_for():
    story = Story()
    worker = story.worker()
    job = story.submit(array_of(3, ((0, 3, 1),)))
    run(story, worker, (job, 0))
    parts = story.book.remember()
    run(story, worker, (job, 1))
    story.cancel(given(job))
    remembered = [record for part in parts for record in part]
    assert briefly(told(in_order(remembered))) == [
        ("server-start", None),
        ("worker-connected", worker),
        ("job-created", job),
        ("task-started", job, 0),
        ("task-finished", job, 0),
    ]


def test_a_variant_is_remembered():
    story = Story()
    worker = story.worker()
    job = story.submit(array_of(1, ((0, 1, 1),)))
    started = Started(u64([job << 32]), u32([0]), u32([1]), f64([0.0]))
    story.tell(TasksReported(worker, 1, 1, (started,), (), (), ((job << 32, 3),)))
    assert VariantsChosen(((job << 32, 3),)) in story.records
    remembered = [record for part in story.book.remember() for record in part]
    assert told(in_order(remembered))[-1]["variant"] == 3


def test_a_job_that_was_submitted_open_stays_open():
    story = Story()
    job = story.submit(array_of(1), is_open=True)
    (created,) = (e for e in told(story.records) if e["type"] == "job-created")
    assert (created["job"], created["closed_job"]) == (job, False)
