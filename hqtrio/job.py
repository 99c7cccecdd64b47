"""Jobs, under the name of HyperQueue's module."""

from __future__ import annotations

from hqtrio.api.job import FunctionTask, Job, ProgramTask, SubmittedJob

__all__ = ["FunctionTask", "Job", "ProgramTask", "SubmittedJob"]
