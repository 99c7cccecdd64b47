"""Clusters inside a script, under the name of HyperQueue's module."""

from __future__ import annotations

from hqtrio.local.local_cluster import LocalCluster, WorkerConfig

__all__ = ["LocalCluster", "WorkerConfig"]
