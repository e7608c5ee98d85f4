"""A content-addressed store: every costly result is a folder named by the sha256 of what it was made from.

A folder appears under its final name only when it is complete, so a killed run leaves nothing half-made behind, and
several processes may share one store.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
import time
import unicodedata
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path, user_config_path

from kras_plugins.errors import StoreError
from kras_plugins.files.leftovers import clear_dead, clear_old, work_folder
from kras_plugins.files.regular import regular

_KEY_FILE = "key.json"
_WORK = "tmp"
_LETTERS = str.maketrans(
    {"ß": "ss", "æ": "ae", "Æ": "Ae", "ø": "o", "Ø": "O", "œ": "oe", "Œ": "Oe", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D"}
)
"""Latin letters that Unicode does not take apart."""


@dataclass(frozen=True)
class Key:
    """What an artifact was made from: a kind (`bag`, `tissue`, `fit` …) and canonical JSON of the facts."""

    kind: str
    text: str

    @property
    def digest(self) -> str:
        """sha256 of kind and facts, 64 hex digits."""
        return hashlib.sha256(f"{self.kind}\n{self.text}".encode()).hexdigest()


@dataclass(frozen=True)
class Entry:
    """One complete artifact: its folder, kind, size in bytes and when it was last used (seconds since the epoch)."""

    path: Path
    kind: str
    bytes: int
    used: float


def make_key(kind: str, **facts: Any) -> Key:
    """The key of an artifact from its facts (JSON values; order of keys does not matter)."""
    return Key(kind, json.dumps(facts, sort_keys=True, separators=(",", ":"), allow_nan=False))


_chosen: ContextVar[Path | None] = ContextVar("kras_store", default=None)


def default_root() -> Path:
    """Where artifacts lie unless told otherwise: as `store_at` says, else KRAS_CACHE, else the user's cache folder."""
    return _chosen.get() or Path(os.environ.get("KRAS_CACHE") or user_cache_path("kras") / "store")


def user_config() -> Path:
    """Where lies what a user decided, as licences accepted or keys trusted: KRAS_CONFIG, else the usual folder."""
    return Path(os.environ.get("KRAS_CONFIG") or user_config_path("kras"))


@contextmanager
def store_at(root: Path) -> Iterator[None]:
    """Let `Store()` be the one at `root` meanwhile: plug-ins that keep things of their own find it so.

    It holds in this thread and in what `isolation.ask` and `slides.stream.ordered_map` begin from here.
    """
    before = _chosen.set(root)
    try:
        yield
    finally:
        _chosen.reset(before)


class Store:
    """Artifacts below one root folder, safe to share between processes.

    Raises StoreError when the folder cannot be written (permissions, full disk).
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or default_root()

    def find(self, key: Key) -> Path | None:
        """The folder of a complete artifact, or None."""
        folder = self._folder(key)
        if not (folder / _KEY_FILE).is_file():
            return None
        try:
            os.utime(folder / _KEY_FILE)
        except OSError:
            return folder  # a read-only store still serves; only its last-used time stays old
        return folder

    def at(self, digest: str) -> Path | None:
        """The folder of the complete artifact whose key has this digest, or None."""
        folder = self.root / digest[:2] / digest[2:32]
        return folder if (folder / _KEY_FILE).is_file() else None

    def make(self, key: Key, build: Callable[[Path], None]) -> Path:
        """The artifact's folder, built first if it is not there: `build` fills an empty folder.

        Nothing appears under the final name when `build` raises or the process dies.
        """
        found = self.find(key)
        if found is not None:
            return found
        final = self._folder(key)
        try:
            with work_folder(self.root / _WORK, key.digest[:16]) as work:
                build(work)
                write_atomic(work / _KEY_FILE, json.dumps({"kind": key.kind, "facts": json.loads(key.text)}, indent=1))
                share(work, _KEY_FILE)
                final.parent.mkdir(parents=True, exist_ok=True)
                if final.is_dir() and not (final / _KEY_FILE).is_file():
                    shutil.rmtree(final)  # what a killed `prune` left
                try:
                    work.rename(final)
                except OSError:
                    # Another process finished the same artifact first; ours is identical by construction.
                    if not (final / _KEY_FILE).is_file():
                        raise
        except (OSError, RuntimeError) as e:
            # HDF5 tells a full disk as a RuntimeError when a file is closed.
            if isinstance(e, RuntimeError) and "errno" not in str(e):
                raise
            raise StoreError(
                f"cannot write to the store {self.root}: {getattr(e, 'strerror', None) or e}",
                "free disk space or choose another folder with --cache DIR",
            ) from e
        return final

    def clear_dead(self) -> None:
        """Remove what killed processes of this machine left half-made; one that lives keeps what it works on."""
        clear_dead(self.root / _WORK)

    def entries(self) -> Iterator[Entry]:
        """Every complete artifact, oldest use first."""
        found = []
        for key_file in self.root.glob(f"*/*/{_KEY_FILE}"):
            folder = key_file.parent
            if folder.parent.name == _WORK:
                continue
            size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
            kind = json.loads(key_file.read_text())["kind"]
            found.append(Entry(folder, kind, size, key_file.stat().st_mtime))
        yield from sorted(found, key=lambda e: (e.used, str(e.path)))

    def prune(self, *, older_than_days: float | None = None, max_bytes: int | None = None) -> list[Entry]:
        """Remove artifacts not used for so long, then the longest unused until the store fits; returns the removed.

        Leftovers of killed runs go as well.
        """
        entries, removed = list(self.entries()), []
        total = sum(e.bytes for e in entries)
        limit = time.time() - older_than_days * 86400 if older_than_days is not None else None
        for entry in entries:
            too_old = limit is not None and entry.used < limit
            too_much = max_bytes is not None and total > max_bytes
            if too_old or too_much:
                (entry.path / _KEY_FILE).unlink()  # first, so that a half-removed artifact is never taken for whole
                shutil.rmtree(entry.path)
                total -= entry.bytes
                removed.append(entry)
        self.clear_dead()
        clear_old(self.root / _WORK)
        return removed

    def _folder(self, key: Key) -> Path:
        return self.root / key.digest[:2] / key.digest[2:32]


def write_atomic(path: Path, text: str, mode: int = 0o666) -> None:
    """Write a text file so that it is either the old or the whole new one; raises StoreError on a full disk.

    `mode`: its permissions, from which the umask takes some.
    """
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as e:
        part.unlink(missing_ok=True)
        raise StoreError(f"cannot write {path}: {e.strerror or e}", "free disk space or choose another folder") from e


def share(folder: Path, like: str) -> None:
    """Give all files below a folder the permissions of its file `like`, which was made as the umask and the disk say.

    Some libraries write by way of temporary files, which are their owner's alone: whoever may read a study may read
    all of it.
    """
    mode = stat.S_IMODE((folder / like).stat().st_mode)
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink() and stat.S_IMODE(path.stat().st_mode) != mode:
            path.chmod(mode)


def safe_name(identifier: str) -> str:
    """A file name for an id, valid everywhere and unique: an id that had to be changed gets a hash.

    Accents are left out and letters of other Latin alphabets spelled out (`Müller 12` is `Muller_12-…`), so that people
    find their patients.
    """
    if re.fullmatch(r"(?!\.)[A-Za-z0-9_.-]{1,80}(?<!\.)", identifier):
        return identifier
    letters = unicodedata.normalize("NFKD", identifier.translate(_LETTERS))
    readable = "".join(letter for letter in letters if not unicodedata.combining(letter))
    safe = re.sub(r"[^A-Za-z0-9_.-]+", "_", readable)[:80].strip("._")
    return f"{safe or 'unnamed'}-{hashlib.sha256(identifier.encode(errors='surrogatepass')).hexdigest()[:8]}"


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes, read in pieces; ConfigError where it is a pipe, a device or a folder."""
    with regular(path).open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
