"""Is the ensemble as good in one group of patients as in the others: counts, areas, difference, multiplicity."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins.evaluation.auroc import Auroc, holm
from kras_plugins.evaluation.columns import FIXED, MOST_LEVELS, levels, subgroup_columns, texts
from kras_plugins.evaluation.design import Design
from kras_plugins.evaluation.intervals import Interval, difference, estimate
from kras_plugins.evaluation.strata import group_auroc

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.cohort.table import Patient
    from kras_plugins.data import Bool, Float64

NO_TEST = "no comparison: too few patients of a class outside this level"


def subgroups(
    patients: Sequence[Patient],
    labels: npt.NDArray[np.int8],
    ranking: Float64,
    design: Design,
    columns: Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """Entries of `subgroups` in metrics.json: each level of each column against the rest, if there are two or more.

    `ranking`: float64[repeat patient]. `columns`: those of `subgroup_columns` if None, without covariates of more than
    MOST_LEVELS levels and without columns that group the patients in the same way as an earlier one. Numbers are cut
    into thirds.

    A row has `auroc` of its level, `auroc_rest` of all other known levels together and their difference `delta`, whose
    interval is made of both (`intervals.difference`): the patients differ. `p_interaction` tests it (`interaction_p`);
    Holm's correction covers all tests of all columns; the two levels of a binary column are one test.
    """
    rows: list[dict[str, Any]] = []
    tests: list[tuple[list[int], float]] = []
    for column, names, level in _grouped(patients, columns):
        done: list[int] = []
        for name in names:
            row = _against_rest(labels, ranking, design, level == name, (level != name) & (level != ""))
            if not math.isnan(row["p_interaction"]):
                done.append(len(rows))
            rows.append({"column": column, "level": name, **row})
        if len(names) == 2 and done:
            tests.append((done, rows[done[0]]["p_interaction"]))
        else:
            tests += [([i], rows[i]["p_interaction"]) for i in done]
    for (members, _), adjusted in zip(tests, holm([p for _, p in tests]), strict=True):
        for i in members:
            rows[i]["p_holm"] = adjusted
    return rows


def _grouped(
    patients: Sequence[Patient], columns: Sequence[str] | None
) -> Iterator[tuple[str, list[str], npt.NDArray[np.str_]]]:
    """Each column that has two levels or more, with the names of its levels and that of each patient."""
    seen: list[set[bytes]] = []
    for column in subgroup_columns(patients) if columns is None else columns:
        names, level = levels(texts(patients, column))
        groups = {(level == name).tobytes() for name in names}
        if len(names) < 2 or (
            columns is None and (groups in seen or (column not in FIXED and len(names) > MOST_LEVELS))
        ):
            continue
        seen.append(groups)
        yield column, names, level


def _against_rest(
    labels: npt.NDArray[np.int8], ranking: Float64, design: Design, here: Bool, others: Bool
) -> dict[str, Any]:
    """A level, bool[patient], against all other levels of its column."""
    entry, area = group_auroc(labels, ranking, design, here)
    rest = group_auroc(labels, ranking, design, others)[1]
    row = entry | {"auroc_rest": None, "delta": None, "p_interaction": math.nan, "p_holm": math.nan}
    if rest is not None:
        row["auroc_rest"] = estimate(_interval(rest))
    if area is not None and rest is not None:
        row |= {"delta": estimate(difference(_interval(area), _interval(rest)))}
        row |= {"p_interaction": interaction_p(area, rest)}
    elif area is not None:
        row["note"] = row["note"] or NO_TEST
    return row


def _interval(area: Auroc) -> Interval:
    return area.value, area.low, area.high


def interaction_p(a: Auroc, b: Auroc) -> float:
    """Two-sided p that two areas of different patients are one: difference over the root of the summed variances.

    The unpaired test of Hanley & McNeil 1983 with DeLong's standard errors, on the logit scale, where small groups keep
    its size (tests/evaluation/test_subgroups.py measures it). NaN if an area has no error.
    """
    if not (a.standard_error > 0 and b.standard_error > 0 and 0 < a.value < 1 and 0 < b.value < 1):
        return math.nan
    logit = [math.log(x.value / (1 - x.value)) for x in (a, b)]
    error = [x.standard_error / (x.value * (1 - x.value)) for x in (a, b)]
    return math.erfc(abs(logit[0] - logit[1]) / math.hypot(*error) / math.sqrt(2))
