"""The public names, and those under which scripts written for HyperQueue import them."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import hqtrio

ALIASES = {
    "hqtrio": ["Client", "Job", "LocalCluster", "get_version"],
    "hqtrio.client": ["FailedJobsException"],
    "hqtrio.job": ["Job", "SubmittedJob"],
    "hqtrio.output": ["StdioDef"],
    "hqtrio.ffi.protocol": ["ResourceRequest"],
    "hqtrio.ffi.client": ["ClientConnection"],
    "hqtrio.task.function": ["PythonEnv", "purge_cache"],
    "hqtrio.cluster": ["LocalCluster", "WorkerConfig"],
    "hqtrio.visualization": ["MissingPackageException", "visualize_job"],
    "hqtrio.validation": ["ValidationException"],
}


@pytest.mark.parametrize("module", ALIASES)
def test_a_module_has_the_names_that_hyperqueues_has(module):
    found = importlib.import_module(module)

    for name in ALIASES[module]:
        here = getattr(found, name)
        assert getattr(hqtrio, name, here) is here


def test_every_public_name_can_be_imported_by_itself():
    for name in hqtrio.__all__:
        assert getattr(hqtrio, name).__name__ == name


def test_type_checkers_are_told_the_same_names():
    stub = ast.parse(Path(hqtrio.__file__).with_suffix(".pyi").read_text())
    imported = {
        alias.name: node.module
        for node in stub.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }

    assert imported == hqtrio._PLACE_OF


@pytest.mark.parametrize("module", ["hqtrio", "hqtrio.client"])
def test_a_name_that_is_none_is_an_attribute_error(module):
    with pytest.raises(AttributeError, match=f"module '{module}' has no attribute 'Nothing'"):
        _ = importlib.import_module(module).Nothing


def test_a_job_is_described_without_a_loop_or_a_connection():
    code = (
        "import sys, hqtrio; job = hqtrio.Job(); job.program('true')\n"
        "print(*[name for name in ('trio', 'ssl', 'asyncio') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stdout == "\n"


def test_the_version_is_that_of_the_package():
    assert hqtrio.get_version() == hqtrio.__version__


def test_there_is_no_cache_to_purge():
    assert hqtrio.purge_cache() is None
