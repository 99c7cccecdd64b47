"""Units of systemd with `Type=notify`: the manager is told when the server listens."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import Final

_VARIABLE: Final = "NOTIFY_SOCKET"


def tell_ready() -> None:
    """The manager that has started this process, if one has, knows that it is up.

    No child of ours will speak to it.
    """
    address = os.environ.pop(_VARIABLE, "")
    if not address:
        return
    if address.startswith("@"):  # a name without a file
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, suppress(OSError):
        manager.sendto(b"READY=1", address)
