"""The page of one patient: from a case and the places of its pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kras_plugins.cohort.targets import target_label
from kras_plugins.data import CELL_CLASSES
from kras_plugins.evaluation.distribution import AT
from kras_plugins.evaluation.evaluated import FEWEST_POSITIVES
from kras_plugins.files.atomic import write_atomic
from kras_plugins.report.case import CasePage, Measure, case_name, without_scores
from kras_plugins.report.case_json import ENDING, case_json
from kras_plugins.report.html import rendered, significant
from kras_plugins.report.score_plots import call_plot
from kras_plugins.report.strips import bar, strip
from kras_plugins.report.style import model_label
from kras_plugins.report.terms import too_few_positives
from kras_plugins.semantics.geojson import COLORS

if TYPE_CHECKING:
    from kras_plugins.report.case import CaseSlide, Moved, Tile
    from kras_plugins.report.links import Links

CALLS = {
    "rule_in": (
        "Rule-in",
        "The score reaches the rule-in threshold. Only sequencing can show whether there is a mutation.",
    ),
    "indeterminate": ("Indeterminate", "The score lies between the two thresholds and decides nothing."),
    "rule_out": (
        "Rule-out",
        "The score lies below the rule-out threshold. A mutation is not excluded, and a negative result must not "
        "replace sequencing.",
    ),
    "not_assessable": ("Not assessable", "No result is given for this patient."),
}
"""The title of each call, and what it means."""

LAYERS = {
    "contribution": "What the tiles contribute",
    "attention": "Attention",
    "cells": "Cells and tissue",
}
"""The label of each layer over a slide."""


def write_case(folder: Path, case: CasePage, links: Links) -> Path:
    """Write the patient's page and JSON into `folder` under `case_name` and return the page's path.

    The page is one file that loads nothing else. Raises StoreError when they cannot be written.
    """
    name = case_name(case.prediction.patient_id)
    write_atomic(folder / f"{name}{ENDING}", case_json(case))
    page = folder / f"{name}.html"
    write_atomic(page, render_case(case, links))
    return page


def render_case(case: CasePage, links: Links) -> str:
    """The page as HTML, with pictures and links from `links`; without scores if the patient is not assessable."""
    return rendered("case.html.j2", case_view(case, links))


def case_view(case: CasePage, links: Links) -> dict[str, Any]:
    """The view for the page's template, or for one that builds on it."""
    case = without_scores(case)
    prediction = case.prediction
    title, meaning = CALLS[prediction.call]
    thresholds = [(n, asdict(case.thresholds[n])) for n in ("rule_in", "rule_out") if n in case.thresholds]
    marks = {name: {"threshold": point.threshold} for name, point in case.thresholds.items()}
    given = case.assessable
    return {
        "served": links.served,
        "index": links.index(),
        "target": target_label(case.target),
        "prediction": prediction,
        "given": given,
        "call_title": title,
        "call_meaning": meaning,
        "prevalence": case.prevalence,
        "thresholds": thresholds,
        "trained_on": case.trained_on,
        "no_thresholds": "" if thresholds or not given else no_thresholds(case.trained_on),
        "rates_known": any(point["sensitivity"] is not None for _, point in thresholds),
        "call_figure": call_plot(prediction.ensemble, prediction.members, marks) if given else "",
        "slides": [_slide(slide, links) for slide in case.slides],
        "cells": _cells(case.slides),
        "measures": [_measure(m, case.among) for m in case.measures],
        "among": case.among,
        "moved": [(model_label(member), _moved(some, case.among)) for member, some in case.moved.items() if some],
        "tiles": None if case.tiles is None else _tiles(case, links),
        "demonstration": case.demonstration,
        # What the banner says is not repeated.
        "cautions": [caution for caution in prediction.cautions if caution not in case.demonstration],
        "provenance": case.provenance,
    }


def no_thresholds(trained_on: tuple[int, int] | None) -> str:
    """Why the bundle has no thresholds, as far as it says."""
    if trained_on is None or trained_on[1] >= FEWEST_POSITIVES:
        return "The bundle has no thresholds: no patient gets a call."
    return f"{too_few_positives(trained_on[1], 'were in scope in training')}."


def _slide(slide: CaseSlide, links: Links) -> dict[str, Any]:
    layers = [(name, LAYERS[name], links.picture(slide, name)) for name in slide.layers if name in LAYERS]
    return {
        "id": slide.slide_id,
        "qc": slide.qc,
        "looked_at": slide.looked_at,
        "view": links.slide(slide.slide_id),
        "bare": links.picture(slide),
        "model": [layer for layer in layers if layer[0] != "cells" and layer[2]],
        "semantic": [layer for layer in layers if layer[0] == "cells" and layer[2]],
    }


def _cells(slides: Sequence[CaseSlide]) -> dict[str, Any] | None:
    """Counts of cells by class: a row a class that is there, a column a slide that was counted, and the sum."""
    counted = [s for s in slides if s.cells]
    if not counted:
        return None
    total = sum(sum(s.cells.values()) for s in counted)
    rows = []
    for name in CELL_CLASSES:
        own = [s.cells.get(name, 0) for s in counted]
        if any(own):
            rows.append((name, "#{:02x}{:02x}{:02x}".format(*COLORS[name]), own, sum(own), sum(own) / total))
    return {"slides": [s.slide_id for s in counted], "rows": rows, "total": total}


def _measure(measure: Measure, among: int | None) -> dict[str, Any]:
    known = measure.value is not None
    return {
        "id": measure.feature,
        "name": measure.name,
        "sentence": measure.sentence,
        "value": f"{significant(measure.value)} {measure.unit}".strip() if known else "not measured",
        "strip": strip(measure.value, measure.quantiles),
        "percentile": "" if measure.percentile is None else ordinal(measure.percentile),
        "among": among,
    }


def _moved(some: Sequence[Moved], among: int | None) -> list[dict[str, Any]]:
    longest = max(abs(m.contribution) for m in some)
    return [
        {
            **_measure(m.measure, among),
            "contribution": m.contribution,
            "raises": m.contribution > 0,
            "bar": bar(m.contribution, longest),
        }
        for m in some
    ]


def _tiles(case: CasePage, links: Links) -> dict[str, Any]:
    assert case.tiles is not None
    mpp = {s.slide_id: s.qc.mpp for s in case.slides if s.qc is not None}
    several = len(case.slides) > 1

    def shown(tiles: Sequence[Tile]) -> list[Mapping[str, Any]]:
        return [
            {
                "xy": t.xy,
                "slide": t.slide_id if several else "",
                "picture": links.tile(t),
                "place": links.place(t, mpp.get(t.slide_id, 1.0)),
                "value": t.value,
            }
            for t in tiles
        ]

    return {
        "member": case.tiles.member,
        "raising": shown(case.tiles.raising),
        "lowering": shown(case.tiles.lowering),
        "attended": shown(case.tiles.attended),
    }


def ordinal(percentile: float) -> str:
    """A percentile in words; the lowest and the highest known one also stand for what lies beyond."""
    whole = round(percentile)
    ending = "th" if whole % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(whole % 10, "th")
    bound = "≤ " if percentile <= AT[0] else "≥ " if percentile >= AT[-1] else ""
    return f"{bound}{whole}{ending} percentile"
