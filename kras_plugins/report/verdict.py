"""The answer on top of the report: one sentence on patients in scope, the numbers beside it, and what they show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kras_plugins.evaluation.baselines import HISTOLOGY_ONLY, PREVALENCE
from kras_plugins.evaluation.comparisons import ALL_PATIENTS, IN_SCOPE, PROVES_NOTHING
from kras_plugins.report.html import MINUS, estimate, number, p_value, percent
from kras_plugins.report.reported import Facts, Reported, auroc_in_words, count
from kras_plugins.report.style import is_baseline, model_label
from kras_plugins.report.terms import against_chance, against_other, begin, chance_phrase, other_phrase
from kras_plugins.report.worth import worth_verdict

_BASELINE_CARDS = 2
_NO_POWER = {"minimum_detectable": None}


def headline(of: Reported) -> list[tuple[str, Facts | None]]:
    """The numbers that belong together, all in scope: the main model and the strongest baselines."""
    names = [of.main, *_by_strength(of)[:_BASELINE_CARDS]]
    return [(f"{model_label(name)}, in scope", of.models.get(name)) for name in names]


def verdict(of: Reported) -> str:
    """One sentence: in scope, against chance and the strongest baseline; none on patients seen in training."""
    seen = [w for row, w in _warned(of) if row.get("what") == "patients seen in training"]
    if seen:
        return f"No external validation: {seen[0][:1].lower() + seen[0][1:]}."
    said = f"In scope, {of.main_phrase} {chance_phrase(of.main_model)}"
    rival = _rival(of)
    if against_chance(of.main_model) == "better" and rival:
        found = against_other(_compared(of, rival, IN_SCOPE))
        if found in ("better", "unshown", "worse"):
            joined = "and" if found == "better" else "but"
            return f"{said}, {joined} {other_phrase(found)} {_plain(rival)}, the strongest baseline."
    return f"{said}."


def pooled_line(of: Reported) -> str:
    """All patients pooled: the main model beside histology alone, which means something there only; "" without any."""
    ours, histology = of.pooled.get(of.main), of.pooled.get(HISTOLOGY_ONLY)
    if not ours:
        return ""
    said = f"All patients pooled: {of.main_phrase} {estimate(ours.get('auroc') or {})}"
    who = f"{count(ours, 'n')} patients, {count(ours, 'n_positive')} positive"
    if not histology:
        alike = of.same_patients(of.luad_only)
        return f"{said}, {who}" + ("." if alike else "; there is no baseline of histology alone.")
    row = _compared(of, HISTOLOGY_ONLY, ALL_PATIENTS)
    return (
        f"{said}, histology alone {estimate(histology.get('auroc') or {})}; {who}. {begin(of.main_phrase)} is "
        f"{other_phrase(against_other(row))} histology alone{_difference(None if row is None else row | _NO_POWER)}."
    )


def answer(of: Reported) -> list[str]:
    """What the numbers show, a sentence each: baselines, strata, what ruling out is worth, use at a threshold."""
    note = str((of.main_model.get("auroc") or {}).get("note") or "")
    return [
        *([f"{begin(of.main_phrase)}: {note}."] if note else []),
        *_baselines(of),
        *_strata(of),
        *filter(None, [worth_verdict(of)]),
        *_in_practice(of.main_model),
    ]


def power_sentence(of: Reported) -> str:
    """What a cohort of this size could have shown at all; empty where the run does not say."""
    power = of.metrics.get("power") or {}
    smallest = power.get("auroc_detectable")
    if smallest is None:
        return ""
    return (
        f"With {count(power, 'n')} patients, {count(power, 'n_positive')} of them positive, an AUROC can be "
        f"distinguished from 0.5 with 80 % power only if it is {number(smallest)} or more."
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
    return [begin(warning) for _, warning in _warned(of)]


def _warned(of: Reported) -> list[tuple[Facts, str]]:
    rows = (of.metrics.get("external") or {}).get("shift") or ()
    return [(row, str(row["warning"])) for row in rows if isinstance(row, Mapping) and row.get("warning")]


def _area(model: Facts | None) -> float:
    value = ((model or {}).get("auroc") or {}).get("value")
    return -1.0 if value is None else float(value)


def _by_strength(of: Reported) -> list[str]:
    """Baselines in scope, the highest AUROC first."""
    found = [name for name, model in of.models.items() if is_baseline(name) and _area(model) >= 0]
    return sorted(found, key=lambda name: -_area(of.models[name]))


def _rival(of: Reported) -> str:
    """The strongest baseline in scope, "" where none has an AUROC above 0.5, which is what knowing nothing gives."""
    return next((n for n in _by_strength(of) if _area(of.models[n]) > 0.5 and n != PREVALENCE), "")


def _plain(name: str) -> str:
    """A baseline inside a sentence."""
    return model_label(name).lower() if is_baseline(name) else model_label(name)


def _compared(of: Reported, other: str, population: str) -> dict[str, Any] | None:
    """The row of the main model against another, turned so that the main model comes first; None without one."""
    for row in of.rows("comparisons"):
        if {row.get("a"), row.get("b")} != {of.main, other} or (row.get("population") or population) != population:
            continue
        if row.get("a") == of.main:
            return dict(row)
        delta, low, high = (None if row.get(k) is None else -float(row[k]) for k in ("delta", "low", "high"))
        return {**row, "delta": delta, "low": high, "high": low}
    return None


def _difference(row: Facts | None) -> str:
    """The numbers behind a comparison in parentheses, or why there are none."""
    if row is None:
        return ""
    delta, low, high = (row.get(key) for key in ("delta", "low", "high"))
    if delta is None or low is None or high is None:
        return f" ({row.get('note') or 'no reason stated'})"
    numbers = f"difference {delta:+.3f}, 95 % interval {low:+.3f} to {high:+.3f}".replace("-", MINUS)
    corrected = row.get("p_holm") is not None
    p = row.get("p_holm") if corrected else row.get("p")
    if p is not None:
        numbers += f", p {'' if p < 0.001 else '= '}{p_value(p)}{' after Holm correction' if corrected else ''}"
    least = row.get("minimum_detectable")
    if least is not None and least < 1:
        numbers += f"; a true difference of {number(least)} would have been found with 80 % power"
    elif least is not None:
        numbers += "; too few patients to find any true difference with 80 % power"
    return f" ({numbers})"


def _baselines(of: Reported) -> list[str]:
    """The strongest baseline in scope with the difference, and those that learned nothing."""
    rival, sentences = _rival(of), []
    if rival:
        found = _compared(of, rival, IN_SCOPE)
        said = (
            f"The strongest baseline in scope is {_plain(rival)} with {estimate(of.models[rival].get('auroc') or {})}"
        )
        if _area(of.models[rival]) >= _area(of.main_model) >= 0:
            said += f", which ranks patients as well as {of.main_phrase} or better"
        if found is not None and against_other(found) != "nothing":
            said += f"; {of.main_phrase} is {other_phrase(against_other(found))} it{_difference(found)}"
        sentences.append(f"{said}.")
    nothing = [
        _plain(str(row.get("b")))
        for row in of.rows("comparisons")
        if row.get("note") == PROVES_NOTHING and row.get("a") == of.main
    ]
    if nothing:
        sentences.append(f"{begin(', '.join(nothing))}: {PROVES_NOTHING}.")
    return sentences


def _strata(of: Reported) -> list[str]:
    """The main model in adenocarcinoma and non-squamous, where those are not all who are in scope."""
    return [
        f"{begin(title)}: {of.main_phrase} {chance_phrase(table.get(of.main))}, with "
        f"{auroc_in_words(table.get(of.main))}."
        for title, table in of.strata
        if table.get(of.main)
    ]


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
        f"At the threshold set beforehand for high sensitivity, {100 * flagged:.0f} of 100 patients in scope would be "
        f"flagged, and {percent(found)} of the positive ones are among them.{missed}"
    ]
