"""Name and limits of the whole job."""

from __future__ import annotations

from hqtrio.jobfile.reader import Reader
from hqtrio.jobfile.settings import Setting
from hqtrio.jobfile.task import Keys
from hqtrio.model.job import JobHead
from hqtrio.units import MAX_U32


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


def stem(filename: str) -> str:
    """The file's name without directory and ending."""
    base = filename.rpartition("/")[2]
    return base.rpartition(".")[0] or base or "job"
