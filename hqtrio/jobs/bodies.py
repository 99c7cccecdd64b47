"""What a server does to task bodies: fill in what it knows, and shorten what it shows."""

from __future__ import annotations

from typing import Final

import msgspec

from hqtrio.model.matrix import Matrix
from hqtrio.model.task import Stdio, TaskBody
from hqtrio.placeholders import fill

_ARGS_SHOWN: Final = 128
_ARG_BYTES_SHOWN: Final = 256
_MATRIX_BYTES_SHOWN: Final = 1024


class Resolver:
    """Completes the paths of one job's bodies as far as is possible before tasks are started.

    A path becomes absolute as soon as no placeholder is left in it. Bodies of one graph mostly
    share their paths, so the last ones are remembered.
    """

    __slots__ = ("_job", "_key", "_paths", "_server_uid")

    def __init__(self, job: int, server_uid: str) -> None:
        self._job = job
        self._server_uid = server_uid
        self._key: tuple[object, ...] = ()
        self._paths: tuple[str, Stdio, Stdio, str] = ("", Stdio(None), Stdio(None), "")

    def resolve(self, body: TaskBody) -> TaskBody:
        """The body with completed paths."""
        key = (body.cwd, body.stdout, body.stderr, body.submit_dir, body.stream_dir)
        if key != self._key:
            self._key, self._paths = key, self._complete(body)
        cwd, stdout, stderr, stream_dir = self._paths
        return msgspec.structs.replace(
            body, cwd=cwd, stdout=stdout, stderr=stderr, stream_dir=stream_dir
        )

    def _complete(self, body: TaskBody) -> tuple[str, Stdio, Stdio, str]:
        names = {
            "JOB_ID": str(self._job),
            "SUBMIT_DIR": body.submit_dir,
            "SERVER_UID": self._server_uid,
        }
        cwd = _absolute(fill(body.cwd, names), body.submit_dir)
        stream_dir = body.stream_dir
        if stream_dir:
            stream_dir = _absolute(fill(stream_dir, names), body.submit_dir)
        # A relative working directory means something else inside another path, so it stays
        # a name.
        if cwd.startswith("/"):
            names["CWD"] = cwd
        stdout, stderr = _output(body.stdout, names, cwd), _output(body.stderr, names, cwd)
        return cwd, stdout, stderr, stream_dir


def _output(output: Stdio, names: dict[str, str], cwd: str) -> Stdio:
    if output.path is None:
        return output
    path = fill(output.path, names)
    if cwd.startswith("/") and "%{" not in cwd:
        path = _absolute(path, cwd)
    if path == output.path:
        return output
    return Stdio(path, output.remove_if_finished, output.stream)


def _absolute(path: str, base: str) -> str:
    if path.startswith("/") or "%{" in path:
        return path
    return f"{base.rstrip('/')}/{path.removeprefix('./')}" if path not in ("", ".") else base


def shorten(body: TaskBody) -> TaskBody:
    """The body as it is shown: without stdin, script and large matrix, long arguments by their
    size."""
    args = body.args[:_ARGS_SHOWN]
    if any(len(arg) > _ARG_BYTES_SHOWN for arg in args):
        args = tuple(
            b"<%d bytes>" % len(arg) if len(arg) > _ARG_BYTES_SHOWN else arg for arg in args
        )
    matrix = body.matrix
    if matrix is not None and _matrix_bytes(matrix) > _MATRIX_BYTES_SHOWN:
        matrix = None
    if args is body.args and matrix is body.matrix and not body.stdin and not body.script:
        return body
    return msgspec.structs.replace(body, args=args, stdin=b"", script=b"", matrix=matrix)


def _matrix_bytes(matrix: Matrix) -> int:
    """About how much room a matrix takes in a frame."""
    texts = [text for axis in matrix.axes for text in (axis.name, *axis.values)]
    texts += [text for row in matrix.include for text in row]
    ranges = sum(len(axis.ranges) for axis in matrix.axes)
    places = len(matrix.axes) * (len(matrix.exclude) + 1) + 3 * ranges
    return sum(len(text) + 4 for text in texts) + 6 * places


def body_bytes(body: TaskBody) -> int:
    """About how much memory a body takes."""
    size = 500 + len(body.stdin) + len(body.script) + sum(map(len, body.args))
    if body.matrix is not None:
        size += 10 * _matrix_bytes(body.matrix)
    return size


def shown_bytes(body: TaskBody) -> int:
    """About how much room a shortened body takes in a frame."""
    env = sum(len(name) + len(value) + 8 for name, value in body.env)
    matrix = 0 if body.matrix is None else _matrix_bytes(body.matrix)
    texts = (body.cwd, body.submit_dir, body.stdout.path or "", body.stderr.path or "")
    paths = sum(len(text.encode(errors="surrogatepass")) for text in texts)
    fields = sum(len(name) + 4 for name in body.fields)
    args = sum(len(arg) + 4 for arg in body.args)
    return 100 + env + matrix + args + paths + fields
