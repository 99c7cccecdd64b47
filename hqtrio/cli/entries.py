"""Entries of an array: lines of a file, or items of a JSON list."""

from __future__ import annotations

import json
import os
from logging import getLogger
from typing import Final

from hqtrio.errors import InputError

log = getLogger(__name__)
LARGE_BYTES: Final = 100 * 2**20


def read_lines(path: str) -> list[bytes]:
    """One entry per line, without the newline; a newline at the end adds none."""
    log.info("Reading file: %s", path)
    lines = _read(path).split(b"\n")
    if not lines[-1]:
        lines.pop()
    return lines


def read_json(path: str) -> list[bytes]:
    """One entry per item, as compact JSON."""
    log.info("Reading json file: %s", path)
    try:
        items = json.loads(_read(path))
    except ValueError as error:
        raise InputError(f"Could not parse JSON from {path}: {error}") from None
    except RecursionError:
        raise InputError(f"Could not parse JSON from {path}: too many nested lists") from None
    if not isinstance(items, list):
        raise InputError("The top element of the provided JSON file has to be an array")
    return [
        json.dumps(item, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode(
            errors="surrogatepass"
        )
        for item in items
    ]


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as source:
            if os.fstat(source.fileno()).st_size > LARGE_BYTES:
                log.warning("Reading file %s, which is larger than 100 MiB", path)
            return source.read()
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror}") from None
