"""The server process: journal, server and scheduler cores; edges towards clients and workers."""
