"""What runs first in the single file: unpack it once, then run hqtrio from there.

Any Python may come across this file, so that it must parse in old ones as well.
"""

import os
import sys

BUILD = "@BUILD@"
INSIDE = "site-packages/"
VARIABLE = "HQ_UNPACK_DIR"
LOCK = ".in-use"
BEGUN = "new-"
DAY_S = 24 * 3600
# Of older copies so many stay, and all that were used in this time: whoever uses one holds a lock,
# but there are file systems on which other nodes do not see it.
KEPT = 3
KEPT_S = 30 * DAY_S


def unpacked(archive, root):
    """The directory with this build's code; complete, whoever else is unpacking it."""
    code = os.path.join(root, BUILD)
    if not os.path.isdir(code):
        import compileall
        import shutil
        import tempfile
        import zipfile

        os.makedirs(root, mode=0o700, exist_ok=True)
        # No lock: home directories of clusters may lie on file systems that have none.
        private = tempfile.mkdtemp(prefix=BEGUN, dir=root)
        try:
            with zipfile.ZipFile(archive) as file:
                file.extractall(private, [n for n in file.namelist() if n.startswith(INSIDE)])
            made = os.path.join(private, INSIDE)
            compileall.compile_dir(made, quiet=2)
            open(os.path.join(made, LOCK), "w").close()
            try:
                os.rename(made, code)
            except OSError:
                if not os.path.isdir(code):  # else somebody else was faster
                    raise
        finally:
            shutil.rmtree(private, ignore_errors=True)
        remove_old(root)
    return code


def use(code):
    """Nobody removes this copy as long as this process lives."""
    import fcntl
    import time

    try:
        opened = os.open(os.path.join(code, LOCK), os.O_RDONLY)
        # The numbers of standard streams must stay free, also when those are closed.
        lock = fcntl.fcntl(opened, fcntl.F_DUPFD_CLOEXEC, 10)
        os.close(opened)
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        if os.fstat(lock).st_mtime < time.time() - DAY_S:
            os.utime(lock)
    except OSError:
        pass  # a file system without locks, or one that may not be written to


def remove_old(root):
    """Remove copies that nobody has used for long, and what was never finished."""
    import shutil
    import time

    now = time.time()
    used = []
    for name in os.listdir(root):
        path = os.path.join(root, name)
        try:
            if name.startswith(BEGUN):
                if os.stat(path).st_mtime < now - DAY_S:
                    shutil.rmtree(path, ignore_errors=True)
            elif name != BUILD:
                used.append((os.stat(os.path.join(path, LOCK)).st_mtime, path))
        except OSError:
            pass  # not one of ours, or somebody else removes it
    for last_use, path in sorted(used, reverse=True)[KEPT:]:
        if last_use < now - KEPT_S and not is_used(path):
            shutil.rmtree(path, ignore_errors=True)


def is_used(code):
    """Whether a process uses the copy, or nobody can know."""
    import fcntl

    try:
        lock = os.open(os.path.join(code, LOCK), os.O_RDWR)
    except OSError:
        return True
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return False
    except OSError:
        return True
    finally:
        os.close(lock)


def cache():
    """Where copies lie unless the user says otherwise; None if the user has no home."""
    import pwd

    directory = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(directory):
        home = os.environ.get("HOME", "")
        if not os.path.isabs(home):
            try:
                home = pwd.getpwuid(os.getuid()).pw_dir
            except KeyError:
                return None
        directory = os.path.join(home, ".cache")
    return os.path.join(directory, "hqtrio")


def main():
    """Run the command line that was typed."""
    if sys.version_info < (3, 11):
        sys.exit(
            "hqtrio needs Python 3.11 or newer, and this is %d.%d; say which: python3.11 %s"
            % (*sys.version_info[:2], sys.argv[0])
        )
    archive = os.path.abspath(sys.path[0])
    root = os.environ.get(VARIABLE) or cache()
    if root is None:
        sys.exit(
            "hqtrio has no place to unpack itself: HOME is not set and the system knows none;"
            " set %s to a directory that you can write" % VARIABLE
        )
    try:
        code = unpacked(archive, os.path.abspath(root))
    except OSError as error:
        sys.exit(
            "hqtrio cannot unpack itself into `%s`: %s; set %s to a directory that you can write"
            % (root, error.strerror or error, VARIABLE)
        )
    use(code)
    sys.path[0] = code
    from hqtrio.__main__ import main as run

    run()


if __name__ == "__main__":
    main()
