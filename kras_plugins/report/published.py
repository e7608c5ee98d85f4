"""What others published on a target: AACR 2023 abstract 5399, which `kras` re-implements, and later work."""

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

HISTOLOGY_NOTE = (
    "On the TCGA labels histology alone reaches an AUROC of 0.757 (by patient 0.741–0.773) for KRAS G12C: 963 "
    "patients, 62 positive, none of them squamous. The abstract does not print it beside its own figures."
)


@dataclass(frozen=True, kw_only=True)
class Study:
    """One published study: its task, its AUROCs as printed, how many patients they rest on ("" where we have no source
    for that), and where they stand."""

    task: str
    auroc: str
    patients: str
    source: str


STUDIES = (
    Study(
        task="KRAS, adenocarcinoma: trained on TCGA, tested on CPTAC-3 (four models)",
        auroc="0.598 (0.519–0.677), 0.601, 0.457, 0.629 (0.552–0.706)",
        patients="",
        source="PMC9334329, table 3",
    ),
    Study(
        task="KRAS, adenocarcinoma: trained in Korea, tested in the USA (seven foundation models)",
        auroc="0.468 to 0.645; no intervals printed, ours for the best: 0.59–0.70",
        patients="515 patients, 168 positive",
        source="EXAONE Path 2.0, arXiv 2025",
    ),
    Study(
        task="33 genes and tumors: mean within TCGA, and at a second hospital",
        auroc="0.689 and 0.630; KRAS in adenocarcinoma is not among the eight best",
        patients="varies by task",
        source="GOLDMARK, arXiv 2603.20848",
    ),
    Study(
        task="EGFR, adenocarcinoma: what a detectable gene looks like (internal, external, prospective)",
        auroc="0.847, 0.870, 0.890",
        patients="8,461 slides",
        source="EAGLE, Nat Med 2025, s41591-025-03780-x",
    ),
)


TCGA_DRIVERS = 150
"""TCGA patients with a KRAS driver mutation, as the abstract counts them; it gives none for its external cohort."""
SMC_SENSITIVITY, SMC_SPECIFICITY = 0.710, 0.727
"""Of the ensemble on the external cohort, as printed: see SENSITIVITY_NOTE."""


@dataclass(frozen=True, kw_only=True)
class PublishedGroup:
    """A subgroup of the abstract's external cohort: number of patients (of positives, none is printed) and AUROC.

    `column` of the cohort has levels that contain one of `words`, compared in lower case without spaces and signs;
    with `others` the group consists of all other levels.
    """

    name: str
    n: int
    auroc: float
    column: str
    words: tuple[str, ...]
    others: bool = False


_TSO500 = ("tso500", "trusightoncology500")
SMC_GROUPS = (
    PublishedGroup(name="KRAS by TSO500", n=249, auroc=0.787, column="kras_test", words=_TSO500),
    PublishedGroup(name="KRAS by another test", n=114, auroc=0.720, column="kras_test", words=_TSO500, others=True),
    PublishedGroup(name="resections", n=138, auroc=0.724, column="specimen", words=("resect", "surgical")),
    PublishedGroup(name="biopsies", n=225, auroc=0.763, column="specimen", words=("biops",)),
)
SMC_NON_SQUAMOUS = (286, 0.697)
"""Patients who are not squamous in the external cohort, and the ensemble's AUROC among them."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """Everything shown beside a run on one target: cohorts of the abstract, notes on them, and other studies."""

    cohorts: tuple[PublishedCohort, ...] = ()
    notes: tuple[str, ...] = ()
    studies: tuple[Study, ...] = ()


PUBLISHED = {
    "g12c": Published(cohorts=(TCGA, SMC), notes=(SENSITIVITY_NOTE, HISTOLOGY_NOTE), studies=STUDIES),
    "kras_driver": Published(studies=STUDIES),
    "kras_any_nonsilent": Published(studies=STUDIES),
}
"""By target; a target without published values has no entry."""


def hanley_mcneil(auroc: float, n_positive: int, n_negative: int) -> tuple[float, float]:
    """Approximate 95 % interval of an AUROC known only by its value and counts (Hanley & McNeil, Radiology 1982)."""
    q1, q2 = auroc / (2 - auroc), 2 * auroc**2 / (1 + auroc)
    variance = auroc * (1 - auroc) + (n_positive - 1) * (q1 - auroc**2) + (n_negative - 1) * (q2 - auroc**2)
    half = 1.959964 * math.sqrt(variance / (n_positive * n_negative))
    return max(0.0, auroc - half), min(1.0, auroc + half)
