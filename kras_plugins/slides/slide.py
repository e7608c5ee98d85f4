"""The host's slide: any reader's pyramid, read at any resolution, white beyond the edge."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins.contracts.base import Options
from kras_plugins.contracts.reader import FACTS, Level, SlideSource
from kras_plugins.data import SlideRef
from kras_plugins.errors import ConfigError, ContentError, KrasError, PluginError, SlideError, plugin_boundary
from kras_plugins.files.regular import regular
from kras_plugins.host.isolation import allowed, ask, ask_about
from kras_plugins.slides.elsewhere import Elsewhere, fingerprint_of
from kras_plugins.slides.fields import is_field
from kras_plugins.slides.resample import downsample, resample, window
from kras_plugins.slides.scale import find_mpp, show
from kras_plugins.urls import Url

if TYPE_CHECKING:
    from types import TracebackType

    from kras_plugins.data import UInt8
    from kras_plugins.host.parts import UsableReader

LEVEL_TOLERANCE = 0.02
"""A level whose mpp is this near (relative) to the one asked for is read as it is."""
CELL_PX = 1 << 14
"""Level pixels averaged to one at a time; more are read in steps, because one pixel may stand for a whole slide."""
SHARP = 0.98
"""How much finer than a level's pixels `box` may show that level."""
MAX_ENLARGEMENT = 2.0
"""Beyond this factor, enlarging pixels would invent detail."""
MAX_PX = 1 << 40
"""More level-0 pixels than any scanner makes (26 cm a side at 0.25 µm): a damaged header."""
BLOCK_PX = 4 << 20
"""Level pixels that are read and resampled at once; larger regions are cut, so that memory stays flat."""
THUMBNAIL_PX = 16 << 20
"""Most pixels of a thumbnail."""


class Slide:
    """An open slide. All members may be used from many threads at once; it is a context manager.

    `size`: (width, height) in level-0 pixels. `mpp`: micrometers per level-0 pixel along x and y;
    `mpp_source` says whether the `cohort`, the `file`, an `option` or the `objective` power gave it.
    `reader`: name of the reader, `plugin`: how errors name it, `reader_facts` what its pixels
    depend on. `objective`: magnification that the file states, if any. `fingerprint` identifies the content for the
    store. `field`: whether it is a field of view (`slides/fields.py`). `warnings`: what a user should know about it.
    """

    def __init__(
        self,
        ref: SlideRef,
        path: Path | Url,
        reader: str,
        source: SlideSource,
        options: Options,
        version: int = 1,
        origin: str = "",
        elsewhere: Elsewhere | None = None,
    ) -> None:
        """Take over `source`; raises SlideError without a plausible mpp or size, PluginError on bad levels."""
        self.ref = ref
        self.reader = reader
        self.plugin = _plugin_name(reader, origin)
        # Resolution and kind are facts of the slide, whoever stated them; all other reader options change pixels.
        told = {name: value for name, value in options.result_affecting().items() if name not in FACTS}
        self.reader_facts: Mapping[str, Any] = {"name": reader, "version": version, "options": told}
        self.levels: tuple[Level, ...] = tuple(source.levels)
        if not self.levels or any(min(level.width, level.height) < 1 for level in self.levels):
            raise PluginError(f"{self.plugin} gave no levels or an empty one for {path}")
        self.size = (self.levels[0].width, self.levels[0].height)
        self.properties: Mapping[str, str] = source.properties
        self.objective: float | None = source.objective_power
        if self.size[0] * self.size[1] > MAX_PX:
            raise SlideError(
                f"{path}: states {self.size[0]} x {self.size[1]} pixels, more than any scanner makes",
                "the file is damaged; copy it again from its source",
            )
        self.warnings: tuple[str, ...] = tuple(getattr(source, "warnings", ()))
        self._path = path
        self._source = source
        self._to_close = True
        self._lock = threading.Lock()
        option = getattr(options, "mpp", None)
        self.mpp, self.mpp_source, doubts = find_mpp(ref.mpp, source, option, path, reader, self.warnings)
        self.warnings += doubts
        self.field = is_field(self.size, self.mpp, getattr(options, "field", None))
        self._elsewhere = elsewhere
        if elsewhere is not None:
            self.warnings += tuple(elsewhere.warnings)
            self.fingerprint = elsewhere.fingerprint(source.quickhash)
        else:
            self.fingerprint = fingerprint_of(Path(str(path)), source.quickhash)
        self._level_mpp = tuple(
            (self.mpp[0] * self.size[0] / level.width, self.mpp[1] * self.size[1] / level.height)
            for level in self.levels
        )
        self._downsamples = tuple(
            (downsample(self.size[0], level.width), downsample(self.size[1], level.height)) for level in self.levels
        )

    def actual_mpp(self, mpp: float) -> float:
        """The resolution that `read` actually gives when asked for `mpp`, in micrometers per pixel.

        It is a level's own mpp where one lies within 2 % of `mpp` along both axes, else `mpp` itself. Raises
        SlideError where the slide would have to be enlarged more than twofold; less than that is a warning.
        """
        level, as_it_is = self._choose_level(mpp)
        return sum(self._level_mpp[level]) / 2 if as_it_is else mpp

    def read(self, xy: tuple[float, float], size: tuple[int, int], mpp: float) -> UInt8:
        """Pixels uint8[h w 3] of a region; what lies outside of the slide is white (255).

        `xy`: upper left corner in level-0 pixels, may be fractional or negative; `size`: (width, height) in
        output pixels; `mpp`: micrometers per output pixel, square also where the slide's pixels are not.
        Pixels are area means of the nearest finer level, or a level's own where `actual_mpp` says so. Raises
        SlideError on a damaged file or an `mpp` that is too fine, PluginError when the reader fails
        otherwise.
        """
        level, as_it_is = self._choose_level(mpp)
        x = xy[0] * self.levels[level].width / self.size[0]
        y = xy[1] * self.levels[level].height / self.size[1]
        if as_it_is:
            return self._region(level, (round(x), round(y)), (1.0, 1.0), size)
        across, down = self._level_mpp[level]
        return self._region(level, (x, y), (mpp / across, mpp / down), size)

    def box(self, xy: tuple[float, float], extent: tuple[float, float], size: tuple[int, int]) -> UInt8:
        """Pixels uint8[h w 3] of exactly the rectangle of level-0 pixels from `xy` that is `extent` wide and high.

        `size`: (width, height) in output pixels, which need not be square; all that is outside of the slide is white.
        Nothing is shifted to a level's own resolution, as `read` does: whatever the size, a point of the slide lies
        where its level-0 coordinates say. Level 0 itself comes bit for bit. Raises SlideError on a damaged file,
        PluginError where the reader fails otherwise.
        """
        step = extent[0] / size[0], extent[1] / size[1]
        fits = [
            i for i, own in enumerate(self._downsamples) if all(s >= d * SHARP for s, d in zip(step, own, strict=True))
        ]
        level = max(fits, key=lambda i: self._downsamples[i], default=0)
        across, down = self._downsamples[level]
        if step[0] * step[1] > CELL_PX * across * down:  # a slide without small levels, seen as a whole
            return resample(self.box(xy, extent, (2 * size[0], 2 * size[1])), (0, 0), (2, 2), size)
        return self._region(level, (xy[0] / across, xy[1] / down), (step[0] / across, step[1] / down), size)

    def thumbnail(self, mpp: float) -> tuple[UInt8, tuple[float, float]]:
        """The whole slide at `mpp` or, where that would be more than 16 megapixels, coarser.

        Returns uint8[h w 3] and the pixels' exact (x, y) size in micrometers: the array covers the slide to
        the pixel, so that both may differ slightly from `mpp`. Raises as `read` does.
        """
        width_um, height_um = self.size[0] * self.mpp[0], self.size[1] * self.mpp[1]
        mpp = max(mpp, math.sqrt(width_um * height_um / THUMBNAIL_PX))
        index, as_it_is = self._choose_level(mpp)
        level = self.levels[index]
        width, height = level.width, level.height
        if not as_it_is:
            width, height = max(1, round(width_um / mpp)), max(1, round(height_um / mpp))
        pixels = self._region(index, (0.0, 0.0), (level.width / width, level.height / height), (width, height))
        return pixels, (width_um / width, height_um / height)

    @property
    def file(self) -> Path | None:
        """The local file that its pixels come from; None where they are read from elsewhere by ranges."""
        return self.ref.path if self._elsewhere is None else self._elsewhere.path

    def transfer(self) -> Mapping[str, int] | None:
        """Bytes and requests that a remote slide has taken so far, for the manifest; None for a local file."""
        return None if self._elsewhere is None else self._elsewhere.transfer()

    def expect(self, corners: Sequence[tuple[float, float]], size: tuple[int, int], mpp: float) -> None:
        """Fetch together what `read` of regions at these corners will need, where that saves time."""
        prefetch = getattr(self._source, "prefetch", None)  # a source of ranges has it, one of a copied file need not
        if self._elsewhere is None or prefetch is None:
            return
        level, as_it_is = self._choose_level(mpp)
        width, height = self.levels[level].width, self.levels[level].height
        across, down = (1.0, 1.0) if as_it_is else (mpp / self._level_mpp[level][0], mpp / self._level_mpp[level][1])
        boxes = []
        for corner in corners:
            x, y = corner[0] * width / self.size[0], corner[1] * height / self.size[1]
            x, y = (round(x), round(y)) if as_it_is else (x, y)
            left, right = window(x, across, size[0], width)
            top, bottom = window(y, down, size[1], height)
            x0, x1, y0, y1 = max(left, 0), min(right, width), max(top, 0), min(bottom, height)
            if x0 < x1 and y0 < y1:
                boxes.append(((x0, y0), (x1 - x0, y1 - y0)))
        with plugin_boundary(self.plugin, f"on {self._path}"):
            prefetch(level, boxes)

    def close(self) -> None:
        """Release the file; calling it twice is harmless. A reader's failure to close is logged and costs nothing."""
        if self._to_close:
            self._to_close = False
            _close(self.plugin, self._source)
            if self._elsewhere is not None:
                self._elsewhere.close()

    def leave_open(self) -> None:
        """Never close the file: a read that was given up may still be at work in it."""
        self._to_close = False

    def __enter__(self) -> Slide:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _choose_level(self, mpp: float) -> tuple[int, bool]:
        """The level to read from, and whether its pixels are taken as they are."""
        if not 0 < mpp < 1000:
            raise SlideError(f"{self._path}: cannot be read at {mpp:g} µm per pixel", "ask for 0.1 to 100")
        off = [max(abs(x / mpp - 1), abs(y / mpp - 1), abs(x / y - 1)) for x, y in self._level_mpp]
        nearest = min(range(len(off)), key=off.__getitem__)
        if off[nearest] <= LEVEL_TOLERANCE:
            return nearest, True
        enlargement = max(self._level_mpp[0]) / mpp
        if enlargement > MAX_ENLARGEMENT:
            raise SlideError(
                f"{self._path}: {mpp:g} µm per pixel asked for, but the slide has only {show(self.mpp)}",
                f"ask for {max(self.mpp) / MAX_ENLARGEMENT:g} or more, or scan it at a higher magnification",
            )
        if enlargement > 1:
            self._warn(f"enlarged {enlargement:.2f}-fold to {mpp:g} µm per pixel; the slide has {show(self.mpp)}")
        finer = [i for i, own in enumerate(self._level_mpp) if max(own) <= mpp]
        return max(finer, key=lambda i: max(self._level_mpp[i]), default=0), False

    def _region(
        self, level: int, start: tuple[float, float], step: tuple[float, float], size: tuple[int, int]
    ) -> UInt8:
        """Output pixels of `step` level pixels each, from `start` in level pixels; cut where large."""
        width, height = size[0] * step[0], size[1] * step[1]
        if width * height > BLOCK_PX and max(size) > 1:
            axis = 0 if (width > height and size[0] > 1) or size[1] == 1 else 1
            half = size[axis] // 2
            first, second, middle = list(size), list(size), list(start)
            first[axis], second[axis] = half, size[axis] - half
            middle[axis] += half * step[axis]
            out = np.empty((size[1], size[0], 3), np.uint8)
            one, two = (out[:, :half], out[:, half:]) if axis == 0 else (out[:half], out[half:])
            one[:] = self._region(level, start, step, (first[0], first[1]))
            two[:] = self._region(level, (middle[0], middle[1]), step, (second[0], second[1]))
            return out
        left, right = window(start[0], step[0], size[0], self.levels[level].width)
        top, bottom = window(start[1], step[1], size[1], self.levels[level].height)
        pixels = self._pixels(level, left, top, right, bottom)
        return resample(pixels, (start[0] - left, start[1] - top), step, size)

    def _pixels(self, level: int, left: int, top: int, right: int, bottom: int) -> UInt8:
        """Pixels of a level; white outside of it."""
        x0, x1 = max(left, 0), min(right, self.levels[level].width)
        y0, y1 = max(top, 0), min(bottom, self.levels[level].height)
        inside = None
        if x0 < x1 and y0 < y1:
            inside = self._read_level(level, (x0, y0), (x1 - x0, y1 - y0))
            if (x0, y0, x1, y1) == (left, top, right, bottom):
                return inside
        canvas = np.full((bottom - top, right - left, 3), 255, np.uint8)
        if inside is not None:
            canvas[y0 - top : y1 - top, x0 - left : x1 - left] = inside
        return canvas

    def _read_level(self, level: int, xy: tuple[int, int], size: tuple[int, int]) -> UInt8:
        """What the reader gives, checked."""
        with plugin_boundary(self.plugin, f"on {self._path}"):
            pixels = self._source.read_level(level, xy, size)
            right = isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8 and pixels.shape == (*size[::-1], 3)
        if not right:
            given = f"{pixels.dtype}{list(pixels.shape)}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
            raise PluginError(f"{self.plugin} gave {given} instead of uint8[{size[1]}, {size[0]}, 3] for {self._path}")
        return pixels

    def _warn(self, text: str) -> None:
        with self._lock:
            if text not in self.warnings:
                self.warnings = (*self.warnings, text)


def open_slide(ref: SlideRef, readers: Sequence[UsableReader], want: str | None = None) -> Slide:
    """Open a slide with the first reader that can.

    `readers` are tried by the length of the suffix they know (`.ome.tif` before `.tif`). For a URL, only readers that
    request it themselves are tried, or, if there are none, those that read by ranges first. Then come those that prefer
    it, then all by name. `want`: the only one to try. If a reader opens the file but leaves the mpp unknown, the next
    one is tried. Raises SlideError naming the file and every reader's cause, or the answer of a URL's server;
    ContentError from the first reader that knows the file and refuses its content; ConfigError on an unknown `want`;
    PluginError when the only reader fails with anything else or hangs.
    """
    path: Path | Url = _checked_path(ref) if ref.url is None else ref.url
    chosen = _choose_readers(path, readers, want)
    failures: list[tuple[str, KrasError]] = []
    with ExitStack() as ends:
        elsewhere = Elsewhere(path) if isinstance(path, Url) else None
        if elsewhere is not None:
            ends.callback(elsewhere.close)
        for reader in chosen:
            # What comes over the network first does not depend on the reader, nor does its time count as the reader's.
            open_it = partial(reader.plugin.open, Path(str(path))) if elsewhere is None else elsewhere.opening(reader)
            try:
                slide = _open_with(reader, ref, path, open_it, elsewhere)
            except ContentError:
                raise
            except (SlideError, PluginError) as e:
                failures.append((reader.plugin.name, e))
                continue
            # A reader's defect must be reported even where another one replaced it.
            for name, failure in failures:
                if isinstance(failure, PluginError):
                    slide._warn(f"read by {reader.plugin.name!r} because {name!r} failed: {failure.message}")
            ends.pop_all()
            return slide
    if len({why.message for _, why in failures}) == 1:
        raise failures[0][1]
    causes = "; ".join(f"{name}: {why.message.removeprefix(f'{path}: ')}" for name, why in failures)
    hints = dict.fromkeys(why.hint for _, why in failures if why.hint)
    raise SlideError(f"{path}: no reader can use it: {causes}", "; or ".join(hints)) from failures[0][1]


def _checked_path(ref: SlideRef) -> Path:
    if ref.path is None:
        raise SlideError(f"slide {ref.slide_id!r} has no file", "give the cohort a column `path`")
    try:
        if ref.path.is_dir():
            raise SlideError(f"{ref.path}: is a folder, not a slide", "name the slide's file in it")
        with regular(ref.path, error=SlideError).open("rb") as file:
            if not file.read(1):
                raise SlideError(f"{ref.path}: is empty", "copy it again from its source")
    except OSError as e:
        raise SlideError(f"{ref.path}: {e.strerror or e}", "correct the path, or its permissions") from e
    return ref.path


def _choose_readers(path: Path | Url, readers: Sequence[UsableReader], want: str | None) -> list[UsableReader]:
    name = path.name
    if want is not None:
        named = [r for r in readers if r.plugin.name == want]
        if not named:
            known = ", ".join(sorted(r.plugin.name for r in readers)) or "none"
            raise ConfigError(f"there is no reader {want!r}", f"the readers are: {known}")
        return named

    def match(reader: UsableReader) -> int:
        return max((len(s) for s in reader.plugin.suffixes if name.lower().endswith(s)), default=0)

    if isinstance(path, Url) and (asking := [r for r in readers if r.plugin.asks(path)]):
        return asking
    able = [r for r in readers if match(r)]
    if not able:
        known = " ".join(sorted({suffix for r in readers for suffix in r.plugin.suffixes})) or "none"
        raise SlideError(f"{path}: no reader knows the suffix {Path(name).suffix!r}", f"known are: {known}")

    def rank(reader: UsableReader) -> tuple[int, bool, bool, str]:
        whole = isinstance(path, Url) and reader.plugin.open_remote is None
        return (-match(reader), whole, not name.lower().endswith(reader.plugin.preferred), reader.plugin.name)

    return sorted(able, key=rank)


def _open_with(
    reader: UsableReader,
    ref: SlideRef,
    path: Path | Url,
    open_it: Callable[[Options], SlideSource],
    elsewhere: Elsewhere | None,
) -> Slide:
    plugin, options = reader.plugin, reader.options
    who = _plugin_name(plugin.name, reader.origin)

    def opened() -> Slide:
        source = open_it(options)
        try:
            return Slide(ref, path, plugin.name, source, options, plugin.result_version, reader.origin, elsewhere)
        except BaseException:
            _close(who, source)
            raise

    return ask_about(who, f"on {path}", allowed(), opened)


def _plugin_name(reader: str, origin: str) -> str:
    return f"reader {reader!r} of {origin}" if origin else f"reader {reader!r}"


def _close(plugin: str, source: SlideSource) -> None:
    try:
        ask(plugin, source.close)
    except KrasError as e:  # nothing that was read is lost
        logging.getLogger("kras.slides").warning("a slide was not closed: %s", e.message)
