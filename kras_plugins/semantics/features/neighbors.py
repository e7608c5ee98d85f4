"""Group E: nearest neighbors of tumor cells and lymphocytes in the tumor area."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree

from kras_plugins.semantics.view import View

if TYPE_CHECKING:
    from kras_plugins.data import Float64

NAMES = (
    "d_tl_p50", "d_tl_p10", "d_tl_p90", "d_lt_p50", "d_lt_p90", "d_ll_p50", "d_tt_p50", "t_near_l_20", "t_near_l_50",
    "t_near_l_100", "l_within_50_of_t", "t_within_30_of_l", "g_tl_auc", "nn_ratio",
)  # fmt: skip
G_MAX_UM = 100.0


def neighbors(view: View) -> dict[str, float]:
    """Group E of docs/reference/definitions.md: µm, no edge correction (the nearest may lie beyond the window)."""
    tumor, lymphocytes = view.xy[view.tumor & view.in_ta], view.xy[view.lymphocyte & view.in_ta]
    return neighbor_statistics(tumor, lymphocytes, view.area_ta)


def neighbor_statistics(tumor: Float64, lymphocytes: Float64, area_mm2: float) -> dict[str, float]:
    """Group E from positions float64[cell 2] in µm within a window of `area_mm2`; NaN where a kind is missing.

    `g_tl_auc` is the mean over r in (0, 100] µm of the share of tumor cells with a lymphocyte within r. `nn_ratio` is
    the mean distance over 1 / (2 sqrt(lymphocytes per µm²)), that of complete spatial randomness (Clark & Evans 1954).
    """
    values = dict.fromkeys(NAMES, math.nan)
    trees = [cKDTree(points) if len(points) else None for points in (tumor, lymphocytes)]
    for name, points, tree in (("d_tt_p50", tumor, trees[0]), ("d_ll_p50", lymphocytes, trees[1])):
        if tree is not None and len(points) > 1:
            values[name] = float(np.median(tree.query(points, k=2)[0][:, 1]))
    tumor_tree, lymphocyte_tree = trees
    if tumor_tree is None or lymphocyte_tree is None:
        return values
    tl, lt = lymphocyte_tree.query(tumor)[0], tumor_tree.query(lymphocytes)[0]
    random = 1 / (2 * math.sqrt(len(lymphocytes) / (area_mm2 * 1e6))) if area_mm2 > 0 else math.nan
    values |= {
        "d_tl_p50": float(np.median(tl)),
        "d_tl_p10": float(np.percentile(tl, 10)),
        "d_tl_p90": float(np.percentile(tl, 90)),
        "d_lt_p50": float(np.median(lt)),
        "d_lt_p90": float(np.percentile(lt, 90)),
        "t_near_l_20": float(np.mean(tl <= 20)),
        "t_near_l_50": float(np.mean(tl <= 50)),
        "t_near_l_100": float(np.mean(tl <= 100)),
        "l_within_50_of_t": float(tumor_tree.count_neighbors(lymphocyte_tree, 50.0)) / len(tumor),
        "t_within_30_of_l": float(tumor_tree.count_neighbors(lymphocyte_tree, 30.0)) / len(lymphocytes),
        "g_tl_auc": float(np.mean(np.maximum(0.0, 1 - tl / G_MAX_UM))),
        "nn_ratio": float(tl.mean()) / random,
    }
    return values
