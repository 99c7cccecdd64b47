"""The walls between the rooms: who may import whom, and what stays out of which process."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PURE_ROOMS = [
    "hqtrio",
    "actors",
    "hqtrio.errors",
    "hqtrio.ids",
    "hqtrio.units",
    "hqtrio.notifying",
    "hqtrio.placeholders",
    "hqtrio.now",
    *(
        f"hqtrio.{room}"
        for room in (
            *("model", "messages", "wire", "jobs", "scheduling", "worker"),
            *("autoalloc", "journal", "streams", "jobfile"),
        )
        if (ROOT / "hqtrio" / room / "__init__.py").exists()
    ),
]


def in_fresh_interpreter(code, *options):
    """What the code prints in an interpreter that has loaded nothing of ours."""
    done = subprocess.run(
        [sys.executable, *options, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def modules_of(package):
    folder = ROOT.joinpath(*package.split("."))
    if not folder.is_dir():
        return [package]
    return sorted(
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in folder.rglob("*.py")
    )


@pytest.mark.slow
def test_every_arrow_points_down():
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("room", PURE_ROOMS)
def test_a_pure_room_is_imported_without_trio(room):
    modules = [room] if room in ("hqtrio", "actors") else modules_of(room)
    code = (
        "import importlib, sys\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        "print(*[name for name in ('trio', 'ssl', 'asyncio') if name in sys.modules])"
    )
    assert in_fresh_interpreter(code) == []


def test_the_packages_themselves_load_nothing_of_ours():
    code = (
        "import sys, hqtrio, actors\n"
        "print(*[n for n in sys.modules if n.startswith(('hqtrio.', 'actors.', 'msgspec'))])"
    )
    assert in_fresh_interpreter(code) == []


@pytest.mark.parametrize(
    ("package", "ours"),
    [("actors.launcher", {"actors"}), ("actors.streamer", {"actors", "hqtrio"})],
)
def test_a_child_of_a_worker_loads_the_standard_library_only(package, ours):
    modules = [name for name in modules_of(package) if not name.endswith("__main__")]
    code = (
        "import importlib, sys\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "before = set(sys.modules)\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        "roots = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        f"print(*sorted(roots - set(sys.stdlib_module_names) - {ours!r}))"
    )
    assert in_fresh_interpreter(code, "-I") == []


def test_reading_a_program_job_loads_neither_yaml_nor_toml():
    code = (
        "import sys, hqtrio.jobfile\n"
        "print(*[name for name in ('yaml', 'tomllib', 'difflib') if name in sys.modules])"
    )
    assert in_fresh_interpreter(code) == []


def test_public_names_exist():
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in sorted(ROOT.glob("hqtrio/**/*.py"))
        if "\n__all__" in path.read_text()
    ]
    code = (
        "import importlib\n"
        f"for name in {modules!r}:\n"
        "    module = importlib.import_module(name)\n"
        "    print(*[f'{name}.{public}' for public in module.__all__"
        " if not hasattr(module, public)])"
    )
    assert in_fresh_interpreter(code) == []
