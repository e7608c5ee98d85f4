"""One slide of a result with its layers: from the store, from the result's folder, or missing for a reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins.bags import read_bag
from kras_plugins.errors import KrasError
from kras_plugins.processing.embedding import BAG
from kras_plugins.processing.passes import read_flags
from kras_plugins.processing.pipeline import key_of_tissue, read_tissue, stored_tissue
from kras_plugins.semantics.cells import CELL_SCHEMA
from kras_plugins.semantics.map import read_map
from kras_plugins.slides.tiles import tile_grid
from kras_plugins.viewer.alike import Alike, Cohort, Searched
from kras_plugins.viewer.geometry import Pyramid
from kras_plugins.viewer.layers.attention import AttentionLayer
from kras_plugins.viewer.layers.cells import CellsLayer
from kras_plugins.viewer.layers.contribution import ContributionLayer
from kras_plugins.viewer.layers.explained import Explained
from kras_plugins.viewer.layers.regions import RegionsLayer
from kras_plugins.viewer.layers.tiles import Tiles
from kras_plugins.viewer.layers.tissue import TissueLayer
from kras_plugins.viewer.pixels import has_small_level
from kras_plugins.viewer.results import AGAIN
from kras_plugins.viewer.shown import ShownSlide, nothing_similar

if TYPE_CHECKING:
    from kras_plugins.data import Bag
    from kras_plugins.slides.slide import Slide
    from kras_plugins.slides.tissue import TissueMask
    from kras_plugins.store import Store
    from kras_plugins.viewer.explain import Explained as Why
    from kras_plugins.viewer.layers.layer import Layer

_GONE = f"no longer in the store: {AGAIN}"


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Folders where a slide's tissue, features and map lie, None if they are missing.

    `why`: explains the tiles, None if nothing of that kind was made; `digest`: that of the bag; `cohort`: what is
    searched besides the slide; `name`: in addresses; `asked`: kinds of artifacts that were made.
    """

    name: str
    tissue: Path | None
    bag: Path | None
    map: Path | None
    asked: frozenset[str]
    why: Callable[[], Why] | None = None
    digest: str = ""
    cohort: Callable[[], Cohort] = Cohort
    facts: Mapping[str, Any] = field(default_factory=dict)


def assembled(slide: Slide, sources: Sources) -> ShownSlide:
    """The open slide with the layers that can be drawn; `missing` says why the others cannot."""
    pyramid, ref = Pyramid(slide.size, slide.mpp), slide.ref
    layers: list[Layer] = []
    missing: dict[str, str] = {}
    bag = None if sources.bag is None else read_bag(sources.bag / BAG, ref.slide_id)
    mask = None if sources.tissue is None else read_tissue(sources.tissue)
    regions = cells = None
    if sources.map is not None:
        semantic = read_map(sources.map, ref.slide_id)
        regions = RegionsLayer(replace(semantic, cells=CELL_SCHEMA.empty_table()), slide.mpp)
        cells = CellsLayer.read(sources.map, pyramid, ref.slide_id)
    elif "map" in sources.asked:
        missing |= {RegionsLayer.label: _GONE, CellsLayer.label: _GONE}
    tissue = None
    if mask is not None:
        tissue = _tissue(slide, mask, bag, sources, regions)
        layers.append(tissue)
    elif "tissue" in sources.asked:
        missing[TissueLayer.label] = _GONE
    attention = contribution = None
    if sources.why is not None:
        try:
            attention, contribution = _explained(sources.why(), bag, missing)
        except KrasError as e:
            missing |= dict.fromkeys((AttentionLayer.label, ContributionLayer.label), f"{e.message}: {e.hint}")
    layers += [one for one in (attention, contribution, regions, cells) if one is not None]
    return ShownSlide(
        slide=slide,
        layers=tuple(layers),
        missing=missing,
        at=Point(attention, contribution, regions, cells, tissue),
        similar=nothing_similar if bag is None else _alike(slide, bag, sources),
        facts=sources.facts,
    )


def with_tissue(slide: Slide, store: Store) -> ShownSlide:
    """An open slide without results, with its tissue: from the store, or detected now if that is quick."""
    key = key_of_tissue(slide)
    if store.find(key) is None and not has_small_level(slide):
        where = "not detected, as the slide has no small level: `kras profile` detects it"
        return ShownSlide(slide=slide, missing={TissueLayer.label: where})
    tissue = TissueLayer(stored_tissue(slide, store), slide.size, slide.mpp)
    return ShownSlide(slide=slide, layers=(tissue,), at=Point(None, None, None, None, tissue))


def _tissue(
    slide: Slide, mask: TissueMask, bag: Bag | None, sources: Sources, regions: RegionsLayer | None
) -> TissueLayer:
    """The layer, with the tiles that an encoder was given if known, else with what a profiler looked at."""
    if bag is not None and sources.bag is not None:
        grid, flags = tile_grid(slide, mask, bag.tile_spec), read_flags(sources.bag)
        if len(grid) == len(flags) and len(grid):
            return TissueLayer(mask, slide.size, slide.mpp, Tiles(grid.xy, grid.size), flags)
        return TissueLayer(mask, slide.size, slide.mpp, Tiles(bag.xy, bag.size))
    return TissueLayer(mask, slide.size, slide.mpp, analyzed=None if regions is None else regions.analyzed)


def _explained(
    why: Why, bag: Bag | None, missing: dict[str, str]
) -> tuple[AttentionLayer | None, ContributionLayer | None]:
    """The two layers, over all tiles of the bag if it is stored; adds to `missing` why a layer is missing."""
    tiles = Tiles(why.xy, why.size) if bag is None else Tiles(bag.xy, bag.size)
    values = Explained.over(tiles, why.xy, why.values)
    attention = contribution = None
    if "attention" in why.values:
        attention = AttentionLayer(values, why.source)
    else:
        missing[AttentionLayer.label] = "the model does not report where it looked"
    if "contribution" in why.values:
        contribution = ContributionLayer(values, why.source, why.member, every_tile=bag is not None)
    elif why.withheld:
        missing[ContributionLayer.label] = f"the patient is not assessable ({why.withheld}): no score is explained"
    else:
        missing[ContributionLayer.label] = "the model reports where it looked, not what each tile contributes"
    return attention, contribution


def _alike(slide: Slide, bag: Bag, sources: Sources) -> Alike:
    ref = slide.ref
    own = Searched(bag=bag, slide_id=ref.slide_id, patient_id=ref.patient_id, name=sources.name, training=False)
    return Alike(own=own, digest=sources.digest, cohort=sources.cohort)


@dataclass(frozen=True)
class Point:
    """What is at a point, as the address `at` answers."""

    attention: AttentionLayer | None
    contribution: ContributionLayer | None
    regions: RegionsLayer | None
    cells: CellsLayer | None
    tissue: TissueLayer | None

    def __call__(self, x: float, y: float) -> Mapping[str, Any]:
        """`x`, `y`: level-0 pixels."""
        return {
            "tile": self._tile(x, y),
            "cell": None if self.cells is None else self.cells.at(x, y),
            "tissue": None if self.regions is None else self.regions.at(x, y),
            "left_out": None if self.tissue is None else self.tissue.left_out(x, y),
        }

    def _tile(self, x: float, y: float) -> dict[str, Any] | None:
        explained = next((one.explained for one in (self.attention, self.contribution) if one is not None), None)
        found = None if explained is None else explained.tiles.find(x, y)
        if explained is None or found is None:
            return None
        given = None if self.contribution is None else known(self.contribution.values[found])
        share = None if self.attention is None else known(self.attention.percentile[found])
        looked = explained.looked[found]
        return {
            "xy": explained.tiles.xy[found].tolist(),
            "size": list(explained.tiles.size),
            "attention": known(explained.attention[found]),
            "percentile": None if share is None else round(100 * share, 1),
            "contribution": given,
            "raises": None if given is None else given > 0,
            "note": "" if looked else "not looked at: of many tiles the model looks at an evenly spaced selection",
        }


def known(value: np.float64) -> float | None:
    """A number, None if it is NaN."""
    return float(value) if np.isfinite(value) else None
