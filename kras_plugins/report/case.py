"""The page of one patient that `kras predict` writes: the result, why, and how far to trust it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins.cohort.targets import target_label
from kras_plugins.data import Explanation, Prediction, SlideQC
from kras_plugins.evaluation.evaluated import FEWEST_POSITIVES
from kras_plugins.report.html import data_uri, write_page
from kras_plugins.report.provenance import demonstration_reasons, provenance_rows
from kras_plugins.report.score_plots import call_plot, contribution_plot
from kras_plugins.report.style import model_label
from kras_plugins.report.terms import too_few_positives
from kras_plugins.store import safe_name

if TYPE_CHECKING:
    from PIL.Image import Image

    from kras_plugins.data import UInt8

_CALLS = {
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


@dataclass(frozen=True, kw_only=True)
class TopTile:
    """A tile to look at: `xy` in level-0 pixels of its upper left corner, its value, `pixels` uint8[h w 3]."""

    xy: tuple[int, int]
    value: float
    pixels: UInt8


@dataclass(frozen=True, kw_only=True)
class CaseSlide:
    """One slide of the patient: quality control, heat map (from `attention_heatmap`) and most-attended tiles."""

    slide_id: str
    qc: SlideQC | None = None
    heatmap: Image | None = None
    tiles: tuple[TopTile, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CasePage:
    """Everything the page of one patient shows.

    `thresholds`: the operating points of the bundle's ensemble by name (`rule_in`, `rule_out`, …), each with
    `threshold` and, on the out-of-fold scores it was chosen on, `sensitivity` and `specificity`; empty where the bundle
    has none. `trained_on`: how many patients in scope these scores are of, and how many of them positive. `prevalence`:
    share of positives that the probabilities presuppose. `explanations`: by member; those of kind `contribution` become
    bars. `provenance`: as in a manifest, with `demonstration` where the result is none.
    """

    target: str
    prediction: Prediction
    thresholds: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    trained_on: tuple[int, int] | None = None
    prevalence: float | None = None
    slides: tuple[CaseSlide, ...] = ()
    explanations: Mapping[str, Explanation] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)


def write_case_page(folder: Path, case: CasePage) -> Path:
    """Write the patient's page into `folder` under `case_page_name` and return its path.

    One file that loads nothing else. Raises StoreError when it cannot be written.
    """
    prediction = case.prediction
    title, meaning = _CALLS[prediction.call]
    given = prediction.call != "not_assessable"
    thresholds = [(n, case.thresholds[n]) for n in ("rule_in", "rule_out") if case.thresholds.get(n)]
    demonstration = demonstration_reasons(case.provenance)  # what the banner says need not be said again
    view = {
        "target": target_label(case.target),
        "prediction": prediction,
        "call_title": title,
        "call_meaning": meaning,
        "prevalence": case.prevalence,
        "thresholds": thresholds,
        "trained_on": case.trained_on,
        "no_thresholds": "" if thresholds else _no_thresholds(case.trained_on),
        "rates_known": any(point.get("sensitivity") is not None for _, point in thresholds),
        "call_figure": call_plot(prediction.ensemble, prediction.members, case.thresholds) if given else "",
        "slides": [_slide_view(slide) for slide in case.slides],
        "contributions": [
            (model_label(member), contribution_plot(member, e.names, np.asarray(e.values).tolist()))
            for member, e in case.explanations.items()
            if e.names
        ],
        "demonstration": demonstration,
        "cautions": [caution for caution in prediction.cautions if caution not in demonstration],
        "provenance": provenance_rows(case.provenance),
    }
    return write_page(folder / case_page_name(prediction.patient_id), "case.html.j2", view)


def _no_thresholds(trained_on: tuple[int, int] | None) -> str:
    """Why the bundle has no thresholds, as far as it says."""
    if trained_on is None or trained_on[1] >= FEWEST_POSITIVES:
        return "The bundle has no thresholds: no patient gets a call."
    return f"{too_few_positives(trained_on[1], 'were in scope in training')}."


def case_page_name(patient_id: str) -> str:
    """The file name of a patient's page."""
    return f"{safe_name(patient_id)}.html"


def _slide_view(slide: CaseSlide) -> dict[str, Any]:
    from PIL import Image as images

    return {
        "id": slide.slide_id,
        "qc": slide.qc,
        "heatmap": data_uri(slide.heatmap) if slide.heatmap is not None else "",
        "tiles": [(tile, data_uri(images.fromarray(tile.pixels))) for tile in slide.tiles],
    }
