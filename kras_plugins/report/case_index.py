"""The page that lists all patients of a folder: result, quality, cautions, and the way to each page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from kras_plugins.report.case_page import CALLS
from kras_plugins.report.html import rendered

if TYPE_CHECKING:
    from kras_plugins.report.links import Links

_BETWEEN = "; "


@dataclass(frozen=True, kw_only=True)
class IndexRow:
    """A patient in the list. `call`: None where nothing was scored; `probability`: None where none may be shown."""

    patient_id: str
    slides: tuple[str, ...] = ()
    call: str | None = None
    reason: str = ""
    probability: float | None = None
    qc: str = ""
    cautions: str = ""


def index_rows(table: Iterable[Mapping[str, Any]], slides: Mapping[str, Sequence[str]]) -> list[IndexRow]:
    """Patients from rows of predictions.csv, in their order; of several repeats the first. `slides`: by patient."""
    found: dict[str, IndexRow] = {}
    for row in table:
        patient, call = str(row["patient_id"]), str(row.get("call") or "")
        scored = call in CALLS and call != "not_assessable"
        found.setdefault(
            patient,
            IndexRow(
                patient_id=patient,
                slides=tuple(slides.get(patient, ())),
                call=call or None,
                reason=str(row.get("reason") or ""),
                probability=row.get("ensemble") if scored else None,
                qc=str(row.get("qc") or ""),
                cautions=str(row.get("cautions") or ""),
            ),
        )
    return list(found.values())


def render_index(
    rows: Sequence[IndexRow],
    links: Links,
    *,
    title: str,
    target: str = "",
    prevalence: float | None = None,
    report: str = "",
    out_of_fold: bool = False,
    provenance: Sequence[tuple[str, str]] = (),
) -> str:
    """The list as HTML.

    `target`: what the probabilities predict, and at which `prevalence`; `report`: address of a study's report;
    `out_of_fold`: whether the probabilities come from models that never saw the patient. Cautions that all
    patients share are shown once, above the list.
    """
    common, own = _cautions(rows)
    return rendered(
        "cases.html.j2",
        {
            "served": links.served,
            "title": title,
            "target": target,
            "prevalence": prevalence,
            "report": report,
            "out_of_fold": out_of_fold,
            "common": common,
            "rows": [
                {
                    "id": row.patient_id,
                    "page": links.case(row.patient_id),
                    "slides": [(slide, links.slide(slide)) for slide in row.slides],
                    "call": "" if row.call is None else CALLS.get(row.call, (row.call, ""))[0],
                    "reason": row.reason,
                    "probability": row.probability,
                    "qc": row.qc,
                    "cautions": cautions,
                }
                for row, cautions in zip(rows, own, strict=True)
            ],
            "any_slides": any(row.slides for row in rows),
            "any_calls": any(row.call is not None for row in rows),
            "any_cautions": any(own),
            "provenance": provenance,
        },
    )


def _cautions(rows: Sequence[IndexRow]) -> tuple[str, list[str]]:
    """The cautions that begin those of every patient, and the rest of each patient's."""
    parts = [row.cautions.split(_BETWEEN) if row.cautions else [] for row in rows]
    if len(parts) < 2:
        return "", [row.cautions for row in rows]
    shared = [one for one, *_ in takewhile(lambda some: len(set(some)) == 1, zip(*parts, strict=False))]
    return _BETWEEN.join(shared), [_BETWEEN.join(own[len(shared) :]) for own in parts]
