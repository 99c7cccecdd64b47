"""The program that calls the Python functions of tasks: standard library only."""
