"""Functions as tasks, under the name of HyperQueue's module."""

from __future__ import annotations

from hqtrio.api.environment import PythonEnv
from hqtrio.api.packages import purge_cache

__all__ = ["PythonEnv", "purge_cache"]
