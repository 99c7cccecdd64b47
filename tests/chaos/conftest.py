"""Clusters of real processes and networks that break are kept beside the tests of processes."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "processes"))
