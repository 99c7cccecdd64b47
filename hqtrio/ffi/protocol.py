"""Requests for resources, under the name of HyperQueue's module."""

from __future__ import annotations

from hqtrio.api.resources import ResourceRequest

__all__ = ["ResourceRequest"]
