from hqtrio.api.client import Client
from hqtrio.api.environment import PythonEnv
from hqtrio.api.failures import FailedJobsException, FailedTaskContext
from hqtrio.api.job import FunctionTask, Job, ProgramTask, SubmittedJob
from hqtrio.api.output import StdioDef
from hqtrio.api.packages import MissingPackageException, get_version, purge_cache
from hqtrio.api.resources import ResourceRequest
from hqtrio.api.results import RemoteTraceback, TaskFailed
from hqtrio.api.task import Task
from hqtrio.api.validation import ValidationException
from hqtrio.api.visualization import visualize_job
from hqtrio.local.executor import Executor
from hqtrio.local.local_cluster import LocalCluster, WorkerConfig

__version__: str

__all__ = [
    "Client",
    "Executor",
    "FailedJobsException",
    "FailedTaskContext",
    "FunctionTask",
    "Job",
    "LocalCluster",
    "MissingPackageException",
    "ProgramTask",
    "PythonEnv",
    "RemoteTraceback",
    "ResourceRequest",
    "StdioDef",
    "SubmittedJob",
    "Task",
    "TaskFailed",
    "ValidationException",
    "WorkerConfig",
    "get_version",
    "purge_cache",
    "visualize_job",
]
