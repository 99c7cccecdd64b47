"""`python -m benchmarks`: every workload on every peer, round by round, then the tables."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from benchmarks import machine, peers, report, workloads
from benchmarks.peers.peer import Peer
from benchmarks.report import Sample, Skip
from benchmarks.sandbox import MEMORY, Failed, become_subreaper, open_sandbox
from benchmarks.workloads import Workload


class Campaign:
    """Collects what was measured, so that an interrupted run can still show it."""

    def __init__(self, chosen: Sequence[Workload], rounds: int, only_peers: Sequence[str]) -> None:
        self.workloads = chosen
        self.rounds = rounds
        self.samples: list[Sample] = []
        self.skips: list[Skip] = []
        self.notes: dict[str, list[str]] = {}
        self.peers: list[Peer] = []
        for peer in peers.ALL:
            if only_peers and peer.name not in only_peers:
                self.skips.append(Skip(peer.name, "", "not asked for"))
            elif reason := peer.missing():
                self.skips.append(Skip(peer.name, "", reason))
            else:
                self.peers.append(peer)

    def run(self) -> None:
        for workload in self.workloads:
            turn = deque(peer for peer in self.peers if workload.name in peer.measures)
            for number in range(min(self.rounds, workload.rounds_max)):
                for peer in tuple(turn):
                    if not self.measure(workload, peer, number):
                        turn.remove(peer)
                turn.rotate(-1)  # nobody always comes first, or after the same neighbour

    def measure(self, workload: Workload, peer: Peer, number: int) -> bool:
        """Take one peer's figures of one round; False if it failed and had better not return."""
        progress(f"{workload.name}: round {number + 1}: {peer.name} ...")
        with open_sandbox(on_disk=workload.on_disk) as sandbox:
            try:
                figures = peer.measures[workload.name](workload, sandbox)
            except (Failed, OSError, ValueError, KeyError, StopIteration) as failed:
                kind = "" if isinstance(failed, Failed) else f"{type(failed).__name__}: "
                reason = f"failed: {kind}{failed}"
                self.skips.append(Skip(peer.name, workload.name, reason))
                progress(f"    {reason}")
                return False
            notes = self.notes.setdefault(workload.name, [])
            notes.extend(note for note in sandbox.notes if note not in notes)
        for series, value in figures.items():
            self.samples.append(Sample(workload.name, series, number, value))
            progress(f"    {series}: {report.figure(value)} {workload.unit}")
        return True


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, one round")
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="NAME",
        choices=[workload.name for workload in workloads.ALL],
        help="only these workloads",
    )
    parser.add_argument(
        "--peers",
        nargs="+",
        metavar="PEER",
        choices=[peer.name for peer in peers.ALL],
        help="only these peers",
    )
    parser.add_argument(
        "--rounds",
        type=int,
        choices=range(1, 100),
        metavar="N",
        help="rounds of each workload (3; quick: 1)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument("--list", action="store_true", help="print workloads and peers, and stop")
    return parser.parse_args()


def listing() -> str:
    lines = [f"{workload.name:18} {workload.title}" for workload in workloads.ALL]
    lines += [f"{peer.name:18} {peer.missing() or 'can run here'}" for peer in peers.ALL]
    return "\n".join(lines)


class Ended(KeyboardInterrupt):
    """SIGTERM: as Ctrl-C, what was measured so far is shown all the same."""


def end(number: int, frame: FrameType | None) -> NoReturn:
    raise Ended(128 + number)


def main() -> int:
    asked = arguments()
    if asked.list:
        print(listing())
        return 0
    become_subreaper()
    signal.signal(signal.SIGTERM, end)
    chosen = [w for w in workloads.ALL if not asked.only or w.name in asked.only]
    if asked.quick:
        chosen = [workload.quick() for workload in chosen]
    facts = machine.describe([Path(tempfile.gettempdir()), MEMORY])
    campaign = Campaign(chosen, asked.rounds or (1 if asked.quick else 3), asked.peers or ())
    code = 0
    try:
        campaign.run()
    except KeyboardInterrupt as interrupt:
        progress("interrupted; what there is so far:")
        code = interrupt.args[0] if isinstance(interrupt, Ended) else 130
    print(json.dumps(facts, indent=2))
    for skip in campaign.skips:
        if not skip.workload:
            print(f"skipped: {skip.peer}: {skip.reason}")
    for workload in chosen:
        print()
        notes = campaign.notes.get(workload.name, ())
        print(report.table(workload, campaign.samples, campaign.skips, notes))
    if asked.json:
        everything = report.document(
            chosen, campaign.samples, campaign.skips, facts, campaign.notes
        )
        asked.json.write_text(json.dumps(everything, indent=2) + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
