"""Finished results as their documents are made of them: a folder as `kras predict` leaves it, by hand."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from dicom_slides import pyramid, save
from made_cases import fake_case
from PIL import Image
from pydicom.dataset import Dataset

from kras_plugins.report.case import CasePage, case_name
from kras_plugins.report.case_json import ENDING, case_json
from kras_plugins.report.heatmap import write_tiles_geojson
from kras_plugins.store import safe_name

BUNDLE, SERIES = "5f" * 32, "1.2.826.0.1.3680043.9.20.7"
TILE = (64.0, 64.0)
ORIENTATION = [0, -1, 0, -1, 0, 0]
"""Rows run down the slide and columns to the left, as scanners lay it."""


def left(folder: Path, case: CasePage | None = None, place: Path | None = None) -> CasePage:
    """Write the folder of one patient whose first slide lies at `place`, and has tiles in a grid with one gap."""
    case = case or fake_case()
    patient = case.prediction.patient_id
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{case_name(patient)}{ENDING}").write_text(case_json(case))
    (folder / f"{case_name(patient)}.html").write_text(f"<p>{patient}")
    p = case.prediction
    row = {
        "patient_id": patient, "slides": " ".join(p.slides), "ensemble": p.ensemble, "call": p.call,
        "reason": p.reason, "qc": p.qc, "cautions": "; ".join(p.cautions),
    }  # fmt: skip
    with (folder / "predictions.csv").open("w", newline="") as f:
        table = csv.DictWriter(f, [*row])
        table.writeheader()
        table.writerow(row)
    slides = [s.slide_id for s in case.slides]
    facts = {s: {"fingerprint": f"{i:064x}", "path": None, "mpp": 0.25} for i, s in enumerate(slides, start=1)}
    if slides and place is not None:
        facts[slides[0]]["path"] = str(place)
    call = {
        "finished": "2026-03-04T05:06:07+00:00", "versions": {"python": "3.11.7", "kras": "0.1.0", "torch": "2.14.1"},
        "patients": {patient: slides}, "slides": facts,
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps({"bundle_digest": BUNDLE, "calls": [call]}))
    if slides:
        xy, attention, contribution = tiles()
        name = safe_name(slides[0])
        measured = {"attention": attention, "contribution": contribution}
        write_tiles_geojson(folder / f"{name}.attention.geojson", xy, TILE, measured)
        Image.new("RGB", (400, 300), "teal").save(folder / f"{name}.attention.png")
    return case


def tiles() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three columns and two rows of tiles from pixel (128, 64) on, the last but one of them missing."""
    xy = np.array([(128 + 64 * x, 64 + 64 * y) for y in range(2) for x in range(3) if (x, y) != (1, 1)], np.int32)
    return xy, np.array([0.1, 0.2, 0.4, 0.05, 0.25]), np.array([-1.5, 0.25, 2.0, 0.5, -0.125])


def dicom_slide(folder: Path) -> list[Dataset]:
    """A slide as DICOM files of a patient with a name, 448 by 320 pixels, with its place on the glass."""
    pixels = np.full((320, 448, 3), 200, np.uint8)
    made = pyramid([pixels, pixels[::4, ::4]], SERIES, codec="none")
    for ds in made:
        ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = f"{SERIES}.100", "SLIDE_CORNER"
        ds.ImageOrientationSlide = ORIENTATION
        ds.PatientSex, ds.StudyID, ds.StudyTime = "F", "S1", "101112"
        origin = Dataset()
        origin.XOffsetInSlideCoordinateSystem, origin.YOffsetInSlideCoordinateSystem = 30.0, 20.0
        ds.TotalPixelMatrixOriginSequence = [origin]
    save(made, folder)
    return made


def not_assessable(**given: object) -> CasePage:
    """The patient without a result."""
    case = fake_case()
    changed = {"call": "not_assessable", "reason": "all slides failed quality control", **given}
    return replace(case, prediction=replace(case.prediction, **changed))  # type: ignore[arg-type]
