"""Does the score reveal the label, or what goes with it? After Dawood et al. 2026 (doi:10.1038/s41551-026-01616-8)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins.evaluation.auroc import stratified_auroc
from kras_plugins.evaluation.columns import FIXED, MOST_LEVELS, available, confounding, levels, numbers, texts, usual
from kras_plugins.evaluation.design import Design
from kras_plugins.evaluation.metrics import auroc_entry
from kras_plugins.evaluation.strata import group_auroc

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.cohort.table import Patient
    from kras_plugins.data import Bool, Float64

MOST_FACTORS = 40
UNKNOWN_LEVEL = "unknown"
WITHIN = "within its levels"


def confounders(
    patients: Sequence[Patient],
    labels: npt.NDArray[np.int8],
    ranking: Float64,
    design: Design,
    adenocarcinoma: Bool,
    columns: Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """Entries of `confounders` in metrics.json: the ensemble's AUROC within levels of each factor.

    `ranking`: float64[repeat patient]; `adenocarcinoma`: bool[patient], who is in the columns `luad_…`. `columns`: if
    None, all that are not a label, outcome or id and have at most MOST_LEVELS levels. A factor has a row for each
    level, one for patients for whom it is unknown, and one named WITHIN: the AUROC over pairs of patients of one level,
    which is 0.5 for a score that only reveals the factor. `p_association`: of factor and label.
    """
    factors = possible_factors(patients) if columns is None else columns
    rows: list[dict[str, Any]] = []
    for factor in factors:
        values = texts(patients, factor)
        names, level = levels(values)
        if len(names) < 2 or (columns is None and factor not in FIXED and len(names) > MOST_LEVELS):
            continue
        p = association_p(labels, values)
        for name in [*names, *[UNKNOWN_LEVEL] * bool((level == "").any())]:
            here = level == ("" if name == UNKNOWN_LEVEL else name)
            entry, _ = group_auroc(labels, ranking, design, here)
            rows.append({"factor": factor, "level": name, **entry, "p_association": p}
                        | _luad(group_auroc(labels, ranking, design, here & adenocarcinoma)[0]))  # fmt: skip
        within = _within(labels, ranking, design, level)
        luad = np.where(adenocarcinoma, level, "")
        rows.append({"factor": factor, "level": WITHIN, **within, "p_association": p}
                    | _luad(_within(labels, ranking, design, luad)))  # fmt: skip
    return rows


def possible_factors(patients: Sequence[Patient]) -> list[str]:
    """All columns that are not a label, outcome or id. If there are very many, probably measurements, only
    those named like a clinical covariate, a mutation or another usual factor."""
    found = [c for c in available(patients) if confounding(c)]
    return found if len(found) <= MOST_FACTORS else [c for c in found if usual(c)]


def association_p(labels: npt.ArrayLike, values: Sequence[str]) -> float:
    """Two-sided p that a factor and the label are independent, over patients with a known factor; NaN for one level.

    Fisher's exact test for two levels, chi-squared for more, Mann-Whitney for numbers.
    """
    from scipy import stats

    y, number = np.asarray(labels) > 0, numbers(values)
    if number is not None:
        known = ~np.isnan(number)
        groups = number[known & y], number[known & ~y]
        return float(stats.mannwhitneyu(*groups).pvalue) if all(map(len, groups)) else math.nan
    of = np.array(list(values), np.str_)
    names = sorted(set(of.tolist()) - {""})
    table = np.array([[int((y & (of == n)).sum()), int((~y & (of == n)).sum())] for n in names]).reshape(-1, 2)
    if len(names) < 2 or not table.sum(axis=0).all():
        return math.nan
    if len(names) == 2:
        return float(stats.fisher_exact(table).pvalue)
    return float(stats.chi2_contingency(table).pvalue)


def _within(labels: npt.ArrayLike, ranking: Float64, design: Design, level: npt.NDArray[np.str_]) -> dict[str, Any]:
    y = np.asarray(labels) > 0
    useful = [n for n in sorted(set(level.tolist()) - {""}) if 0 < y[level == n].sum() < (level == n).sum()]
    here = np.isin(level, useful)
    entry: dict[str, Any] = {"n": int(here.sum()), "n_positive": int(y[here].sum())}
    if not useful:
        return entry | {"auroc": None, "note": "no level has both classes"}
    area = stratified_auroc(y, ranking, design, np.where(here, level, ""))
    method = "share of ordered pairs of one level and fold (Janes & Pepe 2009)"
    return entry | {"auroc": auroc_entry(area, design) | {"method": method}, "note": area.note}


def _luad(entry: dict[str, Any]) -> dict[str, Any]:
    return {f"luad_{key}": entry[key] for key in ("n", "n_positive", "auroc") if key in entry}
