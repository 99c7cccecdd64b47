"""The child process of a worker that starts and reaps tasks.

Standard library only, few imports: until a task execs, its peak memory is this process's own, so
every megabyte here hides what small tasks use. `typing` and `dataclasses` are left out for that.
"""
