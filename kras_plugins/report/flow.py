"""Who was counted: the boxes of a flow diagram after STARD 2015, from the cohort to the calls."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Box:
    """One step of the flow: those who stay or, with `left`, those who leave at this point."""

    title: str
    count: str
    detail: str = ""
    left: bool = False


_TITLES = {
    "rows": "Rows of the cohort table",
    "slides": "Slides",
    "patients": "Patients",
    "labelled": "Patients with a known target",
    "label_unknown": "Target unknown, therefore not counted as negative",
}
_DETAILS = ("positive", "negative")
_OUT_OF_SCOPE = "patients out of scope"
_LEAVING = re.compile(r"\b(out of|unknown|without|exclu\w*|dropped|set aside|not|no|missing|lack\w*|duplicates?)\b")


def call_boxes(calls: Sequence[tuple[str, int, int]]) -> list[Box]:
    """Where the flow ends: a box for each of (call, negatives, positives)."""
    return [
        Box(title=f"Call: {call}", count=str(negative + found), detail=f"{found} positive, {negative} negative")
        for call, negative, found in calls
    ]


def flow_boxes(flow: object, metrics: Mapping[str, Any]) -> list[Box]:
    """The flow of metrics.json, then the patients in scope and those of the primary analysis.

    `flow`: `{step: count}`, or objects with `step`, `n` and perhaps `n_positive` and `reason`; a negative count, or a
    step whose name says so, is drawn as an exclusion. Those out of scope have a box for each reason; the box of those
    in scope says for how many the histology is unknown. Patients lost between the last known count and the analysis
    get a box of their own, so that the numbers add up.
    """
    scope = metrics.get("scope") or {}
    boxes = _of_mapping(flow, scope) if isinstance(flow, Mapping) else _of_list(flow)
    boxes += _in_scope(scope)
    analyzed = metrics.get("n")
    remaining = _remaining(flow) if isinstance(flow, Mapping) else None
    if analyzed is not None and remaining is not None and remaining > analyzed:
        boxes.append(Box(title="Lack the input of a member", count=str(remaining - analyzed), left=True))
    if analyzed is not None:
        positive = metrics.get("n_positive")
        detail = "" if positive is None else f"{positive} positive, {analyzed - positive} negative"
        boxes.append(Box(title="Analyzed: in scope, every member gave a score", count=str(analyzed), detail=detail))
    return boxes


def _in_scope(scope: Mapping[str, Any]) -> list[Box]:
    n, positive, unknown = (scope.get(key) for key in ("n", "n_positive", "unknown_histology"))
    if n is None:
        return []
    details = [] if positive is None else [f"{positive} positive, {n - positive} negative"]
    if unknown:
        details.append(f"histology unknown in {unknown}, who are in scope")
    return [Box(title="In scope", count=str(n), detail="; ".join(details))]


def _out_of_scope(n: int, scope: Mapping[str, Any]) -> list[Box]:
    """A box for each reason, or one for all where the reasons do not add up to n."""
    reasons = {str(kind): k for kind, k in (scope.get("out_of_scope") or {}).items() if k}
    if sum(reasons.values()) != n:
        reasons = {"": n}
    return [
        Box(title=": ".join(filter(None, ("Out of scope", r))), count=str(k), left=True) for r, k in reasons.items()
    ]


def _of_mapping(flow: Mapping[str, Any], scope: Mapping[str, Any]) -> list[Box]:
    facts = {key: value for key, value in flow.items() if value is not None}
    split = ", ".join(f"{facts[key]} {key}" for key in _DETAILS if key in facts)
    boxes = []
    for key, value in facts.items():
        if key in _DETAILS and "labelled" in facts:
            continue
        if not isinstance(value, int | float):
            boxes.append(Box(title=_title(key), count=_text(value)))
        elif key == _OUT_OF_SCOPE and value:
            boxes += _out_of_scope(int(value), scope)
        elif not (_leaves(key, value) and value == 0):
            detail = split if key == "labelled" else ""
            boxes.append(Box(title=_title(key), count=f"{abs(value):g}", detail=detail, left=_leaves(key, value)))
    return boxes


def _of_list(flow: object) -> list[Box]:
    boxes = []
    for row in flow if isinstance(flow, list | tuple) else ():
        if not isinstance(row, Mapping):
            if row is not None:
                boxes.append(Box(title=str(row), count=""))
            continue
        count, positive = row.get("n"), row.get("n_positive")
        title = str(row.get("step") or row.get("reason") or "step without a name")
        left = _leaves(title, count)
        detail = "" if positive is None else f"{abs(positive)} positive"
        if row.get("reason") and row.get("step"):
            detail = f"{row['reason']}{'; ' if detail else ''}{detail}"
        shown = "not stated" if count is None else f"{abs(count):g}"
        boxes.append(Box(title=title, count=shown, detail=detail, left=left))
    return boxes


def _remaining(flow: Mapping[str, Any]) -> int | None:
    """Labelled patients less all who left after the label was known; None where the flow does not say."""
    if not isinstance(flow.get("labelled"), int):
        return None
    names = list(flow)
    later = [name for name in names[names.index("labelled") + 1 :] if isinstance(flow[name], int)]
    return int(flow["labelled"]) - sum(abs(int(flow[name])) for name in later if _leaves(name, flow[name]))


def _leaves(name: str, count: object) -> bool:
    return (isinstance(count, int | float) and count < 0) or bool(_LEAVING.search(name.lower().replace("_", " ")))


def _title(key: str) -> str:
    text = _TITLES.get(key, key.replace("_", " "))
    return text[:1].upper() + text[1:]


def _text(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
