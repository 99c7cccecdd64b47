"""What holds for all tests: property tests tell the same stories every time.

One commit has one verdict. HQTRIO_LONG=1 lets them tell new stories, and some many more.
"""

import os

from hypothesis import settings

settings.register_profile("same", derandomize=True)
settings.register_profile("new", print_blob=True)
settings.load_profile("new" if os.environ.get("HQTRIO_LONG") == "1" else "same")
