"""The child process of a worker that writes what streamed tasks print.

Standard library only, but for the format of the files, which is as plain.
"""
