"""Machine 2: which ready task starts on which worker, with which concrete resources."""

from __future__ import annotations
