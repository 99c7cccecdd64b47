"""What a daemon takes for a server: it does, one life after another, what a file says.

A line of DIRECTORY/plan, its first word, is for each life. What it was given is noted in
DIRECTORY/lives.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from actors.daemon.detached import LOG_VARIABLE, Detached
from hqtrio.errors import InputError


def main() -> None:
    place = Path(sys.argv[1])
    log = os.environ.get(LOG_VARIABLE)
    detached = Detached.from_environment()
    assert detached is not None
    lives = place / "lives"
    number = len(lives.read_text().splitlines()) if lives.exists() else 0
    hangup = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    with lives.open("a") as file:
        told = {"pid": os.getpid(), "words": sys.argv[2:], "log": log, "ignores_hangup": hangup}
        file.write(json.dumps(told) + "\n")
    for act in (place / "plan").read_text().splitlines()[number].split():
        match act.split("="):
            case ["ready", *journal]:
                instance = place / f"{number + 1:03}"
                instance.mkdir()
                detached.ready(instance, {"journal_path": journal[0] if journal else None})
                print(f"life {number} is ready")
            case ["refuse", why]:
                assert detached.failed(ExceptionGroup("", [InputError(why)]))
            case ["full"]:
                refusal = InputError("disk full")
                refusal.__cause__ = OSError(28, "full")
                assert detached.failed(refusal)
            case ["exit", code]:
                sys.exit(int(code))
            case ["kill"]:
                os.kill(os.getpid(), signal.SIGKILL)
            case ["stay"]:
                signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
                signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
                (place / f"stays-{number}").touch()
                signal.pause()


if __name__ == "__main__":
    main()
