"""Who is measured, one module each. A new peer is a module with a `PEER` and a line in `ALL`."""

from __future__ import annotations

from typing import Final

from benchmarks.peers import (
    bare_import,
    dask,
    gnu_parallel,
    hqtrio,
    hyperqueue,
    spawn_loops,
    xargs,
)

ALL: Final = tuple(
    module.PEER
    for module in (hqtrio, hyperqueue, dask, gnu_parallel, xargs, spawn_loops, bare_import)
)
