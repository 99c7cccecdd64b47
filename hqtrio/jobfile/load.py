"""The door of the room: bytes of a file in, a submit out."""

from __future__ import annotations

from typing import Final

from hqtrio.jobfile import compatible, native
from hqtrio.jobfile.problems import Problems
from hqtrio.jobfile.reader import Reader
from hqtrio.jobfile.settings import ReadFile, Setting, no_files
from hqtrio.jobfile.tomltext import read_toml
from hqtrio.jobfile.tree import Node, Table, describe
from hqtrio.jobfile.yamltext import read_yaml
from hqtrio.model.job import Submit

MAX_FILE_BYTES: Final = 256 * 2**20


def load_jobfile(
    text: bytes,
    *,
    filename: str,
    submit_dir: str,
    key: bytes,
    name: str | None = None,
    max_fails: int | None = None,
    priority: int | None = None,
    job: int = 0,
    read_file: ReadFile = no_files,
    stream: str | None = None,
) -> Submit:
    """What the file asks for. Raises JobFileError with every problem in it.

    The ending of `filename` tells TOML from YAML. `name`, `max_fails` and `stream` win over the
    file,
    `priority` is for tasks that name none; with `job` the tasks go into that open job. Files of
    entries are read with `read_file`, which raises InputError if it cannot.
    """
    problems = Problems(filename)
    setting = Setting(filename, submit_dir, key, name, max_fails, priority, job, read_file, stream)
    if len(text) > MAX_FILE_BYTES:
        limit = f"{MAX_FILE_BYTES // 2**20} MiB"
        problems.stop(Table(1, 1), "", f"the file is too large (at most {limit})")
    root = _read(_decode(text, problems), filename, problems)
    if root is None:
        problems.stop(Table(1, 1), "", "No tasks defined: the file is empty")
    if not isinstance(root, Table):
        problems.stop(
            root,
            "",
            f"Deserialization error: expected a mapping with `tasks`, got {describe(root)}",
        )
    is_native = _is_native(root, problems)
    reader = Reader(problems, by_source=is_native)
    read = native.read_native_job if is_native else compatible.read_compatible_job
    return read(reader, root, setting)


def _decode(text: bytes, problems: Problems) -> str:
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = text[: error.start].decode("utf-8", "replace")
        line = before.count("\n") + 1
        column = len(before) - before.rfind("\n")
        problems.stop(
            Table(line, column), "", "Deserialization error: not UTF-8; save the file as UTF-8"
        )


def _read(text: str, filename: str, problems: Problems) -> Node | None:
    if filename.endswith(".toml"):
        return read_toml(text, problems)
    return read_yaml(text, problems)


def _is_native(root: Table, problems: Problems) -> bool:
    """Whether the file speaks the native dialect; a file that mixes both is refused."""
    for name in ("task", "array"):
        if name in root.entries and "tasks" in root.entries:
            problems.add(
                root.entries[name][0],
                "",
                f"`{name}` belongs to the compatible dialect and `tasks` to the native one;"
                " a file uses one of them",
            )
            problems.settle()
    return not ("task" in root.entries or "array" in root.entries)
