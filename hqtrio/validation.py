"""What is wrong with arguments, under the name of HyperQueue's module."""

from __future__ import annotations

from hqtrio.api.validation import ValidationException

__all__ = ["ValidationException"]
