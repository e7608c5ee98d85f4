"""The documents of a case that people and programs download: by name, made on request."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from kras_plugins.errors import KrasError
from kras_plugins.report.case_json import case_json
from kras_plugins.report.heatmap import read_tiles_geojson
from kras_plugins.service.leaving.dicom_source import sources
from kras_plugins.service.leaving.finished import Finished, finished
from kras_plugins.store import safe_name
from kras_plugins.urls import place

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from kras_plugins.service.cases import CaseRow, SlideRow

Quantity = Literal["attention", "contribution"]
_DICOM = "application/dicom"


class UnknownDocument(KrasError):
    """The case has no document of this name."""


@dataclass(frozen=True, kw_only=True)
class Document:
    """A document that can be downloaded. `name`: of its file; `label`: for people; `make` returns its bytes."""

    name: str
    label: str
    media_type: str
    make: Callable[[], bytes]


def finished_case(results: Path, case: CaseRow, slides: Sequence[SlideRow]) -> Finished:
    """What documents say about a case that has a result. Raises ConfigError if its folder is damaged or gone."""
    places = {slide.slide_id: place(slide.place) for slide in slides}
    return finished(results / str(case.result), case.patient, places)


def documents(done: Finished) -> Mapping[str, Document]:
    """All documents of a result by name; DICOM maps are made only of DICOM slides."""
    made = [
        Document(name="case.pdf", label="PDF", media_type="application/pdf", make=partial(_pdf, done)),
        Document(name="case.json", label="JSON", media_type="application/json", make=partial(_json, done)),
        Document(name="report.dcm", label="DICOM report", media_type=_DICOM, make=partial(_report, done)),
        Document(name="report.fhir.json", label="FHIR", media_type="application/fhir+json", make=partial(_fhir, done)),
    ]
    images = sources(done)
    for slide in done.slides:
        if slide.slide_id in images and slide.tiles is not None:
            *_, values = read_tiles_geojson(slide.tiles)
            made += [_map_of(done, slide.slide_id, one) for one in _shown(done) if one in values]
    return {one.name: one for one in made}


def document(done: Finished, name: str) -> Document:
    """The document of that name. Raises UnknownDocument."""
    found = documents(done).get(name)
    if found is None:
        raise UnknownDocument("the case has no such document", "see the list of its documents")
    return found


def _shown(done: Finished) -> tuple[Quantity, ...]:
    return ("attention", "contribution") if done.case.assessable else ("attention",)


def _map_of(done: Finished, slide_id: str, quantity: Quantity) -> Document:
    return Document(
        name=f"{safe_name(slide_id)}.{quantity}.dcm",
        label=f"DICOM map of {quantity}, {slide_id}",
        media_type=_DICOM,
        make=partial(_map, done, slide_id, quantity),
    )


def _pdf(done: Finished) -> bytes:
    from kras_plugins.service.leaving.pdf import case_pdf

    return case_pdf(done)


def _json(done: Finished) -> bytes:
    return case_json(done.case).encode()


def _report(done: Finished) -> bytes:
    from kras_plugins.service.leaving.dicom_sr import structured_report

    return structured_report(done)


def _fhir(done: Finished) -> bytes:
    from kras_plugins.service.leaving.fhir import diagnostic_report

    return (json.dumps(diagnostic_report(done, _pdf(done)), indent=1) + "\n").encode()


def _map(done: Finished, slide_id: str, quantity: Quantity) -> bytes:
    from kras_plugins.service.leaving.dicom_map import parametric_map

    return parametric_map(done, slide_id, quantity)
