"""What a slide reader must provide: the levels of a pyramid and their pixels.

The host does the rest for every reader alike (kras_plugins/slides/slide.py): mpp, resampling to any resolution,
white beyond the edge.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import Field

from kras_plugins.contracts.base import Options, PluginRecord
from kras_plugins.errors import PluginError, SlideError
from kras_plugins.urls import Url

if TYPE_CHECKING:
    from kras_plugins.data import UInt8


@dataclass(frozen=True, kw_only=True)
class Level:
    """One level of a pyramid: its size in its own pixels."""

    width: int
    height: int


class RemoteFile(Protocol):
    """A slide's file on object storage or a web server: open for reading, as if it were local.

    `fetch` and `expect` may be used from many threads at once, `read`, `seek` and `tell` from one. All raise SlideError
    if the server fails, or if the file has changed since it was opened.
    """

    name: str
    """As a file would be called."""
    where: str
    """Its address, as errors name it."""
    size: int
    """In bytes."""

    def fetch(self, spans: Sequence[tuple[int, int]]) -> list[bytes]:
        """The bytes of each (offset, count); neighbors come in one request, several requests run at once."""
        ...

    def expect(self, spans: Sequence[tuple[int, int]]) -> None:
        """Read now, together, what `fetch` will be asked for one by one."""
        ...

    def read(self, count: int = -1, /) -> bytes | None:
        """The next bytes, as from any file; libraries that open files call this and the next two."""
        ...

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Move to an offset; returns the new one."""
        ...

    def tell(self) -> int:
        """Where the next `read` begins."""
        ...


class SlideSource(Protocol):
    """An open slide file, as a reader sees it. All members may be used from many threads at once.

    A derived class only needs `levels` and `read_level`, and whatever else its format states.
    """

    levels: tuple[Level, ...]
    """Finest first; at least one, none empty."""
    mpp: tuple[float, float] | None = None
    """Micrometers per level-0 pixel along x and y, None if the file does not state it."""
    objective_power: float | None = None
    """Nominal magnification (20, 40), None if the file does not state it."""
    quickhash: str | None = None
    """A digest of the content if the format provides one cheaply, else None."""
    properties: Mapping[str, str] = MappingProxyType({})
    """Free facts (scanner, vendor) for the manifest; never a label or macro image, never an identifier of a person."""

    warnings: tuple[str, ...] = ()
    """What a user should know about this file, such as a stated resolution that is implausible."""

    def read_level(self, level: int, xy: tuple[int, int], size: tuple[int, int]) -> UInt8:
        """Pixels uint8[h w 3] of a region that lies wholly inside `level`.

        `xy`: upper left corner and `size`: width and height, both in pixels of that level. Transparent pixels are
        white. Raises SlideError when the file is damaged there.
        """
        ...

    def close(self) -> None:
        """Release the file; calling it twice is harmless."""
        return


class RemoteSource(SlideSource, Protocol):
    """An open remote slide: it is notified what is read next, so that it can fetch this at once."""

    def prefetch(self, level: int, boxes: Sequence[tuple[tuple[int, int], tuple[int, int]]]) -> None:
        """Fetch what `read_level` of all these (xy, size) will need, except for what is cached."""
        ...


class AddressSource(RemoteSource, Protocol):
    """An open slide that its reader fetches itself, from a web address.

    `quickhash` identifies the content, since the host does not see it: never None.
    """

    def transfer(self) -> Mapping[str, int]:
        """What was transferred so far, for the manifest: `bytes` in how many `requests`."""
        ...


class ReaderOptions(Options):
    """Options that every reader has; a reader adds its own."""

    mpp: float | None = Field(
        None,
        gt=0,
        description="micrometers per level-0 pixel for files that do not state it (a cohort's `mpp` column wins)",
    )
    field: bool | None = Field(
        None, description="files are fields of view or tissue cores, or (false) whole slides; if not given, by size"
    )


FACTS = ("mpp", "field")
"""Options of a reader that state facts of a slide; these facts enter its keys separately."""


def _no_file(path: Path, options: Any) -> SlideSource:
    raise SlideError(f"{path}: this reader opens addresses, not files", "leave out --reader")


@dataclass(frozen=True, kw_only=True)
class ReaderPlugin(PluginRecord):
    """`suffixes`: lower-case file endings with their dot; `open(path, options)` raises SlideError on a bad file.

    Then the next reader is tried, unless it is a ContentError: the file has this reader's format, but is not a usable
    slide. `preferred`: the suffixes for which it is tried before other readers, because it gives the same pixels at
    less cost; otherwise readers are tried in order of their names. `open_remote(file, options)`: the same for a slide
    that is not on a disk, of which it reads only what it needs; readers without it get a copy of the whole file.

    `addresses`: a regular expression for web addresses, without their query, that are not files but a service that the
    reader queries itself. `open_address(url, options)` opens such an address; no other reader is tried. `url.text` has
    the credentials that the user gave; `str(url)`, used in errors, has none. A reader of addresses alone has no
    `suffixes` and no `open`.
    """

    options: type[Options] = ReaderOptions
    suffixes: tuple[str, ...] = ()
    preferred: tuple[str, ...] = ()
    open: Callable[[Path, Any], SlideSource] = _no_file
    open_remote: Callable[[RemoteFile, Any], RemoteSource] | None = None
    addresses: str = ""
    open_address: Callable[[Url, Any], AddressSource] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for endings in (self.suffixes, self.preferred):
            # Anything else would match the files of other readers: every path ends in "", most in a letter of ".svs".
            if not isinstance(endings, tuple) or not all(isinstance(e, str) and e for e in endings):
                raise PluginError(
                    f"reader {self.name!r}: suffixes or preferred are {endings!r}",
                    'give tuples of lower-case endings with their dot: suffixes=(".abc",)',
                )
        try:
            re.compile(self.addresses)
        except re.error as e:
            raise PluginError(f"reader {self.name!r}: addresses is not a regular expression: {e}", "correct it") from e
        if bool(self.addresses) != (self.open_address is not None) or (not self.addresses and self.open is _no_file):
            raise PluginError(
                f"reader {self.name!r} opens nothing, or not what it states",
                "give suffixes and open for files, or addresses and open_address for services",
            )

    def asks(self, url: Url) -> bool:
        """Whether it is one of its `addresses`."""
        return (
            bool(self.addresses) and url.is_web and re.fullmatch(self.addresses, url.text.partition("?")[0]) is not None
        )
