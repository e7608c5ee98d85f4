"""What the words for a histology mean: adenocarcinoma, other, or unknown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from kras_plugins.cohort.histology import parse_histology

if TYPE_CHECKING:
    from kras_plugins.data import Bool


NON_SQUAMOUS = ("adenocarcinoma", "adenosquamous", "large cell", "sarcomatoid")
"""Types that are known not to be squamous; a carcinoma without a stated type (NSCLC, NOS) may be squamous."""


def is_adenocarcinoma(histology: str | None) -> bool | None:
    """Whether a histology is adenocarcinoma (also written LUAD, ADC); None if unknown. Adenosquamous is not."""
    meant = parse_histology(histology)
    return None if meant == "unknown" else meant == "adenocarcinoma"


def histology_groups(histologies: Sequence[str | None]) -> list[str]:
    """`adenocarcinoma`, `other`, or "" if unknown, one per patient."""
    names = {True: "adenocarcinoma", False: "other", None: ""}
    return [names[is_adenocarcinoma(h)] for h in histologies]


def adenocarcinoma_mask(histologies: Sequence[str | None]) -> Bool:
    """bool[patient], true if the histology is known to be adenocarcinoma."""
    return np.array([g == "adenocarcinoma" for g in histology_groups(histologies)], bool)


def histology_auroc(
    labels: Sequence[int], histologies: Sequence[str], sites: Sequence[str]
) -> tuple[float, float, float] | None:
    """AUROC of "is it adenocarcinoma" with its interval, by patient or by site; None without patients of both classes.

    `sites`: of each patient, "" if unknown.
    """
    from kras_plugins.evaluation.auroc import auroc
    from kras_plugins.evaluation.design import one_cohort

    rank = {True: 1.0, False: 0.0, None: 0.5}
    ranks = [rank[is_adenocarcinoma(histology)] for histology in histologies]
    area = auroc(labels, ranks, one_cohort(len(ranks), sites if any(sites) else ()))
    return None if math.isnan(area.value) else (area.value, area.low, area.high)
