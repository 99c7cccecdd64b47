"""From the text of a job file to one submit, with line and column in every error."""

from hqtrio.jobfile.load import MAX_FILE_BYTES, load_jobfile
from hqtrio.jobfile.problems import JobFileError

__all__ = ["MAX_FILE_BYTES", "JobFileError", "load_jobfile"]
