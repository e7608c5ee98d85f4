"""Which kind of cell a nucleus belongs to, by its size, shape and stain.

Rules of thumb until a trained model says better; checked on `nuclei/hgsc` and on synthetic slides.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from kras_plugins.data import Float32

# A diploid nucleus holds much the same DNA everywhere: a lymphocyte packs it into 25-50 µm² at a high density, a tumor
# cell spreads it. Area over density separates the two over weak and strong stain better than either alone.
LYMPHOCYTE_MAX_UM2_PER_OD = 85.0
LYMPHOCYTE_MAX_UM2 = 80.0  # 10 µm across; what is larger and dark is a plasma cell, a clump or a tumor cell
LYMPHOCYTE_MAX_ECCENTRICITY = 0.88
LYMPHOCYTE_MIN_PROB = 0.88  # a lymphocyte stands out from its surroundings; faint debris of its size does not
FIBROBLAST_MIN_ECCENTRICITY = 0.9  # axes 1 : 2.3; endothelium and smooth muscle fall under it as well
TUMOR_MIN_UM2 = 40.0  # smaller ones are cut off, out of focus or apoptotic


def classify(columns: Mapping[str, Float32]) -> list[str]:
    """Class of each nucleus (tumor, lymphocyte, fibroblast, other) from its `measure` columns; first match wins."""
    area, eccentricity = columns["area_um2"], columns["eccentricity"]
    compact = area <= np.minimum(LYMPHOCYTE_MAX_UM2_PER_OD * columns["h_od_mean"], LYMPHOCYTE_MAX_UM2)
    distinct = columns["prob"] >= LYMPHOCYTE_MIN_PROB
    rules = {
        "lymphocyte": compact & distinct & (eccentricity <= LYMPHOCYTE_MAX_ECCENTRICITY),
        "fibroblast": eccentricity > FIBROBLAST_MIN_ECCENTRICITY,
        "tumor": area >= TUMOR_MIN_UM2,
    }
    return [str(name) for name in np.select(list(rules.values()), list(rules), "other")]
