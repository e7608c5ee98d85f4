"""BRCA-M2C: tiles of breast with a typed dot in each cell, and no outlines (Abousamra et al., ICCV 2021)."""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from training.fields import CLASSES, UNKNOWN, Field
from training.outlines import from_dots

_CLASSES = {"1": "lymphocyte", "2": "tumor", "3": "fibroblast"}
"""2 is any epithelial cell, tumor or not; 3 any stromal cell that is not a lymphocyte."""
MPP = 0.5


def read_brca(folder: Path, side: Literal["training", "test"]) -> list[Field]:
    """The fields of one side: `test` is the published test split, `training` is train and val.

    Two patients are in both train and val, so val is not a separate side; a patient of the test split never trains.
    """
    rows = defaultdict(list)
    split = {}
    with (folder / "cells.tsv").open(newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            rows[row["image"]].append(row)
            split[row["image"]] = row["split"]
    tested = {patient(name) for name, which in split.items() if which == "test"}
    fields = []
    for name in sorted(rows):
        if (split[name] == "test") != (side == "test") or (side == "training" and patient(name) in tested):
            continue
        pixels = np.asarray(Image.open(folder / "images" / f"{name}.jpg").convert("RGB"))
        h, w = pixels.shape[:2]
        dots = np.array([(float(r["x"]), float(r["y"])) for r in rows[name]]).clip(0, (w - 1, h - 1))
        labels, weight = from_dots(pixels, dots, MPP)
        fields.append(
            Field(
                name=name,
                kind="breast",
                source=patient(name),
                pixels=pixels,
                labels=labels,
                classes=np.array([UNKNOWN, *(CLASSES.index(_CLASSES[r["class"]]) for r in rows[name])], np.int8),
                mpp=MPP,
                scored=(0, 0, w, h),
                weight=weight,
                dots=dots,
            )
        )
    return fields


def patient(name: str) -> str:
    """The patient of a tile's name, which starts with a TCGA barcode."""
    return name[:12]
