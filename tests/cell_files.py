"""What tests of imported cells share: nuclei on a lattice, written as GeoJSON and loaded by the profiler `import`."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np

from kras_plugins.data import TISSUE_CLASSES, SemanticMap, SlideRef
from kras_profiler_import import kras_profilers

(IMPORT,) = kras_profilers()
MPP = 0.25
R = 16.0  # px: nuclei of 8 µm


def ring(x: float, y: float, r: float = R, n: int = 24, squeeze: float = 1.0) -> list[list[float]]:
    angle = np.arange(n) * 2 * np.pi / n
    return np.stack([x + r * np.cos(angle), y + r * squeeze * np.sin(angle)], 1).round(2).tolist()


def lattice(n: int = 12, step: float = 50.0, start: float = 200.0) -> np.ndarray:
    x, y = np.meshgrid(np.arange(n), np.arange(n))
    return np.stack([x.ravel(), y.ravel()], 1) * step + start


XY = lattice()
NAMES = ["Tumor" if i % 3 else "Lymphocyte" for i in range(len(XY))]


def feature(polygon: list[list[float]], name: str | None, **properties: object) -> dict[str, object]:
    classified = {} if name is None else {"classification": {"name": name}}
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [[*polygon, polygon[0]]]},
        "properties": {"objectType": "detection", **classified, **properties},
    }


def write_geojson(file: Path, features: list[dict[str, object]]) -> Path:
    text = json.dumps({"type": "FeatureCollection", "features": features})
    if file.suffix == ".gz":
        file.write_bytes(gzip.compress(text.encode(), mtime=0))
    else:
        file.write_text(text)
    return file


def load(where: Path | str, slide_id: str = "s", mpp: float | None = MPP, **options: object) -> SemanticMap:
    extra = {k: str(options.pop(k)) for k in ("width", "height") if k in options}
    slide = SlideRef(patient_id="p", slide_id=slide_id, mpp=mpp, extra=extra)
    assert IMPORT.load is not None
    result = IMPORT.load(slide, IMPORT.options.model_validate({"cells": str(where), **options}))
    assert isinstance(result, SemanticMap)
    return result


def features_of(**geometry: object) -> list[dict[str, object]]:
    return [feature(ring(x, y), name, **geometry) for (x, y), name in zip(XY, NAMES, strict=True)]


def box(name: str | None, x0: float, y0: float, x1: float, y1: float) -> dict[str, object]:
    return feature([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], name, objectType="annotation")


def area(semantic: SemanticMap, name: str) -> float:
    pixels = np.count_nonzero((semantic.tissue == TISSUE_CLASSES.index(name)) & semantic.analysed)
    return pixels * (semantic.tissue_mpp / 1000) ** 2
