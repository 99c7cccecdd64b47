"""Outputs of tasks, under the name of HyperQueue's module."""

from __future__ import annotations

from hqtrio.api.output import StdioDef

__all__ = ["StdioDef"]
