"""Name and limits of the whole job."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from hqtrio import placeholders
from hqtrio.jobfile.reader import Reader
from hqtrio.jobfile.settings import Setting
from hqtrio.jobfile.task import PATH_NAMES, Keys, check_placeholders
from hqtrio.jobfile.tree import Scalar
from hqtrio.model.job import JobHead
from hqtrio.units import MAX_U32

STREAM_NAMES: Final = ("JOB_ID", "SUBMIT_DIR", "SERVER_UID")


def read_head(reader: Reader, keys: Keys, setting: Setting, *, default_name: str) -> JobHead:
    """What the file calls the job; the command line wins."""
    name, max_fails = default_name, None
    if entry := keys.get("name"):
        name = reader.text(entry[1], "name")
        if "\n" in name or "\t" in name:
            reader.refuse(entry[1], "name", "name cannot have a newline or a tab")
    if entry := keys.get("max_fails"):
        max_fails = reader.whole(entry[1], "max_fails", minimum=0, maximum=MAX_U32)
    return JobHead(
        name=name if setting.name is None else setting.name,
        max_fails=max_fails if setting.max_fails is None else setting.max_fails,
    )


def read_stream(reader: Reader, keys: Keys, setting: Setting) -> Setting:
    """The setting with the directory that the file's tasks stream to; the command line wins."""
    entry = keys.get("stream")
    if entry is None:
        return setting
    text = reader.text(entry[1], "stream")
    if not text and isinstance(entry[1], Scalar):
        reader.refuse(entry[1], "stream", "a path cannot be empty")
    # A task's own values are refused in either dialect: tasks share the directory.
    names = placeholders.names(text)
    late = [name for name in names if name in PATH_NAMES and name not in STREAM_NAMES]
    if reader.by_source or late:
        check_placeholders(reader, entry[1], "stream", text, STREAM_NAMES)
    return setting if setting.stream is not None else replace(setting, stream=text)


def stem(filename: str) -> str:
    """The file's name without directory and ending."""
    base = filename.rpartition("/")[2]
    return base.rpartition(".")[0] or base or "job"
