"""Pictures of jobs, under the name of HyperQueue's module."""

from __future__ import annotations

from hqtrio.api.packages import MissingPackageException
from hqtrio.api.visualization import visualize_job

__all__ = ["MissingPackageException", "visualize_job"]
