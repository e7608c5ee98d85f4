"""Files that are complete or absent, even if their writer is killed."""

from __future__ import annotations

import stat
from pathlib import Path

from kras_plugins.errors import StoreError
from kras_plugins.files.leftovers import part_of


def write_atomic(path: Path, text: str, mode: int = 0o666) -> None:
    """Write a text file so that it is either the old or the whole new one; raises StoreError on a full disk.

    `mode`: its permissions, reduced by the umask.
    """
    try:
        with part_of(path, mode) as part:
            part.write_text(text, encoding="utf-8", newline="\n")
            part.replace(path)
    except OSError as e:
        raise StoreError(f"cannot write {path}: {e.strerror or e}", "free disk space or choose another folder") from e


def share(folder: Path, like: str) -> None:
    """Give all files below a folder the permissions of its file `like`, which follow the umask and the disk.

    Some libraries write through temporary files, which only their owner can read; whoever may read a study must be able
    to read all of it.
    """
    mode = stat.S_IMODE((folder / like).stat().st_mode)
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink() and stat.S_IMODE(path.stat().st_mode) != mode:
            path.chmod(mode)
