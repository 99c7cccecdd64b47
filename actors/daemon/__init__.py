"""A server that goes on without its terminal."""
