"""The pages of `kras view`, from the same templates as pages on disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kras_plugins.cohort.targets import target_label
from kras_plugins.report.case_index import index_rows, render_index
from kras_plugins.report.case_json import read_case
from kras_plugins.report.case_page import render_case
from kras_plugins.report.html import rendered
from kras_plugins.report.links import Served
from kras_plugins.study.outputs import PREDICTIONS, read_predictions
from kras_plugins.viewer.shown import Listed, Shown


def index_page(shown: Shown) -> str:
    """Patients with their slides and, if scored, their results."""
    slides: dict[str, list[str]] = {}
    for slide in shown.slides.values():
        slides.setdefault(slide.patient_id, []).append(slide.slide_id)
    file = None if shown.folder is None else shown.folder / PREDICTIONS
    table = read_predictions(file).to_pylist() if file is not None and file.is_file() else []
    known = {row["patient_id"] for row in table}
    bare = [{"patient_id": patient} for patient in slides if patient not in known]
    return render_index(
        index_rows([*table, *bare], slides),
        _links(shown),
        title=shown.title,
        target=shown.target and target_label(shown.target),
        out_of_fold=shown.out_of_fold,
        report="" if shown.report is None else f"{shown.base}/report",
    )


def viewer_page(shown: Shown, slide: Listed, facts: Mapping[str, Any]) -> str:
    """The page of one slide; `facts`: the answer of the address `facts`."""
    alone = len(shown.slides) == 1 and not shown.cases
    view = {
        "facts": facts,
        "root": shown.base,
        "base": f"{shown.base}/slides/{slide.name}",
        "index": None if alone else f"{shown.base}/",
    }
    return rendered("viewer.html.j2", view)


def case_page(shown: Shown, case: Path) -> str:
    """The page of one patient, from the case's JSON. Raises StoreError if it is damaged."""
    return render_case(read_case(case), _links(shown))


def _links(shown: Shown) -> Served:
    return Served(slides=frozenset(shown.slides), cases=frozenset(shown.cases), base=shown.base)
