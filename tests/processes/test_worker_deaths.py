"""Workers, launchers and servers that die, and what becomes of the processes of their tasks."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from process_cluster import Cluster, processes_with, wait_until

# Leaves a child in a session of its own, and one whose parent is gone (a double fork).
FAMILY = "(setsid sleep 1000 &); sh -c 'sleep 1000 & exit 0'; sleep 1000 & touch up-$HQ_TASK_ID; "


class Marked:
    """A worker whose processes, its tasks' included, can be told from all others."""

    def __init__(self, cluster: Cluster, *args: str, name: str = "worker") -> None:
        value = f"{cluster.root}-{name}"
        self.marker = f"HQTRIO_TEST_MARK={value}"
        self.process = cluster.start_worker(*args, name=name, HQTRIO_TEST_MARK=value)

    def living(self) -> list[int]:
        return processes_with(self.marker)

    def launchers(self) -> list[int]:
        return [pid for pid in children(self.process.pid) if b"actors.launcher" in cmdline(pid)]

    def wait_gone(self) -> None:
        """Neither the worker nor anything that it or its tasks started is left."""
        wait_until(lambda: not self.living(), lambda: str([cmdline(p) for p in self.living()]))


def cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def stat_of(pid: int) -> tuple[str, int]:
    """State letter and parent; the letter of a process that is gone is empty."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return "", 0
    return fields[0], int(fields[1])


def children(parent: int) -> list[int]:
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return [pid for pid in pids if stat_of(pid)[1] == parent]


def start_worker_in_shell(cluster: Cluster, prepare: str, close: str = "") -> subprocess.Popen[str]:
    """A worker with one cpu, started by a shell that changes something about itself before."""
    command = ["sh", "-c", f'{prepare} exec "$@" {close}', "sh"]
    worker = subprocess.Popen(
        [*command, *cluster.command("worker", "start", "--cpus", "1")],
        cwd=cluster.work,
        env=cluster.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    cluster.processes.append(worker)
    return worker


def error_of(cluster: Cluster, job: int, task: int = 0) -> str:
    (row,) = cluster.json("task", "info", str(job), str(task))
    return row["error"]


# --- deaths


def test_s2_18_a_killed_worker_leaves_no_process_of_any_task(cluster):
    cluster.start_server()
    worker = Marked(cluster, "--cpus", "3")
    cluster.submit("--array", "1-3", "--", "sh", "-c", f"trap '' INT TERM HUP; {FAMILY} wait")
    wait_until(lambda: len(list(cluster.work.glob("up-*"))) == 3)
    assert len(worker.living()) >= 3 * 4 + 3  # families, launchers, the worker
    worker.process.kill()
    worker.wait_gone()


def test_killed_together_with_its_launchers_its_successor_clears_up(cluster):
    cluster.start_server()
    where = str(cluster.root / "scratch")
    worker = Marked(cluster, "--cpus", "1", "--work-dir", where)
    job = cluster.submit("--crash-limit", "unlimited", "--", "sh", "-c", f"{FAMILY} wait")
    wait_until((cluster.work / "up-0").exists)
    everything = [worker.process.pid, *worker.launchers()]
    for pid in everything:
        os.kill(pid, signal.SIGSTOP)  # none may see the others die
    for pid in everything:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not set(everything) & set(worker.living()))
    assert worker.living()
    cluster.wait_counts(job, waiting=1)
    cluster.run("job", "cancel", str(job))
    cluster.start_worker("--cpus", "1", "--work-dir", where, name="successor")
    worker.wait_gone()


def test_killed_launchers_cost_their_tasks_a_restart_and_nobody_else_anything(cluster):
    cluster.start_server()
    worker = Marked(cluster, "--cpus", "2")
    script = f"test $HQ_INSTANCE_ID -gt 0 && exit 0; {FAMILY} wait"
    job = cluster.submit("--array", "1-2", "--", "sh", "-c", script)
    wait_until(lambda: len(list(cluster.work.glob("up-*"))) == 2)
    before = worker.launchers()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    cluster.wait_counts(job, finished=2)
    assert worker.process.poll() is None
    # Of the first executions nothing is left: only the worker and its new launchers are.
    wait_until(
        lambda: set(worker.living()) == {worker.process.pid, *worker.launchers()},
        lambda: str([cmdline(pid) for pid in worker.living()]),
    )
    assert not set(before) & set(worker.living())
    assert cluster.run("--output-mode=quiet", "worker", "list").stdout == "1 RUNNING\n"
    cluster.run("submit", "--wait", "--array", "1-20", "--", "true")


def test_a_killed_launcher_counts_as_a_crash_of_its_task(cluster):
    cluster.start_server()
    worker = Marked(cluster, "--cpus", "1")
    job = cluster.submit("--crash-limit", "1", "--", "sh", "-c", f"{FAMILY} wait")
    wait_until((cluster.work / "up-0").exists)
    for pid in worker.launchers():
        os.kill(pid, signal.SIGKILL)
    cluster.wait_counts(job, failed=1)
    assert "crash limit" in error_of(cluster, job)
    cluster.run("submit", "--wait", "--", "true")


@pytest.mark.parametrize("policy", ["stop", "reconnect"])
def test_a_killed_server_ends_its_workers_and_their_tasks(cluster, policy):
    server = cluster.start_server()
    # Before the worker comes: it must not be idle until it has heard of them.
    cluster.submit("--array", "1-2", "--", "sh", "-c", f"{FAMILY} wait")
    worker = Marked(cluster, "--cpus", "2", "--on-server-lost", policy, "--idle-timeout", "2s")
    wait_until(lambda: len(list(cluster.work.glob("up-*"))) == 2)
    server.kill()
    if policy == "reconnect":  # what runs goes on as long as it wants
        wait_until(lambda: "unreachable" in cluster.log("worker"))
        assert worker.process.poll() is None
        worker.process.terminate()
    assert worker.process.wait(60) == (1 if policy == "stop" else 0)
    worker.wait_gone()


def test_a_worker_with_nothing_to_do_leaves_a_server_that_was_killed(cluster):
    server = cluster.start_server()
    worker = Marked(cluster, "--cpus", "1", "--idle-timeout", "1s")
    server.kill()
    assert worker.process.wait(60) == 1
    worker.wait_gone()


# --- ordered ends


@pytest.mark.parametrize("how", ["cancel", "stop", "SIGINT", "SIGTERM"])
def test_s2_17_parent_and_child_vanish(cluster, how):
    cluster.start_server()
    worker = Marked(cluster, "--cpus", "1")
    cluster.submit("--", "sh", "-c", f"{FAMILY} sleep 1000")
    wait_until((cluster.work / "up-0").exists)
    if how == "cancel":
        cluster.run("job", "cancel", "1")
        wait_until(lambda: set(worker.living()) == {worker.process.pid, *worker.launchers()})
        return
    if how == "stop":
        cluster.run("worker", "stop", "1")
    else:
        worker.process.send_signal(getattr(signal, how))
    assert worker.process.wait(60) == 0
    worker.wait_gone()


def test_s2_16_a_task_that_ignores_sigint_is_cancelled_at_once_and_soon_gone(cluster):
    cluster.start_server()
    worker = Marked(cluster, "--cpus", "1")
    script = "trap 'echo $$ >> handled' INT; touch up; while :; do sleep 1000 & wait; done"
    job = cluster.submit("--", "sh", "-c", script)
    wait_until((cluster.work / "up").exists)
    cluster.run("job", "cancel", str(job))
    assert cluster.counts(job) == {"canceled": 1}
    wait_until((cluster.work / "handled").exists)
    wait_until(lambda: set(worker.living()) == {worker.process.pid, *worker.launchers()})
    pid = int((cluster.work / "handled").read_text().split()[0])
    assert not Path(f"/proc/{pid}").exists()


# --- what tasks inherit and leave


def test_a_thousand_tasks_with_background_children_leave_no_zombie(cluster):
    cluster.start_server()
    worker = Marked(cluster, "--cpus", "4")
    script = "true & sleep 0.01 & exit 0"
    cluster.run("submit", "--wait", "--array", "1-1000", "--stdout=none", "--stderr=none",
                "--", "sh", "-c", script)  # fmt: skip
    assert cluster.counts(1) == {"finished": 1000}
    family = [worker.process.pid, *worker.launchers()]
    wait_until(lambda: not [pid for parent in family for pid in children(parent)
                            if pid not in family])  # fmt: skip
    assert set(worker.launchers()) <= set(family)


def test_a_task_starts_as_if_from_the_shell_that_started_the_worker(cluster):
    """Default signals, the original umask and limits, no stray descriptors."""
    cluster.start_server()
    Path(cluster.work, "report.py").write_text(
        "import os, signal\n"
        "from resource import RLIMIT_CORE, RLIMIT_NOFILE, RLIMIT_STACK, getrlimit\n"
        "print(sorted(os.listdir('/proc/self/fd'), key=int)[:-1])\n"  # the last one lists
        "print([s.name for s in signal.Signals if s not in (32, 33)\n"
        "       and signal.getsignal(s) is signal.SIG_IGN])\n"
        "print(open('/proc/self/status').read().split('SigBlk:')[1].split()[0])\n"
        "print(oct(os.umask(0)), *map(getrlimit, (RLIMIT_CORE, RLIMIT_NOFILE, RLIMIT_STACK)))\n"
    )
    prepare = (
        "umask 027; ulimit -Sn 777; ulimit -Sc 0; ulimit -Ss 4096; trap '' INT QUIT USR1 TTOU;"
    )
    close = "5</dev/null 7>/dev/null"
    shell = ["sh", "-c", f'{prepare} exec "$@" {close}', "sh"]
    script = [sys.executable, "report.py"]
    direct, _ = (
        subprocess.run(
            [*shell, *command],
            cwd=cluster.work,
            env=cluster.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
        for command in (script, cluster.command("run", "--no-progress", "--", *script))
    )
    start_worker_in_shell(cluster, prepare, close)
    cluster.run("submit", "--wait", "--cwd", "w", "--", sys.executable, "../report.py")
    of_run = (cluster.work / "job-1/0.stdout").read_text().splitlines()
    of_worker = (cluster.work / "w/job-1/0.stdout").read_text().splitlines()
    assert of_run == of_worker
    assert of_worker[0] == "['0', '1', '2']"
    assert of_worker[1] == "['SIGPIPE', 'SIGXFSZ']"  # as Python itself has it
    assert int(of_worker[2], 16) == 0
    assert of_worker[3] == direct[3]
    mode = stat.S_IMODE((cluster.work / "w/job-1/0.stdout").stat().st_mode)
    assert mode == 0o640


# --- words


def test_texts_of_ends_and_of_programs_that_cannot_start(cluster):
    cluster.start_server()
    worker = cluster.start_worker("--cpus", "1")
    work = cluster.work
    (work / "foo").write_text("")
    (work / "test.sh").write_text("echo never\n")
    (work / "is-directory").mkdir()
    os.mkfifo(work / "pipe")
    expected = {
        ("sh", "-c", "exit 41"): "Program terminated with exit code 41.",
        ("sh", "-c", "kill -9 $$"): "Program terminated with exit code -1."
        " Received signal 9 (SIGKILL).",
        ("sh", "-c", "kill -SEGV $$"): "Program terminated with exit code -1."
        " Received signal 11 (SIGSEGV).",
        ("sh", "-c", "kill -40 $$"): "Program terminated with exit code -1."
        " Received signal 40 (unknown).",
        ("bar", "--bar", "--baz=5"): 'Cannot execute "bar --bar --baz=5": No such file or directory'
        " (os error 2)\nThe program that you have tried to execute (`bar`) was not found.",
        ("foo",): 'Cannot execute "foo": No such file or directory (os error 2)\n'
        "The program that you have tried to execute (`foo`) was not found.\n"
        f"The file `{work}/foo` exists, maybe you have meant `./foo` instead?",
        ("./test.sh",): 'Cannot execute "./test.sh": Permission denied (os error 13)\n'
        "The script that you have tried to execute (`./test.sh`) is not executable.\n"
        "Try making it executable or add a shebang line to it.",
    }
    jobs = {cluster.submit("--", *words): text for words, text in expected.items()}
    outputs = {
        ("--stdout=/dev/null/foo.txt",): "Cannot create stdout directory `/dev/null`:"
        " Not a directory (os error 20)",
        ("--stderr=is-directory",): f"Cannot create stderr file `{work}/is-directory`:"
        " Is a directory (os error 21)",
        ("--stdout=pipe",): f"Cannot create stdout file `{work}/pipe`:"
        " No such device or address (os error 6)",
        ("--cwd=/dev/null/x", "--stdout=none", "--stderr=none"): "Could not enter working"
        " directory `/dev/null/x`: Not a directory (os error 20)",
    }
    jobs |= {cluster.submit(*words, "--", "true"): text for words, text in outputs.items()}
    cluster.run("job", "wait", "all")
    assert {job: error_of(cluster, job) for job in jobs} == jobs
    assert worker.poll() is None
    cluster.run("submit", "--wait", "--", "true")
    assert cluster.counts(len(jobs) + 1) == {"finished": 1}


def test_outputs_that_hit_a_limit_fail_their_task_only(cluster):
    """A file-size limit stands in for the full disk: both make every write fail."""
    cluster.start_server()
    worker = start_worker_in_shell(cluster, "ulimit -f 64;")
    cluster.run("submit", "--wait", "--", "sh", "-c", "head -c 1000000 /dev/zero")
    cluster.run("submit", "--wait", "--", "sh", "-c", "trap '' XFSZ; head -c 1000000 /dev/zero")
    assert "Received signal 25" in error_of(cluster, 1) or "exit code 153" in error_of(cluster, 1)
    assert error_of(cluster, 2) == "Program terminated with exit code 1."
    assert "File too large" in (cluster.work / "job-2/0.stderr").read_text()
    cluster.run("submit", "--wait", "--array", "1-20", "--", "echo", "small")
    assert cluster.counts(3) == {"finished": 20}
    assert worker.poll() is None


def test_a_full_disk_fails_the_task_with_the_reason_and_the_worker_goes_on(cluster):
    full = cluster.root / "full"
    full.mkdir()
    options = ["mount", "-t", "tmpfs", "-o", "size=256k,nr_inodes=8", "tmpfs", str(full)]
    try:
        mounted = subprocess.run(options, capture_output=True).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("no file system can be mounted here")
    try:
        cluster.start_server()
        worker = cluster.start_worker("--cpus", "1")
        into = ["--cwd", str(full), "--stdout", "out-%{JOB_ID}", "--stderr", "err-%{JOB_ID}"]
        cluster.run("submit", "--wait", *into, "--", "sh", "-c", "head -c 1000000 /dev/zero")
        assert error_of(cluster, 1) == "Program terminated with exit code 1."
        for number in range(8):
            with_room = subprocess.run(["touch", str(full / f"more-{number}")], capture_output=True)
        assert with_room.returncode
        cluster.run("submit", "--wait", *into, "--", "true")
        text = f"Cannot create stdout file `{full}/out-2`: No space left on device (os error 28)"
        assert error_of(cluster, 2) == text
        cluster.run("submit", "--wait", "--", "true")
        assert cluster.counts(3) == {"finished": 1}
        assert worker.poll() is None
    finally:
        cluster.stop()
        subprocess.run(["umount", str(full)], check=False)


def test_a_worker_started_with_closed_standard_streams_works(cluster):
    cluster.start_server()
    start_worker_in_shell(cluster, "", "<&- >&- 2>&-")
    cluster.run("submit", "--wait", "--", "sh", "-c", "ls /proc/self/fd | wc -l; echo x >&2; cat")
    assert (cluster.work / "job-1/0.stdout").read_text().split() == ["4"]
    assert (cluster.work / "job-1/0.stderr").read_text() == "x\n"
