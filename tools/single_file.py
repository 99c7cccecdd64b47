"""`python tools/single_file.py OUTPUT [PYTHON ...]`: hqtrio and all that it needs, in one file.

The code of dependencies is taken from this environment. What is compiled in them serves one
version of Python; the same releases are fetched for each PYTHON (as 3.12) named besides.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import Distribution, distribution
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from shiv import __version__ as shiv_version
from shiv.bootstrap.environment import Environment
from shiv.builder import create_archive

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("hqtrio", "actors")
START = "__main__.py"
SHEBANG = "/usr/bin/env python3"
LONG_AGO = "1980-01-01 00:00:00"  # the same code makes the same file


def dependencies() -> list[Distribution]:
    """Everything that hqtrio needs to run, directly or not, in order of discovery."""
    found: dict[str, Distribution] = {}
    wanted = [distribution("hqtrio")]
    while wanted:
        for text in wanted.pop().requires or ():
            requirement = Requirement(text)
            name = canonicalize_name(requirement.name)
            if name in found or not (
                requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            ):
                continue
            found[name] = distribution(name)
            wanted.append(found[name])
    return list(found.values())


def copy_installed(found: list[Distribution], site: Path) -> None:
    """The files of these distributions, as they are installed here."""
    for one in found:
        if one.files is None:
            raise SystemExit(f"cannot see which files `{one.name}` consists of; install it anew")
        for path in one.files:
            if ".." in path.parts or path.suffix in (".pyc", ".pth"):
                continue  # programs beside the interpreter, and what is made anew
            target = site / PurePath(*path.parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(str(path.locate()), target)


def add_compiled(found: list[Distribution], version: str, site: Path) -> None:
    """What the same releases bring along for another version of Python."""
    with TemporaryDirectory() as other:
        pins = [f"{one.name}=={one.version}" for one in found]
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile"]
        command += ["--only-binary=:all:", "--python-version", version, "--target", other, *pins]
        subprocess.run(command, check=True)
        for path in sorted(Path(other).rglob("*.so")):
            target = site / path.relative_to(other)
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)


def pack(site: Path, output: Path) -> None:
    """An executable zip application at `output`, complete from the moment that it is there."""
    made = output.with_name(f".{output.name}.new")
    packed = made.with_suffix(".packed")
    environment = Environment(built_at=LONG_AGO, shiv_version=shiv_version)
    create_archive([site], packed, SHEBANG, "_bootstrap:bootstrap", environment, compressed=True)
    with zipfile.ZipFile(packed) as source, made.open("wb") as file:
        build = Environment.from_json(source.read("environment.json").decode()).build_id
        start = Path(__file__).with_name("start.py").read_text().replace("@BUILD@", str(build))
        file.write(f"#!{SHEBANG}\n".encode())
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as target:
            for entry in source.infolist():
                target.writestr(entry, start if entry.filename == START else source.read(entry))
    packed.unlink()
    made.chmod(0o755)
    made.replace(output)


def main(output: Path, versions: list[str]) -> None:
    """Build the file."""
    output.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as staged:
        site = Path(staged) / "site"
        found = dependencies()
        copy_installed(found, site)
        for version in versions:
            add_compiled(found, version, site)
        for package in PACKAGES:
            unwanted = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / package, site / package, ignore=unwanted)
        pack(site, output)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
