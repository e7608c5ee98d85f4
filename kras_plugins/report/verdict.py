"""The answer on top of the report: one sentence, three numbers, and what they do and do not show."""

from __future__ import annotations

from collections.abc import Mapping

from kras_plugins.report.html import MINUS, number, p_value, percent
from kras_plugins.report.reported import Facts, Reported, auroc_in_words, count
from kras_plugins.report.style import is_baseline, model_label

_PAIRED = {
    "better": "ranks patients better than their histology alone does",
    "worse": "ranks patients worse than their histology alone does",
    "unshown": "is not shown to rank patients better than their histology alone does",
    "untested": "was not tested against histology alone",
    "absent": "has no histology baseline to stand against",
}
_WITHIN = {
    "above": "ranks better than chance",
    "chance": "is not shown to do better than chance",
    "below": "ranks worse than chance",
    "unknown": "could not be estimated with an interval",
}


def headline(of: Reported) -> list[tuple[str, Facts | None]]:
    """The three numbers that belong together: the ensemble, what histology alone gives, the ensemble within LUAD."""
    return [
        (f"{model_label(of.main)}, all patients", of.models.get(of.main)),
        ("Histology alone, all patients", of.models.get("histology_only")),
        (f"{model_label(of.main)}, adenocarcinoma only", of.luad_only.get(of.main)),
    ]


def verdict(of: Reported) -> str:
    """One sentence: against histology alone, and within adenocarcinoma; that there is none on patients seen before."""
    seen = [w for row, w in _warned(of) if row.get("what") == "patients seen in training"]
    if seen:
        return f"No external validation: {seen[0][:1].lower() + seen[0][1:]}."
    name, within = _begin(of.main_phrase), _within(of.luad_only.get(of.main))
    if _all_adenocarcinoma(of):
        return f"Among patients who all have adenocarcinoma, {of.main_phrase} {_WITHIN[within]}."
    paired = _paired(of)
    joined = "but" if (paired, within) in {("better", "chance"), ("unshown", "above"), ("worse", "above")} else "and"
    return f"{name} {_PAIRED[paired]}, {joined} within adenocarcinoma it {_WITHIN[within]}."


def answer(of: Reported) -> list[str]:
    """What the numbers show, a sentence each: the paired test, adenocarcinoma alone, use at the frozen threshold."""
    if _all_adenocarcinoma(of):
        first = "All patients have adenocarcinoma, so histology cannot explain the AUROC."
    elif _paired(of) == "absent":
        first = "There is no histology baseline, so the AUROC may reflect the histological type alone."
    else:
        first = _against_histology(of)
    second = {
        "unknown": "Within adenocarcinoma alone no interval could be estimated, so nothing is known there.",
        "above": "Within adenocarcinoma alone, where histology cannot help, the interval lies above chance (0.5).",
        "below": "Within adenocarcinoma alone the interval lies below chance (0.5): positives tend to score lower.",
        "chance": (
            "Within adenocarcinoma alone, where histology cannot help, the interval includes chance (0.5): this run "
            "does not show that the score tells carriers from others there."
        ),
    }[_within(of.luad_only.get(of.main))]
    return [first, second, *_rivals(of), *_in_practice(of.main_model)]


def power_sentence(of: Reported) -> str:
    """What a cohort of this size could have shown at all; empty where the run does not say."""
    power = of.metrics.get("power") or {}
    smallest = power.get("auroc_detectable")
    if smallest is None:
        return ""
    return (
        f"{count(power, 'n')} patients of whom {count(power, 'n_positive')} are positive can tell an AUROC from 0.5 "
        f"with 80 % power only if it is {number(smallest)} or more."
    )


def permutation_sentence(metrics: Facts) -> str:
    """What refits with permuted labels show; empty where there were none (`kras run --verdict permutation`)."""
    test = metrics.get("verdict") or {}
    p, permutations, within = test.get("p"), test.get("permutations"), " and ".join(test.get("within") or ())
    if test.get("kind") != "permutation":
        return ""
    if p is None or not permutations:
        return f"No permutation test: {test.get('note') or 'no reason stated'}."
    reached = round(p * (permutations + 1)) - 1
    shown = "ranks" if p <= 0.05 else "is not shown to rank"
    note = f" Note: {test['note']}." if test.get("note") else ""
    return (
        f"Permutation test: with labels permuted within {within}, {reached} of {permutations} refits reach the "
        f"observed AUROC of {number(test.get('observed'))} (their mean is {number(test.get('null_mean'))}), p = "
        f"{p_value(p)}: the ensemble {shown} patients better than {within} alone would allow.{note}"
    )


def shift_warnings(of: Reported) -> list[str]:
    """What an external cohort differs in so much that the numbers may not carry over."""
    return [_begin(warning) for _, warning in _warned(of)]


def _warned(of: Reported) -> list[tuple[Facts, str]]:
    rows = (of.metrics.get("external") or {}).get("shift") or ()
    return [(row, str(row["warning"])) for row in rows if isinstance(row, Mapping) and row.get("warning")]


def _begin(text: str) -> str:
    return text[:1].upper() + text[1:]


def _all_adenocarcinoma(of: Reported) -> bool:
    return 0 < int(of.main_model.get("n") or 0) == int((of.luad_only.get(of.main) or {}).get("n") or 0)


def _within(model: Facts | None) -> str:
    auroc = (model or {}).get("auroc") or {}
    low, high = auroc.get("low"), auroc.get("high")
    if low is None or high is None:
        return "unknown"
    return "above" if low > 0.5 else "below" if high < 0.5 else "chance"


def _paired(of: Reported) -> str:
    if (of.models.get("histology_only") or {}).get("auroc") is None:
        return "absent"
    found = _difference(of)
    if found is None or found[0] is None:
        return "untested"
    return _shown(found[0], found[1])


def _shown(interval: tuple[float, float, float], p: float | None) -> str:
    delta, low, high = interval
    if low <= 0 <= high or (p is not None and p >= 0.05):
        return "unshown"
    return "better" if delta > 0 else "worse"


def _difference(of: Reported) -> tuple[tuple[float, float, float] | None, float | None, Facts] | None:
    """(gain of the main model over histology alone with its interval, p, the row); None without such a row."""
    for row in of.rows("comparisons"):
        if {row.get("a"), row.get("b")} != {of.main, "histology_only"}:
            continue
        sign = 1 if row.get("a") == of.main else -1
        ends = [row.get(key) for key in ("delta", "low", "high")]
        tested = row.get("p_holm") if row.get("p_holm") is not None else row.get("p")
        p = None if tested is None else float(tested)
        if any(end is None for end in ends):
            return None, p, row
        delta, low, high = (sign * float(end) for end in ends if end is not None)
        return (delta, min(low, high), max(low, high)), p, row
    return None


def _against_histology(of: Reported) -> str:
    found = _difference(of)
    if found is None:
        return f"Whether {of.main_phrase} is better than histology alone was not tested in this run."
    interval, p, row = found
    if interval is None:
        reason = row.get("note") or "no reason stated"
        return f"The difference between {of.main_phrase} and histology alone could not be tested ({reason})."
    delta, low, high = interval
    numbers = f"difference {delta:+.3f}, 95 % interval {low:+.3f} to {high:+.3f}".replace("-", MINUS)
    if p is not None:
        corrected = " after Holm correction" if row.get("p_holm") is not None else ""
        numbers += f", p {'' if p < 0.001 else '= '}{p_value(p)}{corrected}"
    if row.get("minimum_detectable") is not None:
        numbers += f"; a true difference of {number(row['minimum_detectable'])} would have been found with 80 % power"
    return f"{_begin(of.main_phrase)} {_PAIRED[_shown(interval, p)]} ({numbers})."


def _rivals(of: Reported) -> list[str]:
    """Baselines other than histology that rank at least as well as the main model."""
    ours = (of.main_model.get("auroc") or {}).get("value")
    rivals = [
        f"{model_label(name).lower()} with {auroc_in_words(model)}"
        for name, model in of.models.items()
        if is_baseline(name) and name not in ("histology_only", "prevalence") and ours is not None
        if ((model.get("auroc") or {}).get("value") or 0) >= ours
    ]
    return [f"Something simpler ranks all patients as well or better: {'; '.join(rivals)}."] if rivals else []


def _in_practice(model: Facts) -> list[str]:
    """What the frozen target-sensitivity threshold would have meant for 100 patients; nothing where it is unknown."""
    point = (model.get("operating_points") or {}).get("target_sensitivity") or {}
    flagged, found, npv = point.get("flagged"), point.get("sensitivity") or {}, point.get("npv")
    told = npv if isinstance(npv, Mapping) else {"value": npv}
    if flagged is None or found.get("value") is None:
        return []
    value, low, high = (None if (share := told.get(key)) is None else 1 - share for key in ("value", "high", "low"))
    left = {"value": value, "low": low, "high": high}
    missed = f" Of those not flagged {percent(left)} are positive." if value is not None else ""
    return [
        f"At the threshold set beforehand for high sensitivity, {100 * flagged:.0f} of 100 patients would be flagged, "
        f"and {percent(found)} of the positive ones are among them.{missed}"
    ]
