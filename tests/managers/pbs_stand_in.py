"""A stand-in for PBS: `qsub`, `qstat`, `qdel`, `qselect`, `pbsdsh`, as OpenPBS 23.06 was recorded.

There is no server: jobs are files in one directory, under one lock, and each has a runner process
that waits for its turn, runs the script, and takes the job to its end. Faults are files there too:

    down         the clients fail at once            hang      they wait for ever
    no_history   what has ended is unknown           lost_qsub the job is made, and qsub then hangs
    garbage      qstat prints no JSON                no_start  nothing starts

Called as `pbs_stand_in.py PROGRAM DIRECTORY ARGUMENTS...`; it needs nothing but Python.
"""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

SERVER = "pbs0"
NODES = 3
KILL_DELAY_S = 2.0
POLL_S = 0.03
UNKNOWN, FINISHED, NO_SERVER = 153, 35, 162
SIGNALLED, WALLTIME, NODE = 256, -29, -20


class Jobs:
    """All jobs, for as long as the lock is held."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.rows: dict[str, dict[str, Any]] = {}

    def save(self) -> None:
        temporary = self.place / "jobs.new"
        temporary.write_text(json.dumps(self.rows))
        temporary.rename(self.place / "jobs.json")

    def find(self, word: str) -> dict[str, Any] | None:
        return self.rows.get(word.partition(".")[0])

    def free_nodes(self) -> int:
        return NODES - sum(row["nodes"] for row in self.rows.values() if row["state"] in "RES")


@contextlib.contextmanager
def locked(place: Path) -> Iterator[Jobs]:
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        jobs = Jobs(place)
        with contextlib.suppress(FileNotFoundError):
            jobs.rows = json.loads((place / "jobs.json").read_text())
        yield jobs
        jobs.save()


def fail(program: str, code: int, *texts: str) -> NoReturn:
    for text in texts:
        print(f"{program}: {text}" if text else "", file=sys.stderr)
    sys.exit(code)


def has(place: Path, fault: str) -> bool:
    return (place / fault).exists()


def reach_server(place: Path, program: str) -> None:
    while has(place, "hang"):
        time.sleep(POLL_S)
    if has(place, "down"):
        print("Connection refused", file=sys.stderr)
        if program == "qdel":
            print(f"Couldn't connect to cluster: {SERVER}", file=sys.stderr)
            sys.exit(NO_SERVER)
        code = 255 if program == "qstat" else NO_SERVER
        fail(program, code, f"cannot connect to server {SERVER} (errno=15010)")


# --- qsub


class Options:
    """What the command line and then the directives say; of each the first counts."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.resources: dict[str, str] = {}
        self.held = False

    def read(self, words: list[str], where: str) -> list[str]:
        """The words that are left."""
        words = list(words)
        while words and words[0].startswith("-"):
            word = words.pop(0)
            if word == "-h":
                self.held = True
                continue
            if word[:2] not in ("-l", "-N", "-o", "-e", "-q", "-r", "-v", "-A", "-P", "-p"):
                if where == "line":
                    fail("qsub", 2, f"invalid option -- '{word[1:2]}'")
                fail("qsub", 1, f"directive error: {' '.join([word, *words])} ")
            value = word[2:] or (words.pop(0) if words else "")
            if word[1] == "l":
                self._resources(value)
            elif word[1] == "N" and (re.search(r"[\s/]", value) or not value):
                fail("qsub", 2, "illegal -N value")
            elif word[1] == "N" and len(value) > 236:
                fail("qsub", 2, "Job name is too long ")
            else:
                self.values.setdefault(word[1], value)
        return words

    def _resources(self, text: str) -> None:
        for part in text.split(","):
            name, _, value = part.partition("=")
            if name not in ("select", "walltime", "place", "nodes", "ncpus", "mem"):
                fail("qsub", 187, f"Unknown resource Resource_List.{name}")
            if name == "select" and not re.match(r"\d", value):
                fail("qsub", 166, "Illegal attribute or resource value Resource_List.select")
            self.resources.setdefault(name, value)


def qsub(place: Path, args: list[str]) -> None:
    options = Options()
    words = options.read(args, "line")
    reach_server(place, "qsub")
    script = Path(words[0]) if words else Path("/dev/stdin")
    try:
        text = script.read_text()
    except OSError as error:
        fail("qsub", 1, f"script file:: {error.strerror}")
    for line in text.splitlines():
        if line.startswith("#PBS "):
            if options.read(shlex.split(line[5:]), "directive"):
                fail("qsub", 1, f"directive error: {line[5:]} ")
        elif line.strip() and not line.startswith("#"):
            break
    queue = options.values.get("q", "workq")
    if queue == "nosuch":
        fail("qsub", 170, "Unknown queue")
    if queue == "closedq":
        fail("qsub", 173, "Queue is not enabled")
    wall_s = clock(options.resources.get("walltime", "01:00:00"))
    if queue == "shortq" and wall_s > 60:
        fail("qsub", 188, "Job violates queue and/or server resource limits")
    select = options.resources.get("select", "1")
    with locked(place) as jobs:
        number = str(max(map(int, jobs.rows), default=0) + 1)
        shutil.copy(script, place / f"{number}.sh")
        directory = os.getcwd()
        jobs.rows[number] = {
            "number": number,
            "name": options.values.get("N", script.name),
            "state": "H" if options.held else "Q",
            "queue": queue,
            "nodes": int(re.match(r"\d+", select)[0]),  # type: ignore[index]
            "select": select,
            "place": options.resources.get("place", "free"),
            "walltime": wall_s,
            "rerun": options.values.get("r", "y") != "n",
            "directory": directory,
            "stdout": options.values.get("o", f"{directory}/{script.name}.o{number}"),
            "stderr": options.values.get("e", f"{directory}/{script.name}.e{number}"),
            "queued": time.time(),
            "home": os.environ.get("HOME", "/"),
        }
    start_runner(place, number)
    while has(place, "lost_qsub"):
        time.sleep(POLL_S)
    print(f"{number}.{SERVER}")


def clock(text: str) -> int:
    seconds = 0
    for part in text.split(":"):
        seconds = seconds * 60 + int(part)
    return seconds


def start_runner(place: Path, number: str) -> None:
    subprocess.Popen(
        [sys.executable, "-P", __file__, "run", str(place), number],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd="/",
    )


# --- running


def run(place: Path, args: list[str]) -> None:
    """Take one job to its end; a job that is queued again gets another runner."""
    (number,) = args
    while True:
        with locked(place) as jobs:
            row = jobs.rows[number]
            if row["state"] == "F":
                return
            earlier = [
                other
                for other in jobs.rows.values()
                if other["state"] == "Q" and int(other["number"]) < int(number)
            ]
            fits = row["state"] == "Q" and row["nodes"] <= jobs.free_nodes()
            if fits and not earlier and not has(place, "no_start"):
                row.update(state="R", started=time.time(), pid=os.getpid())
                break
            if row["nodes"] > NODES:
                row["comment"] = (
                    "Can Never Run: Insufficient amount of resource: ncpus "
                    f"(R: {row['nodes']} A: {NODES} T: {NODES})"
                )
            elif row["state"] == "Q":
                row["comment"] = "Not Running: Insufficient amount of resource: ncpus"
        time.sleep(POLL_S)
    out, err = place / f"{number}.out", place / f"{number}.err"
    nodefile = place / f"{number}.nodes"
    nodefile.write_text("".join(f"pn{n + 1}\n" for n in range(row["nodes"])))
    environment = {
        "HOME": row["home"],
        "PATH": os.environ["PATH"],
        "USER": getpass.getuser(),
        "LOGNAME": getpass.getuser(),
        "PBS_JOBID": f"{number}.{SERVER}",
        "PBS_ENVIRONMENT": "PBS_BATCH",
        "PBS_NODEFILE": str(nodefile),
        "PBS_O_WORKDIR": row["directory"],
        "PBS_NODENUM": "0",
        "TMPDIR": os.environ.get("TMPDIR", "/tmp"),
        "PYTHONWARNINGS": os.environ.get("PYTHONWARNINGS", ""),
    }
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = subprocess.Popen(
            ["/bin/bash", str(place / f"{number}.sh")],
            cwd=row["home"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
    kill_at, status = None, None
    while process.poll() is None:
        with locked(place) as jobs:
            row = jobs.rows[number]
            wanted = row.get("end")  # what is to become of it
            if wanted is None and time.time() - row["started"] > row["walltime"]:
                wanted = row["end"] = "walltime"
        if wanted == "node":
            signal_session(process.pid, signal.SIGKILL)
        elif wanted and kill_at is None:
            signal_session(process.pid, signal.SIGTERM)
            kill_at = time.monotonic() + KILL_DELAY_S
        elif kill_at is not None and time.monotonic() > kill_at:
            signal_session(process.pid, signal.SIGKILL)
        time.sleep(POLL_S)
    signal_session(process.pid, signal.SIGKILL)
    code = process.returncode
    status = 128 - code if code < 0 else code
    with locked(place) as jobs:
        row = jobs.rows[number]
        wanted = row.pop("end", None)
        for source, target in ((out, row["stdout"]), (err, row["stderr"])):
            with contextlib.suppress(OSError):
                shutil.copy(source, target)
        if wanted == "node" and row["rerun"]:
            row.update(state="Q", comment="Not Running: Insufficient amount of resource: host ")
            row.update(exit=NODE)
            row.pop("started")
        else:
            ends = {"deleted": SIGNALLED + signal.SIGTERM, "walltime": WALLTIME, "node": NODE}
            row.update(state="F", exit=ends.get(wanted, status), ended=time.time())
            return
    start_runner(place, number)


def signal_session(session: int, number: int) -> None:
    """To every process of the session, as PBS does to all of a job."""
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError, ProcessLookupError):
                if os.getsid(int(entry)) == session:
                    os.kill(int(entry), number)


def pbsdsh(place: Path, args: list[str]) -> None:
    """The command once on each node of the job, all at once."""
    words = args[1:] if args[:1] == ["--"] else args
    nodes = len(Path(os.environ["PBS_NODEFILE"]).read_text().split())
    bare = {name: os.environ[name] for name in ("PBS_JOBID", "PBS_ENVIRONMENT", "HOME", "PATH",
            "PBS_O_WORKDIR", "TMPDIR", "PYTHONWARNINGS") if name in os.environ}  # fmt: skip
    running = [
        subprocess.Popen(words, env={**bare, "PBS_NODENUM": str(node)}) for node in range(nodes)
    ]
    signal.signal(signal.SIGTERM, lambda *_: None)
    sys.exit(max(process.wait() for process in running))


# --- qstat, qselect, qdel


def qstat(place: Path, args: list[str]) -> None:
    """`-f -F json [-x] IDS`: of several known jobs it tells of the first, as PBS was recorded."""
    reach_server(place, "qstat")
    if has(place, "garbage"):
        print("PBS is being upgraded; please be patient")
        return
    history = "-x" in args
    words = [word for word in args if word not in ("-f", "-F", "json", "-x")]
    shown: dict[str, Any] = {}
    code = 0
    with locked(place) as jobs:
        if history and has(place, "no_history"):
            for word in words:
                text = f"PBS is not configured to maintain job history {word}"
                print(f"qstat: {text}", file=sys.stderr)
            words = []
        for word in words:
            row = jobs.find(word)
            if not word[:1].isdigit():
                code = 170
                print(f"qstat: Unknown queue destination {word}", file=sys.stderr)
            elif row is None or (row["state"] == "F" and has(place, "no_history")):
                code = UNKNOWN
                print(f"qstat: Unknown Job Id {word}", file=sys.stderr)
            elif row["state"] == "F" and not history:
                code = FINISHED
                print(
                    f"qstat: {word} Job has finished, use -x or -H to obtain historical job "
                    "information",
                    file=sys.stderr,
                )
            elif not shown:
                shown[f"{row['number']}.{SERVER}"] = entry_of(row)
    answer: dict[str, Any] = {
        "timestamp": int(time.time()),
        "pbs_version": "23.06.06",
        "pbs_server": SERVER,
    }
    if shown:
        answer["Jobs"] = shown
    print(json.dumps(answer, indent="\t", separators=(",", ":\t")))
    sys.exit(code)


def moment(at: float) -> str:
    return time.strftime("%a %b %d %H:%M:%S %Y", time.localtime(at))


def like_pbs(text: str) -> Any:
    """PBS writes text that looks like a number as a number."""
    with contextlib.suppress(ValueError):
        return int(text)
    return text


def entry_of(row: dict[str, Any]) -> dict[str, Any]:
    changed = row.get("ended") or row.get("started") or row["queued"]
    entry = {
        "Job_Name": like_pbs(row["name"]),
        "Job_Owner": f"{getpass.getuser()}@{SERVER}",
        "job_state": row["state"],
        "queue": row["queue"],
        "server": SERVER,
        "ctime": moment(row["queued"]),
        "Error_Path": f"{SERVER}:{row['stderr']}",
        "mtime": moment(changed),
        "Output_Path": f"{SERVER}:{row['stdout']}",
        "qtime": moment(row["queued"]),
        "Rerunable": str(row["rerun"]),
        "Resource_List": {
            "ncpus": row["nodes"],
            "nodect": row["nodes"],
            "place": row["place"],
            "select": like_pbs(row["select"]),
            "walltime": time.strftime("%H:%M:%S", time.gmtime(row["walltime"])),
        },
        "Variable_List": {"PBS_O_WORKDIR": row["directory"], "PBS_O_HOST": SERVER},
    }
    if "started" in row:
        entry["stime"] = moment(row["started"])
        used = (row.get("ended") or time.time()) - row["started"]
        entry["resources_used"] = {"walltime": time.strftime("%H:%M:%S", time.gmtime(used))}
    if "exit" in row:
        entry["Exit_status"] = row["exit"]
    if "ended" in row:
        entry["history_timestamp"] = int(row["ended"])
    if "comment" in row and row["state"] == "Q":
        entry["comment"] = row["comment"]
    return entry


def qselect(place: Path, args: list[str]) -> None:
    reach_server(place, "qselect")
    history = "-x" in args and not has(place, "no_history")
    name = args[args.index("-N") + 1] if "-N" in args else None
    with locked(place) as jobs:
        for row in jobs.rows.values():
            if (row["state"] != "F" or history) and name in (None, row["name"]):
                print(f"{row['number']}.{SERVER}")


def qdel(place: Path, args: list[str]) -> None:
    reach_server(place, "qdel")
    code = 0
    with locked(place) as jobs:
        for word in args:
            row = jobs.find(word)
            if row is None:
                code = UNKNOWN
                print(f"qdel: Unknown Job Id {word}", file=sys.stderr)
            elif row["state"] == "F":
                code = FINISHED
                print(f"qdel: Job has finished {word}", file=sys.stderr)
            elif row["state"] == "R":
                row["end"] = "deleted"
            else:
                row.update(state="F", ended=time.time())
    sys.exit(code)


def end(place: Path, args: list[str]) -> None:
    """For tests: what becomes of a running job (`node`, `walltime`)."""
    number, what = args
    with locked(place) as jobs:
        jobs.rows[number]["end"] = what


PROGRAMS = {
    "qsub": qsub, "qstat": qstat, "qselect": qselect, "qdel": qdel, "pbsdsh": pbsdsh, "run": run,
    "end": end,
}  # fmt: skip

if __name__ == "__main__":
    PROGRAMS[sys.argv[1]](Path(sys.argv[2]), sys.argv[3:])
