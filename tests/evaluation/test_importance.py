"""Permutation importance: what a model relies on is found, in full and nowhere else, and nothing crosses a fold."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kras_plugins.data import Sample, SemanticProfile
from kras_plugins.evaluation.auroc import auroc
from kras_plugins.evaluation.design import Design
from kras_plugins.evaluation.importance import FEWEST, PERMUTATIONS, importance
from kras_plugins.learning.shuffled import OTHER, Scored, feature_groups, shuffled_scores

# Two features of group A, two of B, one of E, one that is in no table.
NAMES = ("area_ce", "frac_ce", "itil", "tc_ce", "d_tl_p50", "mine")
FOLDS = 4
Score = Callable[[np.ndarray], np.ndarray]


def people(n: int = 240, seed: int = 3) -> tuple[list[Sample], np.ndarray, np.ndarray]:
    """Patients with their labels and folds; `itil` alone separates the classes, the rest is noise."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % 3 == 0).astype(np.int8)
    values = rng.normal(size=(n, len(NAMES)))
    values[:, 2] += 20 * labels
    valid = {"A": True, "B": True, "E": True}
    samples = [
        Sample(
            patient_id=f"p{i}",
            profile=SemanticProfile(id=f"p{i}", names=NAMES, values=row, valid=valid, source="made up"),
        )
        for i, row in enumerate(values)
    ]
    return samples, labels, np.arange(n) % FOLDS


def rows(samples: Sequence[Sample]) -> np.ndarray:
    return np.stack([s.profile.values for s in samples if s.profile is not None])


def models(fold: np.ndarray, score: Score) -> list[Scored]:
    return [Scored(patients=np.flatnonzero(fold == k), score=lambda some: score(rows(some))) for k in range(FOLDS)]


def drops(entry: dict[str, Any]) -> dict[str, float]:
    return {row["group"]: row["drop"] for row in entry["groups"]}


def test_a_model_of_one_feature_loses_all_when_its_group_is_permuted_and_nothing_else() -> None:
    samples, labels, fold = people()
    found = importance(models(fold, lambda x: x[:, 2]), samples, labels, seed=0)
    assert found["auroc"] == 1.0
    first, *others = found["groups"]
    assert (first["group"], first["name"], first["features"]) == ("B", "densities", 2)
    # Permuted, a patient's score is that of any patient: the expected area is exactly one half.
    assert abs(first["drop"] - 0.5) < 4 * first["sd"] / math.sqrt(PERMUTATIONS)
    assert 0 < first["sd"] < 0.06
    assert [(row["drop"], row["sd"]) for row in others] == [(0, 0)] * 3
    assert {row["group"] for row in others} == {"A", "E", OTHER}
    (own, other) = found["features"]
    assert own == {"feature": "itil", "group": "B", "drop": first["drop"], "sd": first["sd"]}
    assert other == {"feature": "tc_ce", "group": "B", "drop": 0, "sd": 0}


def test_a_member_that_scores_everyone_alike_has_nothing_to_lose() -> None:
    samples, labels, fold = people()
    found = importance(models(fold, lambda x: np.full(len(x), 0.3)), samples, labels, seed=0)
    assert found["auroc"] == 0.5
    assert {(row["drop"], row["sd"]) for row in found["groups"]} == {(0, 0)}
    assert found["features"] == []


def test_a_model_of_noise_loses_nothing_on_average() -> None:
    samples, labels, fold = people(n=480)
    found = importance(models(fold, lambda x: x[:, 4]), samples, labels, seed=0)
    assert drops(found) == pytest.approx({"A": 0, "B": 0, "E": found["auroc"] - 0.5, OTHER: 0}, abs=0.03)


def test_what_two_groups_share_is_lost_with_neither_and_what_one_group_repeats_is_lost_with_it() -> None:
    samples, labels, fold = people()
    twice = [replace(s, profile=replace(s.profile, values=_copied(s, 2, 3))) for s in samples]  # type: ignore[type-var]
    within = importance(models(fold, lambda x: x[:, 2] + x[:, 3]), twice, labels, seed=0)
    assert drops(within)["B"] > 0.4
    assert max(row["drop"] for row in within["features"]) < 0.35, "one alone leaves what the other says"
    across = [replace(s, profile=replace(s.profile, values=_copied(s, 2, 0))) for s in samples]  # type: ignore[type-var]
    split = drops(importance(models(fold, lambda x: np.maximum(x[:, 0], x[:, 2])), across, labels, seed=0))
    assert 0 < split["A"] < 0.3
    assert 0 < split["B"] < 0.3


def _copied(sample: Sample, source: int, target: int) -> np.ndarray:
    assert sample.profile is not None
    values = sample.profile.values.copy()
    values[target] = values[source]
    return values


def test_the_area_is_that_of_the_report_and_patients_of_no_model_do_not_count() -> None:
    samples, labels, fold = people()
    fold = np.where(np.arange(len(fold)) % 7 == 0, -1, fold)
    score = lambda x: x[:, 0] + 0.1 * x[:, 2]  # noqa: E731
    found = importance(models(fold, score), samples, labels, seed=0)
    here = fold >= 0
    assert (found["n"], found["n_positive"]) == (here.sum(), labels[here].sum())
    assert found["auroc"] == auroc(labels[here], score(rows(samples))[here], Design(fold[None, here])).value


def test_without_a_pair_of_both_classes_the_entry_says_so() -> None:
    samples, labels, fold = people()
    found = importance(models(fold, lambda x: x[:, 2]), samples, np.zeros_like(labels), seed=0)
    assert (found["auroc"], found["groups"], found["note"]) == (None, [], "no pair of both classes")


def test_features_of_a_group_come_together_from_one_patient_of_the_same_fold() -> None:
    samples, _, fold = people(n=80)
    some = [
        replace(s, profile=replace(s.profile, valid={"A": True, "B": i % 3 > 0, "E": True}))  # type: ignore[type-var]
        for i, s in enumerate(samples)
    ]
    seen: list[tuple[int, list[Sample]]] = []

    def watched(k: int) -> Scored:
        def score(given: Sequence[Sample]) -> np.ndarray:
            seen.append((k, list(given)))
            return np.zeros(len(given))

        return Scored(patients=np.flatnonzero(fold == k), score=score)

    found = shuffled_scores([watched(k) for k in range(FOLDS)], some, ("itil", "tc_ce"), 5, 0, group="B")
    assert found.shape == (5, 80)
    table = rows(samples)
    for k, given in seen:
        own = np.flatnonzero(fold == k)
        assert len(given) == 5 * len(own)
        mixed = rows(given)
        np.testing.assert_array_equal(mixed[:, [0, 1, 4, 5]], np.tile(table[own][:, [0, 1, 4, 5]], (5, 1)))
        donors = [np.flatnonzero((table[:, 2:4] == row).all(axis=1)).item() for row in mixed[:, 2:4]]
        assert all(sorted(some) == own.tolist() for some in np.reshape(donors, (5, len(own))).tolist())
        assert donors != own.tolist() * 5
        for one, donor in zip(given, donors, strict=True):
            assert one.profile is not None
            assert one.profile.valid == {"A": True, "B": donor % 3 > 0, "E": True}


def test_the_same_seed_permutes_alike_and_another_does_not() -> None:
    samples, labels, fold = people(n=80)
    one, again, other = (importance(models(fold, lambda x: x[:, 2]), samples, labels, seed) for seed in (1, 1, 2))
    assert one == again
    assert one["groups"][0]["drop"] != other["groups"][0]["drop"]


def test_many_patients_take_fewer_permutations() -> None:
    taken = []
    for n in (240, 2000):
        samples, labels, fold = people(n)
        taken.append(importance(models(fold, lambda x: x[:, 2]), samples, labels, 0)["permutations"])
    assert taken == [PERMUTATIONS, FEWEST]


def test_features_are_grouped_as_in_the_table_in_its_order() -> None:
    assert feature_groups(NAMES[::-1]) == {
        "A": ("frac_ce", "area_ce"), "B": ("tc_ce", "itil"), "E": ("d_tl_p50",), OTHER: ("mine",),
    }  # fmt: skip
