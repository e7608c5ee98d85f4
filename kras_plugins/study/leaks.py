"""What would reveal the label without any tissue: patients who share content, a feature that is the label."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from kras_plugins.cohort.findings import Finding
from kras_plugins.errors import ConfigError
from kras_plugins.study.audit import content_of

if TYPE_CHECKING:
    from pathlib import Path

    from kras_plugins.data import Bag, Bool, Float64
    from kras_plugins.learning.samples import Case
    from kras_plugins.study.session import Session

FEWEST_VALUES = 8
"""Rows of features with fewer distinct values may be equal by chance: indicators of sites, a handful of counts."""
BY_CHANCE = 1e-6
"""A feature that separates the classes is not an accident if its probability by chance, among all, is below this."""
NEARLY = 0.99
"""The AUROC from which a feature counts as nearly the label."""
_SHOWN = 5
_ROWS = 64  # of a bag that are compared


def check_leaks(cases: Sequence[Case], target: str) -> list[str]:
    """Notes on patients who share content, and on features that nearly are the label; ConfigError if one is the label.

    Patients share a slide, a bag of features or a row of features if its content is the same. If folds separate such
    patients, one is trained on and the other is tested. A feature is the label if it has two values, one for each
    class, or if it is missing in all patients of one class and in nobody else.
    """
    shared = _copies(cases)
    profiles = [c.sample.profile for c in cases]
    first = next((p for p in profiles if p is not None), None)
    if first is None or any(p is not None and p.names != first.names for p in profiles):
        return shared  # learning refuses different columns, naming both patients
    blank = np.full(len(first.names), np.nan)
    values = np.stack([blank if p is None else p.values for p in profiles])
    positive = np.array([c.patient.label == 1 for c in cases], np.bool_)
    told = [(name, *_separation(column, positive)) for name, column in zip(first.names, values.T, strict=True)]
    have = np.array([p is not None for p in profiles], np.bool_)
    missing = np.isnan(values[have]).astype(np.float64)
    told += [
        (f"{name} (whether it is missing)", *_separation(missing[:, i], positive[have]))
        for i, name in enumerate(first.names)
        if 0 < missing[:, i].sum() < len(missing)
    ]
    clear = [(name, area, two) for name, area, two, chance in told if chance * len(told) < BY_CHANCE]
    same = [name for name, area, two in clear if two and area == 1]
    if same:
        raise ConfigError(
            f"features that are the label {target} itself: {', '.join(same[:_SHOWN])}",
            "leave those columns out: -o 'profiler.import.features=…*' names the true ones",
        )
    return shared + [
        f"Possible leak: feature {name} alone has AUROC {area:.3f} for {target}. Make sure that it was not made with "
        "knowledge of the label."
        for name, area, _ in clear
        if area >= NEARLY
    ]


def feature_findings(session: Session, cohort: Path, target: str) -> list[Finding]:
    """What `train` would report about features made elsewhere, for the settings' profiler, before it trains anything.

    Returns nothing if the cohort cannot be read; `cohort.check` reports the reason.
    """
    from kras_plugins.cohort.table import read_cohort
    from kras_plugins.host.parts import open_parts
    from kras_plugins.learning.samples import assemble
    from kras_plugins.study.missingness import check_features
    from kras_plugins.study.session import process

    settings = session.settings
    try:
        table = read_cohort(cohort, target, needs_paths=False)
    except ConfigError:
        return []
    with open_parts(
        session.registry, session.config, extractors=[], profiler=settings.profiler, backend=settings.backend
    ) as parts:
        processed = process(session, [slide for p in table.patients for slide in p.slides], parts)
    cases = assemble(table.patients, processed.results)
    found = [
        Finding(severity="warning", what=f"no features: {one.reason}", who=(one.slide_id,), do=one.hint)
        for one in processed.aside
    ]
    try:
        check_features(cases, target)
        told = check_leaks(cases, target)
    except ConfigError as e:
        return [*found, Finding(severity="error", what=e.message, do=e.hint)]
    return found + [Finding(severity="error" if text.startswith("Leak") else "warning", what=text) for text in told]


def _copies(cases: Sequence[Case]) -> list[str]:
    of: dict[str, list[str]] = {}
    for case in cases:
        for digest in {*content_of(case, FEWEST_VALUES), *map(_bag_digest, case.sample.bags)}:
            of.setdefault(digest, []).append(case.patient.patient_id)
    groups = sorted({" and ".join(sorted(who)) for who in of.values() if len(who) > 1})
    if not groups:
        return []
    more = f"; and {len(groups) - _SHOWN} more" if len(groups) > _SHOWN else ""
    return [
        f"Leak: different patients have the same slide or the same features: {'; '.join(groups[:_SHOWN])}{more}. "
        "One may be trained on and the other tested. Find out whose it is and remove the other rows."
    ]


def _bag_digest(bag: Bag) -> str:
    """What identifies a bag in whatever file: its first rows of features, and how many there are."""
    return hashlib.sha256(repr(bag.features.shape).encode() + bag.features[:_ROWS].tobytes()).hexdigest()


def _separation(values: Float64, positive: Bool) -> tuple[float, bool, float]:
    """AUROC of a feature in either direction, whether it has two values only, and how probable this is by chance.

    The probability is that of the Mann-Whitney statistic, by the normal approximation, but at least that of a complete
    separation, 2 in C(n, n⁺) orders; in small cohorts the approximation would be smaller.
    """
    from scipy.stats import mannwhitneyu

    known = np.isfinite(values)
    yes, no = values[known & positive], values[known & ~positive]
    if not len(yes) or not len(no):
        return 0.5, False, 1.0
    test = mannwhitneyu(yes, no, method="asymptotic")
    area = float(test.statistic) / (len(yes) * len(no))
    whole = 2 * math.exp(-_log_choose(len(yes) + len(no), len(yes)))
    return max(area, 1 - area), len(np.unique(values[known])) == 2, max(float(test.pvalue), whole)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
