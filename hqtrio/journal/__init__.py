"""The journal's bytes: format, reading, checking, salvage and compaction. No files here."""
