"""A job book restored from its records is the one that wrote them, and goes on like it."""

from __future__ import annotations

from collections.abc import Callable

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from job_book_story import EVERY, array_of, body, given, graph
from restart_story import RestartStory
from same_book import same_tables

from hqtrio.messages import client as say
from hqtrio.model.job import JobHead, Submit
from hqtrio.model.matrix import Axis, Matrix
from hqtrio.model.retry import Retry
from hqtrio.model.task import NEVER_RESTART, Ending, TaskSettings
from hqtrio.model.worker import LossReason

SETTINGS = st.sampled_from(
    [
        TaskSettings(),
        TaskSettings(priority=2, crash_limit=NEVER_RESTART),
        TaskSettings(crash_limit=1),
        TaskSettings(crash_limit=2, retry=Retry(2)),
        TaskSettings(retry=Retry(1, backoff_s=7.3)),
    ]
)
MAX_FAILS = st.sampled_from([None, None, 0, 1])
ENDINGS = st.sampled_from(
    [Ending.FINISHED, Ending.FINISHED, Ending.EXITED, Ending.LOST, Ending.CANCELLED]
)
KEYS = st.sampled_from([b"", b"", b"a", b"b"])


class Restarts(RuleBasedStateMachine):
    """One story that is never interrupted, and perhaps a second one that was restarted once."""

    def __init__(self) -> None:
        super().__init__()
        self.stories = [RestartStory()]
        self.keys = 0

    def each(self, event: Callable[[RestartStory], object]) -> None:
        now = max((story.now for story in self.stories), key=lambda now: now.monotonic)
        for story in self.stories:
            story.now = now
            event(story)

    @property
    def story(self) -> RestartStory:
        return self.stories[0]

    @property
    def live(self) -> list[int]:
        return sorted(self.story.running)

    @property
    def jobs(self) -> list[int]:
        """Those that a restart would keep."""
        jobs = self.story.book._tables.jobs.values()
        return [job.id for job in jobs if job.completed_at is None]

    @property
    def open_jobs(self) -> list[int]:
        tables = self.story.book._tables
        return [number for number in self.jobs if tables.jobs[number].is_open]

    # --- clients

    @rule(
        count=st.integers(0, 5), step=st.integers(1, 2), given=SETTINGS, fails=MAX_FAILS, key=KEYS
    )
    def submit_array(self, count, step, given, fails, key):
        spec = array_of(count, ((3, count, step),), settings=given)
        self.each(lambda story: story.submit(spec, max_fails=fails, key=key))

    @rule(
        kinds=st.lists(st.sampled_from("nea-"), min_size=2, max_size=4),
        size=st.integers(1, 3),
        given=SETTINGS,
        fails=MAX_FAILS,
        data=st.data(),
    )
    def submit_groups(self, kinds, size, given, fails, data):
        """Groups that need all of another, or each its own task of it, or only its end."""
        specs = []
        for index, kind in enumerate(kinds):
            needs = (data.draw(st.integers(0, index - 1)),) if index and kind != "-" else ()
            each = kind == "e" or (kind == "a" and data.draw(st.booleans()))
            more = {"each" if each else "needs": needs}
            specs.append(array_of(size, settings=given, always=kind == "a", **more))
        self.each(lambda story: story.submit(*specs, max_fails=fails))

    @rule(fails=MAX_FAILS)
    def open_job(self, fails):
        self.each(lambda story: story.open(max_fails=fails))

    @precondition(lambda self: self.open_jobs)
    @rule(data=st.data(), count=st.integers(1, 3), given=SETTINGS, how=st.sampled_from("emp"))
    def add_array(self, data, count, given, how):
        job = data.draw(st.sampled_from(self.open_jobs))
        entries, more = b"xyz"[:count], {}
        if how == "e":
            more = {
                "entries": entries,
                "entry_ends": b"".join(n.to_bytes(8, "little") for n in range(1, count + 1)),
            }
        elif how == "m":
            matrix = Matrix((Axis("n", tuple(map(str, range(count)))),))
            more = {"body": body("echo", matrix=matrix)}
        spec = array_of(count, settings=given, **more)
        self.each(lambda story: story.submit(spec, job=job))

    @rule(
        data=st.data(),
        size=st.integers(1, 5),
        given=SETTINGS,
        commit=st.sampled_from(["at once", "commit", "commit", "later", "hang up"]),
    )
    def submit_graph(self, data, size, given, commit):
        """Into an open job if there is one, at once or in parts that may never be committed."""
        number = data.draw(st.sampled_from([*self.open_jobs, 0]))
        before = [r.number for r in self.story.rows(number)] if number else []
        first = max(before, default=-1) + 1
        needs: dict[int, tuple[int, ...]] = {}
        for n in range(first, first + size):
            choice = before + list(needs)
            needs[n] = tuple(data.draw(st.sets(st.sampled_from(choice)))) if choice else ()
        spec = graph(needs, given)
        if commit == "at once":
            self.each(lambda story: story.submit(tasks=spec, job=number))
            return
        self.keys += 1
        head = None if number else JobHead("parts", 1)
        submit = Submit(b"%d" % self.keys, "/", head, number)
        self.each(lambda story: story.ask(say.SubmitBegin(submit), session=self.keys))
        part = say.SubmitPart(submit.key, graph=spec)
        self.each(lambda story: story.ask(part, session=self.keys))
        if commit == "commit":
            done = say.SubmitCommit(submit.key)
            self.each(lambda story: story.ask(done, session=self.keys))
        elif commit == "hang up":
            self.each(lambda story: story.end_session(self.keys))

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), reason=st.sampled_from(["", "enough"]))
    def cancel(self, data, reason):
        job = data.draw(st.sampled_from(self.jobs))
        self.each(lambda story: story.cancel(given(job), reason))

    @precondition(lambda self: self.open_jobs)
    @rule(data=st.data())
    def close(self, data):
        job = data.draw(st.sampled_from(self.open_jobs))
        self.each(lambda story: story.ask(say.CloseJobs(given(job))))

    # A restarted book does not know jobs that were completed before, so it cannot forget them.
    @precondition(lambda self: len(self.stories) == 1)
    @rule()
    def forget(self):
        self.each(lambda story: story.ask(say.ForgetJobs(EVERY, tuple(range(7)))))

    # --- workers

    @rule()
    def connect(self):
        self.each(lambda story: story.worker())

    @precondition(lambda self: self.live and self.story.ready.keys() - self.story.shipped.keys())
    @rule(data=st.data())
    def ship(self, data):
        worker = data.draw(st.sampled_from(self.live))
        free = sorted(self.story.ready.keys() - self.story.shipped.keys())
        tasks = data.draw(st.lists(st.sampled_from(free), min_size=1, unique=True))
        self.each(lambda story: story.ship(worker, *tasks))

    @precondition(lambda self: self.story.shipped)
    @rule(data=st.data())
    def take_back(self, data):
        tasks = data.draw(st.lists(st.sampled_from(sorted(self.story.shipped)), unique=True))
        self.each(lambda story: story.take_back(*tasks))

    def free(self, worker: int) -> list[tuple[int, int]]:
        """Ready tasks that are nobody else's."""
        story = self.story
        return sorted(key for key in story.ready if story.shipped.get(key, worker) == worker)

    @precondition(lambda self: self.live and self.story.ready)
    @rule(data=st.data())
    def start(self, data):
        worker = data.draw(st.sampled_from(self.live))
        if free := self.free(worker):
            tasks = data.draw(st.lists(st.sampled_from(free), min_size=1, unique=True))
            self.each(lambda story: story.start(worker, *tasks))

    @precondition(lambda self: self.live and self.story.ready)
    @rule(data=st.data())
    def start_on_many(self, data):
        nodes = data.draw(st.lists(st.sampled_from(self.live), min_size=1, unique=True))
        if free := self.free(nodes[0]):
            task = data.draw(st.sampled_from(free))
            self.each(lambda story: story.start(nodes[0], task, nodes=tuple(nodes)))

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def end(self, data):
        """Of running tasks and of some that nobody has heard of as running."""
        worker = data.draw(st.sampled_from(self.live))
        story = self.story
        held = sorted(story.running[worker])
        held += sorted(key for key, owner in story.shipped.items() if owner == worker)
        if held:
            tasks = data.draw(st.lists(st.sampled_from(held), min_size=1, unique=True))
            rows = [(task, data.draw(ENDINGS)) for task in tasks]
            self.each(lambda story: story.report_ends(worker, *rows))

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def ask_to_stop(self, data):
        worker = data.draw(st.sampled_from(self.live))
        self.each(lambda story: story.ask(say.StopWorkers(given(worker))))

    @precondition(lambda self: self.live)
    @rule(data=st.data(), reason=st.sampled_from(LossReason))
    def lose(self, data, reason):
        worker = data.draw(st.sampled_from(self.live))
        for job in list(self.story.book._tables.jobs.values()):
            for position, nodes in list(job.gangs.items()):
                if worker in nodes[1:]:
                    task = job.id, job.numbering.number(position)
                    instance = job.instances.get(position, 0)
                    self.each(lambda s, t=task, i=instance: s.lose_node(worker, t, i))
        self.each(lambda story: story.lose(worker, reason))

    @rule(seconds=st.sampled_from([1.0, 5.0, 20.0]))
    def elapse(self, seconds):
        self.each(lambda story: story.elapse(seconds))

    # --- servers

    @precondition(lambda self: len(self.stories) == 1)
    @rule()
    def go_on_with_both(self):
        self.stories.append(self.story.fork())

    @rule()
    def kill(self):
        self.stories = self.stories[-1:]
        self.story.kill()

    @rule()
    def stop(self):
        self.stories = self.stories[-1:]
        self.story.stop()

    @rule()
    def tear(self):
        self.stories = self.stories[-1:]
        self.story.tear()

    @rule()
    def lose_power(self):
        self.stories = self.stories[-1:]
        self.story.lose_power()

    # --- what must agree

    @invariant()
    def records_tell_all(self):
        self.story.replayed()

    @invariant()
    def both_are_alike(self):
        living, restarted = self.stories[0], self.stories[-1]
        if living is not restarted:
            same_tables(restarted.book._tables, living.book._tables, living.now.wall)
            assert restarted.ready == living.ready
            assert restarted.running == living.running


TestRestarts = Restarts.TestCase
TestRestarts.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
