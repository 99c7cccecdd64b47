"""`worker deploy-ssh`, with a program named ssh that does what the test wants."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest
from process_cluster import Cluster, lives, wait_until

from hqtrio.cli.deploy import Host, read_host
from hqtrio.errors import InputError

# One write: several of these share an output, and a print may write its line's end by itself.
DUMP = "import json, os, sys; os.write(1, json.dumps(sys.argv[1:]).encode() + b'\\n')"


class Ssh:
    """A directory for the path whose `ssh` runs this code."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.bin = cluster.root / "bin"
        self.bin.mkdir()
        self.hosts("one")
        self.env = {"PATH": f"{self.bin}:{os.environ['PATH']}"}

    def does(self, code: str) -> None:
        script = self.bin / "ssh"
        script.write_text(f"#!{sys.executable}\n{code}\n")
        script.chmod(0o755)

    def hosts(self, *lines: str) -> None:
        (self.cluster.work / "hosts").write_text("".join(f"{line}\n" for line in lines))

    def run(self, *args: str, check: int = 0):
        return self.cluster.run("worker", "deploy-ssh", *args, check=check, **self.env)


@pytest.fixture
def ssh(cluster: Cluster) -> Ssh:
    return Ssh(cluster)


def arguments(out: str) -> list[list[str]]:
    return [json.loads(line) for line in out.splitlines()]


def test_s3_17_a_worker_that_fails_is_named_with_its_code(ssh):
    ssh.does("import sys; sys.exit(42)")
    done = ssh.run("hosts", check=1)
    assert "Started worker process at `one`" in done.stderr
    assert "Worker at `one` has ended with an error: Worker exited with code 42" in done.stderr
    assert "Some workers have ended with an error" in done.stderr


def test_s3_17_every_host_is_called_with_its_port_and_the_arguments(ssh):
    ssh.does(DUMP)
    ssh.hosts("one", "", "two:1234", "[::1]:22")
    done = ssh.run("--show-output", "hosts", "--cpus", "2", "--resource=gpus=[a,b]")
    called = {words[0]: words[1:] for words in arguments(done.stdout)}
    program = called["one"][3]
    assert Path(program).is_absolute()
    tail = ["worker", "start", "--cpus", "2", "'--resource=gpus=[a,b]'"]
    assert called["one"] == ["-t", "-t", "--", program, *tail]
    assert called["two"] == ["-t", "-t", "-p", "1234", "--", program, *tail]
    assert called["::1"] == ["-t", "-t", "-p", "22", "--", program, *tail]
    assert done.stderr.count("has ended successfully") == 3


def test_s3_17_output_is_shown_only_on_request(ssh):
    ssh.does("import sys; print('out'); print('err', file=sys.stderr)")
    done = ssh.run("hosts")
    assert (done.stdout, "err\n" in done.stderr) == ("", False)
    done = ssh.run("--show-output", "hosts")
    assert (done.stdout, "err\n" in done.stderr) == ("out\n", True)


def test_s3_17_one_failure_does_not_end_the_others(ssh):
    ssh.does("import sys; sys.exit(sys.argv[1] == 'two')")
    ssh.hosts("one", "two", "three")
    done = ssh.run("hosts", check=1)
    assert done.stderr.count("has ended successfully") == 2
    assert "Worker at `two` has ended with an error" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_s3_17_a_signal_ends_all_of_them(ssh, number):
    ssh.does(
        "import os, sys, time\n"
        "open('pid-' + sys.argv[1], 'w').write(str(os.getpid()))\n"
        "os.rename('pid-' + sys.argv[1], sys.argv[1])\n"
        "time.sleep(1000)"
    )
    ssh.hosts("one", "two")
    work = ssh.cluster.work
    deploying = ssh.cluster.start("worker", "deploy-ssh", "hosts", name="deploy", **ssh.env)
    wait_until(lambda: (work / "one").exists() and (work / "two").exists())
    deploying.send_signal(number)
    assert deploying.wait(60) == 130
    assert f"{number.name} received, closing workers" in ssh.cluster.log("deploy")
    assert not any(lives(int((work / host).read_text())) for host in ("one", "two"))


def test_a_deployed_worker_works_and_ends_with_the_connection(ssh):
    """This ssh runs the command here, as a shell on the other side would."""
    ssh.does(
        "import os, sys\n"
        "words = sys.argv[sys.argv.index('--') + 1 :]\n"
        "os.execv('/bin/sh', ['sh', '-c', 'exec ' + ' '.join(words)])"
    )
    ssh.hosts("one", "two")
    ssh.cluster.start_server()
    deploying = ssh.cluster.start(
        "worker", "deploy-ssh", "hosts", "--cpus", "1", "--group", "a b", "--hostname", "x;y",
        name="deploy", **ssh.env,
    )  # fmt: skip
    ssh.cluster.run("worker", "wait", "2")
    rows = ssh.cluster.json("worker", "list")
    assert {row["configuration"]["group"] for row in rows} == {"a b"}
    assert {row["configuration"]["hostname"] for row in rows} == {"x;y"}
    ssh.cluster.run("submit", "--wait", "--", "true")
    ssh.cluster.run("worker", "stop", "all")
    assert deploying.wait(60) == 0, ssh.cluster.log("deploy")


def test_worker_arguments_are_checked_before_anything_starts(ssh):
    ssh.does("open('called', 'w')")
    done = ssh.run("hosts", "--foo", check=2)
    assert "unexpected argument '--foo' found" in done.stderr
    assert "invalid value '1ms'" in ssh.run("hosts", "--heartbeat", "1ms", check=2).stderr
    assert "--heartbeat" in ssh.run("hosts", "--help").stdout
    assert "--heartbeat" in ssh.run("--", "--help").stdout
    assert "not provided" in ssh.run(check=2).stderr
    assert not (ssh.cluster.work / "called").exists()
    ssh.run("hosts", "--server-dir", "/elsewhere")
    assert (ssh.cluster.work / "called").exists()


def test_host_files_that_cannot_be_read_are_refused(ssh):
    ssh.does("")
    assert "Cannot load hostfile from `nowhere`" in ssh.run("nowhere", check=1).stderr
    ssh.hosts("one:x")
    assert "Cannot parse port from `one:x`" in ssh.run("hosts", check=1).stderr
    ssh.hosts()
    assert "The provided hostname is empty" in ssh.run("hosts", check=1).stderr
    ssh.hosts("one")
    ssh.env["PATH"] = str(ssh.cluster.work)
    assert "Cannot find `ssh` binary" in ssh.run("hosts", check=1).stderr


@pytest.mark.parametrize(
    ("line", "host"),
    [
        ("cn1", Host("cn1")),
        ("user@cn1:22", Host("user@cn1", 22)),
        ("fe80::1", Host("fe80::1")),
        ("[fe80::1]", Host("fe80::1")),
        ("[fe80::1]:65535", Host("fe80::1", 65535)),
    ],
)
def test_lines_of_host_files(line, host):
    assert read_host(line) == host


@pytest.mark.parametrize("line", ["-oProxyCommand=x", "a b", ":22", "cn1:", "cn1:0", "cn1:65536"])
def test_lines_that_are_no_hosts(line):
    with pytest.raises(InputError):
        read_host(line)
