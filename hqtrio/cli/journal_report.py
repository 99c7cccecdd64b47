"""`journal report`: what a journal tells, as a page to look at."""

from __future__ import annotations

from logging import getLogger
from math import inf
from pathlib import Path

from hqtrio.cli.journal_events import opened
from hqtrio.cli.parsing import argument, command, option
from hqtrio.cli.session import Session
from hqtrio.errors import InputError
from hqtrio.journal.report import Report
from hqtrio.journal.report_page import report_page
from hqtrio.units import parse_duration

log = getLogger(__name__)


@command("report")
@argument("journal", read=str, metavar="FILE")
@argument("output", read=str, metavar="OUTPUT")
@option("--start-time", "start_s", read=parse_duration, default="0s", metavar="DURATION",
        help="Leave out what was before this time since the first event.")  # fmt: skip
@option("--end-time", "end_s", read=parse_duration, metavar="DURATION",
        help="Leave out what came after this time since the first event.")  # fmt: skip
def report(
    session: Session, journal: str, output: str, start_s: float, end_s: float | None
) -> None:
    """Draw what a journal file tells, as an HTML page; no server is needed."""
    if end_s is not None and end_s <= start_s:
        raise InputError("--end-time must be later than --start-time")
    figures = Report(start_s, inf if end_s is None else end_s)
    with opened(Path(journal)) as records:
        for record in records:
            figures.take(record)
    if figures.clock.zero is None:
        raise InputError("Empty journal")
    page = report_page(figures, str(Path(journal).absolute()))
    try:
        Path(output).write_text(page, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise InputError(f"Cannot write the report to `{output}`: {error.strerror}") from error
    log.info("The report is in `%s`", output)
