"""One slide -> the inputs its classifiers ask for. Read `process_slide` first."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np

from kras_plugins.bags import read_bag
from kras_plugins.contracts.extractor import ExtractorPlugin
from kras_plugins.contracts.profiler import ProfilerPlugin
from kras_plugins.data import Bag, SemanticMap, SemanticProfile, SlideQC, SlideRef
from kras_plugins.errors import SlideError
from kras_plugins.host.isolation import ask
from kras_plugins.host.parts import Part, Parts, instance
from kras_plugins.processing.embedding import embed_slide
from kras_plugins.processing.profiling import profile_slide
from kras_plugins.processing.readers import Readers
from kras_plugins.processing.reading import Tiles, read_tiles
from kras_plugins.processing.workers import Workers
from kras_plugins.semantics.map import read_map, unlike_share
from kras_plugins.semantics.profile import FEATURES_VERSION, from_json, profile, to_json
from kras_plugins.slides.qc import slide_qc
from kras_plugins.slides.slide import Slide, open_slide
from kras_plugins.slides.stream import OnTiles
from kras_plugins.slides.tissue import TISSUE_MPP, TissueMask, find_tissue
from kras_plugins.store import Key, Store, make_key

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kras_plugins.data import Bool
    from kras_plugins.host.parts import UsableReader

BAG, TISSUE, FOCUS = "bag.h5", "tissue.h5", "tiles.h5"

_SLIDES_VERSION = 1
"""Rises when tissue, quality control or tiling give other results for the same pixels."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What the processing of slides runs on: where results lie, how many threads or what processes read, and which
    ones decode tiles.
    """

    store: Store
    read_threads: int
    decode_pool: Workers
    readers: Readers


@dataclass(frozen=True, kw_only=True)
class SlideResult:
    """What one slide gave. `keys` identify the stored artifacts; features stay on disk.

    `artifacts`: digests of the store's by kind: `tissue`, `bag` and `map`, without those that were made elsewhere.
    """

    ref: SlideRef
    qc: SlideQC | None
    bag: Bag | None
    profile: SemanticProfile | None
    map_folder: Path | None
    fingerprint: str
    keys: tuple[str, ...]
    seconds: float
    artifacts: Mapping[str, str] = field(default_factory=dict)


def process_slide(ref: SlideRef, parts: Parts, work: Work, on_tiles: OnTiles = lambda *_: None) -> SlideResult:
    """Tissue, tiles, features and semantic profile of one slide, each from the store where it is there already.

    Raises SlideError when the slide cannot be used, PluginError when a plug-in fails, BackendError when no model runs.
    """
    began = time.monotonic()
    extractor, profiler = parts.extractor, parts.profiler
    needs_pixels = [p for p in (extractor, profiler) if p is not None and not p.loads]
    bag = _load_bag(ref, extractor) if extractor is not None and extractor.loads else None
    semantic = load_semantics(ref, profiler) if profiler is not None and profiler.loads else None
    qc, fingerprint, map_folder, flags = None, "", None, None
    keys = [] if bag is None else [digest_of(bag)]
    artifacts: dict[str, str] = {}
    if needs_pixels:
        with open_slide(ref, parts.readers, parts.reader) as slide:
            fingerprint = slide.fingerprint
            for part in needs_pixels:
                slide.actual_mpp(part.tile.mpp)  # warns of enlargement, whether tiles are cut now or were before
            tissue_key = key_of_tissue(slide)
            tissue, artifacts["tissue"] = stored_tissue(slide, work.store), tissue_key.digest
            _refuse_without_tissue(slide, tissue)
            tiles = tiles_of(slide, parts.readers, work)
            if extractor is not None and not extractor.loads:
                key = key_of_part("bag", extractor, tissue_key)
                folder = work.store.make(key, partial(_build_bag, slide, tissue, extractor, tiles, on_tiles))
                bag, flags = read_bag(folder / BAG, ref.slide_id), read_flags(folder)
                keys.append(key.digest)
                artifacts["bag"] = key.digest
            if profiler is not None and not profiler.loads:
                key = key_of_part("map", profiler, tissue_key)
                map_folder = work.store.make(key, partial(_build_map, slide, tissue, profiler, tiles, work, on_tiles))
                flags = read_flags(map_folder) if flags is None else flags
                keys.append(key.digest)
                artifacts["map"] = key.digest
            assert flags is not None
            qc = slide_qc(
                slide_id=ref.slide_id,
                tissue=tissue,
                blurred=flags,
                mpp=float(np.mean(slide.mpp)),
                mpp_source=slide.mpp_source,
                warnings=slide.warnings,
                unlike_share=None if map_folder is None else unlike_share(map_folder),
            )
            if qc.verdict == "fail":
                raise SlideError(
                    f"{ref.path}: quality control failed: {'; '.join(qc.reasons)}",
                    "look at the slide; scan it again",
                )
    if map_folder is not None:
        key = make_key("profile", map=keys[-1], features=FEATURES_VERSION)
        semantic = _stored_profile(map_folder, key, work.store, ref.slide_id)
    elif isinstance(semantic, SemanticMap):
        semantic = profile(semantic)
    return SlideResult(
        ref=ref,
        qc=qc,
        bag=bag,
        profile=semantic,
        map_folder=map_folder,
        fingerprint=fingerprint or (bag.encoder if bag else ""),
        keys=tuple(keys),
        seconds=time.monotonic() - began,
        artifacts=artifacts,
    )


def digest_of(bag: Bag) -> str:
    """sha256 of a bag's content, for bags that come from outside of the store."""
    digest = hashlib.sha256(f"{bag.encoder}|{bag.transform_hash}|{bag.tile_spec}".encode())
    for array in (bag.features, bag.xy):
        digest.update(np.ascontiguousarray(array).view(np.uint8).data)
    return digest.hexdigest()


def key_of_tissue(slide: Slide) -> Key:
    """The store key of a slide's tissue mask."""
    return make_key(
        "tissue",
        slide=slide.fingerprint,
        reader=dict(slide.reader_facts),
        mpp=list(slide.mpp),
        at=TISSUE_MPP,
        version=_SLIDES_VERSION,
    )


def key_of_part(kind: str, part: Part, tissue: Key) -> Key:
    """The store key of what a part makes of a slide."""
    return make_key(kind, part=dict(part.facts), tissue=tissue.digest)


def _load_bag(ref: SlideRef, part: Part) -> Bag:
    record = part.provided.record
    assert isinstance(record, ExtractorPlugin) and record.load is not None
    loaded = instance(part.provided.id, ask(part.provided.id, record.load, ref.row, part.options), Bag)
    return loaded if ref.source is None else replace(loaded, slide_id=ref.slide_id)


def load_semantics(ref: SlideRef, part: Part) -> SemanticMap | SemanticProfile:
    """What a profiler that opens no pixels says of a slide."""
    record = part.provided.record
    assert isinstance(record, ProfilerPlugin) and record.load is not None
    loaded = ask(part.provided.id, record.load, ref.row, part.options)
    if isinstance(loaded, SemanticMap):
        return loaded if ref.source is None else replace(loaded, slide_id=ref.slide_id)
    finished = instance(part.provided.id, loaded, SemanticProfile)
    return finished if ref.source is None else replace(finished, id=ref.slide_id)


def stored_tissue(slide: Slide, store: Store) -> TissueMask:
    """Where a slide has tissue, found once a store; raises as `Slide.thumbnail` does, StoreError on a full disk."""

    def build(folder: Path) -> None:
        image, mpp = ask(slide.plugin, slide.thumbnail, TISSUE_MPP)
        tissue = find_tissue(image, float(np.mean(mpp)))
        with h5py.File(folder / TISSUE, "w") as f:
            f.create_dataset("mask", data=tissue.mask, compression="gzip")
            f.create_dataset("pen", data=tissue.pen, compression="gzip")
            f.attrs["mpp"] = tissue.mpp
            if tissue.stain_od is not None:
                f.attrs["stain_od"] = tissue.stain_od

    return read_tissue(store.make(key_of_tissue(slide), build))


def read_tissue(folder: Path) -> TissueMask:
    """The tissue mask of an artifact."""
    with h5py.File(folder / TISSUE, "r") as f:
        stain = f.attrs.get("stain_od")  # not there in stores of earlier versions
        return TissueMask(
            mask=f["mask"][:],
            pen=f["pen"][:],
            mpp=float(f.attrs["mpp"]),
            stain_od=None if stain is None else (float(stain[0]), float(stain[1]), float(stain[2])),
        )


def _refuse_without_tissue(slide: Slide, tissue: TissueMask) -> None:
    if not tissue.mask.any():
        raise SlideError(
            f"{slide.ref.path}: no tissue found", "look at the slide; a blank or very pale one cannot be used"
        )


def tiles_of(slide: Slide, readers: Sequence[UsableReader], work: Work) -> Tiles:
    """How the tiles of a slide, which one of `readers` opened, are read."""
    reader = next(r for r in readers if r.plugin.name == slide.reader)
    return partial(read_tiles, slide, threads=work.read_threads, reader=reader, readers=work.readers)


def _build_bag(slide: Slide, tissue: TissueMask, part: Part, tiles: Tiles, on_tiles: OnTiles, folder: Path) -> None:
    _write_flags(folder, embed_slide(slide, tissue, part, folder, tiles, on_tiles))


def _build_map(
    slide: Slide, tissue: TissueMask, part: Part, tiles: Tiles, work: Work, on_tiles: OnTiles, folder: Path
) -> None:
    threads, pool = work.read_threads, work.decode_pool
    _write_flags(folder, profile_slide(slide, tissue, part, folder, tiles, threads, pool, on_tiles))


def _write_flags(folder: Path, flags: Bool) -> None:
    with h5py.File(folder / FOCUS, "w") as f:
        f.create_dataset("blurred", data=flags)


def read_flags(folder: Path) -> Bool:
    """The focus flags bool[tile] noted while an artifact's tiles were read."""
    with h5py.File(folder / FOCUS, "r") as f:
        flags: Bool = f["blurred"][:]
        return flags


def _stored_profile(map_folder: Path, key: Key, store: Store, slide_id: str) -> SemanticProfile:
    def build(folder: Path) -> None:
        (folder / "profile.json").write_text(to_json(profile(read_map(map_folder))))

    return from_json((store.make(key, build) / "profile.json").read_text(), slide_id)
