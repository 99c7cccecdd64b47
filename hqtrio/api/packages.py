"""This package and others: its version, and what a script may ask about packages."""

from __future__ import annotations

from hqtrio import __version__
from hqtrio.errors import HqError

__all__ = ["MissingPackageException", "get_version", "purge_cache"]


class MissingPackageException(HqError):
    """A package that the call needs is not installed. Nothing here needs one beyond those that
    are installed with this package; the name is for scripts that catch it."""


def get_version() -> str:
    """This package's version."""
    return __version__


def purge_cache() -> None:
    """Nothing is remembered of functions between submits, so there is nothing to drop."""
