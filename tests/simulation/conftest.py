"""The scheduler's ledger and its oracle are kept beside the tests of its room."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "scheduling"))
