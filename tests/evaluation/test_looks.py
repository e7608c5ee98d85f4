"""Repeated looks: windows, and how often real drift is found, and how often drift that does not exist."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from monitored import LATER, THRESHOLDS, facts, people

from kras_plugins.evaluation.arrivals import Arrival, absent, compare_inputs, compare_outcomes
from kras_plugins.evaluation.drift import Compared
from kras_plugins.evaluation.looks import Window, alarms, look_at, spent, windows

SIZE, WINDOWS, BEFORE, TRAINING = 50, 5, 2, 200


def found(seed: int, alpha: float = 0.05, **drift: Any) -> set[str]:
    """The groups with an alarm in five windows of 50 patients, of which those after the second drift."""
    rng = np.random.default_rng(seed)
    known = facts(people(rng, TRAINING, features=3))
    start = BEFORE * SIZE
    new = [*people(rng, start, features=3), *people(rng, WINDOWS * SIZE - start, start, features=3, **drift)]
    of = windows(new, SIZE, LATER)
    inputs = look_at(of, lambda some: compare_inputs(known, some), alpha / 2)
    labels = look_at(of, lambda some: compare_outcomes(known, some, THRESHOLDS), alpha / 2)
    return {*alarms(inputs), *alarms(labels)}


def test_without_drift_alarms_over_all_looks_and_groups_are_no_more_than_stated() -> None:
    """At a level of 0.5, where an invalid bound would show: of 25 runs, 12.5 are allowed, and 20 by chance."""
    alarmed = sum(bool(found(seed, alpha=0.5)) for seed in range(25))
    assert alarmed <= 12.5 + 3 * np.sqrt(25 * 0.25)


def test_the_bound_over_looks_is_kept_by_p_values_that_are_as_small_as_they_may_be() -> None:
    """Checks with uniform p, independent: what groups, views and looks leave of α, and what is lost without them."""
    rng = np.random.default_rng(0)

    def compare(_: Sequence[Arrival]) -> dict[str, list[Compared]]:
        p = rng.random((4, 3))
        return {
            f"g{i}": [Compared(name=f"{i}{k}", n=50, n_training=200, p=float(p[i, k])) for k in range(3)]
            for i in range(4)
        }

    one = people(np.random.default_rng(0), 1)
    of = [Window(name=str(i), first="", last="", arrivals=tuple(one)) for i in range(12)]
    runs = [look_at(of, compare, 0.2) for _ in range(600)]
    rate = np.mean([bool(alarms(looks)) for looks in runs])
    assert 0.1 < rate <= 0.2 + 3 * np.sqrt(0.2 * 0.8 / len(runs))
    careless = np.mean([any(g.p is not None and g.p <= 0.2 for look in r for g in look.groups.values()) for r in runs])
    assert careless > 0.9, "the same without Holm and without levels for looks"


@pytest.mark.parametrize(
    ("drift", "group"),
    [({"stain": 1.0}, "stain"), ({"scanners": (0.2, 0.2, 0.6)}, "scanner"), ({"score": 1.5}, "score"),
     ({"feature": 1.0}, "features"), ({"prevalence": 2.5}, "prevalence")],
)  # fmt: skip
def test_planted_drift_is_found_in_nine_of_ten_runs_where_it_was_planted(drift: dict[str, Any], group: str) -> None:
    hits = Counter(name for seed in range(100, 110) for name in found(seed, **drift))
    assert hits[group] >= 9
    others = {"scanner", "mpp", "stain", "quality", "abstention", "features", "score"} - {group}
    assert sum(hits[name] for name in others) <= 1


def test_levels_of_all_looks_sum_to_alpha() -> None:
    assert sum(spent(0.05, w) for w in range(1, 100_000)) == pytest.approx(0.05, rel=1e-4)
    assert spent(0.05, 1) == 0.025


def test_a_month_with_too_few_patients_goes_on_into_the_next_and_the_last_waits() -> None:
    def of(month: int, n: int) -> list[Arrival]:
        return [Arrival(patient_id=f"{month}-{i}", when=f"2026-{month:02d}-03T10:00:00+00:00") for i in range(n)]

    now = datetime(2026, 6, 15, tzinfo=UTC)
    made = windows([*of(6, 40), *of(1, 30), *of(2, 8), *of(3, 15), *of(5, 25)], "month", now)
    assert [(w.name, len(w.arrivals), w.open) for w in made] == [
        ("2026-01", 30, False), ("2026-02 to 2026-03", 23, False), ("2026-05", 25, False), ("2026-06", 40, True),
    ]  # fmt: skip
    looks = look_at(made, lambda _: {"x": [Compared(name="x", n=20, n_training=20, p=0.5)]}, 0.05)
    assert [look.number for look in looks] == [1, 2, 3, None]
    assert looks[3].note == "40 patients so far, not ended"
    assert [look.note for look in look_at(made[:1], lambda _: {}, 0.05)] == ["nothing can be compared"]
    assert windows(of(6, 40), "month", datetime(2026, 7, 1, tzinfo=UTC))[0].open is False
    assert look_at(windows(of(6, 4), "quarter", LATER), lambda _: {}, 0.05)[0].note == "too few yet: 4 of 20"
    assert [w.name for w in windows(of(6, 30), "week", LATER)] == ["2026-W23"]


def test_a_window_of_so_many_waits_until_it_is_full_and_keeps_the_order_of_time() -> None:
    own = people(np.random.default_rng(0), 70)
    made = windows(own[::-1], 30, LATER)
    assert [(w.name, w.open) for w in made] == [
        ("patients 1–30", False), ("patients 31–60", False), ("patients 61–70", True),
    ]  # fmt: skip
    assert made[0].arrivals == tuple(own[:30])


def test_a_slow_shift_that_no_window_shows_is_found_in_all_patients_so_far() -> None:
    known = facts(people(np.random.default_rng(0), 1000))
    new = people(np.random.default_rng(1), 600, stain=0.4)
    looks = look_at(windows(new, 50, LATER), lambda some: compare_inputs(known, some), 0.05)
    group = looks[alarms(looks)["stain"].number - 1].groups["stain"]  # type: ignore[operator]
    assert min(c.p or 1 for c in group.so_far) < min(c.p or 1 for c in group.here)


def test_a_bundle_without_a_reference_says_what_cannot_be_compared() -> None:
    said = absent({"target": "g12c"})
    assert set(said) == {
        "scanner", "mpp", "stain", "quality", "abstention", "features", "score", "prevalence", "calibration", "rates",
    }  # fmt: skip
    assert all("train again" in why for why in said.values())
    assert compare_inputs({"target": "g12c"}, people(np.random.default_rng(0), 30)) == {}
    later = absent({"reference": {"schema_version": 2}})
    assert "reference schema 2, this version reads 1" in later["score"]


def test_who_has_no_label_is_not_negative() -> None:
    rng = np.random.default_rng(4)
    known, new = facts(people(rng, 200)), people(rng, 60)
    labeled = [a for a in new if a.label is not None]

    more = [*new, *(replace(a, label=None, patient_id=f"u{a.patient_id}") for a in people(rng, 200))]
    assert compare_outcomes(known, more, THRESHOLDS) == compare_outcomes(known, labeled, THRESHOLDS)
