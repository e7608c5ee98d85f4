"""Synthetic slides as training fields: cells and classes are known, outlines are flooded from the centers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile
from scipy import ndimage
from skimage.segmentation import watershed

from kras_plugins.testing.slides import draw_slide
from kras_profiler_cells.stain import hematoxylin
from training.fields import CLASSES, UNKNOWN, Field

NUMBER = 8
_MPP = 0.5


def synthetic_fields(folder: Path, seed: int) -> list[Field]:
    """NUMBER slides drawn into `folder` with differing histology, stain, texture and lymphocytes."""
    rng = np.random.default_rng([seed, 1])
    fields = []
    for i in range(NUMBER):
        file = folder / f"{i}.tif"
        truth = draw_slide(
            file,
            seed=1000 * (seed + 1) + i,
            size_um=(400.0, 400.0),
            mpp=_MPP,
            histology=("LUAD", "LUSC")[i % 2],
            lymphocytes=float(rng.uniform(0.3, 3)),
            texture=float(rng.uniform(-0.5, 1.5)),
            stain=(float(rng.uniform(0.7, 1.3)), float(rng.uniform(0.7, 1.3))),
            levels=1,
        )
        with tifffile.TiffFile(file) as tiff:
            pixels = tiff.pages[0].asarray()
        h, w = pixels.shape[:2]
        density = ndimage.gaussian_filter(hematoxylin(pixels), 1.2)
        rows = np.clip((truth.y_um / _MPP).astype(int), 0, h - 1)
        cols = np.clip((truth.x_um / _MPP).astype(int), 0, w - 1)
        markers = np.zeros((h, w), np.int32)
        markers[rows, cols] = np.arange(1, len(rows) + 1)
        # The edge of a nucleus is drawn at half the density of its middle.
        least = 0.5 * float(np.median(density[rows, cols]))
        near = ndimage.distance_transform_edt(markers == 0) < 9 / _MPP
        labels = watershed(-density, markers, mask=(density > min(least, 0.25)) & near | (markers > 0))
        kinds = [CLASSES.index(c) if c in CLASSES else UNKNOWN for c in truth.classes]
        fields.append(
            Field(
                name=f"synthetic-{i}",
                kind="synthetic",
                source="kras_plugins.testing",
                pixels=pixels,
                labels=labels.astype(np.int32),
                classes=np.array([UNKNOWN, *kinds], np.int8),
                mpp=_MPP,
                scored=(0, 0, w, h),
            )
        )
    return fields
