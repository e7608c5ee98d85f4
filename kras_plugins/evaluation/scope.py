"""The patients a bundle was made for: non-squamous NSCLC with enough cancer on the slide. Others get no call."""

from __future__ import annotations

import math
from collections.abc import Sequence

from kras_plugins.cohort.histology import parse_histology
from kras_plugins.data import SemanticProfile
from kras_plugins.semantics.map import MOST_UNLIKE

MIN_CE_MM2 = 0.1
"""Less cancer epithelium than this is too little to assess (docs/reference/definitions.md, scope)."""
MIN_CE_SHARE = 0.1
"""A smaller share of the tissue may consist of false calls only (docs/reference/definitions.md, scope)."""
OUTSIDE = ("not NSCLC", "squamous")
"""Histologies that get no call."""
UNLIKE = "tissue unlike training"
CE_FEATURE, TISSUE_FEATURE = "area_ce", "area_tissue"


def out_of_scope(histology: str, profile: SemanticProfile | None) -> str:
    """Why no call is made for a patient, "" for those in scope.

    `histology` as stated (`kras_plugins.cohort.histology`); an unknown one is in scope. A profile in which area_ce is
    absent or NaN does not decide, nor does the share of the tissue without area_tissue. Failed slides never get here,
    since quality control sets them aside. If more than MOST_UNLIKE of the tissue is unlike what the profiler learned
    from, that is the reason why so little counts as cancer epithelium.
    """
    meant = parse_histology(histology)
    if meant in OUTSIDE:
        return f"out of scope: {meant}" if histology == meant else f"out of scope: {histology} is {meant}"
    epithelium, share = _epithelium(profile)
    unlike = 0.0 if profile is None or profile.unlike_share is None else profile.unlike_share
    if unlike > MOST_UNLIKE and (epithelium < MIN_CE_MM2 or share < MIN_CE_SHARE):
        return f"out of scope: {UNLIKE} ({unlike:.0%})"
    if epithelium < MIN_CE_MM2:
        return f"out of scope: {epithelium:.2g} mm² of cancer epithelium, less than {MIN_CE_MM2:g}"
    if share < MIN_CE_SHARE:
        return f"out of scope: {share:.2%} of the tissue is cancer epithelium, less than {MIN_CE_SHARE:.0%}"
    return ""


def scope_kind(reason: str) -> str:
    """The kind of a reason from `out_of_scope`, without the patient's own figures, for counts."""
    if UNLIKE in reason:
        return UNLIKE
    return next((kind for kind in OUTSIDE if reason.endswith(kind)), "too little cancer epithelium")


def gate_note(profiles: Sequence[SemanticProfile | None]) -> str:
    """What decided who is in scope, for patients with these profiles: histology alone, or also areas on the slides."""
    known = [_epithelium(profile) for profile in profiles]
    areas, shares = (sum(not math.isnan(one[i]) for one in known) for i in (0, 1))
    if not areas:
        return "histology only: no profiler gave the area of cancer epithelium"

    def of(n: int) -> str:
        return "" if n == len(known) else f" (known of {n} of {len(known)} patients)"

    share = f" and its share of the tissue{of(shares)}" if shares else ", its share of the tissue unknown"
    return f"histology, area of cancer epithelium{of(areas)}{share}"


def unlike_note(profiles: Sequence[SemanticProfile | None]) -> str:
    """How many of these patients' tissue the profiler does not know, and what to do about it; "" where it knows all."""
    many = sum((0.0 if p is None or p.unlike_share is None else p.unlike_share) > MOST_UNLIKE for p in profiles)
    if not many:
        return ""
    return (
        f"Of {many} of {len(profiles)} patients more than {MOST_UNLIKE:.0%} of the tissue is unlike what the profiler "
        "was trained on, and no cancer epithelium counts. Where this is many, look at their slides: the profiler may "
        "not know this organ or stain. -o profiler.cells.max_unlike=1 counts all tissue."
    )


def _epithelium(profile: SemanticProfile | None) -> tuple[float, float]:
    """Area of cancer epithelium in mm² and its share of the tissue, NaN if unknown."""
    if profile is None:
        return math.nan, math.nan
    epithelium, tissue = (
        float(profile.values[profile.names.index(name)]) if name in profile.names else math.nan
        for name in (CE_FEATURE, TISSUE_FEATURE)
    )
    return epithelium, epithelium / tissue if tissue > 0 else math.nan
