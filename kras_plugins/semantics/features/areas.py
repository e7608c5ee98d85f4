"""Group A: areas and composition."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from kras_plugins.semantics.raster import pixels_of
from kras_plugins.semantics.view import View, ratio

if TYPE_CHECKING:
    from kras_plugins.data import Float64

EPSILON_MM2 = 0.001
FRAGMENT_MM2 = 0.05  # smaller pieces are debris, not a core or a fragment


def areas(view: View) -> dict[str, float]:
    """Group A of docs/reference/definitions.md."""
    ce, cs = view.area("cancer_epithelium"), view.area("cancer_stroma")
    ta, tissue = view.area_ta, view.area_tissue
    necrosis, normal, mucin = view.area("necrosis"), view.area("normal_lung"), view.area("mucin")
    pieces, n = ndimage.label(view.tissue > 0, structure=np.ones((3, 3)))
    sizes = pixels_of(pieces, n + 1)[1:] * view.raster.pixel_mm2
    return {
        "area_tissue": tissue,
        "area_ce": ce,
        "area_cs": cs,
        "area_ta": ta,
        "area_necrosis": necrosis,
        "area_normal_lung": normal,
        "frac_ce": ratio(ce, ta),
        "tsr": ratio(cs, ta),
        "log_ce_cs": math.log((ce + EPSILON_MM2) / (cs + EPSILON_MM2)) if ta > 0 else math.nan,
        "frac_ta": ratio(ta, tissue),
        "frac_necrosis": ratio(necrosis, ta + necrosis),
        "frac_normal": ratio(normal, tissue),
        "frac_mucin": ratio(mucin, ta + mucin),
        "frac_pigment": ratio(view.area("pigment"), tissue),
        "n_tissue_fragments": _fragments(view, np.asarray(sizes, np.float64)),
    }


def _fragments(view: View, sizes: Float64) -> float:
    """Pieces of 0.05 mm² or more; unknown in a field of view with less tissue, which may be a bit of one."""
    if view.semantic.field and view.area_tissue < FRAGMENT_MM2:
        return math.nan
    return float(np.count_nonzero(sizes >= FRAGMENT_MM2))
