"""Artifacts of a store on object storage: complete or absent without a lock, whoever writes, reads and removes them.

Below the prefix, `ab/cdef…/` has a folder for each upload and `key.json`, written last: what the artifact is, which
upload it is in, and sha256 and size of each file. So two makers never write the same object. Where the store supports
"only if it is absent" (S3, Google, Azure), the first of them to write `key.json` wins, elsewhere the last one; both
made the same artifact. Removal begins with `key.json`. A web server is only read.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import file_digest
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from kras_plugins.errors import StoreError
from kras_plugins.remote.copying import download
from kras_plugins.remote.objects import Bucket, Changed, Exists, Found, Missing, NoRanges
from kras_plugins.urls import Url

T = TypeVar("T")
R = TypeVar("R")

KEY_FILE = "key.json"
_DAY = timedelta(days=1)
_ORPHANED = timedelta(days=7)
"""No upload takes this long: what no `key.json` names by then was left by a killed process."""
_CONNECTIONS = 16
_LARGEST_MARKER = 16 << 20


@dataclass(frozen=True, kw_only=True)
class Marker:
    """A `key.json`: kind and facts of the artifact, the upload it is in, and its files with `bytes` and `sha256`.

    `used`: when it was last used, to the day. `at`: the key of its folder.
    """

    kind: str
    facts: Any
    upload: str
    files: Mapping[str, Mapping[str, Any]]
    used: datetime
    at: str

    @property
    def bytes(self) -> int:
        """Size of all its files."""
        return sum(int(one["bytes"]) for one in self.files.values())


class Artifacts:
    """The artifacts below a URL; safe to share between threads, processes and machines. Raises StoreError."""

    def __init__(self, url: Url) -> None:
        self.url = url
        self.writable = not url.is_web
        self._bucket = Bucket(url, StoreError)
        self._below = url.key.rstrip("/")

    def find(self, digest: str) -> Marker | None:
        """The marker of a complete artifact; None if it is absent or incomplete."""
        return self._read(self._folder(digest))

    def fetch(self, marker: Marker, folder: Path) -> bool:
        """Copy the files into an empty folder; False where they were removed meanwhile."""
        try:
            for name, stated in marker.files.items():
                file = folder / PurePosixPath(name)
                file.parent.mkdir(parents=True, exist_ok=True)
                download(self._bucket, f"{marker.at}/{marker.upload}/{name}", file)
                with file.open("rb") as f:
                    same = file_digest(f, "sha256").hexdigest() == stated["sha256"]
                if not same:
                    raise StoreError(
                        f"{self.url}: {marker.at}/{name} is damaged", "remove that folder and run it again"
                    )
        except (Missing, Changed):
            return False
        except NoRanges:
            raise StoreError(
                f"{self.url}: its server supports no byte ranges, and {name} is large", "use another server"
            ) from None
        return True

    def keep(self, digest: str, stated: Mapping[str, Any], folder: Path) -> None:
        """Upload the files of a folder as the artifact of this digest, unless it is there already."""
        at, upload = self._folder(digest), uuid.uuid4().hex[:12]
        files = sorted(file for file in folder.rglob("*") if file.is_file() and file != folder / KEY_FILE)
        described = {}
        for file in files:
            with file.open("rb") as f:
                sha256 = file_digest(f, "sha256").hexdigest()
            described[file.relative_to(folder).as_posix()] = {"bytes": file.stat().st_size, "sha256": sha256}
        marker = {**stated, "upload": upload, "files": described}
        for name in described:
            self._bucket.put(f"{at}/{upload}/{name}", folder / name)
        try:
            self._bucket.put(f"{at}/{KEY_FILE}", json.dumps(marker, indent=1).encode(), new=True)
        except Exists:
            self._bucket.delete([f"{at}/{upload}/{name}" for name in described])

    def use(self, digest: str, marker: Marker | None = None) -> bool:
        """Record that it was used, once a day; False if it no longer exists."""
        marker = marker or self.find(digest)
        if marker is None:
            return False
        if self.writable and marker.used < datetime.now(UTC) - _DAY:
            key = f"{marker.at}/{KEY_FILE}"
            try:
                content = self._bucket.get(key)[1]
            except Missing:
                return False
            with suppress(StoreError):  # a read-only bucket still works
                self._bucket.put(key, content)
        return True

    def all(self) -> list[Marker]:
        """The markers of all complete artifacts; one small request each."""
        keys = [one.key for one in self._list() if PurePosixPath(one.key).name == KEY_FILE]
        return [found for found in _together(self._read, (key.rpartition("/")[0] for key in keys)) if found]

    def remove(self, marker: Marker) -> None:
        """Remove one: first what makes it complete, then its files."""
        self._bucket.delete([f"{marker.at}/{KEY_FILE}"])
        self._bucket.delete([f"{marker.at}/{marker.upload}/{name}" for name in marker.files])

    def clear_old(self) -> None:
        """Remove files of uploads that no marker names, a week after they were written."""
        listed = list(self._list())
        named = {f"{one.at}/{one.upload}/" for one in self.all()}
        limit = datetime.now(UTC) - _ORPHANED
        orphans = [
            one.key
            for one in listed
            if one.changed < limit and (upload := _upload(one.key, self._below)) and upload not in named
        ]
        for start in range(0, len(orphans), 1000):
            self._bucket.delete(orphans[start : start + 1000])

    def check(self) -> None:
        """Write a small object and remove it again; StoreError where that is not allowed."""
        key = self._at(f"check-{uuid.uuid4().hex[:12]}")
        self._bucket.put(key, b"kras")
        self._bucket.delete([key])

    def _list(self) -> Iterator[Found]:
        if not self.writable:
            raise StoreError(f"{self.url}: a web server does not list its objects", "name it by its bucket: s3://…")
        return self._bucket.list(self._below)

    def _read(self, at: str) -> Marker | None:
        key = f"{at}/{KEY_FILE}"
        try:
            found, content = self._bucket.get(key)
        except Missing:
            return None
        try:
            stated = json.loads(content)
            return Marker(
                kind=str(stated["kind"]),
                facts=stated["facts"],
                upload=str(stated["upload"]),
                files={_inside(name): one for name, one in stated["files"].items()},
                used=found.changed,
                at=at,
            )
        except (ValueError, KeyError, TypeError, AttributeError) as e:
            raise StoreError(
                f"{self.url}: {key} is not an artifact of kras: {e}", "remove it, or name another prefix"
            ) from e

    def _folder(self, digest: str) -> str:
        return self._at(f"{digest[:2]}/{digest[2:32]}")

    def _at(self, name: str) -> str:
        return f"{self._below}/{name}" if self._below else name


def _inside(name: str) -> str:
    """The name of a file, if it stays in its folder; else ValueError."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\\" in name:
        raise ValueError(f"a file called {name!r}")
    return name


def _upload(key: str, below: str) -> str:
    """The folder of the upload that an object is in: `PREFIX/ab/cdef…/UPLOAD/`; "" for other objects."""
    before = f"{below}/" if below else ""
    parts = key.removeprefix(before).split("/")
    ours = key.startswith(before) and len(parts) > 3 and len(parts[0]) == 2 and len(parts[1]) == 30
    return before + "/".join([*parts[:3], ""]) if ours else ""


def _together(function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    with ThreadPoolExecutor(_CONNECTIONS, thread_name_prefix="kras-list") as pool:
        return list(pool.map(function, items))
