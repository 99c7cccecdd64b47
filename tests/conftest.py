"""What holds for all tests: the same stories every time, and signals that are heard.

One commit has one verdict. HQTRIO_LONG=1 lets property tests tell new stories, and some many more.
"""

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

settings.register_profile("same", derandomize=True)
settings.register_profile("new", print_blob=True)
settings.load_profile("new" if os.environ.get("HQTRIO_LONG") == "1" else "same")


@pytest.fixture(autouse=True, scope="session")
def not_deaf() -> Iterator[None]:
    """Under nohup, or behind a shell's `&`, tests would start processes that ignore signals.

    A handler is not inherited, but what is ignored is.
    """
    handlers = {
        signal.SIGHUP: lambda number, frame: None,
        signal.SIGINT: signal.default_int_handler,
        signal.SIGQUIT: signal.SIG_DFL,
    }
    before = {number: signal.getsignal(number) for number in handlers}
    for number, handler in handlers.items():
        if before[number] is signal.SIG_IGN:
            signal.signal(number, handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
