"""Checks of readers: the pixels of every level, in any region, from any thread, and an error for a damaged file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import maximum_filter, minimum_filter

from kras_plugins.contracts.reader import Level
from kras_plugins.errors import SlideError
from kras_plugins.slides.scale import PLAUSIBLE_MPP
from kras_plugins.testing.checks import slide_files
from kras_plugins.testing.checks.candidate import Candidate
from kras_plugins.testing.checks.outcome import Failed, NotApplicable, told
from kras_plugins.testing.checks.rule import check, refused, require, same, shown
from kras_plugins.testing.checks.slide_files import SlideFile
from kras_plugins.urls import Url

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.contracts.reader import SlideSource
    from kras_plugins.data import UInt8

KIND = "reader"
WINDOW = 640
"""Side in pixels of the window that is checked in each level: slides may be large."""

WHOLE_PX = 32 << 20
"""If a slide has more pixels, no level is read as a whole."""

SHIFT = 0.3
"""Level pixels by which regions of a coarser level may be shifted: OpenSlide locates them in whole level-0 pixels."""

PERSONAL = re.compile(r"patient|accession|barcode|birth|user|operator|file.?name|label|macro", re.IGNORECASE)
REGION = "Pixels uint8[h w 3] of a region that lies wholly inside `level`"


def _files(candidate: Candidate) -> list[SlideFile]:
    """The author's samples, else files that the kit writes in one of the reader's formats."""
    given, suffixes, folder = candidate.samples, candidate.record.suffixes, candidate.folder
    found: list[SlideFile] = candidate.once(
        "files", lambda: slide_files.given(given) or slide_files.written(suffixes, folder)
    )
    if not found:
        known = ", ".join(candidate.record.suffixes)
        more = f"--sample FILE, or samples={{{candidate.id!r}: [path or (path, pixels)]}}"
        raise NotApplicable(f"the kit does not write {known}: give {more}")
    return found


def _opened(candidate: Candidate) -> Iterator[tuple[SlideFile, SlideSource]]:
    """Each file, opened and closed."""
    for file in _files(candidate):
        source = candidate.need(f"open {file.path}", partial(_open, candidate, file), "opens")
        yield file, source


def _open(candidate: Candidate, file: SlideFile) -> SlideSource:
    source = _fresh(candidate, file)
    candidate.at_end(source.close)
    levels = source.levels
    right = isinstance(levels, tuple) and bool(levels) and all(isinstance(level, Level) for level in levels)
    require(right, "levels, a tuple of Level", repr(levels))
    return source


def _fresh(candidate: Candidate, file: SlideFile) -> SlideSource:
    """A file, or what is at an address, opened as the host would."""
    asked = isinstance(file.path, Url)
    source: SlideSource = (candidate.record.open_address if asked else candidate.record.open)(
        file.path, candidate.options
    )
    return source


def _read(source: SlideSource, level: int, xy: tuple[int, int], size: tuple[int, int]) -> UInt8:
    """A region, checked for the requested shape and dtype. Raises Failed if it has another."""
    got: UInt8 = source.read_level(level, xy, size)
    right = isinstance(got, np.ndarray) and got.dtype == np.uint8 and got.shape == (size[1], size[0], 3)
    require(right, f"uint8[{size[1]}, {size[0]}, 3] of level {level} at {xy}", shown(got))
    return got


def _window(level: Level) -> tuple[tuple[int, int], tuple[int, int]]:
    """Corner and size of the middle of a level, at most WINDOW on a side."""
    width, height = min(level.width, WINDOW), min(level.height, WINDOW)
    return ((level.width - width) // 2, (level.height - height) // 2), (width, height)


def _parts(size: tuple[int, int]) -> list[tuple[int, int, int, int]]:
    """Regions x, y, width, height of a window: odd corners, single pixels, the far corner, the whole."""
    rng = np.random.default_rng(0)
    parts = [(0, 0, *size), (size[0] - 1, size[1] - 1, 1, 1)]
    for _ in range(8):
        x, y = (int(rng.integers(0, n)) for n in size)
        parts.append((x, y, int(rng.integers(1, size[0] - x + 1)), int(rng.integers(1, size[1] - y + 1))))
    return parts


@check(KIND, file="contracts/reader.py", words="lower-case file endings with their dot")
def suffixes_described(candidate: Candidate) -> None:
    """Suffixes are in lower case with their dot, and the preferred ones are among them."""
    suffixes = candidate.record.suffixes
    some = bool(suffixes) or bool(candidate.record.addresses)  # a reader of a service opens no files
    require(isinstance(suffixes, tuple) and some, "a tuple of suffixes", repr(suffixes))
    wrong = [s for s in suffixes if not s.startswith(".") or s != s.lower() or len(s) < 2]
    require(not wrong, "lower-case suffixes with a dot", ", ".join(wrong))
    strange = sorted(set(candidate.record.preferred) - set(suffixes))
    require(not strange, "preferred suffixes among its suffixes", ", ".join(strange))


@check(KIND, file="contracts/reader.py", words="Finest first; at least one, none empty")
def opens(candidate: Candidate) -> None:
    """An open slide states its levels, finest first, and the resolution given in the file, else None."""
    for file in _files(candidate):
        source = candidate.once(f"open {file.path}", partial(_open, candidate, file))
        sizes = [(level.width, level.height) for level in source.levels]
        require(min(min(s) for s in sizes) > 0, "levels, none of them empty", sizes)
        require(sizes == sorted(sizes, reverse=True), "the finest level first", sizes)
        ratios = [w / h * sizes[0][1] / sizes[0][0] for w, h in sizes]
        alike = all(abs(r - 1) < 0.05 + 1 / min(s) for r, s in zip(ratios, sizes, strict=True))
        require(alike, "levels of one image, of one shape", f"{sizes}; one may be a label or macro image")
        mpp, power = source.mpp, source.objective_power
        if mpp is not None:
            plausible = np.shape(mpp) == (2,) and all(PLAUSIBLE_MPP[0] <= v <= PLAUSIBLE_MPP[1] for v in mpp)
            require(plausible, "two plausible µm per pixel, or None", repr(mpp))
        require(power is None or power > 0, "an objective power, or None", repr(power))
        require(source.quickhash is None or isinstance(source.quickhash, str), "a digest or None", source.quickhash)
        if file.mpp is not None and file.stated:
            near = mpp is not None and max(abs(v / file.mpp - 1) for v in mpp) < 0.01
            require(near, f"{file.mpp:g} µm per pixel, as {file.path.name} says", repr(mpp))
        elif file.mpp is not None:
            require(mpp is None, f"None for mpp, which {file.path.name} does not state", repr(mpp))


@check(KIND, file="contracts/reader.py", words=REGION)
def reference_pixels(candidate: Candidate) -> None:
    """Pixels of level 0 are those that were written: the order of colors is right, nothing is mirrored or shifted."""
    known = [(f, s) for f, s in _opened(candidate) if f.pixels is not None]
    if not known:
        raise NotApplicable(f"no reference is given: samples={{{candidate.id!r}: [(path, pixels)]}}")
    for file, source in known:
        assert file.pixels is not None
        level = source.levels[0]
        size = (level.width, level.height)
        require(size == file.pixels.shape[1::-1], f"{file.pixels.shape[1::-1]} pixels", size)
        (x, y), (w, h) = _window(level)
        got, wanted = _read(source, 0, (x, y), (w, h)), file.pixels[y : y + h, x : x + w]
        apart = np.abs(got.astype(int) - wanted)
        require(
            float(apart.mean()) <= file.mean_error, f"pixels within {file.mean_error:g} of {file.path.name} on average",
            f"{apart.mean():.3g}",
        )  # fmt: skip


@check(KIND, file="contracts/reader.py", words=REGION)
def regions_agree(candidate: Candidate) -> None:
    """Any region of any level equals the same part of a larger region, and has the requested size."""
    for file, source in _opened(candidate):
        for index, level in enumerate(source.levels):
            (x, y), size = _window(level)
            whole = _read(source, index, (x, y), size)
            allowed = _allowed(whole) if index else np.zeros(whole.shape)
            for left, top, width, height in _parts(size):
                part = _read(source, index, (x + left, y + top), (width, height))
                here = np.s_[top : top + height, left : left + width]
                agree = (np.abs(part.astype(int) - whole[here]) <= allowed[here]).all()
                require(bool(agree), f"the same {width} x {height} pixels of level {index} at {(x + left, y + top)}",
                        f"others ({shown(part)}) of {file.path.name}")  # fmt: skip


def _allowed(whole: UInt8) -> npt.NDArray[np.float64]:
    """How much each pixel of a level may change under a shift by SHIFT: this share of the range around it."""
    low, high = (f(whole, size=(3, 3, 1)).astype(np.float64) for f in (minimum_filter, maximum_filter))
    allowed: npt.NDArray[np.float64] = SHIFT * (high - low) + 2
    return allowed


@check(KIND, file="contracts/reader.py", words="One level of a pyramid: its size in its own pixels")
def levels_agree(candidate: Candidate) -> None:
    """Each level shows the same image at a smaller size: none is mirrored, a label or a macro image."""
    seen = 0
    for file, source in _opened(candidate):
        first = source.levels[0]
        if first.width * first.height > WHOLE_PX:
            continue
        whole = _read(source, 0, (0, 0), (first.width, first.height)).mean(axis=2)
        for index, level in enumerate(source.levels[1:], start=1):
            seen += 1
            got = _read(source, index, (0, 0), (level.width, level.height)).mean(axis=2)
            wanted = _shrunk(whole, got.shape)
            plain = got.std() < 1 and wanted.std() < 1  # a uniform image has no correlation
            likeness = 1.0 if plain else float(np.corrcoef(got.ravel(), wanted.ravel())[0, 1])
            require(likeness > 0.8, f"level {index} of {file.path.name} to look like level 0 (correlation above 0.8)",
                    f"{likeness:.2f}")  # fmt: skip
    if not seen:
        raise NotApplicable("no sample has several levels that are large enough to compare")


@check(KIND, file="contracts/reader.py", words="Transparent pixels are white")
def transparent_is_white(candidate: Candidate) -> None:
    """Where a file has no pixels, or transparent ones, it reads as white, like glass."""
    file = slide_files.transparent(candidate.record.suffixes, candidate.folder)
    if file is None:
        raise NotApplicable("the kit writes no transparent file in its formats")
    source = _open(candidate, file)
    level = source.levels[0]
    got = _read(source, 0, (0, 0), (level.width // 2, level.height))
    require(bool((got == 255).all()), "white", f"pixels down to {got.min()}")


@check(KIND, file="contracts/reader.py", words="All members may be used from many threads at once")
def many_threads(candidate: Candidate) -> None:
    """When read from many threads at once, each thread gets its own region."""
    for file, source in _opened(candidate):
        (x, y), size = _window(source.levels[0])
        whole = _read(source, 0, (x, y), size)
        parts = _parts(size)[1:] * 6

        def read(part: tuple[int, int, int, int], source: SlideSource = source, x: int = x, y: int = y) -> UInt8:
            return source.read_level(0, (x + part[0], y + part[1]), (part[2], part[3]))

        with ThreadPoolExecutor(8) as pool:
            got = list(pool.map(read, parts))
        wrong = sum(
            not same(p, whole[top : top + height, left : left + width])
            for p, (left, top, width, height) in zip(got, parts, strict=True)
        )
        require(not wrong, f"the pixels that one thread gets, of {file.path.name}", f"{wrong} wrong of {len(parts)}")


@check(KIND, file="contracts/reader.py", words="never a label or macro image, never an identifier of a person")
def no_identifiers(candidate: Candidate) -> None:
    """`properties` are short facts about scanner and format, with nothing that identifies a person."""
    for file, source in _opened(candidate):
        require(isinstance(source.properties, Mapping), "a mapping of words", shown(source.properties))
        for name, value in source.properties.items():
            require(isinstance(value, str) and len(value) < 500, f"a short text for {name}", repr(value)[:60])
            named = str(file.path) in value or value in (
                file.path.name,
                PurePath(file.path.name).stem,
            )  # often the patient's
            clean = PERSONAL.search(name) is None and slide_files.PERSON not in value and not named
            require(clean, f"no property that may name a person ({file.path.name})", f"{name}: {value[:60]}")


@check(KIND, file="contracts/reader.py", words="Release the file; calling it twice is harmless")
def closes_twice(candidate: Candidate) -> None:
    """Closing twice is harmless."""
    for file in _files(candidate):
        candidate.need(f"open {file.path}", partial(_open, candidate, file), "opens")
        source = _fresh(candidate, file)
        source.close()
        source.close()


@check(KIND, file="contracts/reader.py", words="raises SlideError on a bad file")
def damage_told(candidate: Candidate) -> None:
    """A missing, foreign or truncated file raises a SlideError: the slide is set aside and the run continues."""
    for file, source in _opened(candidate):
        if isinstance(file.path, Url):
            raise NotApplicable("damage at an address is up to its server")
        suffix = "".join(file.path.suffixes)
        with refused("a missing file", SlideError, came=lambda: "an open slide"):
            candidate.record.open(candidate.folder / f"absent{suffix}", candidate.options)
        if file.path.is_dir():
            continue
        foreign = candidate.folder / f"foreign{suffix}"
        foreign.write_bytes(b"this is no slide " * 1000)
        with refused("a file of another format", SlideError, came=lambda: "an open slide"):
            candidate.record.open(foreign, candidate.options).close()
        first = source.levels[0]
        if first.width * first.height <= WHOLE_PX:
            half, content = candidate.folder / f"half{suffix}", file.path.read_bytes()
            half.write_bytes(content[: len(content) // 2])
            _check_half(candidate, half, source.read_level(0, (0, 0), (first.width, first.height)))


def _check_half(candidate: Candidate, half: Path, whole: UInt8) -> None:
    """Require SlideError, or all pixels of level 0: the end of a file may have only coarser levels."""
    expected = "SlideError for half of a file, or its correct pixels"
    try:
        got = _pixels_of(candidate, half)
    except SlideError as e:
        require(bool(str(e).strip()), expected, "SlideError without a message")
    except Failed:
        raise
    except Exception as e:
        raise Failed(expected, told(e)) from e
    else:
        require(same(got, whole), expected, f"other pixels ({shown(got)})")


def _pixels_of(candidate: Candidate, path: Path) -> UInt8:
    """Level 0 of a damaged file, after all its levels were read."""
    source = candidate.record.open(path, candidate.options)
    try:
        levels = [source.read_level(i, (0, 0), (level.width, level.height)) for i, level in enumerate(source.levels)]
    finally:
        try:
            source.close()
        except Exception as e:
            raise Failed("a damaged file to be closed", told(e)) from e
    first: UInt8 = levels[0]
    return first


def _shrunk(image: np.ndarray[tuple[int, int], np.dtype[np.float64]], shape: tuple[int, ...]) -> UInt8:
    """A gray image averaged over the blocks that make up each pixel of `shape`."""
    edges = [np.linspace(0, n, m + 1).astype(int)[:-1] for n, m in zip(image.shape, shape, strict=True)]
    sums = np.add.reduceat(np.add.reduceat(image, edges[0], axis=0), edges[1], axis=1)
    counts = [np.diff(np.append(e, n)) for e, n in zip(edges, image.shape, strict=True)]
    mean: UInt8 = sums / np.outer(counts[0], counts[1])
    return mean
