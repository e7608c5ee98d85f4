"""Group B: cells per mm²."""

from __future__ import annotations

import numpy as np

from kras_plugins.semantics.view import View, ratio

MARGIN_UM = 200.0


def densities(view: View) -> dict[str, float]:
    """Group B of docs/reference/definitions.md."""
    ce, cs, ta = view.area("cancer_epithelium"), view.area("cancer_stroma"), view.area_ta

    def per_mm2(name: str, place: str) -> float:
        inside, area = {"ce": (view.in_ce, ce), "cs": (view.in_cs, cs), "ta": (view.in_ta, ta)}[place]
        return ratio(float(np.count_nonzero(view.of(name) & inside)), area)

    near = view.pixels("cancer_stroma") & (view.signed_um <= MARGIN_UM)
    in_near = view.in_cs & near[view.row, view.column]
    lymphocytes, outside = view.lymphocyte, (view.cell_tissue > 0) & ~view.in_ta
    return {
        "itil": per_mm2("lymphocyte", "ce"),
        "stil": per_mm2("lymphocyte", "cs"),
        "til_ta": per_mm2("lymphocyte", "ta"),
        "til_tissue": ratio(float(np.count_nonzero(lymphocytes & (view.cell_tissue > 0))), view.area_tissue),
        "tc_ce": per_mm2("tumor", "ce"),
        "tc_ta": per_mm2("tumor", "ta"),
        "tc_cs": per_mm2("tumor", "cs"),
        "fib_cs": per_mm2("fibroblast", "cs"),
        "fib_ta": per_mm2("fibroblast", "ta"),
        "fib_ce": per_mm2("fibroblast", "ce"),
        "mac_ce": per_mm2("macrophage", "ce"),
        "mac_cs": per_mm2("macrophage", "cs"),
        "plasma_cs": per_mm2("plasma", "cs"),
        "neut_ta": per_mm2("neutrophil", "ta"),
        "eos_ta": per_mm2("eosinophil", "ta"),
        "endo_ta": per_mm2("endothelial", "ta"),
        "cell_ta": ratio(float(np.count_nonzero(view.in_ta)), ta),
        "mitosis_ta": per_mm2("mitosis", "ta"),
        "til_peri": ratio(
            float(np.count_nonzero(lymphocytes & in_near)), np.count_nonzero(near) * view.raster.pixel_mm2
        ),
        "til_normal": ratio(float(np.count_nonzero(lymphocytes & outside)), view.area_tissue - ta),
    }
