"""hqtrio: a task runtime for clusters and laptops.

`hqtrio` says what should happen; the package `actors` beside it makes it happen. Importing this
package loads nothing: public names are resolved when they are first asked for (PEP 562).
"""

from __future__ import annotations

__version__ = "0.1.0"
