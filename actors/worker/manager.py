"""The batch manager that this worker runs under, as far as the environment tells."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from actors.worker.programs import ask_program
from hqtrio.errors import InputError
from hqtrio.worker.allocations import pbs_remaining_s, slurm_remaining_s

log = logging.getLogger(__name__)

ANSWER_S: Final = 30.0  # a busy batch manager takes its time


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


async def ask_remaining(manager: Manager) -> float | None:
    """What is left of the allocation in seconds, if the manager can say it."""
    match manager.name:
        case "PBS":
            words = ["qstat", "-f", manager.job_id, "-F", "json"]
        case "SLURM":
            words = ["scontrol", "show", "job", manager.job_id]
        case _:
            return None
    try:
        text = await ask_program(words, answer_s=ANSWER_S)
        if manager.name == "PBS":
            return pbs_remaining_s(text, manager.job_id)
        return slurm_remaining_s(text)
    except InputError as error:
        why = str(error)
    log.warning("%s: %s; this worker has no time limit", words[0], why)
    return None
