"""The batch manager that this worker runs under, as far as the environment tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hqtrio.errors import InputError


@dataclass(frozen=True, slots=True)
class Manager:
    """`PBS` or `SLURM` with its job id, or nothing."""

    name: str = ""
    job_id: str = ""


def find_manager(choice: str, environment: Mapping[str, str]) -> Manager:
    """The manager of the given choice: `detect`, `none`, `pbs` or `slurm`.

    InputError if the one that was asked for by name is not there.
    """
    if choice not in ("detect", "none", "pbs", "slurm"):
        raise InputError(f"--manager: '{choice}' is none of detect, none, pbs, slurm")
    if choice in ("detect", "pbs"):
        job_id = environment.get("PBS_JOBID", "")
        if "PBS_ENVIRONMENT" in environment and job_id:
            return Manager("PBS", job_id)
        if choice == "pbs":
            missing = "PBS_JOBID" if "PBS_ENVIRONMENT" in environment else "PBS_ENVIRONMENT"
            raise InputError(f"{missing} not found: --manager pbs needs a PBS job around it")
    if choice in ("detect", "slurm"):
        job_id = environment.get("SLURM_JOB_ID") or environment.get("SLURM_JOBID", "")
        if job_id:
            return Manager("SLURM", job_id)
        if choice == "slurm":
            raise InputError(
                "SLURM_JOB_ID/SLURM_JOBID not found: --manager slurm needs a Slurm job around it"
            )
    return Manager()
