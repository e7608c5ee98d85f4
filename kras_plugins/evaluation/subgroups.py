"""Is the ensemble as good in one group of patients as in the others: counts, areas, interaction, multiplicity."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins.evaluation.auroc import Auroc, holm
from kras_plugins.evaluation.columns import FIXED, levels, texts
from kras_plugins.evaluation.design import Design
from kras_plugins.evaluation.strata import group_auroc

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.cohort.table import Patient
    from kras_plugins.data import Float64

NO_TEST = "no interaction test: too few patients of a class outside this level"


def subgroups(
    patients: Sequence[Patient],
    labels: npt.NDArray[np.int8],
    ranking: Float64,
    design: Design,
    columns: Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """Entries of `subgroups` in metrics.json: the AUROC in each level of each column that has more than one.

    `ranking`: float64[repeat patient]. `columns`: FIXED where None. Numbers are cut in thirds. `p_interaction`
    compares a level with all other known levels (`interaction_p`); Holm's correction goes over all tests of all
    columns, where the two levels of one column are one test.
    """
    rows: list[dict[str, Any]] = []
    tests: list[tuple[list[int], float]] = []
    for column in FIXED if columns is None else columns:
        names, level = levels(texts(patients, column))
        if len(names) < 2:
            continue
        done: list[int] = []
        for name in names:
            entry, area = group_auroc(labels, ranking, design, level == name)
            p = math.nan
            if area is not None:
                rest = group_auroc(labels, ranking, design, (level != name) & (level != ""))[1]
                p = interaction_p(area, rest) if rest is not None else math.nan
                entry["note"] = entry["note"] or (NO_TEST if rest is None else "")
            if not math.isnan(p):
                done.append(len(rows))
            rows.append({"column": column, "level": name, **entry, "p_interaction": p, "p_holm": math.nan})
        if len(names) == 2 and done:
            tests.append((done, rows[done[0]]["p_interaction"]))
        else:
            tests += [([i], rows[i]["p_interaction"]) for i in done]
    for (members, _), adjusted in zip(tests, holm([p for _, p in tests]), strict=True):
        for i in members:
            rows[i]["p_holm"] = adjusted
    return rows


def interaction_p(a: Auroc, b: Auroc) -> float:
    """Two-sided p that two areas of different patients are one: difference over the root of the summed variances.

    The unpaired test of Hanley & McNeil 1983 with DeLong's standard errors, on the logit scale, where small groups keep
    its size (tests/evaluation/test_subgroups.py measures it). NaN where an area has no error.
    """
    if not (a.standard_error > 0 and b.standard_error > 0 and 0 < a.value < 1 and 0 < b.value < 1):
        return math.nan
    logit = [math.log(x.value / (1 - x.value)) for x in (a, b)]
    error = [x.standard_error / (x.value * (1 - x.value)) for x in (a, b)]
    return math.erfc(abs(logit[0] - logit[1]) / math.hypot(*error) / math.sqrt(2))
