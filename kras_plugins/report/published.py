"""The numbers of AACR 2023 abstract 5399, which `kras` re-implements, and what its counts say about them."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class PublishedCohort:
    """One cohort of the abstract: patients, carriers of KRAS G12C, and AUROC by our model names."""

    name: str
    n: int
    n_positive: int
    auroc: dict[str, float]


TCGA = PublishedCohort("TCGA, cross-validated", 930, 62, {"ensemble": 0.787, "he": 0.768, "mlp": 0.714, "rf": 0.697})
SMC = PublishedCohort(
    "Samsung Medical Center, external", 363, 22, {"ensemble": 0.745, "he": 0.599, "mlp": 0.644, "rf": 0.678}
)

SOURCE = "AACR Annual Meeting 2023, abstract 5399"

SENSITIVITY_NOTE = (
    "The abstract prints 71.0 % sensitivity and 72.7 % specificity for its external cohort of 22 carriers and 341 "
    "others. Among 22 carriers 71.0 % cannot occur (15 of 22 is 68.2 %, 16 of 22 is 72.7 %), while 242 of 341 is "
    "71.0 %. The arithmetic therefore implies that the two are interchanged: sensitivity 16/22 = 72.7 % (95 % Wilson "
    "interval 51.8 to 86.8 %), specificity 242/341 = 71.0 % (65.9 to 75.5 %). This is an inference of the kras "
    "developers from the counts; the authors have published no correction."
)


def hanley_mcneil(auroc: float, n_positive: int, n_negative: int) -> tuple[float, float]:
    """Approximate 95 % interval of an AUROC known only by its value and counts (Hanley & McNeil, Radiology 1982)."""
    q1, q2 = auroc / (2 - auroc), 2 * auroc**2 / (1 + auroc)
    variance = auroc * (1 - auroc) + (n_positive - 1) * (q1 - auroc**2) + (n_negative - 1) * (q2 - auroc**2)
    half = 1.959964 * math.sqrt(variance / (n_positive * n_negative))
    return max(0.0, auroc - half), min(1.0, auroc + half)
