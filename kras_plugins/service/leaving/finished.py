"""A patient of a finished `kras predict` folder: what every exported document says, read from the files alone."""

from __future__ import annotations

import csv
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from kras_plugins.data import Prediction
from kras_plugins.errors import ConfigError
from kras_plugins.files.spreadsheet import unguarded
from kras_plugins.report.case import CasePage, case_name, without_scores
from kras_plugins.report.case_json import ENDING, read_case
from kras_plugins.report.provenance import demonstration_reasons
from kras_plugins.store import safe_name
from kras_plugins.study.outputs import MANIFEST, PREDICTIONS, damaged, read_json
from kras_plugins.urls import Url, place

_NAMESPACE = uuid.UUID("5e0f4a3e-6a0b-5d53-9a3c-0d6b8f2b5c11")
"""Our namespace, drawn once: UIDs of documents are made in it."""


@dataclass(frozen=True, kw_only=True)
class FinishedSlide:
    """One slide. `place`: where it lay, None if unknown; `tiles`, `heatmap`: its files, None if missing.

    `mpp`: µm per level-0 pixel along x, None if no slide was read.
    """

    slide_id: str
    fingerprint: str = ""
    place: Path | Url | None = None
    tiles: Path | None = None
    heatmap: Path | None = None
    mpp: float | None = None


@dataclass(frozen=True, kw_only=True)
class Finished:
    """One patient's result. `bundle`: digest, 64 hex digits; `at`: when it was finished; `versions` by library."""

    case: CasePage
    bundle: str
    at: datetime
    versions: Mapping[str, str]
    slides: tuple[FinishedSlide, ...]

    @property
    def patient(self) -> str:
        """The patient's name in the folder: the pseudonym, if pseudonyms are used."""
        return self.case.prediction.patient_id

    def uid(self, what: str) -> str:
        """A DICOM UID for a part of this result: the same for the same result, `2.25.` and a UUID (PS3.5, B.2)."""
        named = f"{self.bundle}\n{self.patient}\n{self.at.isoformat()}\n{what}"
        return f"2.25.{uuid.uuid5(_NAMESPACE, named).int}"


def finished(folder: Path, patient: str, places: Mapping[str, Path | Url] | None = None) -> Finished:
    """Read a patient of the folder. Raises ConfigError if the folder has no such patient or is damaged.

    `places`: where slides lie, by id; a manifest under pseudonyms does not say so. A patient without any usable slide
    has a row in predictions.csv, which gives the reason, but no page.
    """
    manifest = read_json(folder / MANIFEST)
    row = next((r for r in _rows(folder / PREDICTIONS) if r["patient_id"] == patient), None)
    if row is None:
        raise ConfigError(f"{folder}: has no result of this patient", "name a patient of predictions.csv")
    try:
        entry = next(c for c in reversed(manifest["calls"]) if patient in c["patients"])
        file = folder / f"{case_name(patient)}{ENDING}"
        known = {**dict.fromkeys(entry["patients"][patient]), **(places or {})}
        slides = tuple(_slide(folder, slide, entry["slides"], known[slide]) for slide in entry["patients"][patient])
        return Finished(
            case=read_case(file) if file.is_file() else _unread(row, entry),
            bundle=str(manifest["bundle_digest"]),
            at=datetime.fromisoformat(entry["finished"]),
            versions={str(name): str(version) for name, version in entry["versions"].items()},
            slides=slides,
        )
    except (StopIteration, KeyError, TypeError, ValueError, AttributeError) as e:
        raise damaged(folder / MANIFEST, repr(e)) from e


def _rows(file: Path) -> Iterator[Mapping[str, str]]:
    try:
        with file.open(encoding="utf-8", newline="") as f:
            for row in csv.DictReader(f):
                yield {name: unguarded(cell or "") for name, cell in row.items() if name}
    except (OSError, ValueError, csv.Error) as e:
        raise damaged(file, e) from e


def _slide(folder: Path, slide_id: str, known: Mapping[str, Any], lies: Path | Url | None) -> FinishedSlide:
    facts, name = known.get(slide_id, {}), safe_name(slide_id)
    where = None if facts.get("path") is None else place(facts["path"])
    tiles, heatmap = folder / f"{name}.attention.geojson", folder / f"{name}.attention.png"
    return FinishedSlide(
        slide_id=slide_id,
        fingerprint=str(facts.get("fingerprint", "")),
        place=lies or (folder / where if isinstance(where, Path) else where),
        tiles=tiles if tiles.is_file() else None,
        heatmap=heatmap if heatmap.is_file() else None,
        mpp=facts.get("mpp"),
    )


def _unread(row: Mapping[str, str], entry: Mapping[str, Any]) -> CasePage:
    """The case of a patient who has nothing but the row."""
    prediction = Prediction(
        patient_id=row["patient_id"], slides=(), members={}, ensemble=None, call="not_assessable",
        reason=row.get("reason", ""), qc=row.get("qc", ""), cautions=tuple(filter(None, row["cautions"].split("; "))),
    )  # fmt: skip
    target = str(entry.get("trained_on", {}).get("target", ""))
    return without_scores(
        CasePage(target=target, prediction=prediction, demonstration=tuple(demonstration_reasons(entry)))
    )
