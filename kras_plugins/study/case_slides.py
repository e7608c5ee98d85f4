"""What is written and shown of each slide of a scored patient: cells, heat maps, tiles, and pictures for the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from kras_plugins.data import split_extractor
from kras_plugins.report.case import CaseSlide, Tile, Tiles
from kras_plugins.report.case_layers import attention_layer, cells_layer, contribution_layer
from kras_plugins.report.gallery import Picture, tile_gallery
from kras_plugins.report.heatmap import attention_heatmap, write_png, write_tiles_geojson
from kras_plugins.report.html import data_uri, photo_uri
from kras_plugins.report.links import BARE
from kras_plugins.semantics.geojson import write_cells_geojson
from kras_plugins.slides.slide import Slide, open_slide
from kras_plugins.store import safe_name
from kras_plugins.study.maps import map_of, mpp_of, write_overlay

if TYPE_CHECKING:
    from kras_plugins.data import Bag, Explanation, Float64, Int32, SemanticMap, UInt8
    from kras_plugins.host.parts import Parts
    from kras_plugins.processing.pipeline import SlideResult
    from kras_plugins.study.notify import Notify

_HEATMAP_PX = 1500
"""Longer side of a heat map: a size that a page shows well, for a biopsy as for a resection."""
_PAGE_PX = 900
"""Longer side of a slide's picture on a page, which contains it twice."""
_TOP_TILES = 6


@dataclass(frozen=True, kw_only=True)
class Explained:
    """Where a member that looks at tiles found its score.

    `attention`, `contribution`: float64[tile], None if the member does not provide them. `assessable`: whether pages
    may show what contributed to the score; files for other programs always contain it, as predictions.csv contains the
    score.
    """

    member: str
    assessable: bool
    slide_ids: tuple[str, ...]
    xy: Int32
    attention: Float64 | None
    contribution: Float64 | None

    @property
    def extractor(self) -> str:
        """The extractor whose tiles these are, if there are several."""
        return split_extractor(self.member)[1]

    @classmethod
    def of(cls, member: str, why: Explanation, *, assessable: bool) -> Explained | None:
        """A member's explanation by tiles; None for a member that looks at features."""
        if why.xy is None:
            return None
        attention = why.values if why.kind == "attention" else why.attention
        return cls(
            member=member,
            assessable=assessable,
            slide_ids=why.slide_ids,
            xy=why.xy,
            attention=attention,
            contribution=why.values if why.kind == "contribution" else None,
        )

    def on(self, slide_id: str) -> Explained:
        """The tiles of one slide."""
        here = np.array([one == slide_id for one in self.slide_ids], bool)
        return replace(
            self,
            slide_ids=tuple(one for one in self.slide_ids if one == slide_id),
            xy=self.xy[here],
            attention=None if self.attention is None else self.attention[here],
            contribution=None if self.contribution is None else self.contribution[here],
        )

    def top(self, sizes: Mapping[str, tuple[float, float]]) -> Tiles:
        """The tiles to look at: those that raise or lower the score most, else the most attended. `sizes`: by slide."""

        def best(order: Float64, values: Float64, which: Sequence[bool]) -> tuple[Tile, ...]:
            first = [i for i in np.argsort(order, kind="stable").tolist() if which[i] and self.slide_ids[i] in sizes]
            return tuple(self._tile(i, float(values[i]), sizes) for i in first[:_TOP_TILES])

        c, a = self.contribution, self.attention
        if c is not None and self.assessable:
            return Tiles(
                member=self.member,
                raising=best(-c, c, (c > 0).tolist()),
                lowering=best(c, c, (c < 0).tolist()),
            )
        return Tiles(member=self.member, attended=() if a is None else best(-a, a, [True] * len(a)))

    def _tile(self, i: int, value: float, sizes: Mapping[str, tuple[float, float]]) -> Tile:
        slide_id, (x, y) = self.slide_ids[i], self.xy[i].tolist()
        return Tile(slide_id=slide_id, xy=(x, y), size=sizes[slide_id], value=value)


@dataclass(frozen=True, kw_only=True)
class Looked:
    """A slide as its page shows it. `pictures`: data URIs as `links.OnDisk` finds them."""

    slide: CaseSlide
    pictures: Mapping[tuple[str | int, ...], str] = field(default_factory=dict)


def look(
    out: Path,
    parts: Parts,
    result: SlideResult,
    why: Explained | None,
    tiles: Tiles | None,
    notify: Notify,
    *,
    overlay: bool,
    others: Sequence[Explained] = (),
) -> Looked:
    """Write the slide's GeoJSON, heat map and gallery, with `overlay` also the large picture of cells; return the rest.

    `why`: that of the whole patient; `tiles`: those whose pictures the page needs; `others`: members whose heat maps
    are written, too, with the member in their names. A slide without pixels has none.
    """
    name, slide_id = safe_name(result.ref.slide_id), result.ref.slide_id
    semantic = map_of(result, parts)
    counts: dict[str, int] = {}
    if semantic is not None:
        write_cells_geojson(semantic, out / f"{name}.cells.geojson", mpp_of(semantic, result))
        counts = {e["values"]: e["counts"] for e in semantic.cells["class"].value_counts().to_pylist()}
        if overlay:
            write_overlay(out / f"{name}.overlay.png", semantic, result, parts, notify)
    bare = CaseSlide(slide_id=slide_id, qc=result.qc, cells=counts)
    if result.ref.place is None or result.qc is None:
        return Looked(slide=bare)
    bag = None if why is None else result.bag_of(why.extractor)
    own = None if why is None or bag is None else why.on(bag.slide_id)
    with open_slide(result.ref, parts.readers, parts.reader) as slide:
        thumbnail, mpp = slide.thumbnail(_thumbnail_mpp(slide))
        pictures = {} if tiles is None or bag is None else _pictures_of(tiles, slide, bag)
        if own is not None and bag is not None:
            _write_tiles(out / name, slide, thumbnail, mpp, bag, own)
        for other in others:
            if (theirs := result.bag_of(other.extractor)) is not None:
                named = out / f"{name}.{other.member}"
                _write_tiles(named, slide, thumbnail, mpp, theirs, other.on(theirs.slide_id))
        drawn = _drawn(slide, thumbnail, mpp, bag, own, semantic)
    pictures |= {(slide_id, layer): uri for layer, uri in drawn.items()}
    layers = tuple(layer for layer in drawn if layer != BARE)
    looked_at = None if own is None else len(own.slide_ids)
    return Looked(slide=replace(bare, size=slide.size, layers=layers, looked_at=looked_at), pictures=pictures)


def _thumbnail_mpp(slide: Slide) -> float:
    width_um, height_um = slide.size[0] * slide.mpp[0], slide.size[1] * slide.mpp[1]
    return max(*slide.mpp, max(width_um, height_um) / _HEATMAP_PX)


def _pictures_of(tiles: Tiles, slide: Slide, bag: Bag) -> dict[tuple[str | int, ...], str]:
    """Pictures of the tiles that lie on this slide, as the network saw them."""
    wanted = [t for t in (*tiles.raising, *tiles.lowering, *tiles.attended) if t.slide_id == bag.slide_id]
    return {(t.slide_id, *t.xy): photo_uri(_read(slide, bag, t.xy)) for t in wanted}


def _read(slide: Slide, bag: Bag, xy: tuple[int, int]) -> UInt8:
    px = bag.tile_spec.px
    return slide.read((float(xy[0]), float(xy[1])), (px, px), bag.tile_spec.mpp)


def _write_tiles(
    path: Path, slide: Slide, thumbnail: UInt8, mpp: tuple[float, float], bag: Bag, own: Explained
) -> None:
    """The files of one slide's tiles: GeoJSON and, if there is attention, heat map and gallery."""
    values = {
        name: values for name, values in (("attention", own.attention), ("contribution", own.contribution))
        if values is not None
    }  # fmt: skip
    write_tiles_geojson(path.with_name(f"{path.name}.attention.geojson"), own.xy, bag.size, values)
    if own.attention is None:
        return
    heatmap = attention_heatmap(
        thumbnail, own.xy, bag.size, own.attention, scale=mpp[0] / slide.mpp[0], mpp=slide.mpp[0], name="attention"
    )
    write_png(path.with_name(f"{path.name}.attention.png"), heatmap)
    best = np.argsort(-own.attention, kind="stable")[:_TOP_TILES].tolist()
    shown = [
        Picture(pixels=_read(slide, bag, (x, y)), caption=(f"{n}.  attention {100 * share:.3g} %", f"{x}, {y}"))
        for n, (share, (x, y)) in enumerate(zip(own.attention[best].tolist(), own.xy[best].tolist(), strict=True), 1)
    ]
    title = (
        f"{bag.slide_id}: the {len(shown)} most attended of {len(own.xy)} tiles, {bag.tile_spec.um / 1000:.3g} mm wide"
    )
    write_png(path.with_name(f"{path.name}.attention-tiles.png"), tile_gallery(shown, title, columns=3))


def _drawn(
    slide: Slide,
    thumbnail: UInt8,
    mpp: tuple[float, float],
    bag: Bag | None,
    own: Explained | None,
    semantic: SemanticMap | None,
) -> dict[str, str]:
    """The slide's picture and what lies over it, by layer, as data URIs."""
    height, width = thumbnail.shape[:2]
    shrink = min(1.0, _PAGE_PX / max(height, width))
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    small = Image.fromarray(thumbnail).resize(size, Image.Resampling.LANCZOS)
    shape = size[::-1]
    px_um = (mpp[0] * width / size[0], mpp[1] * height / size[1])
    drawn = {BARE: photo_uri(np.asarray(small))}
    if own is not None and bag is not None and len(own.xy):
        scale = (px_um[0] / slide.mpp[0], px_um[1] / slide.mpp[1])
        if own.contribution is not None and own.assessable:
            drawn["contribution"] = data_uri(contribution_layer(shape, own.xy, bag.size, own.contribution, scale))
        if own.attention is not None:
            drawn["attention"] = data_uri(attention_layer(shape, own.xy, bag.size, own.attention, scale))
    if semantic is not None:
        drawn["cells"] = data_uri(cells_layer(shape, semantic, px_um))
    return drawn
