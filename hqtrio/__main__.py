"""`python -m hqtrio`."""

from __future__ import annotations

from hqtrio.cli.main import main

main()
