"""A job book that is restarted again and again, against the naive model of one."""

import test_job_book_oracle as oracle
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import rule
from restart_story import RestartStory

from hqtrio.jobs.resume import FORGOTTEN_MAX
from hqtrio.model.task import NEVER_RESTART, TaskState


class RestartsAgainstOracle(oracle.JobBookAgainstOracle):
    def __init__(self) -> None:
        super().__init__()
        self.story = RestartStory()

    def drop_complete(self) -> None:
        """Jobs that are complete are gone."""
        self.jobs = {n: job for n, job in self.jobs.items() if job.is_open or job.active()}

    @rule()
    def kill(self):
        self.story.kill()
        self.drop_complete()

    @rule()
    def stop(self):
        self.story.stop()
        running: dict[int, list[tuple[oracle.OracleJob, int]]] = {}
        for job in self.jobs.values():
            for number, task in job.tasks.items():
                if task.state == TaskState.RUNNING:
                    running.setdefault(task.workers[0], []).append((job, number))
        for rows in running.values():
            for job, number in rows:
                if job.tasks[number].state == TaskState.RUNNING:
                    job.void(number, ran=True, crashed=False)
        self.live.clear()
        self.drop_complete()

    @rule()
    def tear(self):
        self.story.tear()
        for job in self.jobs.values():
            for number, task in job.tasks.items():
                if task.state == TaskState.RUNNING and task.limit == NEVER_RESTART:
                    job.fail(number)
            for task in job.active():
                if task.state == TaskState.RUNNING:
                    task.wait_again()
                else:
                    task.instance += 1
        self.drop_complete()

    @rule(data=st.data())
    def lose_power(self, data):
        ready = sorted(self.story.ready)
        if ready and self.live:
            tasks = data.draw(st.lists(st.sampled_from(ready), unique=True))
            self.story.ship(data.draw(st.sampled_from(sorted(self.live))), *tasks)
        for number, job in self.jobs.items():
            for local, task in job.tasks.items():
                if task.state == TaskState.RUNNING or (number, local) in self.story.shipped:
                    task.skips = True
                elif task.state == TaskState.WAITING:
                    task.instance += 1
        self.story.lose_power()
        self.last += FORGOTTEN_MAX
        self.story.take_back(*self.story.shipped)
        self.drop_complete()


TestRestartsAgainstOracle = RestartsAgainstOracle.TestCase
TestRestartsAgainstOracle.settings = settings(
    max_examples=30, stateful_step_count=40, deadline=None
)
