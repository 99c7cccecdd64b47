"""A connection that knows jobs by their numbers, under the name of HyperQueue's module."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping

from hqtrio.api.client import Client
from hqtrio.api.failures import FailedTaskContext
from hqtrio.api.job import Job

__all__ = ["ClientConnection", "FailedTaskContext"]


class ClientConnection:
    """A client of the server of `directory` (by default the command line's); errors are those of
    `hqtrio.Client`."""

    def __init__(self, directory: str | os.PathLike[str] | None = None) -> None:
        self._client = Client(directory)

    def submit_job(self, job: Job) -> int:
        """The server has the job; its number there."""
        return self._client.submit(job).id

    def wait_for_jobs(
        self, job_ids: Iterable[int], callback: Callable[[Mapping[int, object]], None] | None = None
    ) -> list[int]:
        """All tasks of the jobs have ended; the jobs of which some have not finished.

        The callback is for compatibility; it is not called.
        """
        return [job for job in job_ids if not self._client.wait_for_jobs(job, raise_on_error=False)]

    def get_failed_tasks(self, job_ids: Iterable[int]) -> dict[int, dict[int, FailedTaskContext]]:
        """The failed tasks of each job."""
        return {job: self._client.get_failed_tasks(job) for job in job_ids}

    def forget_job(self, job_id: int) -> None:
        """The server drops the job; its tasks must have ended."""
        self._client.forget(job_id)

    def stop_server(self) -> None:
        """The server ends, as by `server stop`."""
        self._client.stop_server()
