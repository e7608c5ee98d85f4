"""What is written for each scored patient besides the numbers: page, heat maps, GeoJSON."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins.data import Explanation, Prediction
from kras_plugins.errors import PluginError, SlideError
from kras_plugins.evaluation.calls import probability
from kras_plugins.host.parts import Parts
from kras_plugins.learning.calibration import shift_prevalence
from kras_plugins.report.case import CasePage, CaseSlide, TopTile, write_case_page
from kras_plugins.report.gallery import Picture, tile_gallery
from kras_plugins.report.heatmap import attention_heatmap, write_png, write_tiles_geojson
from kras_plugins.semantics.geojson import write_cells_geojson
from kras_plugins.slides.slide import Slide, open_slide
from kras_plugins.store import safe_name
from kras_plugins.study.maps import map_of, mpp_of, write_overlay

if TYPE_CHECKING:
    from PIL.Image import Image

    from kras_plugins.data import Bag, Float64
    from kras_plugins.learning.bundle import Bundle
    from kras_plugins.learning.samples import Case
    from kras_plugins.study.notify import Notify

_HEATMAP_PX = 1500
"""Longer side of a heat map: what a page shows well, whether the slide is a biopsy or a resection."""
_TOP_TILES = 6


def write_pages(
    out: Path,
    bundle: Bundle,
    parts: Parts,
    predictions: Sequence[Prediction],
    cases: Sequence[Case],
    manifest: Mapping[str, Any],
    prevalence: float,
    notify: Notify,
    *,
    overlay: bool = False,
) -> dict[str, Path]:
    """Write a page for everyone with a usable slide, and per slide heat map and GeoJSON; returns pages by patient.

    With `overlay` also a picture of cells and tissue over each slide. What a plug-in cannot explain or show is told,
    and left out of the page.
    """
    by_patient = {c.patient.patient_id: c for c in cases}
    shift = float(shift_prevalence(0.0, float(bundle.facts["prevalence"]), prevalence))
    pages = {}
    for prediction in predictions:
        case = by_patient.get(prediction.patient_id)
        if case is None:
            continue
        explained = {}
        for name in prediction.members:
            with _without(prediction.patient_id, notify):
                explained[name] = bundle.explain(name, case.sample)
        of_tiles = next((e for e in explained.values() if _attention(e) is not None), None)
        slides = []
        for i, result in enumerate(case.results):
            shown = CaseSlide(slide_id=result.ref.slide_id, qc=result.qc)
            with _without(prediction.patient_id, notify):
                shown = _slide(out, parts, case, i, of_tiles, notify, overlay=overlay)
            slides.append(shown)
        page = CasePage(
            target=str(bundle.facts["target"]),
            prediction=prediction,
            thresholds=_thresholds(bundle, shift),
            trained_on=_trained_on(bundle),
            prevalence=prevalence,
            slides=tuple(slides),
            explanations=explained,
            provenance=manifest,
        )
        pages[prediction.patient_id] = write_case_page(out, page)
        notify.step("pages", len(pages), len(cases))
    return pages


def _attention(why: Explanation) -> Float64 | None:
    """Where a model of tiles looked, float64[tile]; None for one of features, and for one that does not say."""
    return why.values if why.kind == "attention" else why.attention


@contextmanager
def _without(patient_id: str, notify: Notify) -> Iterator[None]:
    """Tell that something fails, and go on: the scores are there, and so are the pages of others."""
    try:
        yield
    except (PluginError, SlideError) as e:
        notify.warn(f"left out of the page of {patient_id}: {e}", "".join(traceback.format_exception(e)))


def _thresholds(bundle: Bundle, shift: float) -> dict[str, dict[str, Any]]:
    """The ensemble's frozen operating points as probabilities at the shown prevalence."""
    points: Mapping[str, Mapping[str, Any]] = bundle.facts["operating_points"]
    return {
        rule: {**points.get(rule, {}), "threshold": probability(logit + shift)}
        for rule, logit in bundle.thresholds["ensemble"].items()
        if logit is not None
    }


def _trained_on(bundle: Bundle) -> tuple[int, int] | None:
    """Patients and positives that the ensemble's rates were measured on; None in bundles that do not say."""
    found = bundle.facts.get("internal", {}).get("models", {}).get("ensemble")
    return None if found is None else (int(found["n"]), int(found["n_positive"]))


def _slide(
    out: Path, parts: Parts, case: Case, index: int, why: Explanation | None, notify: Notify, *, overlay: bool
) -> CaseSlide:
    """Quality, heat map and most-attended tiles of one slide."""
    result = case.results[index]
    bag, name = result.bag, safe_name(result.ref.slide_id)
    semantic = map_of(result, parts)
    if semantic is not None:
        write_cells_geojson(semantic, out / f"{name}.cells.geojson", mpp_of(semantic, result))
        if overlay:
            write_overlay(out / f"{name}.overlay.png", semantic, result, parts, notify)
    attention = None if why is None else _attention(why)
    if why is None or attention is None or bag is None or result.ref.path is None or result.qc is None:
        return CaseSlide(slide_id=result.ref.slide_id, qc=result.qc)
    here = np.array([slide_id == bag.slide_id for slide_id in why.slide_ids], bool)
    values, xy = attention[here], np.asarray(why.xy)[here]
    with open_slide(result.ref, parts.readers, parts.reader) as slide:
        thumbnail, mpp = slide.thumbnail(_heatmap_mpp(slide))
        heatmap = attention_heatmap(
            thumbnail, xy, bag.size, values, scale=mpp[0] / slide.mpp[0], mpp=slide.mpp[0], name="attention"
        )
        tiles = tuple(_top(slide, bag, xy, values))
    write_png(out / f"{name}.attention.png", heatmap)
    write_png(out / f"{name}.attention-tiles.png", _gallery(tiles, bag, len(values)))
    contribution = {"contribution": why.values[here]} if why.kind == "contribution" else {}
    write_tiles_geojson(out / f"{name}.attention.geojson", xy, bag.size, {"attention": values, **contribution})
    return CaseSlide(slide_id=bag.slide_id, qc=result.qc, heatmap=heatmap, tiles=tiles)


def _gallery(tiles: Sequence[TopTile], bag: Bag, count: int) -> Image:
    """The most attended tiles as one picture; shares are of the patient's attention, which adds up to one."""
    title = f"{bag.slide_id}: the {len(tiles)} most attended of {count} tiles, {bag.tile_spec.um / 1000:.3g} mm wide"
    return tile_gallery(
        [
            Picture(pixels=t.pixels, caption=(f"{i}.  attention {100 * t.value:.3g} %", f"{t.xy[0]}, {t.xy[1]}"))
            for i, t in enumerate(tiles, 1)
        ],
        title,
        columns=3,
    )


def _heatmap_mpp(slide: Slide) -> float:
    width_um, height_um = slide.size[0] * slide.mpp[0], slide.size[1] * slide.mpp[1]
    return max(*slide.mpp, max(width_um, height_um) / _HEATMAP_PX)


def _top(slide: Slide, bag: Bag, xy: Any, values: Any) -> list[TopTile]:
    best = np.argsort(-values, kind="stable")[:_TOP_TILES]
    px = bag.tile_spec.px
    return [
        TopTile(
            xy=(int(xy[i][0]), int(xy[i][1])),
            value=float(values[i]),
            pixels=slide.read((float(xy[i][0]), float(xy[i][1])), (px, px), bag.tile_spec.mpp),
        )
        for i in best
    ]
