"""Jobs from Python: what scripts import, and what becomes of it."""
