"""The program `hqtrio`, also as `python -m hqtrio`."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point; Ctrl-C ends the program without a word even while it is still loading."""
    try:
        from hqtrio.cli.main import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
