"""What no queue can be."""

from __future__ import annotations

from hqtrio.model.allocation import QueueParams


def check_params(params: QueueParams, directory: str) -> None:
    """InputError, with the remedy."""
