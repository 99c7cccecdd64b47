"""The stand-in for PBS says what PBS was recorded to say."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from pbs_cluster import Pbs
from process_cluster import wait_until

sys.path.append(str(Path(__file__).parents[1] / "autoalloc"))

from manager_samples import Samples

SAMPLES = Samples("pbs_samples")


def submit(pbs: Pbs, text: str, *options: str) -> str:
    path = pbs.directory / "s.sh"
    path.write_text(f"#!/bin/bash\n{text}\n")
    return pbs.run("qsub", *options, str(path)).stdout.strip()


def entry(pbs: Pbs, job: str) -> dict:
    answer = json.loads(pbs.run("qstat", "-f", "-F", "json", "-x", job).stdout)
    return answer["Jobs"][job]


def wait_state(pbs: Pbs, job: str, state: str) -> dict:
    wait_until(lambda: entry(pbs, job)["job_state"] == state, lambda: str(entry(pbs, job)))
    return entry(pbs, job)


def neutral(text: str) -> str:
    """Without what differs from one PBS to the next."""
    return re.sub(r"\d+(?=\.pbs0)", "N", text).strip()


def same_as(pbs: Pbs, sample: str, *words: str) -> None:
    """Exit code and errors are those of the recording."""
    done = pbs.run(*words, check=False)
    assert done.returncode == SAMPLES.codes[sample], (sample, done)
    recorded = SAMPLES.file(sample, "err").decode()
    usage = recorded.partition("\nusage:")[0]
    assert neutral(done.stderr) == neutral(usage), sample


def fields_of(sample: str) -> dict:
    answer = json.loads(SAMPLES.file(sample, "out"))
    (only,) = answer["Jobs"].values()
    return only


@pytest.mark.parametrize(
    ("sample", "options"),
    [
        ("qsub_bad_queue", ("-q", "nosuch")),
        ("qsub_bad_resource", ("-l", "nosuchres=1")),
        ("qsub_bad_select", ("-l", "select=abc")),
        ("qsub_disabled_queue", ("-q", "closedq")),
        ("qsub_over_walltime", ("-q", "shortq", "-l", "walltime=10:00:00")),
        ("qsub_name_with_space", ("-N", "a b")),
        ("qsub_name_slash", ("-N", "a/b")),
        ("qsub_name_300", ("-N", "n" * 300)),
    ],
)
def test_what_qsub_refuses(pbs: Pbs, sample: str, options: tuple[str, ...]) -> None:
    path = pbs.directory / "s.sh"
    path.write_text("#!/bin/bash\ntrue\n")
    same_as(pbs, sample, "qsub", *options, str(path))
    assert pbs.jobs() == {}


def test_a_job_from_its_submission_to_its_history(pbs: Pbs) -> None:
    job = submit(pbs, "#PBS -l walltime=00:05:00\necho out; echo err >&2; exit 3", "-N", "007")
    ended = wait_state(pbs, job, "F")
    assert ended["Exit_status"] == fields_of("finished_failed.json")["Exit_status"] == 3
    assert ended["Job_Name"] == 7  # as PBS writes what looks like a number
    assert ended.keys() - {"comment"} <= fields_of("finished_failed.json").keys()
    output = Path(ended["Output_Path"].partition(":")[2])
    assert output.read_text() == "out\n"
    same_as(pbs, "qstat_finished_without_x.json", "qstat", "-f", "-F", "json", job)
    same_as(pbs, "qdel_finished", "qdel", job)
    same_as(pbs, "qdel_unknown", "qdel", "99999.pbs0")
    same_as(pbs, "qstat_unknown.json", "qstat", "-f", "-F", "json", "-x", "99999.pbs0")
    same_as(
        pbs, "qstat_known_and_unknown.json", "qstat", "-f", "-F", "json", "-x", job, "99999.pbs0"
    )
    same_as(pbs, "qstat_garbage.json", "qstat", "-f", "-F", "json", "-x", "abc")


def test_ends_that_are_no_ends_of_the_script(pbs: Pbs) -> None:
    deleted = submit(pbs, "sleep 100")
    wait_state(pbs, deleted, "R")
    pbs.run("qdel", deleted)
    assert wait_state(pbs, deleted, "F")["Exit_status"] == 271
    late = submit(pbs, "sleep 100", "-l", "walltime=1")
    assert wait_state(pbs, late, "F")["Exit_status"] == -29
    for rerun, state in (("n", "F"), ("y", "Q")):
        job = submit(pbs, "sleep 100", "-r", rerun)
        wait_state(pbs, job, "R")
        pbs.break_down("no_start")
        pbs.end(job, "node")
        assert wait_state(pbs, job, state)["Exit_status"] == -20
        pbs.mend("no_start")
    held = submit(pbs, "true", "-h")
    assert entry(pbs, held)["job_state"] == "H"
    pbs.run("qdel", held)
    ended = wait_state(pbs, held, "F")
    assert "Exit_status" not in ended
    assert "stime" not in ended


def test_the_first_selection_counts_and_the_command_line_before_it(pbs: Pbs) -> None:
    text = "#PBS -l select=1\n#PBS -l select=2:ncpus=8\ntrue"
    assert entry(pbs, submit(pbs, text, "-h"))["Resource_List"]["select"] == 1
    assert entry(pbs, submit(pbs, text, "-h", "-l", "select=3"))["Resource_List"]["nodect"] == 3


def test_each_chunk_runs_what_pbsdsh_is_given(pbs: Pbs) -> None:
    job = submit(pbs, "pbsdsh -- bash -c 'echo $PBS_NODENUM $PBS_ENVIRONMENT'", "-l", "select=3")
    ended = wait_state(pbs, job, "F")
    lines = Path(ended["Output_Path"].partition(":")[2]).read_text().splitlines()
    assert sorted(lines) == [f"{n} PBS_BATCH" for n in range(3)]


def test_a_server_that_is_down_or_keeps_no_history(pbs: Pbs) -> None:
    job = submit(pbs, "true")
    wait_state(pbs, job, "F")
    pbs.break_down("down")
    same_as(pbs, "down_qstat.json", "qstat", "-f", "-F", "json", "-x", job)
    same_as(pbs, "down_qdel", "qdel", job)
    same_as(pbs, "down_qsub", "qsub", str(pbs.directory / "s.sh"))
    pbs.mend("down")
    pbs.break_down("no_history")
    same_as(pbs, "nohistory_unknown.json", "qstat", "-f", "-F", "json", "-x", job)
    same_as(pbs, "nohistory_finished.json", "qstat", "-f", "-F", "json", job)


def test_jobs_wait_for_nodes_in_their_order(pbs: Pbs) -> None:
    running = [submit(pbs, "sleep 100") for _ in range(3)]
    for job in running:
        wait_state(pbs, job, "R")
    waiting = submit(pbs, "true")
    impossible = submit(pbs, "true", "-l", "select=9", "-h")
    assert entry(pbs, waiting)["job_state"] == "Q"
    pbs.run("qdel", impossible)
    pbs.run("qdel", running[0])
    wait_state(pbs, waiting, "F")
