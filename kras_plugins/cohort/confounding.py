"""Whether something other than tissue reveals the label: histology, site, or a column of the cohort table."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kras_plugins.cohort.findings import Finding
from kras_plugins.cohort.histology import HISTOLOGIES, Histology, WordMap, as_word, is_understood, parse_histology
from kras_plugins.cohort.number_columns import floats
from kras_plugins.cohort.numbers import UNKNOWN, number
from kras_plugins.cohort.table import COLUMNS, OUTCOME, Row

if TYPE_CHECKING:
    import numpy.typing as npt

PERMUTATIONS = 2000
FEWEST = 5
"""Fewer patients of a class than this say nothing about a numeric covariate."""
TELLS_LABEL = 0.99
"""A numeric covariate whose AUROC is beyond this (or below one minus it) nearly reveals the label."""

PURE_SITE = 3
"""Smaller sites are not reported for having only positives."""

FEWEST_SITES = 6
"""Fewer sites than this with two patients may each hold one histology by chance."""

Auroc = Callable[[Sequence[int], Sequence[str], Sequence[str]], tuple[float, float, float] | None]
"""AUROC of histology alone with its 95 % interval from labels, histologies and sites; None where undefined."""


@dataclass(frozen=True)
class Patients:
    """Labelled patients, one element each."""

    ids: list[str]
    labels: npt.NDArray[np.int8]
    sites: list[str]
    histologies: list[str]
    rows: list[list[Row]]


def labelled_patients(rows: Sequence[Row], target: str) -> Patients:
    """Patients with exactly one known label."""
    by_patient: dict[str, list[Row]] = {}
    for row in rows:
        by_patient.setdefault(row.get("patient_id"), []).append(row)
    kept = []
    for patient, own in sorted(by_patient.items()):
        labels = {v for row in own if (v := number(row.get(target))) in (0.0, 1.0)}
        if len(labels) == 1:
            kept.append((patient, int(labels.pop() or 0), own))
    return Patients(
        ids=[patient for patient, _, _ in kept],
        labels=np.array([label for _, label, _ in kept], np.int8),
        sites=[next((r.get("site") for r in own if r.get("site")), "") for _, _, own in kept],
        histologies=[next((r.get("histology") for r in own if r.get("histology")), "") for _, _, own in kept],
        rows=[own for _, _, own in kept],
    )


def meaning_findings(people: Patients, histologies: WordMap) -> Iterator[Finding]:
    """How stated histologies are understood, for confirmation: scope, strata and baselines follow from it.

    `histologies`: what the user's words mean; words that no patient has, such as misspelled ones, are noted.
    """
    stated = [_stated(own) for own in people.rows]
    words = Counter(one for one in stated if one[0])
    if not words:
        return
    told = ", ".join(
        f"{word!r} ({n}) is {meant}{' (yours)' * yours}" for (word, meant, yours), n in sorted(words.items())
    )
    yield Finding(severity="note", what=f"histologies are understood as follows: {told}")
    meant = Counter(meaning for _, meaning, _ in stated)
    unknown, unstated = meant.pop("unknown", 0), sum(not word for word, _, _ in stated)
    known = ", ".join(f"{meant[name]} {name}" for name in HISTOLOGIES if meant[name])
    yield Finding(
        severity="note",
        what=f"patients by histology: {known or 'none known'}; in addition, {unknown} unknown"
        + (f", {unstated} of whom state none" if unstated else ""),
    )
    strange = {word: n for (word, _, yours), n in sorted(words.items()) if not yours and not is_understood(word)}
    if strange:
        yield Finding(
            severity="warning",
            what=f"{sum(strange.values())} patients have a histology that is not recognized: it counts "
            "as unknown, which is in scope",
            who=tuple(strange),
            do="write adenocarcinoma, squamous, adenosquamous, NSCLC, large cell, sarcomatoid, or an ICD-O-3 code, or "
            "define the word in kras.toml: [run.histologies]",
        )
    unused = tuple(sorted(histologies.keys() - {as_word(word) for word, _, yours in words if yours}))
    if unused:
        yield Finding(severity="note", what="words of your [run.histologies] that no patient has", who=unused)


def _stated(own: Sequence[Row]) -> tuple[str, Histology, bool]:
    """A patient's histology as written ("" if it was not), what it means, and whether the user defined that."""
    yours = next((row for row in own if row.said), None)
    if yours is not None:
        return yours.said, parse_histology(yours.get("histology")), True
    word = next((row.get("histology") for row in own if row.get("histology")), "")
    return word, parse_histology(word), False


def histology_findings(people: Patients, target: str, histology_auroc: Auroc) -> Iterator[Finding]:
    """How far histology alone would get: the baseline any model must beat."""
    without = tuple(p for p, h in zip(people.ids, people.histologies, strict=True) if not h)
    if without:
        yield Finding(
            severity="warning",
            what=f"{len(without)} of {len(people.ids)} patients have no histology: baselines exclude them",
            who=without,
            do="fill in the column histology",
        )
    known = [one for one in zip(people.labels, people.histologies, people.sites, strict=True) if one[1]]
    labels = [int(y) for y, _, _ in known]
    area = histology_auroc(labels, [h for _, h, _ in known], [s for _, _, s in known])
    if area is None:
        return
    value, low, high = area
    positive = sum(labels)
    interval = "" if math.isnan(low) else f" (95 % interval {low:.3f} to {high:.3f})"
    confounded = low > 0.5 or high < 0.5
    yield Finding(
        severity="warning" if confounded else "note",
        what=f"'is it adenocarcinoma' alone has AUROC {value:.3f}{interval} for {target}; n {len(known)}, "
        f"{positive} positive",
        do="compare pooled results with histology_only, and read the LUAD-only ones first" if confounded else "",
    )


def site_findings(people: Patients, target: str, folds: int) -> Iterator[Finding]:
    """Whether the label is associated with the site, overall and within histologies."""
    unknown = tuple(p for p, s in zip(people.ids, people.sites, strict=True) if not s)
    if unknown:
        yield Finding(
            severity="warning",
            what=f"{len(unknown)} of {len(people.ids)} patients have no site: folds cannot keep sites together",
            who=unknown,
            do="fill in the column site",
        )
    known = [i for i, site in enumerate(people.sites) if site]
    names = sorted({people.sites[i] for i in known})
    if len(names) < 2:
        return
    y = people.labels[known]
    of = np.array([people.sites[i] for i in known])
    holding = [name for name in names if y[of == name].any()]
    p = permutation_p(y, of.tolist(), [""] * len(known))
    within = permutation_p(y, of.tolist(), [people.histologies[i] for i in known])
    told = within < 0.05
    yield Finding(
        severity="warning" if told or len(holding) == 1 else "note",
        what=f"{len(holding)} of {len(names)} sites have all positives; {target} and site: p {p:.2g}, within "
        f"histologies {within:.2g} (chi-square, {PERMUTATIONS} permutations)",
        who=tuple(holding) if told or len(holding) == 1 else (),
        do="a model may learn the site (stain, scanner): use --splits site" if told else "",
    )
    sizes = {name: int((of == name).sum()) for name in holding if y[of == name].all()}
    yield from _sites_of_one_histology(people)
    pure = tuple(f"{name} ({n} patients)" for name, n in sizes.items() if n >= PURE_SITE)
    if pure:
        yield Finding(
            severity="warning",
            what="sites with only positive patients",
            who=pure,
            do="there the site reveals the label: use --splits site",
        )
    if len(holding) < folds:
        yield Finding(
            severity="warning",
            what=f"only {len(holding)} sites have a positive: too few for {folds} folds of whole sites",
            do=f"use at most {len(holding)} folds with --splits site" if len(holding) > 1 else "use --splits random",
        )


def _sites_of_one_histology(people: Patients) -> Iterator[Finding]:
    """Whether sites reveal the histology, as TCGA's codes do, each of which stands for an institution and a study."""
    known = [(s, parse_histology(h)) for s, h in zip(people.sites, people.histologies, strict=True) if s and h]
    sizes, of = Counter(site for site, _ in known), {site: {h for s, h in known if s == site} for site, _ in known}
    several = [site for site, n in sizes.items() if n > 1]
    if len(several) >= FEWEST_SITES and len({h for _, h in known}) > 1 and all(len(of[site]) == 1 for site in several):
        yield Finding(
            severity="warning",
            what=f"each of {len(of)} sites has one histology, as TCGA's codes do: a site is not a whole hospital",
            do="map codes to institutions: kras cohort labels --sites FILE, or the same option of kras cohort split",
        )


def covariate_findings(people: Patients, columns: Sequence[str], target: str) -> Iterator[Finding]:
    """Columns that reveal the label by their values, or by being empty."""
    fixed = {*COLUMNS, target} - {"specimen", "kras_test", "cohort"}
    for column in columns:
        if column in fixed or (column.startswith(OUTCOME) and column != "kras_test"):
            continue
        values = ["+".join(sorted({row.get(column) for row in own})) for own in people.rows]
        told = _tells(values, people.labels)
        if told:
            yield Finding(
                severity="error",
                what=f"column {column} {told} {target}",
                who=(column,),
                do=f"rename it to {OUTCOME}… if it states the outcome, else leave it out",
            )


def permutation_p(labels: npt.NDArray[np.int8], groups: Sequence[str], strata: Sequence[str], seed: int = 0) -> float:
    """Permutation p-value that labels and groups are independent within strata.

    The statistic is Pearson's chi-square over groups, with the positives each group should have by its strata's rates;
    labels are permuted within strata, and p is (1 + those at least as large) / (1 + PERMUTATIONS).
    """
    y = np.asarray(labels, np.float64)
    member = np.array([[g == name for name in sorted(set(groups))] for g in groups], np.float64)
    stratum = [np.flatnonzero([s == name for s in strata]) for name in sorted(set(strata))]
    rate = np.empty(len(y))
    for index in stratum:
        rate[index] = y[index].mean()
    expected, spread = member.T @ rate, member.T @ (rate * (1 - rate))
    usable = spread > 0
    rng = np.random.default_rng(seed)

    def statistic(y: npt.NDArray[np.float64]) -> float:
        return float((((member.T @ y - expected) ** 2)[usable] / spread[usable]).sum())

    observed, extreme = statistic(y), 0
    for _ in range(PERMUTATIONS):
        shuffled = y.copy()
        for index in stratum:
            shuffled[index] = rng.permutation(y[index])
        extreme += statistic(shuffled) >= observed - 1e-9
    return (1 + extreme) / (1 + PERMUTATIONS)


def _tells(values: Sequence[str], labels: npt.NDArray[np.int8]) -> str:
    """`equals`, `reveals` or `nearly reveals` if values give the label away, else ""."""
    seen: dict[str, set[int]] = {}
    for value, label in zip(values, labels, strict=True):
        seen.setdefault(value.lower() if value.lower() not in UNKNOWN else "", set()).add(int(label))
    if 1 < len(seen) <= len(values) // 3 and all(len(some) == 1 for some in seen.values()):
        return "equals" if len(seen) == 2 else "reveals"
    found = floats(values).values
    sides = [found[(labels == side) & ~np.isnan(found)] for side in (1, 0)]
    if min(map(len, sides)) < FEWEST:
        return ""
    above = (sides[0][:, None] > sides[1]).mean() + (sides[0][:, None] == sides[1]).mean() / 2
    return "nearly reveals" if max(above, 1 - above) > TELLS_LABEL else ""
