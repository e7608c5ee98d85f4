"""Group C: ratios of cell counts in the tumor area."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from kras_plugins.semantics.raster import Raster
from kras_plugins.semantics.view import View, ratio

if TYPE_CHECKING:
    from kras_plugins.data import Float64, Int32

KDE_UM, KDE_PIXEL_UM = 50.0, 10.0
MIN_LYMPHOCYTES = 50
_MIXTURE_POINTS = 2048


def ratios(view: View) -> dict[str, float]:
    """Group C of docs/reference/definitions.md; itlr, atlr and dtlr follow Yuan, J R Soc Interface 2015;12:20141153."""
    count = {
        name: float(np.count_nonzero(view.of(name) & view.in_ta))
        for name in ("tumor", "lymphocyte", "fibroblast", "macrophage", "neutrophil")
    }
    tumor, lymphocytes = count["tumor"], count["lymphocyte"]
    everything = float(np.count_nonzero(view.in_ta))
    inside = float(np.count_nonzero(view.lymphocyte & view.in_ce))
    itil = ratio(inside, view.area("cancer_epithelium"))
    stil = ratio(lymphocytes - inside, view.area("cancer_stroma"))
    return {
        "purity": ratio(tumor, everything),
        "lt_ratio": ratio(lymphocytes, tumor),
        "lym_frac": ratio(lymphocytes, everything),
        **_by_tumor_density(view, tumor),
        "il_share": ratio(inside, lymphocytes),
        "log_itil_stil": math.log((itil + 1) / (stil + 1)),
        "fib_tum": ratio(count["fibroblast"], tumor),
        "mac_lym": ratio(count["macrophage"], lymphocytes),
        "neut_lym": ratio(count["neutrophil"], lymphocytes),
        "fib_lym": ratio(count["fibroblast"], lymphocytes),
    }


def _by_tumor_density(view: View, n_tumor: float) -> dict[str, float]:
    """Intra-tumor (in epithelium only), adjacent and distal lymphocytes per tumor cell.

    Lymphocytes are split by the density of tumor cells around them (Gaussian kernel of 50 µm) with a mixture of three
    Gaussians. NaN for fewer than 50 lymphocytes or where the density does not vary.
    """
    names = ("dtlr", "atlr", "itlr")
    inside = view.lymphocyte & (view.cell_tissue > 0)
    if np.count_nonzero(inside) < MIN_LYMPHOCYTES or n_tumor == 0:
        return dict.fromkeys(names, math.nan)
    low, high = view.xy.min(0), view.xy.max(0)
    width, height = (np.ceil((high - low) / KDE_PIXEL_UM).astype(int) + 1).tolist()
    raster = Raster(shape=(height, width), mpp=KDE_PIXEL_UM, origin_um=(low[0], low[1]))
    tumor = view.xy[view.tumor]
    density = ndimage.gaussian_filter(raster.count(tumor[:, 0], tumor[:, 1]), KDE_UM / KDE_PIXEL_UM, mode="constant")
    row, column, _ = raster.find(view.xy[inside, 0], view.xy[inside, 1])
    # The square root stabilizes the variance of counts, which makes the widths of the three classes comparable.
    at = np.sqrt(density[row, column].astype(np.float64) / raster.pixel_mm2)
    if np.ptp(at) < 1.0:
        return dict.fromkeys(names, math.nan)
    group = _three_groups(at)
    group = np.where((group == 2) & ~view.in_ce[inside], 1, group)
    return {name: ratio(float(np.count_nonzero(group == k)), n_tumor) for k, name in enumerate(names)}


def _three_groups(values: Float64) -> Int32:
    """Low (0), middle (1) or high (2) for each value, by a Gaussian mixture fitted to 2,048 quantiles of them."""
    from sklearn.mixture import GaussianMixture

    points = np.quantile(values, np.linspace(0, 1, _MIXTURE_POINTS))[:, None]
    start = np.quantile(values, [1 / 6, 1 / 2, 5 / 6])[:, None]
    mixture = GaussianMixture(3, means_init=start, max_iter=500, tol=1e-4, reg_covar=1.0, random_state=0).fit(points)
    rank = np.argsort(np.argsort(mixture.means_[:, 0]))
    return np.asarray(rank[mixture.predict(values[:, None])], dtype=np.int32)
