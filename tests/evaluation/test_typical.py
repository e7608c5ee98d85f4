"""Who is shown in the report: the middle of each kind of true and false call, by a rule that looks at scores alone."""

from __future__ import annotations

import random

from kras_plugins.evaluation.rows import PatientScores
from kras_plugins.evaluation.typical import typical_calls


def row(name: str, label: int, score: float, call: str = "", **given: object) -> PatientScores:
    facts = {"patient_id": name, "label": label, "ensemble": score, "call": call, "repeat": 1, "members": ("he",)}
    return PatientScores(scores={}, **{**facts, **given})  # type: ignore[arg-type]


def names(rows: list[PatientScores]) -> list[tuple[bool, bool, int, list[str]]]:
    return [(k.positive, k.high, k.count, [r.patient_id for r in k.typical]) for k in typical_calls(rows)[1]]


CALLED = [
    *(row(f"tp{i}", 1, 0.5 + i / 10, "rule_in") for i in range(5)),  # median 0.7: tp2, then tp1 and tp3 alike
    row("fp", 0, 0.9, "rule_in"),
    *(row(f"tn{i}", 0, i / 100, "rule_out") for i in range(4)),  # median 0.015: tn1 and tn2
    row("between", 1, 0.3, "indeterminate"),
]


def test_typical_are_those_nearest_to_the_median_of_their_kind_and_not_its_extremes() -> None:
    found = [
        (True, True, 5, ["tp2", "tp1"]),
        (False, True, 1, ["fp"]),
        (True, False, 0, []),
        (False, False, 4, ["tn1", "tn2"]),
    ]
    assert typical_calls(CALLED)[0] == "calls"
    assert names(CALLED) == found
    mixed = random.Random(0).sample(CALLED, len(CALLED))
    assert names(mixed) == found, "the order of the rows decides nothing"


def test_only_patients_in_scope_of_the_first_repeat_with_every_member_are_shown() -> None:
    others = [
        row("outside", 1, 0.7, "not_assessable", in_scope=False),
        row("again", 1, 0.7, "rule_in", repeat=2),
        row("incomplete", 1, 0.7, "not_assessable", members=()),
    ]
    assert names([*CALLED, *others]) == names(CALLED)


def test_without_thresholds_the_highest_and_lowest_quarter_take_the_place_of_calls() -> None:
    rows = [row(f"p{i:02d}", i % 2, i / 100, "not_assessable", repeat=None) for i in range(16)]
    basis, kinds = typical_calls(rows)
    assert basis == "quarters"
    assert [(k.positive, k.high, k.true, k.count) for k in kinds] == [
        (True, True, True, 2), (False, True, False, 2), (True, False, False, 2), (False, False, True, 2),
    ]  # fmt: skip
    assert [r.patient_id for r in kinds[0].typical] == ["p13", "p15"]


def test_nobody_is_shown_where_nobody_is_scored() -> None:
    assert all(not kind.count for kind in typical_calls([])[1])
