"""`doc`: where the documentation of a topic is."""

from __future__ import annotations

from typing import Final

from hqtrio import __version__
from hqtrio.cli.kinds import Choice
from hqtrio.cli.parsing import argument, command, flag
from hqtrio.cli.session import Session
from hqtrio.errors import InputError

BASE: Final = "https://hqtrio.readthedocs.io/en"
TOPICS: Final = {
    "job": "jobs/jobs",
    "jobs": "jobs/jobs",
    "tasks": "jobs/jobs",
    "taskarray": "jobs/arrays",
    "resources": "jobs/resources",
    "worker": "deployment/worker",
    "workers": "deployment/worker",
    "autoalloc": "deployment/allocation",
    "pbs": "deployment/allocation",
    "slurm": "deployment/allocation",
    "python-api": "python",
    "python": "python",
    "cheatsheet": "cheatsheet",
    "changelog": "changelog",
    "faq": "faq",
}


@command("doc")
@argument("path", read=Choice(TOPICS), required=False, metavar="TOPIC")
@flag("--open", "opens", help="Open it in a browser instead.")
def doc(session: Session, path: str | None, opens: bool) -> None:
    """Print the address of the documentation, of one topic or of all."""
    url = f"{BASE}/{__version__}/{path or ''}"
    if not opens:
        session.out.write(f"{url}\n")
        session.render.raw()
        return
    import webbrowser

    if not webbrowser.open(url):
        raise InputError(f"There is no browser to open {url}")
