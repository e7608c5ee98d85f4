"""A content-addressed store: every costly result is a folder named by the sha256 of what it was made from.

A folder appears under its final name only when it is complete, so a killed run leaves nothing incomplete behind, and
several processes may share one store. Its `key.json` lists the sha256 of each file: an artifact that has changed is
made again. A store on object storage also has such a folder: local copies, as many as fit, of what is stored there
(`remote/artifacts.py`).
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platformdirs import user_cache_path, user_config_path

from kras_plugins.errors import ConfigError, StoreError
from kras_plugins.files.atomic import share, write_atomic
from kras_plugins.files.leftovers import clear_dead, clear_old, clear_parts, remove_marked, work_folder
from kras_plugins.files.regular import regular
from kras_plugins.files.whole import changed, digests_of
from kras_plugins.remote.copies import Copies, copies_of
from kras_plugins.urls import Url, place

if TYPE_CHECKING:
    from kras_plugins.remote.artifacts import Artifacts, Marker

_log = logging.getLogger("kras.store")
_KEY_FILE = "key.json"
_WORK = "tmp"
DAMAGED = "damaged"
"""The kind of an artifact whose `key.json` cannot be read any more."""
_whole: set[tuple[Path, int]] = set()
"""Folders, with the inode of their `key.json`, that this process made or verified: each is verified once."""
_LETTERS = str.maketrans(
    {"ß": "ss", "æ": "ae", "Æ": "Ae", "ø": "o", "Ø": "O", "œ": "oe", "Œ": "Oe", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D"}
)
"""Latin letters that Unicode does not decompose."""


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
    """One complete artifact: its folder, kind, size in bytes and when it was last used (seconds since the epoch).

    On object storage that is the folder of its local copy, which need not exist, and the time is accurate to a day.
    """

    path: Path
    kind: str
    bytes: int
    used: float


def make_key(kind: str, **facts: Any) -> Key:
    """The key of an artifact from its facts (JSON values; order of keys does not matter)."""
    return Key(kind, json.dumps(facts, sort_keys=True, separators=(",", ":"), allow_nan=False))


_chosen: ContextVar[Path | Url | None] = ContextVar("kras_store", default=None)


def default_place() -> Path | Url:
    """Where artifacts are stored by default: as set by `store_at`, else KRAS_CACHE, else the user's cache folder."""
    try:
        return _chosen.get() or place(os.environ.get("KRAS_CACHE") or user_cache_path("kras") / "store")
    except ValueError as e:
        raise ConfigError(f"KRAS_CACHE: {e}", "name a folder, or an address such as s3://bucket/prefix") from e


def user_config() -> Path:
    """Where a user's decisions are stored (accepted licenses, trusted keys): KRAS_CONFIG, else the usual folder."""
    return Path(os.environ.get("KRAS_CONFIG") or user_config_path("kras"))


@contextmanager
def store_at(root: Path | Url) -> Iterator[None]:
    """Make `Store()` the one at `root` inside the block, so that plug-ins that store their own data find it.

    It applies to this thread and to what `isolation.ask` and `slides.stream.ordered_map` start from here.
    """
    before = _chosen.set(root)
    try:
        yield
    finally:
        _chosen.reset(before)


class Store:
    """Artifacts below one root folder or URL, safe to share between processes.

    `place`: where they are; `root`: that folder, or the one of local copies of what is at a URL.
    Raises StoreError when the place cannot be read or written (permissions, full disk, network).
    """

    def __init__(self, place: Path | Url | None = None) -> None:
        self.place = place or default_place()
        self._far: Artifacts | None = None
        self._copies: Copies | None = None
        if isinstance(self.place, Url):
            from kras_plugins.remote.artifacts import Artifacts

            self._far, self._copies = Artifacts(self.place), copies_of(self.place)
        self.root = self._copies.root if self._copies else Path(str(self.place))

    @property
    def copies(self) -> Copies | None:
        """The local copies of what is at a URL; None if the store is a folder."""
        return self._copies

    @property
    def here(self) -> Store:
        """The local folder alone: for data of this machine only, such as where slides are."""
        return self if self._far is None else Store(self.root)

    def find(self, key: Key) -> Path | None:
        """The folder of a complete artifact, or None."""
        folder = self.at(key.digest)
        if folder is None:
            return None
        try:
            os.utime(folder / _KEY_FILE)
        except OSError:
            return folder  # a read-only store still serves; only its last-used time stays old
        return folder

    def has(self, key: Key) -> bool:
        """Whether a complete artifact exists; nothing is copied to find out."""
        if (self._folder(key.digest) / _KEY_FILE).is_file():
            return True
        return self._far is not None and self._far.find(key.digest) is not None

    def at(self, digest: str) -> Path | None:
        """The folder of the complete artifact whose key has this digest, or None."""
        folder = self._folder(digest)
        if not self._is_whole(folder, digest):
            return self._fetched(digest)
        self._used(digest)
        return folder

    def make(self, key: Key, build: Callable[[Path], None]) -> Path:
        """The artifact's folder, built first if it is not there: `build` fills an empty folder.

        Nothing appears under the final name if `build` raises or the process dies.
        """
        found = self.find(key)
        if found is not None:
            return found
        stated = {"kind": key.kind, "facts": json.loads(key.text)}
        try:
            with work_folder(self.root / _WORK, key.digest[:16]) as work:
                build(work)
                if self._far is not None and self._far.writable:
                    self._far.keep(key.digest, stated, work)
                return self._placed(work, key.digest, stated)
        except (OSError, RuntimeError) as e:
            # HDF5 reports a full disk as a RuntimeError when a file is closed.
            if isinstance(e, RuntimeError) and "errno" not in str(e):
                raise
            raise self._unwritten(e) from e

    def renew(self, key: Key, build: Callable[[Path], None]) -> Path:
        """As `make`, but replaces an existing artifact: for facts that may change, such as the path of a slide."""
        remove_marked(self._folder(key.digest), _KEY_FILE)
        return self.make(key, build)

    def release(self, digests: Iterable[str]) -> None:
        """Declare that this process no longer uses the folders of these artifacts: local copies may be evicted.

        To use one again, get it with `at`.
        """
        if self._copies is not None:
            self._copies.release(map(self._folder, digests))

    def clear_dead(self) -> None:
        """Remove what killed processes of this machine left incomplete; running ones keep what they work on."""
        clear_dead(self.root / _WORK)
        clear_parts(self.root, deep=False)

    def entries(self) -> Iterator[Entry]:
        """Every complete artifact, oldest use first."""
        yield from (entry for entry, _ in self._entries())

    def prune(self, *, older_than_days: float | None = None, max_bytes: int | None = None) -> list[Entry]:
        """Remove artifacts not used for so long, then the least recently used until the rest fits; returns the removed.

        Leftovers of killed runs are removed as well.
        """
        entries, removed = self._entries(), []
        total = sum(e.bytes for e, _ in entries)
        limit = time.time() - older_than_days * 86400 if older_than_days is not None else None
        for entry, marker in entries:
            too_old = limit is not None and entry.used < limit
            too_much = max_bytes is not None and total > max_bytes
            if too_old or too_much:
                if self._far is not None and marker is not None:
                    self._far.remove(marker)
                remove_marked(entry.path, _KEY_FILE)
                total -= entry.bytes
                removed.append(entry)
        self.clear_dead()
        clear_old(self.root / _WORK)
        if self._far is not None:
            self._far.clear_old()
        return removed

    def remove_made_from(self, sources: Iterable[str]) -> int:
        """Remove the artifacts whose facts name one of these fingerprints or digests, and all made from them; how many.

        Data of this machine alone, such as where a slide is, is removed as well.
        """
        left = {}
        for entry, marker in self._entries():
            if entry.kind == DAMAGED:  # whose it was cannot be read, and it cannot be used
                remove_marked(entry.path, _KEY_FILE)
                continue
            text = (entry.path / _KEY_FILE).read_text(encoding="utf-8") if marker is None else ""
            stated = {"kind": marker.kind, "facts": marker.facts} if marker is not None else json.loads(text)
            key = make_key(stated["kind"], **stated["facts"])
            left[key.digest] = (key.text, entry, marker)
        removed, wanted = 0, set(sources)
        while gone := [digest for digest, (text, *_) in left.items() if digest in wanted or _names_any(text, wanted)]:
            for digest in gone:
                _, entry, marker = left.pop(digest)
                if self._far is not None and marker is not None:
                    self._far.remove(marker)
                remove_marked(entry.path, _KEY_FILE)
            removed, wanted = removed + len(gone), set(gone)
        return removed if self._far is None else removed + self.here.remove_made_from(sources)

    def _entries(self) -> list[tuple[Entry, Marker | None]]:
        """Every complete artifact, with its marker if it is on object storage."""
        found: list[tuple[Entry, Marker | None]] = []
        if self._far is not None:
            for one in self._far.all():
                path = self.root / "/".join(one.at.split("/")[-2:])
                found.append((Entry(path, one.kind, one.bytes, one.used.timestamp()), one))
        else:
            found += [(entry, None) for entry in entries_below(self.root)]
        return sorted(found, key=lambda e: (e[0].used, str(e[0].path)))

    def _is_whole(self, folder: Path, digest: str) -> bool:
        """Whether a complete, unchanged artifact is in this folder; a changed one is removed.

        Raises StoreError if it may not be read or removed.
        """
        marker = folder / _KEY_FILE
        if not marker.is_file():
            return False
        try:
            seen = folder, marker.stat().st_ino
            name = "" if seen in _whole else _damaged(folder, digest)
            if name and marker.stat().st_ino != seen[1]:
                return self._is_whole(folder, digest)  # another process has made it again
            if name:
                _log.warning("%s: %s has changed since it was written; the artifact is made again", folder, name)
                with work_folder(self.root / _WORK, "damaged") as work:
                    folder.rename(work / folder.name)
                return False
        except FileNotFoundError:
            return False  # removed by another process
        except OSError as e:
            raise StoreError(f"{folder} cannot be read, or removed: {e.strerror}", "check its permissions") from e
        _whole.add(seen)
        return True

    def _fetched(self, digest: str) -> Path | None:
        """The folder of an artifact's copy, made now; None if it is not on object storage either."""
        marker = self._far.find(digest) if self._far is not None else None
        if self._far is None or marker is None:
            return None
        try:
            with work_folder(self.root / _WORK, digest[:16]) as work:
                if not self._far.fetch(marker, work):
                    return None
                self._far.use(digest, marker)
                return self._placed(work, digest, {"kind": marker.kind, "facts": marker.facts})
        except OSError as e:
            raise self._unwritten(e) from e

    def _placed(self, work: Path, digest: str, stated: Mapping[str, Any]) -> Path:
        """Move the complete content of `work` to its final folder and return that; OSError if it cannot be written."""
        final = self._folder(digest)
        write_atomic(work / _KEY_FILE, json.dumps({**stated, "files": digests_of(work)}, indent=1))
        share(work, _KEY_FILE)
        final.parent.mkdir(parents=True, exist_ok=True)
        if final.is_dir() and not (final / _KEY_FILE).is_file():
            shutil.rmtree(final)  # what a killed `prune` left
        size = sum(f.stat().st_size for f in work.rglob("*") if f.is_file()) if self._copies else 0
        try:
            work.rename(final)
        except OSError:
            # Another process finished the same artifact first; ours is identical by construction.
            if not (final / _KEY_FILE).is_file():
                raise
        else:
            _whole.add((final, (final / _KEY_FILE).stat().st_ino))
        if self._copies is not None:
            self._copies.added(final, size)
        return final

    def _used(self, digest: str) -> None:
        """Keep the local copy, and mark its artifact as used."""
        if self._far is None or self._copies is None:
            return
        folder = self._folder(digest)
        self._copies.hold(folder)
        if self._far.writable and self._copies.first_today(folder) and not self._far.use(digest):
            stated = json.loads((folder / _KEY_FILE).read_text(encoding="utf-8"))
            self._far.keep(digest, stated, folder)  # it was removed there, but a local reader relies on it

    def _unwritten(self, e: Exception) -> StoreError:
        return StoreError(
            f"cannot write to the store {self.root}: {getattr(e, 'strerror', None) or e}",
            "free disk space or choose another folder with --cache DIR",
        )

    def _folder(self, digest: str) -> Path:
        return self.root / digest[:2] / digest[2:32]


def _kind(key_file: Path) -> str:
    try:
        stated = json.loads(key_file.read_text(encoding="utf-8"))
        return str(make_key(stated["kind"], **stated["facts"]).kind)
    except (ValueError, KeyError, TypeError):
        return DAMAGED


def _damaged(folder: Path, digest: str) -> str:
    """The first file of an artifact that has changed; "" if none has, or if an earlier kras listed no digests."""
    try:
        stated = json.loads((folder / _KEY_FILE).read_text(encoding="utf-8"))
        is_it = make_key(stated["kind"], **stated["facts"]).digest == digest
        return changed(folder, stated.get("files", {})) if is_it else _KEY_FILE
    except (ValueError, KeyError, TypeError, AttributeError):
        return _KEY_FILE


def _names_any(text: str, wanted: Iterable[str]) -> bool:
    return any(f'"{one}"' in text for one in wanted)


def entries_below(root: Path) -> Iterator[Entry]:
    """The complete artifacts in a folder, in any order."""
    for key_file in root.glob(f"*/*/{_KEY_FILE}"):
        folder = key_file.parent
        if folder.parent.name == _WORK:
            continue
        try:
            size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
            kind, used = _kind(key_file), key_file.stat().st_mtime
        except FileNotFoundError:
            continue  # removed by another process
        yield Entry(folder, kind, size, used)


def safe_name(identifier: str) -> str:
    """A file name for an id, valid everywhere and unique: an id that had to be changed gets a hash.

    Accents are dropped and letters of other Latin alphabets spelled out (`Müller 12` is `Muller_12-…`), so that people
    find their patients.
    """
    if re.fullmatch(r"(?!\.)[A-Za-z0-9_.-]{1,80}(?<!\.)", identifier):
        return identifier
    letters = unicodedata.normalize("NFKD", identifier.translate(_LETTERS))
    readable = "".join(letter for letter in letters if not unicodedata.combining(letter))
    safe = re.sub(r"[^A-Za-z0-9_.-]+", "_", readable)[:80].strip("._")
    return f"{safe or 'unnamed'}-{hashlib.sha256(identifier.encode(errors='surrogatepass')).hexdigest()[:8]}"


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes, read in pieces; ConfigError if it is a pipe, a device or a folder."""
    with regular(path).open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
