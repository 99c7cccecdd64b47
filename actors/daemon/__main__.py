"""`python -m actors.daemon COMMAND...`: keep a server alive, for who waits at the pipe."""

from __future__ import annotations

import os
import sys

from actors.daemon.detached import READY_FD
from actors.daemon.supervisor import Supervisor

if __name__ == "__main__":
    caller = int(os.environ.pop(READY_FD))
    os.set_inheritable(caller, False)
    sys.exit(Supervisor(sys.argv[1:], caller).run())
