"""The ensemble in groups of patients: subgroups, confounders, and what the score reveals about technical factors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats
from scipy.special import logit

from recomputed.areas import NAN, Area, Design, Z, area, holm
from recomputed.covariates import Columns, grouping, levels, numbers, texts
from recomputed.drawn import SEED
from recomputed.entries import design_of
from recomputed.files import Study
from recomputed.proportions import estimate

FEWEST = 5
PERMUTATIONS = 1999
WITHIN = "within its levels"


class Group:
    """The patients of these blocks: complete and in scope, with their columns."""

    def __init__(self, study: Study, columns: Columns) -> None:
        here = study.complete
        self.y, self.scores, self.design = study.y[here], study.ensemble.within[:, here], design_of(study).of(here)
        self.adenocarcinoma, self.glandular = (study.kind == "adenocarcinoma")[here], study.glandular[here]
        self.columns = {name: [values[i] for i in np.flatnonzero(here)] for name, values in columns.items()}

    def entry(self, who: np.ndarray) -> tuple[dict[str, Any], Area | None]:
        """Counts and the area of some of them, none below five patients of a class."""
        y = self.y[who]
        counts = {"n": len(y), "n_positive": int(y.sum())}
        if min(y.sum(), (~y).sum()) < FEWEST:
            return {**counts, "auroc": None}, None
        found = area(y, self.scores[:, who], self.design.of(who))
        return {**counts, "auroc": found.entry()}, found

    def within(self, level: np.ndarray) -> dict[str, Any]:
        """Pairs of one level and fold, of levels that have both classes."""
        useful = [n for n in set(level.tolist()) - {""} if 0 < self.y[level == n].sum() < (level == n).sum()]
        here = np.isin(level, useful)
        counts = {"n": int(here.sum()), "n_positive": int(self.y[here].sum())}
        if not useful:
            return {**counts, "auroc": None}
        return {**counts, "auroc": area(self.y, self.scores, self.design, np.where(here, level, "")).entry()}


def subgroups(group: Group, given: Sequence[str] | None) -> list[dict[str, Any]]:
    """Each level against all other known levels: the difference of logits over the root of both variances (Hanley &
    McNeil 1983), Holm over all tests, where the two levels of a column are one."""
    rows: list[dict[str, Any]] = []
    tests: list[list[int]] = []
    for column, names, level in grouping(group.columns, given):
        own = []
        for name in names:
            entry, found = group.entry(level == name)
            rest = group.entry((level != name) & (level != ""))[1]
            p = NAN if found is None or rest is None else interaction(found, rest)
            if not math.isnan(p):
                own.append(len(rows))
            rows.append(
                {"column": column, "level": name, **entry, **against(found, rest), "p_interaction": p, "p_holm": NAN}
            )
        tests += [own] if len(names) == 2 and own else [[i] for i in own]
    for one, adjusted in zip(tests, holm([rows[t[0]]["p_interaction"] for t in tests]), strict=True):
        for i in one:
            rows[i]["p_holm"] = adjusted
    return rows


def against(here: Area | None, rest: Area | None) -> dict[str, Any]:
    """The area of all other levels, and the difference from it with the squared distances of bounds added up (MOVER,
    Zou & Donner 2008)."""
    found: dict[str, Any] = {"auroc_rest": None, "delta": None}
    if rest is not None:
        found["auroc_rest"] = estimate(rest.value, rest.low, rest.high)
    if here is not None and rest is not None:
        value = here.value - rest.value
        low = value - math.hypot(here.value - here.low, rest.high - rest.value)
        found["delta"] = estimate(value, low, value + math.hypot(here.high - here.value, rest.value - rest.low))
    return found


def interaction(a: Area, b: Area) -> float:
    if not (a.se > 0 and b.se > 0 and 0 < a.value < 1 and 0 < b.value < 1):
        return NAN
    error = math.hypot(*(x.se / (x.value * (1 - x.value)) for x in (a, b)))
    return float(2 * stats.norm.sf(abs(logit(a.value) - logit(b.value)) / error))


def confounders(group: Group, written: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The area within each level of each factor that is written, and over pairs of one level; `luad_…` among
    adenocarcinomas."""
    rows = []
    for factor in dict.fromkeys(row["factor"] for row in written):
        if factor not in group.columns:
            continue
        values = texts(group.columns, factor)
        names, level = levels(values)
        p = association(group.y, values)
        found = [
            (name, group.entry(level == key)[0], group.entry((level == key) & group.adenocarcinoma)[0])
            for name, key in [*((n, n) for n in names), *([("unknown", "")] if (level == "").any() else [])]
        ]
        luad = np.where(group.adenocarcinoma, level, "")
        for name, everyone, own in [*found, (WITHIN, group.within(level), group.within(luad))]:
            row = {"factor": factor, "level": name, **everyone, "p_association": p}
            rows.append(row | {f"luad_{key}": value for key, value in own.items()})
    return rows


def association(y: np.ndarray, values: Sequence[str]) -> float:
    """Fisher's exact test for two levels, chi-squared for more, Mann-Whitney for numbers."""
    number = numbers(values)
    if number is not None:
        known = ~np.isnan(number)
        groups = number[known & y], number[known & ~y]
        return float(stats.mannwhitneyu(*groups).pvalue) if all(map(len, groups)) else NAN
    known = np.array(values) != ""
    if len(set(np.array(values)[known])) < 2 or len(set(y[known])) < 2:
        return NAN
    table = stats.contingency.crosstab(np.array(values)[known], y[known]).count
    return float(stats.fisher_exact(table).pvalue if len(table) == 2 else stats.chi2_contingency(table).pvalue)


def probes(group: Group, written: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the score reveals about each factor that is written, within label, and within label and histology."""
    rows = []
    for row in written:
        column, within = row["what"].split(" from score, within ")
        if column not in group.columns:
            continue
        label = np.where(group.y, "1", "0")
        stratum = label if within == "label" else np.char.add(label, group.glandular)
        values = texts(group.columns, column)
        number, (names, level) = numbers(values), levels(values)
        enough = [n for n in names if (level == n).sum() >= FEWEST]
        level = np.where(np.isin(level, enough), level, "")
        if number is not None:
            found = correlation(group, stratum, number)
        elif len(enough) == 2:
            found = two_levels(group, stratum, level, enough)
        else:
            found = many_levels(group, stratum, level)
        rows.append({"what": row["what"], "n": int((level != "").sum()), **found})
    return rows


def ranks(group: Group, stratum: np.ndarray) -> np.ndarray:
    """Ranks of the score within stratum and fold, in (0, 1), mean over repeats."""
    found = np.zeros(group.scores.shape)
    for own, score, fold in zip(found, group.scores, group.design.fold, strict=True):
        for k in np.unique(fold):
            for name in np.unique(stratum):
                here = (fold == k) & (stratum == name)
                own[here] = (stats.rankdata(score[here]) - 0.5) / max(1, here.sum())
    return found.mean(axis=0)


def two_levels(group: Group, stratum: np.ndarray, level: np.ndarray, names: Sequence[str]) -> dict[str, float]:
    """The area of the score for the second level against the first; sites are not units if the site is predicted."""
    here, design = level != "", Design(group.design.fold, folds=group.design.folds)
    found = area(level[here] == names[1], group.scores[:, here], design.of(here), stratum[here])
    p = float(2 * stats.norm.sf(abs(found.value - 0.5) / found.se)) if found.se > 0 else NAN
    return {"value": found.value, "low": found.low, "high": found.high, "p": p}


def many_levels(group: Group, stratum: np.ndarray, level: np.ndarray) -> dict[str, float]:
    """The share of the variance of ranks between levels above its mean over 1,999 permutations within strata; within
    folds besides where no two folds share a level."""
    known, fold = level != "", group.design.fold[0]
    block, own, of = stratum[known], ranks(group, stratum)[known], level[known]
    for name in np.unique(block):
        own[block == name] -= own[block == name].mean()
    if len(np.unique(fold)) > 1 and all(len(np.unique(fold[level == n])) == 1 for n in np.unique(of)):
        block = np.array([f"{b}|{k}" for b, k in zip(block, fold[known], strict=True)])
    generator = np.random.default_rng(SEED)
    shuffled = np.tile(own, (PERMUTATIONS + 1, 1))
    for name in np.unique(block):
        here = np.flatnonzero(block == name)
        shuffled[1:, here] = generator.permuted(shuffled[1:, here], axis=1)
    between = sum(shuffled[:, of == n].sum(axis=1) ** 2 / (of == n).sum() for n in np.unique(of))
    between = between / max(float((own**2).sum()), 1e-300)
    chance = between[1:].mean()
    p = (1 + (between[1:] >= between[0] - 1e-12).sum()) / (PERMUTATIONS + 1)
    return {"value": (between[0] - chance) / max(1 - chance, 1e-9), "low": NAN, "high": NAN, "p": float(p)}


def correlation(group: Group, stratum: np.ndarray, number: np.ndarray) -> dict[str, float]:
    """Spearman's correlation within strata, Fisher's interval with the variance of Bonett & Wright 2000."""
    known = ~np.isnan(number)
    block, score, own = stratum[known], ranks(group, stratum)[known], np.zeros(known.sum())
    for name in np.unique(block):
        here = block == name
        own[here] = stats.rankdata(number[known][here]) / here.sum()
        score[here] -= score[here].mean()
        own[here] -= own[here].mean()
    freedom = len(own) - 2 - len(np.unique(block))
    if not score.any() or not own.any() or freedom < 2:
        return {"value": NAN, "low": NAN, "high": NAN, "p": NAN}
    rho = float(score @ own / math.sqrt((score @ score) * (own @ own)))
    z, half = math.atanh(rho), Z * math.sqrt((1 + rho**2 / 2) / freedom)
    p = float(2 * stats.norm.sf(abs(z) * math.sqrt(freedom)))
    return {"value": rho, "low": math.tanh(z - half), "high": math.tanh(z + half), "p": p}
