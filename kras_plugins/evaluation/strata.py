"""AUROC of a group of patients, if there are enough of both classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins.evaluation.auroc import Auroc, auroc
from kras_plugins.evaluation.design import Design
from kras_plugins.evaluation.metrics import auroc_entry

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Bool, Float64

MIN_PER_CLASS = 5
"""With fewer positives or negatives a group gets no AUROC."""


def group_auroc(
    labels: npt.ArrayLike, ranking: Float64, design: Design, group: Bool
) -> tuple[dict[str, Any], Auroc | None]:
    """`n`, `n_positive`, `auroc`, `note` of the patients in group, bool[patient], and the area itself.

    `ranking`: float64[repeat patient]. No area with fewer than MIN_PER_CLASS patients of a class.
    """
    y = (np.asarray(labels) > 0)[group]
    n_positive = int(y.sum())
    entry: dict[str, Any] = {"n": len(y), "n_positive": n_positive}
    if min(n_positive, len(y) - n_positive) < MIN_PER_CLASS:
        return entry | {"auroc": None, "note": f"fewer than {MIN_PER_CLASS} patients of a class"}, None
    own = design.of(group)
    area = auroc(y, ranking[:, group], own)
    return entry | {"auroc": auroc_entry(area, own), "note": area.note}, area
