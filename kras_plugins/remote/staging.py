"""Slides copied here whole, for readers that open only files; removed to make room or when the call ends."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from kras_plugins.errors import SlideError
from kras_plugins.files.leftovers import clear_dead, remove_marked, work_folder
from kras_plugins.remote.copies import local_bytes, local_folder
from kras_plugins.remote.copying import download
from kras_plugins.remote.objects import Bucket, Changed, Missing, NoRanges
from kras_plugins.urls import Url

Step = Callable[[str, int, int], None]
"""Called as `(what, done, total)`."""

_MB = 1_000_000
_SEVERAL = (".vms", ".vmu", ".dcm")
"""Suffixes of slides that consist of several files whose names only the slides state."""


@dataclass
class _Copy:
    """A slide's file here: its bytes, who uses it, and the lock of its copying."""

    file: Path
    size: int
    users: int
    lock: threading.Lock


class Staging:
    """Slides copied into `folder`, of at most `bound` bytes except for open ones. Used from many threads."""

    def __init__(self, folder: Path, bound: int, step: Step) -> None:
        self._folder, self._bound, self._step = folder, bound, step
        self._lock = threading.Lock()
        self._copies: OrderedDict[Url, _Copy] = OrderedDict()
        self._number = 0

    def take(self, url: Url) -> Path:
        """The slide's file, copied now if it is not here; call `give_back` for each. Raises SlideError."""
        with self._lock:
            if url not in self._copies:
                self._number += 1
                name = PurePosixPath(url.name.replace("\\", "_")).name or "slide"
                self._copies[url] = _Copy(self._folder / str(self._number) / name, 0, 0, threading.Lock())
            copy = self._copies[url]
            copy.users += 1
            self._copies.move_to_end(url)
        try:
            with copy.lock:
                if not copy.file.exists():
                    self._copy(url, copy)
        except BaseException:
            self.give_back(url)
            raise
        return copy.file

    def give_back(self, url: Url) -> None:
        """Say that the file is no longer open."""
        with self._lock:
            self._copies[url].users -= 1

    def _copy(self, url: Url, copy: _Copy) -> None:
        if url.name.lower().endswith(_SEVERAL):
            raise SlideError(f"{url}: consists of several files", "copy its folder to a disk, and name it there")
        bucket = Bucket(url, SlideError)

        def done(there: int, total: int) -> None:
            if copy.size == 0:
                copy.size = total
                self._make_room(url)
            self._step(f"copying {url.name}, MB", -(-there // _MB), -(-total // _MB))

        copy.file.parent.mkdir(parents=True, exist_ok=True)
        part = copy.file.with_name(f".{copy.file.name}")
        try:
            download(bucket, url.key, part, done)
            self._copy_companions(bucket, url, copy.file)
            part.rename(copy.file)
        except Missing:
            raise SlideError(f"{url}: there is no such object", "check the address in the cohort") from None
        except Changed:
            raise SlideError(f"{url}: was changed while it was copied", "run the same command again") from None
        except NoRanges:
            raise SlideError(f"{url}: its server cuts off large files", "copy it to a disk") from None
        except OSError as e:
            raise SlideError(
                f"{url}: cannot be copied to {copy.file.parent}: {e.strerror or e}",
                "free disk space, or name another folder in KRAS_LOCAL_CACHE",
            ) from e
        finally:
            part.unlink(missing_ok=True)

    def _copy_companions(self, bucket: Bucket, url: Url, file: Path) -> None:
        """Copy the folder beside a MIRAX file, which contains its pixels."""
        if not url.name.lower().endswith(".mrxs"):
            return
        if url.is_web:
            raise SlideError(f"{url}: consists of several files, which a web server does not list", "name its bucket")
        folder = url.key[: -len(".mrxs")]
        files = [found for found in bucket.list(folder) if found.key.startswith(f"{folder}/")]
        self._copies[url].size += sum(found.size for found in files)
        self._make_room(url)
        (file.parent / file.stem).mkdir(exist_ok=True)
        for found in files:
            download(bucket, found.key, file.parent / file.stem / PurePosixPath(found.key).name)

    def _make_room(self, url: Url) -> None:
        """Remove copies that are not open, least recently used first, until all fit."""
        with self._lock:
            if self._copies[url].size > self._bound:
                raise SlideError(
                    f"{url}: has {self._copies[url].size / 1e9:.1f} GB, more than may be copied here",
                    f"KRAS_LOCAL_CACHE_GB is {self._bound / 1e9:g}; raise it, or copy the slide to a disk",
                )
            for old, copy in list(self._copies.items()):
                if sum(one.size for one in self._copies.values()) <= self._bound:
                    return
                if copy.users == 0:
                    remove_marked(copy.file.parent, copy.file.name)
                    del self._copies[old]


@contextmanager
def place_for_copies(step: Step = lambda _what, _done, _total: None) -> Iterator[Staging]:
    """A separate Staging, all of which is removed at the end; `step` is called for each copy, in MB."""
    below = local_folder() / "slides"
    if below.is_dir():
        clear_dead(below)
    made = _Later(below, local_bytes(), step)
    try:
        yield made
    finally:
        made.end()


_current: ContextVar[Staging | None] = ContextVar("kras_staging", default=None)


@contextmanager
def staging(step: Step = lambda _what, _done, _total: None) -> Iterator[None]:
    """Within this context, copy slides into one folder, as `place_for_copies`, where they stay for opening them again.

    It applies to this thread and to threads started from it.
    """
    with place_for_copies(step) as made:
        before = _current.set(made)
        try:
            yield
        finally:
            _current.reset(before)


def current() -> Staging | None:
    """Where slides are copied to in this call; None outside of one."""
    return _current.get()


class _Later(Staging):
    """A Staging whose folder is made when the first slide is copied: most calls copy none."""

    def __init__(self, below: Path, bound: int, step: Step) -> None:
        super().__init__(below, bound, step)
        self._work = work_folder(below, "slides")
        self._begun = False

    def take(self, url: Url) -> Path:
        """As in Staging."""
        with self._lock:
            if not self._begun:
                try:
                    self._folder, self._begun = self._work.__enter__(), True
                except OSError as e:
                    raise SlideError(
                        f"{url}: cannot be copied to {self._folder}: {e.strerror}",
                        "name another folder in KRAS_LOCAL_CACHE",
                    ) from e
        return super().take(url)

    def end(self) -> None:
        """Remove all."""
        if self._begun:
            self._work.__exit__(None, None, None)
