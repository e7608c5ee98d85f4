"""What the words for a histology mean: adenocarcinoma, other, or unknown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from kras_plugins.cohort.table import UNKNOWN

if TYPE_CHECKING:
    from kras_plugins.data import Bool

_ADENOCARCINOMA = re.compile(r"(?<![a-z])luad(?![a-z])|^(ad|adc|ac)$|adeno(?![- ]?sq|id)|bronchiolo-?alveolar|lepidic")


def is_adenocarcinoma(histology: str | None) -> bool | None:
    """Whether a histology is adenocarcinoma (also written LUAD, ADC); None where unknown. Adenosquamous is not."""
    word = (histology or "").strip().lower()
    return None if word in UNKNOWN else bool(_ADENOCARCINOMA.search(word))


def histology_groups(histologies: Sequence[str | None]) -> list[str]:
    """`adenocarcinoma`, `other`, or "" where unknown, one a patient."""
    names = {True: "adenocarcinoma", False: "other", None: ""}
    return [names[is_adenocarcinoma(h)] for h in histologies]


def adenocarcinoma_mask(histologies: Sequence[str | None]) -> Bool:
    """bool[patient], true where the histology is known to be adenocarcinoma."""
    return np.array([g == "adenocarcinoma" for g in histology_groups(histologies)], bool)
