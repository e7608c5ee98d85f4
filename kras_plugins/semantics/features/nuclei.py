"""Group M: morphometry of tumor nuclei in cancer epithelium."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from kras_plugins.semantics.raster import Raster
from kras_plugins.semantics.view import View

if TYPE_CHECKING:
    from kras_plugins.data import Float64

ELONGATED = 0.85
COHERENCE_UM, COHERENCE_PIXEL_UM = 100.0, 10.0
MIN_NEIGHBORS = 5


def nuclei(view: View) -> dict[str, float]:
    """Group M of docs/reference/definitions.md; NaN for columns that a source does not give."""
    chosen = view.tumor & view.in_ce
    value = {
        name: _known(view.column_of(name)[chosen])
        for name in (
            "area_um2", "perimeter_um", "major_um", "minor_um", "eccentricity", "solidity", "h_od_mean", "h_od_sd",
            "glcm_contrast", "glcm_correlation", "glcm_energy", "glcm_homogeneity", "h_entropy",
        )
    }  # fmt: skip
    area, eccentricity = value["area_um2"], value["eccentricity"]
    p10, p50, p90 = np.percentile(area, (10, 50, 90)).tolist() if len(area) else (math.nan,) * 3
    whole = view.column_of("perimeter_um")[chosen]
    circularity = _known(4 * math.pi * view.column_of("area_um2")[chosen] / np.where(whole > 0, whole, np.nan) ** 2)
    lymphocytes = _known(view.column_of("area_um2")[view.lymphocyte & view.in_ta])
    lymphocyte_area = float(np.median(lymphocytes)) if len(lymphocytes) else math.nan
    return {
        "nuc_area_mean": _mean(area),
        "nuc_area_sd": _sd(area),
        "nuc_area_p10": p10,
        "nuc_area_p50": p50,
        "nuc_area_p90": p90,
        "nuc_area_cv": _sd(area) / _mean(area),
        "nuc_area_p90_p50": p90 / p50,
        "nuc_perimeter_mean": _mean(value["perimeter_um"]),
        "nuc_perimeter_cv": _sd(value["perimeter_um"]) / _mean(value["perimeter_um"]),
        "nuc_major_mean": _mean(value["major_um"]),
        "nuc_minor_mean": _mean(value["minor_um"]),
        "nuc_ecc_mean": _mean(eccentricity),
        "nuc_ecc_sd": _sd(eccentricity),
        "nuc_solidity": _mean(value["solidity"]),
        "nuc_circularity": _mean(circularity),
        "nuc_elongated": float(np.mean(eccentricity > ELONGATED)) if len(eccentricity) else math.nan,
        "nuc_h_od_mean": _mean(value["h_od_mean"]),
        "nuc_h_od_sd": _mean(value["h_od_sd"]),
        "nuc_glcm_contrast": _mean(value["glcm_contrast"]),
        "nuc_glcm_correlation": _mean(value["glcm_correlation"]),
        "nuc_glcm_energy": _mean(value["glcm_energy"]),
        "nuc_glcm_homogeneity": _mean(value["glcm_homogeneity"]),
        "nuc_h_entropy": _mean(value["h_entropy"]),
        "nuc_orient_coherence": coherence(view.xy[chosen], view.column_of("orientation")[chosen]),
        "lym_area_median": lymphocyte_area,
        "tl_area_ratio": p50 / lymphocyte_area,
    }


def coherence(xy: Float64, orientation: Float64) -> float:
    """Mean over nuclei of |mean of exp(2i orientation)| within 100 µm: 1 if all are parallel, near 0 at random.

    `xy`: float64[cell 2] in µm. Positions are rounded to 10 µm, which turns sums over neighbors into one convolution;
    nuclei with fewer than five in reach (themselves included) do not count.
    """
    from scipy.signal import fftconvolve  # scipy.signal takes a second to import

    use = ~np.isnan(orientation)
    xy, orientation = xy[use], orientation[use]
    if not len(xy):
        return math.nan
    low = xy.min(0)
    width, height = ((xy.max(0) - low) // COHERENCE_PIXEL_UM + 1).astype(int).tolist()
    raster = Raster(shape=(height, width), mpp=COHERENCE_PIXEL_UM, origin_um=(low[0], low[1]))
    row, column, _ = raster.find(xy[:, 0], xy[:, 1])
    flat = row * width + column
    reach = int(COHERENCE_UM / COHERENCE_PIXEL_UM)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disk = (x * x + y * y <= reach * reach).astype(np.float64)
    sums = [
        fftconvolve(np.bincount(flat, weights, minlength=height * width).reshape(height, width), disk, "same")
        for weights in (np.ones(len(flat)), np.cos(2 * orientation), np.sin(2 * orientation))
    ]
    n, cos, sin = (total[row, column] for total in sums)
    n = np.rint(n)
    enough = n >= MIN_NEIGHBORS
    return _mean(np.hypot(cos, sin)[enough] / n[enough])


def _known(values: Float64) -> Float64:
    return values[~np.isnan(values)]


def _mean(values: Float64) -> float:
    return float(values.mean()) if len(values) else math.nan


def _sd(values: Float64) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else math.nan
