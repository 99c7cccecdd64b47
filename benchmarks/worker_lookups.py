"""What one worker's start asks of the file system that its program lies on.

    python -m benchmarks.worker_lookups dist/hqtrio

On a parallel file system every look-up is a question to a server that all nodes ask at once.
Counted are system calls that name a path, from the start of the program to its registration, by
where the path lies: where all nodes look (the environment, or the single file), in the node's own
copy of the single file (HQ_UNPACK_DIR), with the interpreter, or elsewhere (the system, /proc,
/tmp: on most nodes local). Needs `strace`.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

ROUNDS = 3
REGISTERED = "Working directory"
GIVE_UP_S = 120.0
ROOT = Path(__file__).parents[1]


def count(words: Sequence[str], env: dict[str, str], places: dict[str, list[str]]) -> Counter[str]:
    """Look-ups of one start, by where they go: `places` are beginnings of paths."""
    with tempfile.TemporaryDirectory() as place:
        trace, out = Path(place, "trace"), Path(place, "out")
        traced = ["strace", "-f", "-qq", "-e", "trace=%file", "-o", str(trace), *words]
        with out.open("wb") as stdout:
            process = subprocess.Popen(
                traced, env=env, stdout=stdout, stderr=subprocess.STDOUT, start_new_session=True
            )
        give_up_at = time.monotonic() + GIVE_UP_S
        while REGISTERED not in out.read_text(errors="replace"):
            if time.monotonic() > give_up_at or process.poll() is not None:
                raise SystemExit(f"the worker did not register:\n{out.read_text()}")
            time.sleep(0.05)
        text = trace.read_text(errors="replace")
        os.killpg(process.pid, signal.SIGINT)
        process.wait()
    found: Counter[str] = Counter()
    for path in re.findall(r'^\d+ +\w+\([^"\n]*"([^"\n]*)"', text, re.MULTILINE):
        kinds = (kind for kind, begins in places.items() if path.startswith(tuple(begins)))
        found[next(kinds, "elsewhere")] += 1
    return found


def main(single_file: str) -> None:
    """Print the medians of all ways to start a worker."""
    with tempfile.TemporaryDirectory() as place:
        server_dir, local = f"{place}/server", f"{place}/local"
        own = [sys.executable, "-P", "-m", "hqtrio"]
        carried = shutil.copy(single_file, f"{place}/hqtrio")
        server = subprocess.Popen(
            [*own, "--server-dir", server_dir, "server", "start"], stdout=subprocess.DEVNULL
        )
        subprocess.run([*own, "--server-dir", server_dir, "server", "wait"], check=True)
        start = ["--server-dir", server_dir, "worker", "start"]
        env = {**os.environ, "HQ_UNPACK_DIR": local}
        interpreter = [sysconfig.get_paths()["stdlib"], os.path.realpath(sys.executable)]
        # An environment: its own directory, and the sources that it points to.
        shared = {"shared": [sys.prefix, str(ROOT)], "interpreter": interpreter}
        copied = {"shared": [carried], "copy": [local], "interpreter": interpreter}
        ways = (
            ("environment", [*own, *start], shared),
            ("single file, first start on a node", [carried, *start], copied),
            ("single file, later starts", [carried, *start], copied),
        )
        kinds = ("shared", "copy", "interpreter", "elsewhere")
        print(f"{'':36}" + "".join(f"{kind:>13}" for kind in kinds))
        try:
            for name, words, places in ways:
                rounds = []
                for _ in range(ROUNDS):
                    if "first" in name:
                        shutil.rmtree(local, ignore_errors=True)
                    found = count(words, env, places)
                    rounds.append([found[kind] for kind in kinds])
                columns = zip(*rounds, strict=True)
                print(f"{name:36}" + "".join(f"{statistics.median(c):13.0f}" for c in columns))
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main(sys.argv[1])
