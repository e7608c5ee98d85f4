"""Whether the files of a folder are unchanged since they were written: disks and copies may corrupt bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path


def digests_of(folder: Path) -> dict[str, str]:
    """sha256 of each file below a folder, by its path there."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): _sha256(file) for file in files}


def changed(folder: Path, digests: Mapping[str, str]) -> str:
    """The first of these files that is missing, unreadable or has another digest; "" if there is no such file.

    Raises PermissionError if this user may not read one.
    """
    for name, digest in digests.items():
        try:
            if _sha256(folder / name) != digest:
                return name
        except PermissionError:
            raise
        except OSError:
            return name
    return ""


def _sha256(file: Path) -> str:
    with file.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
