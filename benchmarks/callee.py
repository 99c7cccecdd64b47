"""A function of a module of its own: loading it loads nothing else."""

from __future__ import annotations


def nothing(number: int) -> int:
    return number
