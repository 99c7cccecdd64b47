"""What runs first in the single file: unpack it once, then run hqtrio from there.

Any Python may come across this file, so that it must parse in old ones as well.
"""

import os
import sys

BUILD = "@BUILD@"
INSIDE = "site-packages/"
VARIABLE = "HQ_UNPACK_DIR"


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
        private = tempfile.mkdtemp(prefix="new-", dir=root)
        try:
            with zipfile.ZipFile(archive) as file:
                file.extractall(private, [n for n in file.namelist() if n.startswith(INSIDE)])
            made = os.path.join(private, INSIDE)
            compileall.compile_dir(made, quiet=2)
            try:
                os.rename(made, code)
            except OSError:
                if not os.path.isdir(code):  # else somebody else was faster
                    raise
        finally:
            shutil.rmtree(private, ignore_errors=True)
    return code


def main():
    """Run the command line that was typed."""
    if sys.version_info < (3, 11):
        sys.exit(
            "hqtrio needs Python 3.11 or newer, and this is %d.%d; say which: python3.11 %s"
            % (*sys.version_info[:2], sys.argv[0])
        )
    archive = os.path.abspath(sys.path[0])
    root = os.environ.get(VARIABLE)
    if not root:
        cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        root = os.path.join(cache, "hqtrio")
    try:
        code = unpacked(archive, os.path.abspath(root))
    except OSError as error:
        sys.exit(
            "hqtrio cannot unpack itself into `%s`: %s; set %s to a directory that you can write"
            % (root, error.strerror or error, VARIABLE)
        )
    sys.path[0] = code
    from hqtrio.__main__ import main as run

    run()


if __name__ == "__main__":
    main()
