"""What travels between processes, and between the server's actors. Data only.

A message is encoded as `[tag, field, ...]`. Tags and fields are only ever appended.
"""

from __future__ import annotations
