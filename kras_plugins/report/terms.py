"""The words that console, report, card and pages share: one for each group of patients and for each finding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from kras_plugins.evaluation.auroc import CONSTANT
from kras_plugins.evaluation.comparisons import PROVES_NOTHING
from kras_plugins.evaluation.evaluated import FEWEST_POSITIVES

Finding = Literal["better", "unshown", "worse", "nothing", "unknown"]

_POPULATIONS = {
    "in_scope": "in scope",
    "all_patients": "all patients",
    "adenocarcinoma": "adenocarcinoma",
    "non_squamous": "non-squamous",
}
_CHANCE: Mapping[Finding, str] = {
    "better": "is better than chance",
    "unshown": "is not shown to be better than chance",
    "worse": "is worse than chance",
    "nothing": "gives every patient the same score, so it predicts nothing",
    "unknown": "has no interval, so it is not compared with chance",
}
_OTHER: Mapping[Finding, str] = {
    "better": "better than",
    "unshown": "not shown to be better than",
    "worse": "worse than",
    "nothing": "not compared with",
    "unknown": "not compared with",
}


def population_label(name: str) -> str:
    """What readers call a group of patients of metrics.json."""
    return _POPULATIONS.get(name, name.replace("_", " "))


def against_chance(model: Mapping[str, Any] | None) -> Finding:
    """How a model stands: `better` means exactly that the interval of its AUROC lies above 0.5."""
    auroc = (model or {}).get("auroc") or {}
    low, high = auroc.get("low"), auroc.get("high")
    if CONSTANT in str(auroc.get("note") or ""):
        return "nothing"
    if low is None or high is None:
        return "unknown"
    return "better" if low > 0.5 else "worse" if high < 0.5 else "unshown"


def against_other(row: Mapping[str, Any] | None) -> Finding:
    """How a model stands against another, from their row of `comparisons`.

    `better` means that the interval of the difference lies above 0 and p, after Holm's correction where there is one,
    below 0.05; `nothing` that the other learned nothing, so that no verdict follows.
    """
    facts = row or {}
    low, high = facts.get("low"), facts.get("high")
    if facts.get("note") == PROVES_NOTHING:
        return "nothing"
    if low is None or high is None:
        return "unknown"
    p = facts.get("p") if facts.get("p_holm") is None else facts["p_holm"]
    if low <= 0 <= high or (p is not None and p >= 0.05):
        return "unshown"
    return "better" if low > 0 else "worse"


def chance_phrase(model: Mapping[str, Any] | None) -> str:
    """`is better than chance`, for the end of a sentence that begins with the model."""
    return _CHANCE[against_chance(model)]


def other_phrase(finding: Finding) -> str:
    """`better than`, for the middle of a sentence that goes on with the other model."""
    return _OTHER[finding]


def too_few_positives(positives: int, where: str = "are in scope") -> str:
    """Why there are no thresholds."""
    return (
        f"No thresholds: {positives} positive patients {where}, at least {FEWEST_POSITIVES} are needed to set one. "
        "No patient gets a call"
    )


def begin(text: str) -> str:
    """Text with a capital letter in front."""
    return text[:1].upper() + text[1:]
