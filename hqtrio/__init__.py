"""hqtrio: a task runtime for clusters and laptops.

`hqtrio` says what should happen; the package `actors` beside it makes it happen. Importing this
package loads nothing: public names are resolved when they are first asked for (PEP 562). Type
checkers read `__init__.pyi`.
"""

from __future__ import annotations

__version__ = "0.1.0"

_PLACES = {
    "hqtrio.api.client": ("Client",),
    "hqtrio.api.environment": ("PythonEnv",),
    "hqtrio.api.failures": ("FailedJobsException", "FailedTaskContext"),
    "hqtrio.api.job": ("FunctionTask", "Job", "ProgramTask", "SubmittedJob"),
    "hqtrio.api.output": ("StdioDef",),
    "hqtrio.api.packages": ("MissingPackageException", "get_version", "purge_cache"),
    "hqtrio.api.resources": ("ResourceRequest",),
    "hqtrio.api.results": ("RemoteTraceback", "TaskFailed"),
    "hqtrio.api.task": ("Task",),
    "hqtrio.api.validation": ("ValidationException",),
    "hqtrio.api.visualization": ("visualize_job",),
    "hqtrio.local.executor": ("Executor",),
    "hqtrio.local.local_cluster": ("LocalCluster", "WorkerConfig"),
}
_PLACE_OF = {name: place for place, names in _PLACES.items() for name in names}

__all__ = sorted(_PLACE_OF)


def __getattr__(name: str) -> object:
    place = _PLACE_OF.get(name)
    if place is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = globals()[name] = getattr(importlib.import_module(place), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
