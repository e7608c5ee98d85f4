"""Work folders and half-written files: each is locked while its process lives, and removed later.

A lock ends with its process, however that ends, so nobody guesses from process ids or times whether it lives. Some
disks keep locks on one machine only: folders of other machines are left to `clear_old`, which waits for days.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import stat
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from kras_plugins.errors import StoreError

_HOST = re.sub(r"[^A-Za-z0-9.-]", "_", platform.node())[:60] or "unknown"
_LOCK = ".lock"
_PART = re.compile(r"\..+\.[0-9a-f]{8}\.part")
_OLD_SECONDS = 7 * 24 * 3600
"""A folder in which nothing changed for this long is not in use."""


@contextmanager
def work_folder(below: Path, name: str) -> Iterator[Path]:
    """An empty folder for this process alone, removed at the end; OSError if it cannot be made."""
    below.mkdir(parents=True, exist_ok=True)
    folder = below / f"{name}-{uuid.uuid4().hex[:8]}@{_HOST}"
    lock = FileLock(_lock_of(folder))
    try:
        lock.acquire()
        while not _lock_of(folder).exists():  # removed as left over, before it was locked
            lock.release()
            lock.acquire()
    except NotImplementedError:  # a disk without locks: others cannot tell that this process lives, so only age counts
        _lock_of(folder).unlink(missing_ok=True)
    try:
        folder.mkdir()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _lock_of(folder).unlink(missing_ok=True)
        lock.release()


@contextmanager
def scratch(name: str) -> Iterator[Path]:
    """An empty temporary folder, removed at the end; one of a killed process is removed by the next call.

    Raises StoreError if it cannot be made, or if its parent folder belongs to another user.
    """
    below = _temporary()
    clear_dead(below)
    with work_folder(below, name) as folder:
        yield folder


def _temporary() -> Path:
    """The folder of this user's temporary folders."""
    if sys.platform == "win32":
        return Path(tempfile.gettempdir()) / "kras"  # each user has a temporary folder of their own
    below = Path(tempfile.gettempdir()) / f"kras-{os.getuid()}"
    try:
        below.mkdir(mode=0o700, exist_ok=True)
        found = below.lstat()
    except OSError as e:
        raise StoreError(f"cannot make {below}: {e.strerror}", "name another place with TMPDIR") from e
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise StoreError(f"{below} is not a folder of yours alone", "remove it, or name another place with TMPDIR")
    return below


@contextmanager
def part_of(path: Path, mode: int) -> Iterator[Path]:
    """A new hidden file beside `path`, to be renamed to it when it is complete; otherwise removed at the end.

    `mode`: its permissions, reduced by the umask. Raises OSError if it cannot be made.
    """
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    while not hold(descriptor):  # removed as left over, before it was locked
        os.close(descriptor)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        if sys.platform == "win32":  # an open file cannot be renamed there, and no lock is held
            os.close(descriptor)
        yield part
    finally:
        part.unlink(missing_ok=True)
        if sys.platform != "win32":
            os.close(descriptor)


def clear_parts(below: Path, *, deep: bool = True) -> None:
    """Remove half-written files that dead processes left in a folder and, with `deep`, below it."""
    for part in below.rglob(".*.part") if deep else below.glob(".*.part"):
        if _PART.fullmatch(part.name):
            remove_unheld(part)


def hold(descriptor: int) -> bool:
    """Lock a new file for as long as it is open; False if `remove_unheld` has removed it before.

    On Windows, and on a disk without locks, nothing is locked.
    """
    if sys.platform == "win32":
        return True
    import fcntl

    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    return os.fstat(descriptor).st_nlink > 0


def remove_unheld(file: Path) -> None:
    """Remove a file that no process of this machine has locked with `hold`; keep it if locks cannot be read."""
    if sys.platform == "win32" or file.is_symlink() or not file.is_file():
        return
    import fcntl

    with suppress(OSError):  # renamed by now, locked, another user's, or on a disk without locks
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.unlink()
        finally:
            os.close(descriptor)


def clear_dead(below: Path) -> None:
    """Remove the work folders that dead processes of this machine left."""
    for folder in _folders(below):
        if folder.name.endswith(f"@{_HOST}") and _lock_of(folder).exists():
            _remove(folder)


def clear_old(below: Path) -> None:
    """Remove the work folders of any machine that are not locked and in which nothing changed for a week."""
    for folder in _folders(below):
        if _last_change(folder if folder.exists() else _lock_of(folder)) < time.time() - _OLD_SECONDS:
            _remove(folder)


def remove_marked(folder: Path, mark: str) -> None:
    """Remove a folder that its file `mark` declares complete: the mark first, so that no remainder looks complete."""
    (folder / mark).unlink(missing_ok=True)
    if folder.exists():
        shutil.rmtree(folder)


def _folders(below: Path) -> list[Path]:
    """Work folders, and those of which a killed process left only the lock."""
    found: set[Path] = set()
    with suppress(OSError):
        for path in below.iterdir():
            if path.is_symlink():
                continue
            if path.is_dir():
                found.add(path)
            elif "@" in path.name and path.suffix == _LOCK:
                found.add(path.with_suffix(""))
    return sorted(found)


def _lock_of(folder: Path) -> Path:
    return folder.with_name(folder.name + _LOCK)


def _remove(folder: Path) -> None:
    """Remove a folder unless it is locked."""
    try:
        with FileLock(_lock_of(folder), timeout=0):
            shutil.rmtree(folder, ignore_errors=True)
            _lock_of(folder).unlink(missing_ok=True)
    except (Timeout, OSError, NotImplementedError):
        return  # locked, or another user's


def _last_change(folder: Path) -> float:
    times = []
    for path in (folder, *folder.rglob("*")):
        try:
            times.append(path.lstat().st_mtime)
        except OSError:
            return time.time()  # it disappears while we look: somebody works there
    return max(times)
