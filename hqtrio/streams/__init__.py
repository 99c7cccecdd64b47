"""Output streams: files that hold what many tasks have written. No I/O here."""
