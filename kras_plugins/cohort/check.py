"""What breaks a study and can be seen in its cohort table, before any slide is processed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from kras_plugins.cohort.barcodes import PRIMARY, parse_barcode, parse_slide_name
from kras_plugins.cohort.table import COLUMNS, OUTCOME, UNKNOWN, Row, number, problems, read_rows
from kras_plugins.errors import ConfigError

if TYPE_CHECKING:
    import numpy.typing as npt

Severity = Literal["error", "warning", "note"]
ORDER: tuple[Severity, ...] = ("error", "warning", "note")

PERMUTATIONS = 2000
POSITIVES_PER_FOLD = 5
"""Fewer positives in a fold than this make its AUROC say little."""
TELLS_LABEL = 0.99
"""A numeric covariate whose AUROC is beyond this (or below one minus it) all but tells the label."""

PURE_SITE = 3
"""Sites of fewer patients are not reported for having positives only."""

Auroc = Callable[[Sequence[int], Sequence[str]], tuple[float, float, float] | None]
"""AUROC of histology alone with its 95 % interval from labels and histologies, None where there is none."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing found: `who` names patients, slides, sites or columns, `do` says what to do about it."""

    severity: Severity
    what: str
    who: tuple[str, ...] = ()
    do: str = ""


@dataclass(frozen=True)
class _Patients:
    """Labelled patients, one element each."""

    ids: list[str]
    labels: npt.NDArray[np.int8]
    sites: list[str]
    histologies: list[str]
    rows: list[list[Row]]


def check_table(path: Path, target: str, folds: int, histology_auroc: Auroc) -> list[Finding]:
    """All findings in a cohort table; raises ConfigError where the file is none."""
    found = [Finding(severity="error", what=e.message, do=e.hint) for e in problems(path, target)]
    rows = read_rows(path, ["patient_id", "slide_id", target])
    found += _ids(rows)
    found += _names(rows)
    people = _patients(rows, target)
    unknown = len({row.get("patient_id") for row in rows}) - len(people.ids)
    if unknown:
        what = f"{unknown} patients without one known {target} are set aside, never taken for negative"
        found.append(Finding(severity="note", what=what))
    found += _numbers(people, target, folds)
    if 0 < people.labels.sum() < len(people.labels):
        found += _histology(people, target, histology_auroc)
        found += _sites(people, target, folds)
        found += _covariates(people, list(rows[0].values), target)
    return found


def check_across(paths: Sequence[Path]) -> list[Finding]:
    """Patients who are in several cohort files: an external cohort must share none with the one trained on."""
    of: dict[str, list[str]] = {}
    for path in paths:
        for patient in {row.get("patient_id") for row in read_rows(path, ["patient_id"])}:
            of.setdefault(_person(patient), []).append(str(path))
    both = tuple(f"{patient} ({', '.join(files)})" for patient, files in sorted(of.items()) if len(files) > 1)
    if not both:
        return []
    return [
        Finding(
            severity="error",
            what="patients in several cohorts would be trained on and tested",
            who=both,
            do="leave them out of all cohorts but one",
        )
    ]


def in_order(findings: Sequence[Finding]) -> list[Finding]:
    """Errors first, then warnings, then notes."""
    return sorted(findings, key=lambda one: ORDER.index(one.severity))


def _patients(rows: Sequence[Row], target: str) -> _Patients:
    """Patients with exactly one known label."""
    by_patient: dict[str, list[Row]] = {}
    for row in rows:
        by_patient.setdefault(row.get("patient_id"), []).append(row)
    kept = []
    for patient, own in sorted(by_patient.items()):
        labels = {v for row in own if (v := number(row.get(target))) in (0.0, 1.0)}
        if len(labels) == 1:
            kept.append((patient, int(labels.pop() or 0), own))
    return _Patients(
        ids=[patient for patient, _, _ in kept],
        labels=np.array([label for _, label, _ in kept], np.int8),
        sites=[next((r.get("site") for r in own if r.get("site")), "") for _, _, own in kept],
        histologies=[next((r.get("histology") for r in own if r.get("histology")), "") for _, _, own in kept],
        rows=[own for _, _, own in kept],
    )


def _ids(rows: Sequence[Row]) -> Iterator[Finding]:
    """One patient on two sides: in several splits or cohorts, or under several ids."""
    for column in ("split", "cohort"):
        of: dict[str, set[str]] = {}
        for row in rows:
            if row.get(column):
                of.setdefault(row.get("patient_id"), set()).add(row.get(column))
        both = tuple(f"{p} ({' and '.join(sorted(v))})" for p, v in sorted(of.items()) if len(v) > 1)
        if both:
            yield Finding(
                severity="error",
                what=f"patients in several {column}s would be trained on and tested",
                who=both,
                do=f"give each patient one {column}",
            )
    ids: dict[str, set[str]] = {}
    for row in rows:
        ids.setdefault(_person(row.get("patient_id")), set()).add(row.get("patient_id"))
    several = tuple(" and ".join(sorted(names)) for names in ids.values() if len(names) > 1)
    if several:
        yield Finding(
            severity="error",
            what="one patient under several ids could lie on both sides of a split",
            who=several,
            do="use the patient's part of the barcode, TCGA-xx-xxxx, as patient_id",
        )


def _person(patient: str) -> str:
    """The patient's part of a TCGA barcode, any other id as it is."""
    try:
        return parse_barcode(patient).patient
    except ConfigError:
        return patient


def _names(rows: Sequence[Row]) -> Iterator[Finding]:
    """What TCGA slides' names say against the table: another patient, no tumor, frozen beside diagnostic."""
    named = [(row, parse_slide_name(Path(row.get("path")).name or row.get("slide_id"))) for row in rows]
    tcga = [(row, name) for row, name in named if name is not None]
    others = tuple(
        f"{row.get('slide_id')} (row: {row.get('patient_id')})"
        for row, name in tcga
        if not row.get("patient_id").upper().startswith(name.patient)
    )
    if others:
        yield Finding(severity="error", what="slides named after another patient", who=others, do="correct the rows")
    normal = tuple(row.get("slide_id") for row, name in tcga if name.sample_type != PRIMARY)
    if normal:
        yield Finding(
            severity="error",
            what="slides of normal tissue or of no primary tumor",
            who=normal,
            do="leave them out: the label is of the primary tumor (sample type 01)",
        )
    frozen = tuple(row.get("slide_id") for row, name in tcga if name.kind != "DX")
    if frozen:
        mixed = len(frozen) < len(tcga)
        yield Finding(
            severity="warning",
            what="frozen sections mixed with diagnostic (DX) slides" if mixed else "all slides are frozen sections",
            who=frozen,
            do="keep DX alone: frozen tissue looks different, and who has which kind depends on the site",
        )


def _numbers(people: _Patients, target: str, folds: int) -> Iterator[Finding]:
    n, positive = len(people.labels), int(people.labels.sum())
    for count, name in ((positive, "positive"), (n - positive, "negative")):
        if count < folds:
            yield Finding(
                severity="error",
                what=f"{count} of {n} labelled patients are {name} for {target}: too few for {folds} folds",
                do=f"use at most {count} folds" if count > 1 else f"add {name} patients",
            )
        elif count < folds * POSITIVES_PER_FOLD:
            yield Finding(
                severity="warning",
                what=f"{count} {name} patients are {count / folds:.1f} a fold: intervals will be wide",
                do=f"use fewer folds, --repeats, or more patients; {POSITIVES_PER_FOLD} a fold are few already",
            )
    yield Finding(severity="note", what=f"{n} labelled patients, {positive} positive for {target}")


def _histology(people: _Patients, target: str, histology_auroc: Auroc) -> Iterator[Finding]:
    """How far histology alone would get: the baseline any model must beat."""
    without = tuple(p for p, h in zip(people.ids, people.histologies, strict=True) if not h)
    if without:
        yield Finding(
            severity="warning",
            what=f"{len(without)} of {len(people.ids)} patients have no histology: baselines leave them out",
            who=without,
            do="fill the column histology",
        )
    known = [(int(y), h) for y, h in zip(people.labels, people.histologies, strict=True) if h]
    area = histology_auroc([y for y, _ in known], [h for _, h in known])
    if area is None:
        return
    value, low, high = area
    positive = sum(y for y, _ in known)
    interval = "" if math.isnan(low) else f" (95 % interval {low:.3f} to {high:.3f})"
    confounded = low > 0.5 or high < 0.5
    yield Finding(
        severity="warning" if confounded else "note",
        what=f"'is it adenocarcinoma' alone has AUROC {value:.3f}{interval} for {target}; n {len(known)}, "
        f"{positive} positive",
        do="read pooled results beside histology_only, and the LUAD-only ones first" if confounded else "",
    )


def _sites(people: _Patients, target: str, folds: int) -> Iterator[Finding]:
    """Whether the label goes with the site, overall and within histologies."""
    unknown = tuple(p for p, s in zip(people.ids, people.sites, strict=True) if not s)
    if unknown:
        yield Finding(
            severity="warning",
            what=f"{len(unknown)} of {len(people.ids)} patients have no site: folds cannot keep sites together",
            who=unknown,
            do="fill the column site",
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
        what=f"{len(holding)} of {len(names)} sites hold all positives; {target} and site: p {p:.2g}, within "
        f"histologies {within:.2g} (chi-square, {PERMUTATIONS} permutations)",
        who=tuple(holding) if told or len(holding) == 1 else (),
        do="a model may learn the site (stain, scanner): use --splits site" if told else "",
    )
    sizes = {name: int((of == name).sum()) for name in holding if y[of == name].all()}
    pure = tuple(f"{name} ({n} patients)" for name, n in sizes.items() if n >= PURE_SITE)
    if pure:
        yield Finding(
            severity="warning",
            what="sites with positive patients only",
            who=pure,
            do="there the site tells the label: use --splits site",
        )
    if len(holding) < folds:
        yield Finding(
            severity="warning",
            what=f"only {len(holding)} sites have a positive: no {folds} folds of whole sites",
            do=f"use at most {len(holding)} folds with --splits site" if len(holding) > 1 else "use --splits random",
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


def _covariates(people: _Patients, columns: Sequence[str], target: str) -> Iterator[Finding]:
    """Columns that tell the label by their values, or by being empty."""
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


def _tells(values: Sequence[str], labels: npt.NDArray[np.int8]) -> str:
    """`equals` or `all but tells` where values give the label away, else ""."""
    seen: dict[str, set[int]] = {}
    for value, label in zip(values, labels, strict=True):
        seen.setdefault(value.lower() if value.lower() not in UNKNOWN else "", set()).add(int(label))
    if 1 < len(seen) <= len(values) // 3 and all(len(some) == 1 for some in seen.values()):
        return "equals" if len(seen) == 2 else "tells"
    numbers = [number(value) for value in values]
    known = [(x, int(y)) for x, y in zip(numbers, labels, strict=True) if x is not None]
    sides = [np.array([x for x, y in known if y == side]) for side in (1, 0)]
    if min(map(len, sides)) < POSITIVES_PER_FOLD:
        return ""
    above = (sides[0][:, None] > sides[1]).mean() + (sides[0][:, None] == sides[1]).mean() / 2
    return "all but tells" if max(above, 1 - above) > TELLS_LABEL else ""


def as_json(findings: Sequence[Finding]) -> list[Mapping[str, Any]]:
    """Findings as JSON values."""
    return [{"severity": f.severity, "what": f.what, "who": list(f.who), "do": f.do} for f in findings]
