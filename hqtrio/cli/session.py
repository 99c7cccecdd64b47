"""What one invocation of the program knows: the global options, the renderer, how to connect."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Final, Protocol, TextIO, TypeVar

from hqtrio.errors import InputError

if TYPE_CHECKING:
    from hqtrio.cli.render import Renderer
    from hqtrio.client import Client

# (names, bool for a flag or the accepted words or None for text, help, environment variable)
GLOBAL_OPTIONS: Final[
    tuple[tuple[list[str], type[bool] | tuple[str, ...] | None, str, str | None], ...]
] = (
    (["--server-dir"], None, "Server directory (default: ~/.hqtrio-server)", "HQ_SERVER_DIR"),
    (["--output-mode"], ("cli", "json", "quiet"), "Results: cli, json or quiet", "HQ_OUTPUT_MODE"),
    (["--colors"], ("auto", "always", "never"), "Colours: auto, always or never", None),
    (["--debug"], bool, "Log more, and more about each line", "HQ_DEBUG"),
)

T = TypeVar("T")


class Connect(Protocol):
    """How a client is opened; tests pass their own."""

    def __call__(self, server_dir: str, /) -> AbstractAsyncContextManager[Client]: ...


def _connect(server_dir: str) -> AbstractAsyncContextManager[Client]:
    from hqtrio.client import open_client

    return open_client(server_dir)


def current_directory() -> str:
    """Where the command was given; InputError if that directory is gone."""
    try:
        return os.getcwd()
    except OSError as error:
        raise InputError(
            f"Cannot tell the current directory ({error.strerror}): change into another one"
        ) from None


def absolute(path: str) -> str:
    """The path as seen from the current directory."""
    return os.path.normpath(path if os.path.isabs(path) else f"{current_directory()}/{path}")


@dataclass
class Session:
    """Filled while the command line is read; complete when a command runs.

    `was_brief`: the command only asked a server, and leaves nothing to tidy up.
    """

    connect: Connect = _connect
    arguments: Sequence[str] = ()
    out: TextIO = field(default_factory=lambda: sys.stdout)
    server_dir: str = ""
    output_mode: str = "cli"
    colors: str = "auto"
    debug: bool = False
    was_brief: bool = False
    _renderer: Renderer | None = None

    def take(self, given: Mapping[str, object]) -> None:
        """Adopt the global options given so far."""
        from hqtrio.net.directory import default_directory

        directory = given.get("server_dir")
        self.server_dir = absolute(str(directory or default_directory()))
        self.output_mode = str(given.get("output_mode", "cli"))
        self.colors = str(given.get("colors", "auto"))
        self.debug = bool(given.get("debug", False))

    @property
    def render(self) -> Renderer:
        """Prints results in the chosen mode."""
        if self._renderer is None:
            from hqtrio.cli.render import renderer_for

            self._renderer = renderer_for(self.output_mode, self.out, colors=self.has_colors)
        return self._renderer

    def write_bytes(self, source: BinaryIO) -> None:
        """Copy a file to the output as it is."""
        self.out.flush()
        binary = getattr(self.out, "buffer", None)
        while chunk := source.read(1 << 16):
            if binary is None:
                self.out.write(chunk.decode("utf-8", "replace"))
            else:
                binary.write(chunk)
        if binary is not None:
            binary.flush()

    @property
    def is_live(self) -> bool:
        """Whether a line on the output may be redrawn."""
        return self.out.isatty()

    @property
    def has_colors(self) -> bool:
        """Whether what is printed for people may be coloured."""
        return self.colors == "always" or (self.colors == "auto" and self.is_live)

    def finish(self) -> None:
        """Complete the output of a command that has succeeded."""
        self.render.finish()
        self.out.flush()

    def report_error(self, text: str) -> None:
        """Say why the command failed, where the output mode wants it."""
        if self.output_mode == "json":
            self.render.error(text)
            self.out.flush()
        else:
            sys.stderr.write(f"{text}\n")

    def with_client(self, work: Callable[[Client], Awaitable[T]]) -> T:
        """Connect, then do the work; the connection is gone afterwards."""
        import trio

        self.was_brief = True

        async def connected() -> T:
            async with self.connect(self.server_dir) as client:
                return await work(client)

        return trio.run(connected)
