"""`python tests/chaos/chaos.py --seed N --minutes M`: one long run, or one after another."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "processes"))

from chaos_checker import restarts, violations  # noqa: E402
from chaos_driver import Chaos, summary  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(prog="chaos.py", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--minutes", type=float, default=1.0, help="how long each run breaks things"
    )
    parser.add_argument("--rounds", type=int, default=1, help="runs, each with the next seed")
    asked = parser.parse_args()
    failed = 0
    for seed in range(asked.seed, asked.seed + asked.rounds):
        root = Path(tempfile.mkdtemp(prefix="chaos-"))
        begin = time.monotonic()
        history = Chaos(root, seed, 60 * asked.minutes).run()
        found = violations(history)
        print(f"seed {seed}, {time.monotonic() - begin:.0f} s")
        print(summary(history, restarts(history), found), flush=True)
        if found:
            failed += 1
            print(f"everything is in {root}", flush=True)
        else:
            shutil.rmtree(root)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
