"""What the words for a histology mean: adenocarcinoma, other, or unknown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from kras_plugins.cohort.table import UNKNOWN

if TYPE_CHECKING:
    from kras_plugins.data import Bool


def is_adenocarcinoma(histology: str | None) -> bool | None:
    """Whether a histology is adenocarcinoma (also written LUAD, ADC); None where unknown. Adenosquamous is not."""
    word = (histology or "").strip().lower()
    if word in UNKNOWN:
        return None
    return word in {"luad", "ad", "adc", "ac"} or ("adeno" in word and "adenosq" not in word and "adeno-sq" not in word)


def histology_groups(histologies: Sequence[str | None]) -> list[str]:
    """`adenocarcinoma`, `other`, or "" where unknown, one a patient."""
    names = {True: "adenocarcinoma", False: "other", None: ""}
    return [names[is_adenocarcinoma(h)] for h in histologies]


def adenocarcinoma_mask(histologies: Sequence[str | None]) -> Bool:
    """bool[patient], true where the histology is known to be adenocarcinoma."""
    return np.array([g == "adenocarcinoma" for g in histology_groups(histologies)], bool)
