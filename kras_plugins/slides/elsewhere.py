"""A slide at a URL: requested by its reader, read by byte ranges where the reader can, else copied here as a whole."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from kras_plugins.errors import PluginError, SlideError
from kras_plugins.remote.objects import NoRanges
from kras_plugins.remote.ranges import RangeFile, transfer
from kras_plugins.remote.staging import current, place_for_copies
from kras_plugins.urls import Url

if TYPE_CHECKING:
    from kras_plugins.contracts.base import Options
    from kras_plugins.contracts.reader import AddressSource, SlideSource
    from kras_plugins.host.parts import UsableReader

_END = 1 << 20
"""Bytes at each end of a file that its fingerprint is made from."""


class Elsewhere:
    """What readers open of a slide at a URL. `warnings`: what a user should know; `close` forgets and removes it."""

    def __init__(self, url: Url) -> None:
        self.url = url
        self.warnings: list[str] = []
        self.path: Path | None = None
        self._ends = ExitStack()
        self._file: RangeFile | None = None
        self._asked: AddressSource | None = None
        self._looked = False

    def ranges(self) -> RangeFile | None:
        """The file, read by ranges; None if its server supports none. Raises SlideError where it cannot be read."""
        if not self._looked:
            self._looked = True
            try:
                self._file = self._ends.enter_context(RangeFile(self.url))
            except NoRanges:
                self.warnings.append("the server supports no byte ranges: the slide was copied as a whole")
            else:
                if self._file.size == 0:
                    raise SlideError(f"{self.url}: is empty", "upload it again from its source")
        return self._file

    def copied(self) -> Path:
        """The file as a whole, on this disk. Raises SlideError where it cannot be copied."""
        if self.path is None:
            here = current() or self._ends.enter_context(place_for_copies())
            self.path = here.take(self.url)
            self._ends.callback(here.give_back, self.url)
        return self.path

    def opening(self, reader: UsableReader) -> Callable[[Options], SlideSource]:
        """Returns a function of the reader's options that opens the slide by request, by ranges or as a copy."""
        if reader.plugin.asks(self.url):
            return partial(self._ask, reader)
        by_ranges = reader.plugin.open_remote
        if by_ranges is not None and (file := self.ranges()) is not None:
            return partial(by_ranges, file)
        if not reader.plugin.suffixes:  # it opens no copy either
            return partial(reader.plugin.open, Path(str(self.url)))
        return partial(reader.plugin.open, self.copied())

    def fingerprint(self, quickhash: str | None) -> str:
        """What `fingerprint_of` returns for the same file on a disk; for a service, its reader's digest alone."""
        if self._asked is not None:
            if not quickhash:
                raise PluginError(f"{self.url}: its reader states no quickhash", "this is a fault of the plug-in")
            return f"quickhash:{quickhash}"
        if self._file is None:
            return fingerprint_of(self.copied(), quickhash)
        self._file.seek(0)
        return _fingerprint(self._file, self._file.size, quickhash)

    def transfer(self) -> Mapping[str, int]:
        """Bytes that came over the network, and in how many requests; for a copied file also its `size`."""
        if self._asked is not None:
            return dict(self._asked.transfer())
        ranges = {"bytes": 0, "requests": 0, "size": 0} if self._file is None else dict(transfer(self._file))
        if self.path is not None and self.path.exists():
            ranges["size"] = self.path.stat().st_size
            ranges["copied"] = ranges["size"]
        return ranges

    def _ask(self, reader: UsableReader, options: Options) -> SlideSource:
        assert reader.plugin.open_address is not None
        self._asked = reader.plugin.open_address(self.url, options)
        return self._asked

    def close(self) -> None:
        """Forget it; a copy is removed when others need its space, or the call ends."""
        self._ends.close()


def fingerprint_of(path: Path, quickhash: str | None) -> str:
    """`quickhash:DIGEST:BYTES` where the format offers one, else `sha256:` of the first and last MiB."""
    with path.open("rb") as file:
        return _fingerprint(file, path.stat().st_size, quickhash)


def _fingerprint(file: IO[bytes] | Any, size: int, quickhash: str | None) -> str:
    if quickhash:
        return f"quickhash:{quickhash}:{size}"
    digest = hashlib.sha256(file.read(_END))
    file.seek(max(0, size - _END))
    digest.update(file.read(_END))
    return f"sha256:{digest.hexdigest()}:{size}"
