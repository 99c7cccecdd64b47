"""One bash for a page of the guide, in a home of its own, with stand-ins for ssh and sbatch."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

from guide_examples import Page

PATIENCE_S = 60.0

# A cluster of one machine: the host is left out, and a batch job starts at once.
_PROGRAMS = {
    "hqtrio": f'exec "{sys.executable}" -P -m hqtrio "$@"',
    "python": f'exec "{sys.executable}" "$@"',
    "ssh": 'while [ "$1" != -- ]; do shift; done; shift; exec sh -c "$*"',
    "sbatch": 'SLURM_JOB_ID=1234 setsid bash "$@" >slurm-1234.out 2>&1 &\n'
    "echo Submitted batch job 1234",
    "srun": 'exec "$@"',
    "scontrol": "echo JobId=1234 TimeLimit=08:00:00 RunTime=00:00:01",
}


class Shell:
    """A bash that keeps its directory and variables from one command to the next."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._said = root / "said"
        self._work = root / "home" / "work"
        self._work.mkdir(parents=True)
        bin_directory = root / "bin"
        bin_directory.mkdir()
        for name, text in _PROGRAMS.items():
            (bin_directory / name).write_text(f"#!/bin/bash\n{text}\n")
            (bin_directory / name).chmod(0o755)
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("HQ_", "SLURM", "PBS", "COVERAGE"))
        }
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=self._work,
            env={
                **inherited,
                "HOME": str(root / "home"),
                "TMPDIR": str(root),
                "PATH": f"{bin_directory}:{os.environ['PATH']}",
                "PYTHONWARNINGS": "error",
                "COLUMNS": "100",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # only "Killed" and the like: commands have their own
            text=True,
            start_new_session=True,
        )

    def lay_out(self, page: Page) -> None:
        """The files of the page are in the current directory."""
        for name, text in page.files.items():
            path = self._work / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            if text.startswith("#!"):
                path.chmod(0o755)

    def perform(self, text: str) -> tuple[int, str]:
        """Exit code and everything printed; processes in the background go on."""
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        self._bash.stdin.write(
            f"(exit ${{_code:-0}})\n{{ {text}\n}} >'{self._said}' 2>&1 </dev/null\n"
            "_code=$?; echo $_code\n"
        )
        self._bash.stdin.flush()
        ready, _, _ = select.select([self._bash.stdout], [], [], PATIENCE_S)
        assert ready, f"still running after {PATIENCE_S:g} s: {text}"
        answer = self._bash.stdout.readline()
        assert answer.strip().isdigit(), (text, answer)
        said = self._said.read_text()
        # A process in the background goes on writing into the old file.
        self._said.unlink()
        return int(answer), said

    def begin(self, words: str) -> None:
        """What the page takes for granted is there: `server start ...` or `worker start ...`."""
        if words.startswith("worker"):
            words += " & hqtrio worker wait 1"
        code, said = self.perform(f"hqtrio {words}")
        assert code == 0, said

    def close(self) -> None:
        """Nothing that was started goes on."""
        for directory in Path("/proc").iterdir():
            if directory.name.isdigit() and int(directory.name) != os.getpid():
                try:
                    mine = str(self._root).encode() in (directory / "environ").read_bytes()
                except OSError:
                    continue
                if mine:
                    try:
                        os.kill(int(directory.name), signal.SIGKILL)
                    except ProcessLookupError:
                        continue
        self._bash.wait(PATIENCE_S)
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        self._bash.stdin.close()
        self._bash.stdout.close()
