"""Frozen values that every part of the system speaks of, and the rules they obey.

Everything here may travel: values are msgspec structs laid out as arrays, whose fields are only
ever appended, with defaults, never reordered.
"""

from __future__ import annotations
