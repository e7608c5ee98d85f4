"""Slides of typical true and false calls, each explained by a model that never saw the patient."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from kras_plugins.data import Bag, split_extractor
from kras_plugins.errors import PluginError, SlideError
from kras_plugins.evaluation.rows import PatientScores
from kras_plugins.evaluation.typical import typical_calls
from kras_plugins.learning.outer_models import explain_out_of_fold
from kras_plugins.processing.pipeline import map_folder_of
from kras_plugins.report.case_layers import attention_layer, cells_layer, contribution_layer
from kras_plugins.report.examples import NO_PATIENTS, NO_SLIDES, Example, Examples, ExampleTile
from kras_plugins.report.html import photo_uri
from kras_plugins.semantics.map import read_map
from kras_plugins.slides.slide import Slide, open_slide
from kras_plugins.store import safe_name
from kras_plugins.study.case_slides import Explained

if TYPE_CHECKING:
    from kras_plugins.data import Explanation, SlideRef, UInt8
    from kras_plugins.host.parts import Parts
    from kras_plugins.learning.bundle import Bundle
    from kras_plugins.learning.experiment import Experiment
    from kras_plugins.learning.samples import Case
    from kras_plugins.processing.pipeline import SlideResult
    from kras_plugins.study.notify import Notify

    Explain = Callable[[PatientScores, Case], Explanation]
    OpenSlide = Callable[[SlideRef], AbstractContextManager[Slide]]

_SLIDE_PX, _TILE_PX = 360, 112
"""Longer side of a slide's picture, and side of a tile's picture: together they add about a megabyte to the report."""
_TILES = 3


def opener(parts: Parts) -> OpenSlide:
    """A function that opens slides again once the models are closed."""
    return partial(open_slide, readers=parts.readers, want=parts.reader)


def placed(cases: Sequence[Case]) -> set[str]:
    """The extractors whose features have places, "" for the only one."""
    return {bag.extractor for case in cases for bag in case.sample.bags if bag.placed}


def out_of_fold(experiment: Experiment, extractors: Collection[str]) -> tuple[str, Explain] | None:
    """The first member on tiles and how the model of a patient's fold explains it; None if no member looks at tiles.

    `extractors`: those whose features have places.
    """
    on_tiles = (m for m in experiment.members if m.plugin.consumes is Bag and m.extractor in extractors)
    member = next(on_tiles, None)
    if member is None:
        return None

    def explain(row: PatientScores, case: Case) -> Explanation:
        assert row.fold is not None
        return explain_out_of_fold(experiment, member, row.fold - 1, case.sample)

    return member.name, explain


def by_bundle(bundle: Bundle, extractors: Collection[str]) -> tuple[str, Explain] | None:
    """The same for the models of a bundle, of which none saw the patients of another cohort."""
    member = next((m.name for m in bundle.members if m.consumes is Bag and m.extractor in extractors), None)
    return None if member is None else (member, lambda _, case: bundle.explain(member, case.sample))


def examples(
    rows: Sequence[PatientScores],
    cases: Sequence[Case],
    on_tiles: tuple[str, Explain] | None,
    opened: OpenSlide,
    notify: Notify,
) -> Examples:
    """What the report shows about typical patients, at most eight; `rows`: predictions of the study.

    A slide or an explanation that fails is reported in a warning, and what is missing is noted beside the patient.
    """
    if not any(_readable(result) for case in cases for result in case.results):
        return Examples(note=NO_SLIDES)
    basis, kinds = typical_calls(rows)
    by_patient = {c.patient.patient_id: c for c in cases}
    count = sum(len(kind.typical) for kind in kinds)
    if not count:
        return Examples(note=NO_PATIENTS)
    shown: dict[str, Example] = {}
    for row in (row for kind in kinds for row in kind.typical):
        shown[row.patient_id] = _example(row, by_patient[row.patient_id], on_tiles, opened, notify)
        notify.step("examples", len(shown), count)
    return Examples(basis=basis, kinds=tuple((k, tuple(shown[r.patient_id] for r in k.typical)) for k in kinds))


def _readable(result: SlideResult) -> bool:
    """Whether pixels of the slide were read in this study, and so can be read again."""
    return result.ref.place is not None and result.qc is not None


def _example(
    row: PatientScores, case: Case, on_tiles: tuple[str, Explain] | None, opened: OpenSlide, notify: Notify
) -> Example:
    readable = [result for result in case.results if _readable(result)]
    if not readable:
        return Example(row=row, note="no slide of this patient was read")
    why = None
    try:
        extractor = "" if on_tiles is None else split_extractor(on_tiles[0])[1]
        if on_tiles is not None and any(len(bag.features) for bag in case.sample.bags if bag.extractor == extractor):
            name, explain = on_tiles
            why = Explained.of(name, explain(row, case), assessable=True)
        result = max(readable, key=lambda one: _looked_at(why, one))
        with opened(result.ref) as slide:
            return _shown(row, result, why, slide, len(case.results))
    except (PluginError, SlideError) as e:
        notify.warn(f"left out of the report's examples, {row.patient_id}: {e}", "".join(traceback.format_exception(e)))
        return Example(row=row, note="its slide or its explanation could not be produced again; the log says why")


def _looked_at(why: Explained | None, result: SlideResult) -> float:
    """The share of the patient's attention that a slide has, or what its tiles contribute; 0 without either."""
    if why is None:
        return 0.0
    own = why.on(result.ref.slide_id)
    values = own.contribution if own.attention is None else own.attention
    return 0.0 if values is None else float(np.abs(values).sum())


def _shown(row: PatientScores, result: SlideResult, why: Explained | None, slide: Slide, slides: int) -> Example:
    """The slide's pictures and tiles."""
    slide_id, bag = result.ref.slide_id, None if why is None else result.bag_of(why.extractor)
    longest_um = max(slide.size[0] * slide.mpp[0], slide.size[1] * slide.mpp[1])
    pixels, mpp = slide.thumbnail(max(*slide.mpp, longest_um / _SLIDE_PX))
    shape, scale = pixels.shape[:2], (mpp[0] / slide.mpp[0], mpp[1] / slide.mpp[1])
    own = None if why is None else why.on(slide_id)
    layer, drawn = "", None
    raising: tuple[ExampleTile, ...] = ()
    lowering: tuple[ExampleTile, ...] = ()
    if own is not None and bag is not None and len(own.xy):
        top = own.top({slide_id: bag.size})
        raising, lowering = (
            tuple(
                ExampleTile(picture=photo_uri(_tile(slide, bag, tile.xy)), xy=tile.xy, value=tile.value)
                for tile in tiles[:_TILES]
            )
            for tiles in (top.raising or top.attended, top.lowering)
        )
        if own.contribution is not None:
            layer, drawn = "contribution", contribution_layer(shape, own.xy, bag.size, own.contribution, scale)
        elif own.attention is not None:
            layer, drawn = "attention", attention_layer(shape, own.xy, bag.size, own.attention, scale)
    elif (folder := map_folder_of(result)) is not None:
        layer, drawn = "cells", cells_layer(shape, read_map(folder, slide_id), mpp)
    return Example(
        row=row,
        slide_id=slide_id,
        name=safe_name(slide_id),
        slides=slides,
        picture=photo_uri(pixels),
        drawn="" if drawn is None else photo_uri(_over(pixels, drawn)),
        layer=layer,
        member="" if own is None else own.member,
        raising=raising,
        lowering=lowering,
    )


def _over(pixels: UInt8, layer: Image.Image) -> UInt8:
    """A picture with a layer drawn over it, uint8[h w 3]."""
    return np.asarray(Image.alpha_composite(Image.fromarray(pixels).convert("RGBA"), layer).convert("RGB"))


def _tile(slide: Slide, bag: Bag, xy: tuple[int, int]) -> UInt8:
    """A tile as the network saw it, scaled down."""
    px = bag.tile_spec.px
    tile = Image.fromarray(slide.read((float(xy[0]), float(xy[1])), (px, px), bag.tile_spec.mpp))
    return np.asarray(tile.resize((_TILE_PX, _TILE_PX), Image.Resampling.LANCZOS))
