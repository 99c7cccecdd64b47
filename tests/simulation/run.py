"""Long runs by hand: `python tests/simulation/run.py --seeds 1-1000 [SCENARIO ...]`.

A failing seed prints its traceback and the command that repeats it.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "scheduling"), str(HERE.parent.parent)]

from simulation import simulate  # noqa: E402
from simulation_scenarios import SCENARIOS  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenarios", nargs="*", choices=[[], *SCENARIOS], metavar="SCENARIO")
    parser.add_argument("--seeds", default="1-10", help="such as 7 or 1-1000")
    parser.add_argument("--keep-going", action="store_true", help="run on after a failure")
    parser.add_argument("--quiet", action="store_true", help="digests only")
    arguments = parser.parse_args()
    first, _, last = arguments.seeds.partition("-")
    failures = 0
    for seed in range(int(first), int(last or first) + 1):
        for name in arguments.scenarios or SCENARIOS:
            began = time.perf_counter()
            try:
                digest, figures = simulate(SCENARIOS[name], seed)
            except Exception:
                traceback.print_exc()
                print(f"repeat: python tests/simulation/run.py --seeds {seed} {name}", flush=True)
                failures += 1
                if not arguments.keep_going:
                    return 1
                continue
            took = time.perf_counter() - began
            if arguments.quiet:
                print(digest)
                continue
            print(
                f"{name} {seed}: {digest} {figures.tasks} tasks, {figures.starts} starts,"
                f" {figures.events} events,"
                f" {figures.frames} frames, {figures.virtual_s:.0f} s in {took:.1f} s"
                f" ({figures.events / took:.0f} events/s)"
            )
            for title, counts in (
                ("faults", figures.faults),
                ("states", figures.states),
                ("losses", figures.losses),
            ):
                listed = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
                print(f"    {title}: {listed or 'none'}", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
