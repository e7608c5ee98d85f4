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

from kras_plugins.bags import let_go, read_bag
from kras_plugins.contracts.extractor import ExtractorPlugin
from kras_plugins.contracts.profiler import ProfilerPlugin
from kras_plugins.data import Bag, SemanticMap, SemanticProfile, SlideQC, SlideRef, of_extractor
from kras_plugins.errors import BlankError, SlideError, StoreError
from kras_plugins.host.isolation import ask
from kras_plugins.host.parts import Part, Parts, instance
from kras_plugins.processing.embedding import BAG
from kras_plugins.processing.passes import read_flags, stored_bags, write_flags
from kras_plugins.processing.profiling import profile_slide
from kras_plugins.processing.readers import Readers
from kras_plugins.processing.reading import Tiles, read_tiles
from kras_plugins.processing.workers import Workers
from kras_plugins.semantics.map import read_map, unlike_share
from kras_plugins.semantics.profile import FEATURES_VERSION, from_json, profile, to_json
from kras_plugins.semantics.raster import PIXEL_UM
from kras_plugins.slides.fields import tissue_of
from kras_plugins.slides.qc import slide_qc
from kras_plugins.slides.scanner import scanner_of
from kras_plugins.slides.slide import Slide, open_slide
from kras_plugins.slides.stream import OnTiles
from kras_plugins.slides.tissue import TISSUE_MPP, TissueMask
from kras_plugins.store import Key, Store, make_key

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kras_plugins.host.parts import UsableReader

TISSUE = "tissue.h5"

_SLIDES_VERSION = 1
"""Raised when tissue, quality control or tiling give other results for the same pixels."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What the processing of slides runs on: where results are stored, how many threads or which processes read, and
    which processes decode tiles.
    """

    store: Store
    read_threads: int
    decode_pool: Workers
    readers: Readers


@dataclass(frozen=True, kw_only=True)
class SlideResult:
    """The results of one slide. `bags`: one per extractor; `keys` identify the stored artifacts; features stay on disk.

    `artifacts`: digests of stored artifacts by kind: `tissue`, `bag` (`bag@vit` with several extractors) and `map`,
    without those that were made elsewhere. `transfer`: bytes and requests that a remote slide took, None for a slide
    on disk.
    """

    ref: SlideRef
    qc: SlideQC | None
    bags: tuple[Bag, ...]
    profile: SemanticProfile | None
    map_folder: Path | None
    fingerprint: str
    keys: tuple[str, ...]
    seconds: float
    artifacts: Mapping[str, str] = field(default_factory=dict)
    transfer: Mapping[str, int] | None = None

    def bag_of(self, extractor: str) -> Bag | None:
        """The bag of one of several extractors, or of the only one (`""`)."""
        return next((bag for bag in self.bags if bag.extractor == extractor), None)


@dataclass(frozen=True, kw_only=True)
class Made:
    """What was made from a slide's pixels, without anything large, which is in the store.

    `artifacts`: digests of `tissue`, `bag` (`bag@vit` with several extractors) and `map`, without those that were made
    elsewhere. `transfer`: see SlideResult.
    """

    qc: SlideQC
    fingerprint: str
    artifacts: Mapping[str, str]
    transfer: Mapping[str, int] | None = None


def process_slide(
    ref: SlideRef, parts: Parts, work: Work, on_tiles: OnTiles = lambda *_: None, made: Made | None = None
) -> SlideResult:
    """Tissue, tiles, features and semantic profile of one slide, each from the store if it is there already.

    `made`: what another process made from its pixels in the same store; made here where None.
    Raises SlideError when the slide cannot be used, PluginError when a plug-in fails, BackendError when no model runs.
    """
    began = time.monotonic()
    profiler = parts.profiler
    bags = {name: _load_bag(ref, name, part) for name, part in parts.extractors.items() if part.loads}
    semantic = load_semantics(ref, profiler) if profiler is not None and profiler.loads else None
    digests = {name: digest_of(bag) for name, bag in bags.items()}
    if made is None and looks_at_pixels(parts):
        made = make_slide(ref, parts, work, on_tiles)
    artifacts = {} if made is None else made.artifacts
    map_folder = None
    for name in parts.extractors:
        if (kind := of_extractor("bag", name)) in artifacts:
            folder = made_artifact(work.store, artifacts[kind])
            bags[name] = replace(read_bag(folder / BAG, ref.slide_id), extractor=name)
            digests[name] = artifacts[kind]
    if "map" in artifacts:
        map_folder = made_artifact(work.store, artifacts["map"])
        semantic = from_json(_stored_profile(map_folder, artifacts["map"], work.store).read_text(), ref.slide_id)
    elif isinstance(semantic, SemanticMap):
        semantic = profile(semantic)
    work.store.release(artifacts.values())
    fingerprint = "" if made is None else made.fingerprint
    return SlideResult(
        ref=ref,
        qc=None if made is None else made.qc,
        bags=tuple(bags[name] for name in parts.extractors),
        profile=semantic,
        map_folder=map_folder,
        fingerprint=fingerprint or "+".join(bags[name].encoder for name in parts.extractors),
        keys=(*(digests[name] for name in parts.extractors), *([artifacts["map"]] if map_folder else [])),
        seconds=time.monotonic() - began,
        artifacts=artifacts,
        transfer=None if made is None else made.transfer,
    )


def map_folder_of(result: SlideResult) -> Path | None:
    """Where a slide's map is now: on object storage its local copy may have been evicted, and is fetched again."""
    return Store().at(result.artifacts["map"]) if "map" in result.artifacts else result.map_folder


def looks_at_pixels(parts: Parts) -> bool:
    """Whether any part opens slides, rather than reading results made elsewhere."""
    return any(not part.loads for part in parts.named().values())


def make_slide(ref: SlideRef, parts: Parts, work: Work, on_tiles: OnTiles = lambda *_: None) -> Made:
    """Make everything that is computed from a slide's pixels, in the store; raises as `process_slide` does."""
    look = {name: part for name, part in parts.extractors.items() if not part.loads}
    profiler = parts.profiler if parts.profiler is not None and not parts.profiler.loads else None
    artifacts: dict[str, str] = {}
    flags = None
    with open_slide(ref, parts.readers, parts.reader) as slide:
        for part in (*look.values(), *([] if profiler is None else [profiler])):
            slide.actual_mpp(part.tile.mpp)  # warns of enlargement, whether tiles are cut now or were before
        tissue_key = key_of_tissue(slide)
        tissue, artifacts["tissue"] = stored_tissue(slide, work.store), tissue_key.digest
        _refuse_without_tissue(slide, tissue)
        tiles = tiles_of(slide, parts.readers, work)
        keys = {name: key_of_part("bag", part, tissue_key) for name, part in look.items()}
        for name, folder in stored_bags(slide, tissue, look, keys, work.store, tiles, on_tiles).items():
            flags = read_flags(folder) if flags is None else flags
            artifacts[of_extractor("bag", name)] = keys[name].digest
        if profiler is not None:
            key = key_of_part("map", profiler, tissue_key)
            map_folder = work.store.make(key, partial(_build_map, slide, tissue, profiler, tiles, work, on_tiles))
            flags = read_flags(map_folder) if flags is None else flags
            artifacts["map"] = key.digest
        assert flags is not None
        qc = slide_qc(
            slide_id=ref.slide_id,
            tissue=tissue,
            blurred=flags,
            mpp=float(np.mean(slide.mpp)),
            mpp_source=slide.mpp_source,
            warnings=slide.warnings,
            field=slide.field,
            unlike_share=unlike_share(map_folder) if "map" in artifacts else None,
            scanner=scanner_of(slide.properties),
        )
        if qc.verdict == "fail":
            raise SlideError(
                f"{ref.place}: quality control failed: {'; '.join(qc.reasons)}",
                "look at the slide; scan it again",
            )
        fingerprint, transfer = slide.fingerprint, slide.transfer()
    if "map" in artifacts:
        _stored_profile(map_folder, artifacts["map"], work.store)
    return Made(qc=qc, fingerprint=fingerprint, artifacts=artifacts, transfer=transfer)


def made_artifact(store: Store, digest: str) -> Path:
    """The folder of an artifact that was just made; StoreError where this process does not find it."""
    folder = store.at(digest)
    if folder is None:
        raise StoreError(
            f"the store {store.place} does not contain {digest[:12]}, which was just made",
            "all machines must see one store: name a shared folder with --cache",
        )
    return folder


def digest_of(bag: Bag) -> str:
    """sha256 of a bag's content, for bags from outside the store."""
    digest = hashlib.sha256(f"{bag.encoder}|{bag.transform_hash}|{bag.tile_spec}".encode())
    for array in (bag.features, bag.xy):
        digest.update(np.ascontiguousarray(array).view(np.uint8).data)
    let_go(bag.features)
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
        **({"field": True} if slide.field else {}),
    )


def key_of_part(kind: str, part: Part, tissue: Key) -> Key:
    """The store key of what a part makes from a slide."""
    raster = {"raster_um": PIXEL_UM} if kind == "map" else {}
    return make_key(kind, part=dict(part.facts), tissue=tissue.digest, **raster)


def _load_bag(ref: SlideRef, name: str, part: Part) -> Bag:
    """The bag that an extractor without pixels loads for a slide; `name`: the extractor's mark among several."""
    record = part.provided.record
    assert isinstance(record, ExtractorPlugin) and record.load is not None
    try:
        loaded = instance(part.provided.id, ask(part.provided.id, record.load, ref.row, part.options), Bag)
    except SlideError as e:
        if not name:
            raise
        raise SlideError(f"extractor {name}: {e.message}", e.hint) from e
    return replace(loaded, slide_id=loaded.slide_id if ref.source is None else ref.slide_id, extractor=name)


def load_semantics(ref: SlideRef, part: Part) -> SemanticMap | SemanticProfile:
    """What a profiler that opens no pixels loads for a slide."""
    record = part.provided.record
    assert isinstance(record, ProfilerPlugin) and record.load is not None
    loaded = ask(part.provided.id, record.load, ref.row, part.options)
    if isinstance(loaded, SemanticMap):
        return loaded if ref.source is None else replace(loaded, slide_id=ref.slide_id)
    finished = instance(part.provided.id, loaded, SemanticProfile)
    return finished if ref.source is None else replace(finished, id=ref.slide_id)


def stored_tissue(slide: Slide, store: Store) -> TissueMask:
    """Where a slide has tissue, found once per store; raises as `Slide.thumbnail` does, StoreError on a full disk."""

    def build(folder: Path) -> None:
        tissue = tissue_of(slide, lambda mpp: ask(slide.plugin, slide.thumbnail, mpp))
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
        stain = f.attrs.get("stain_od")  # absent in stores of earlier versions
        return TissueMask(
            mask=f["mask"][:],
            pen=f["pen"][:],
            mpp=float(f.attrs["mpp"]),
            stain_od=None if stain is None else (float(stain[0]), float(stain[1]), float(stain[2])),
        )


def _refuse_without_tissue(slide: Slide, tissue: TissueMask) -> None:
    if not tissue.mask.any():
        kind = BlankError if slide.field else SlideError
        raise kind(f"{slide.ref.place}: no tissue found", "look at it; a blank, gray or very pale one cannot be used")


def tiles_of(slide: Slide, readers: Sequence[UsableReader], work: Work) -> Tiles:
    """How the tiles of a slide, which one of `readers` opened, are read."""
    reader = next(r for r in readers if r.plugin.name == slide.reader)
    return partial(read_tiles, slide, threads=work.read_threads, reader=reader, readers=work.readers)


def _build_map(
    slide: Slide, tissue: TissueMask, part: Part, tiles: Tiles, work: Work, on_tiles: OnTiles, folder: Path
) -> None:
    threads, pool = work.read_threads, work.decode_pool
    write_flags(folder, profile_slide(slide, tissue, part, folder, tiles, threads, pool, on_tiles))


def _stored_profile(map_folder: Path, digest: str, store: Store) -> Path:
    """The file of a map's profile, computed once per store. `digest`: that of the map."""

    def build(folder: Path) -> None:
        (folder / "profile.json").write_text(to_json(profile(read_map(map_folder))), encoding="utf-8", newline="\n")

    return store.make(make_key("profile", map=digest, features=FEATURES_VERSION), build) / "profile.json"
