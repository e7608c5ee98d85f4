"""Where tiles come from: tissue of whole slides, and folders of images."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from kras_plugins.data import SlideRef, TileSpec
from kras_plugins.engines.engine import Engine, Here
from kras_plugins.errors import ConfigError, KrasError, SlideError
from kras_plugins.files.regular import regular
from kras_plugins.host.parts import UsableReader
from kras_plugins.processing.pipeline import key_of_tissue, made_artifact, stored_tissue
from kras_plugins.processing.tasks import as_named, costs_of, item_of, ref_of
from kras_plugins.slides.slide import Slide, open_slide
from kras_plugins.slides.tiles import tile_grid
from kras_plugins.store import Store, make_key

if TYPE_CHECKING:
    from kras_plugins.data import Float64, UInt8

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
_CORNERS = "corners.npy"
_LOG = logging.getLogger("kras")
_TRIES = 20
"""Damaged places in a row that end a training: then the disk is at fault and not a single file."""
_KEPT = 48
"""Open slides and decoded images a process keeps: a crop from memory costs a hundredth of decoding again."""
_KEPT_BYTES = 1 << 30
"""Bytes of decoded images kept in each process that makes samples."""

Readers = Sequence[UsableReader]


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file with its tiles' upper left corners, float64[tile 2], in its own full-resolution pixels.

    `mpp`: of an image's pixels; None for a slide, which states its own.
    """

    file: Path
    corners: Float64
    mpp: float | None
    fingerprint: str


class Corpus:
    """All tiles of several sources, each as likely as any other. Usable from worker processes."""

    def __init__(self, sources: Sequence[Source], readers: Readers) -> None:
        self.sources = tuple(sources)
        self._readers = tuple(readers)
        self._ends = np.cumsum([len(s.corners) for s in sources])
        self._open: OrderedDict[int, Slide | UInt8] = OrderedDict()
        self._owner = os.getpid()
        self._told: set[int] = set()

    def __len__(self) -> int:
        """Number of tiles."""
        return int(self._ends[-1])

    @property
    def digest(self) -> str:
        """Identifies the tiles: sha256 (hex) over fingerprints and corners of all sources in order."""
        facts = hashlib.sha256()
        for s in self.sources:
            facts.update(json.dumps([s.fingerprint, s.mpp]).encode() + s.corners.tobytes())
        return facts.hexdigest()

    def counts(self) -> dict[str, int]:
        """How many slides, images and tiles there are; no names, which may be those of patients."""
        images = sum(s.mpp is not None for s in self.sources)
        return {"slides": len(self.sources) - images, "images": images, "tiles": len(self)}

    def draw(self, rng: np.random.Generator, px: int, mpp: float) -> UInt8:
        """A random tile, uint8[px px 3] at `mpp`, moved by up to half a tile from its place in the grid.

        If the file is damaged there, this is logged once and the next random tile is taken: a training that stopped
        would stop there again. Raises SlideError if twenty in a row cannot be read.
        """
        failed = 0
        while True:
            number = int(rng.integers(len(self)))
            which = int(np.searchsorted(self._ends, number, side="right"))
            corner = self.sources[which].corners[number - (self._ends[which - 1] if which else 0)]
            shift = rng.uniform(-0.5, 0.5, 2)
            try:
                return self._tile(which, corner, shift, px, mpp)
            except SlideError as e:
                failed += 1
                if failed == _TRIES:
                    raise
                if which not in self._told:
                    self._told.add(which)
                    _LOG.warning("a tile cannot be read, another one is used: %s", e)

    def _tile(self, which: int, corner: Float64, shift: Float64, px: int, mpp: float) -> UInt8:
        source = self.sources[which]
        opened = self._opened(which)
        if isinstance(opened, Slide):
            side = px * mpp / np.array(opened.mpp)
            x, y = np.clip(corner + shift * side, 0, np.maximum(np.array(opened.size) - side, 0))
            return opened.read((float(x), float(y)), (px, px), mpp)
        assert source.mpp is not None
        width = px * mpp / source.mpp
        return _cut(opened, corner + shift * width, width, px)

    def close(self) -> None:
        """Close the slides that this process has open; it may continue to draw."""
        for opened in self._open.values() if self._owner == os.getpid() else ():
            if isinstance(opened, Slide):
                opened.close()
        self._open.clear()

    def __enter__(self) -> Corpus:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _opened(self, which: int) -> Slide | UInt8:
        if self._owner != os.getpid():  # file handles do not survive a fork
            self._open, self._owner = OrderedDict(), os.getpid()
        if which not in self._open:
            source = self.sources[which]
            if source.mpp is None:
                ref = SlideRef(patient_id=source.file.stem, slide_id=source.file.stem, path=source.file)
                self._open[which] = open_slide(ref, self._readers)
            else:
                self._open[which] = _read_image(source.file)
            while len(self._open) > _KEPT or (len(self._open) > 1 and self._pixels() > _KEPT_BYTES):
                gone = self._open.popitem(last=False)[1]
                if isinstance(gone, Slide):
                    gone.close()
        self._open.move_to_end(which)
        return self._open[which]

    def _pixels(self) -> int:
        return sum(0 if isinstance(opened, Slide) else opened.nbytes for opened in self._open.values())


@dataclass(frozen=True, kw_only=True)
class TileBench:
    """What slides are searched with: readers, the wanted tiles, and the store that keeps their positions."""

    readers: Readers
    spec: TileSpec
    store: Store


def survey(
    paths: Iterable[Path],
    bench: TileBench,
    *,
    image_mpp: float,
    set_aside: Callable[[Path, KrasError], None],
    engine: Engine[TileBench] | None = None,
    looked: Callable[[int, int], None] = lambda *_: None,
) -> Corpus:
    """Find the tiles that `bench` asks for in slides, images and folders of both.

    A slide's tiles are those with half tissue and little pen, found once per store; an image of `image_mpp` is used
    whole. `set_aside` is called for what cannot be read or is empty. `engine`: whose benches search the slides, with
    the same store; this process where None. `looked` is called with the number of files done and of all. Raises
    ConfigError where nothing is left.
    """
    files = _files(paths, bench.readers)
    slides = [i for i, file in enumerate(files) if file.suffix.lower() not in IMAGES]
    images = sorted({*range(len(files))}.difference(slides))
    sources: dict[int, Source] = {}
    found = chain(_images(files, images, bench.spec, image_mpp), _slides(files, slides, bench, engine))
    for done, (i, outcome) in enumerate(found, 1):
        if isinstance(outcome, SlideError):
            set_aside(files[i], outcome)
        elif isinstance(outcome, KrasError):
            raise outcome
        else:
            sources[i] = outcome
        looked(done, len(files))
    if not sources:
        raise ConfigError(
            "no tile to train on", f"give slides, or folders of slides or of {' '.join(IMAGES)} images, with tissue"
        )
    return Corpus([sources[i] for i in sorted(sources)], bench.readers)


def tiles_found(bench: TileBench, item: Mapping[str, Any]) -> dict[str, str]:
    """Find the tiles of a row's slide: returns its fingerprint, and the digest of their positions in the store.

    Raises SlideError where it cannot be read or has none.
    """
    with open_slide(ref_of(item), bench.readers) as slide:
        key = make_key("tiles", tissue=key_of_tissue(slide).digest, px=bench.spec.px, mpp=bench.spec.mpp)

        def build(folder: Path) -> None:
            grid = tile_grid(slide, stored_tissue(slide, bench.store), bench.spec)
            if not len(grid):
                raise SlideError(
                    f"{slide.ref.path}: no tile of {bench.spec.px} px is half tissue",
                    "the tissue is smaller than a tile",
                )
            np.save(folder / _CORNERS, grid.xy, allow_pickle=False)

        bench.store.make(key, build)
        return {"fingerprint": slide.fingerprint, "tiles": key.digest}


def _slides(
    files: Sequence[Path], which: Sequence[int], bench: TileBench, engine: Engine[TileBench] | None
) -> Iterator[tuple[int, Source | KrasError]]:
    refs = [SlideRef(patient_id=files[i].stem, slide_id=files[i].stem, path=files[i]) for i in which]
    by = engine or Here(bench)
    with closing(by.map(tiles_found, [item_of(ref) for ref in refs], costs_of(refs))) as outcomes:
        for number, found in outcomes:
            if isinstance(found, KrasError):
                yield which[number], as_named(found, refs[number])
                continue
            corners = np.load(made_artifact(bench.store, found["tiles"]) / _CORNERS, allow_pickle=False)
            file, fingerprint = files[which[number]], found["fingerprint"]
            yield (
                which[number],
                Source(file=file, corners=corners.astype(np.float64), mpp=None, fingerprint=fingerprint),
            )


def _images(
    files: Sequence[Path], which: Sequence[int], spec: TileSpec, mpp: float
) -> Iterator[tuple[int, Source | KrasError]]:
    for i in which:
        try:
            yield i, _survey_image(files[i], spec.px * spec.mpp / mpp, mpp)
        except SlideError as e:
            yield i, e


def _files(paths: Iterable[Path], readers: Readers) -> list[Path]:
    known = (*IMAGES, *(suffix for r in readers for suffix in r.plugin.suffixes))
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            found = sorted(f for f in path.rglob("*") if f.is_file() and f.name.lower().endswith(known))
            if not found:
                raise ConfigError(
                    f"{path}: contains neither slides nor images", f"known are: {' '.join(sorted(set(known)))}"
                )
            files += found
        elif path.exists():
            files.append(path)
        else:
            raise ConfigError(f"{path}: no such file or folder", "correct the path")
    return files


def _survey_image(file: Path, side: float, mpp: float) -> Source:
    height, width = _read_image(file).shape[:2]
    x, y = (np.arange(max(1, int(length // side))) * side for length in (width, height))
    corners = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2).astype(np.float64)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return Source(file=file, corners=corners, mpp=mpp, fingerprint=digest)


def _read_image(file: Path) -> UInt8:
    try:
        with Image.open(regular(file, error=SlideError)) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as e:
        raise SlideError(f"{file}: cannot be read: {e}", "replace or remove the image") from e


def _cut(image: UInt8, corner: Float64, side: float, px: int) -> UInt8:
    """uint8[px px 3] of the square of `side` at `corner`, moved into the image; mirrored where that is too small."""
    height, width = image.shape[:2]
    short = int(np.ceil(side)) - min(height, width)
    if short > 0:
        image = np.pad(image, ((0, max(0, short)), (0, max(0, short)), (0, 0)), "symmetric")
        height, width = image.shape[:2]
    x, y = np.clip(corner, 0, np.array([width - side, height - side]))
    part = Image.fromarray(image[int(y) : int(np.ceil(y + side)) + 1, int(x) : int(np.ceil(x + side)) + 1])
    left, top = x - int(x), y - int(y)
    box = (left, top, min(left + side, part.width), min(top + side, part.height))
    return np.asarray(part.resize((px, px), Image.Resampling.BICUBIC, box=box))
