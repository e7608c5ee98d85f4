"""Whom a bundle was made for: non-squamous NSCLC with enough cancer on the slide. The others get no call."""

from __future__ import annotations

from kras_plugins.cohort.histology import parse_histology
from kras_plugins.data import SemanticProfile

MIN_CE_MM2 = 0.1
"""Less cancer epithelium than this is too little to judge (docs/reference/definitions.md, scope)."""
CE_FEATURE = "area_ce"
NOTE = (
    "Patients out of scope (too little cancer epithelium, squamous, not NSCLC) get no call; AUROCs and operating "
    "points still count them, as the training cohort held such patients too."
)


def out_of_scope(histology: str, profile: SemanticProfile | None) -> str:
    """Why no call is made for a patient, "" for those in scope.

    `histology` as stated (`kras_plugins.cohort.histology`); one that is not known is in scope. A profile without the
    feature area_ce, or with it NaN, says nothing; failed slides never come here, quality control sets them aside.
    """
    meant = parse_histology(histology)
    if meant in ("not NSCLC", "squamous"):
        return f"out of scope: {meant}" if histology == meant else f"out of scope: {histology} is {meant}"
    if profile is not None and CE_FEATURE in profile.names:
        area = float(profile.values[profile.names.index(CE_FEATURE)])
        if area < MIN_CE_MM2:
            return f"out of scope: {area:.2g} mm² of cancer epithelium, less than {MIN_CE_MM2:g}"
    return ""
