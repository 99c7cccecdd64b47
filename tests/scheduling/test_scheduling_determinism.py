"""The same events lead to the same decisions, in every process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).with_name("seeded_stories.py")


def test_decisions_do_not_depend_on_the_order_of_hashes() -> None:  # I16
    digests = []
    for hash_seed in ("1", "2"):
        command = [sys.executable, str(SCRIPT), "1", "2", "3", "4"]
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        digests.append(done.stdout.split())
    assert len(set(digests[0])) == 4
    assert digests[0] == digests[1]
