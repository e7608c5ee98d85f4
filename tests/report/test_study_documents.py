"""The model card and the checklists: complete, honest, and safe as Markdown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from study_pages import fake_manifest, fake_metrics, fake_predictions, with_evidence

from kras_plugins.report import stard as stard_ai
from kras_plugins.report.checklist import AUTHORS
from kras_plugins.report.markdown import plain
from kras_plugins.report.reported import read_reported
from kras_plugins.report.stard import stard
from kras_plugins.report.study import write_change_plan, write_study_documents
from kras_plugins.report.tripod import ITEMS, tripod


@pytest.fixture(scope="module")
def metrics() -> dict[str, Any]:
    return fake_metrics(fake_predictions())


def test_the_checklist_has_all_27_items_in_their_order() -> None:
    numbers = [number for number, _, _ in ITEMS]
    assert list(dict.fromkeys(int(number.rstrip("abcdefg")) for number in numbers)) == list(range(1, 28))
    assert len(set(numbers)) == len(numbers) == 52
    parts = {"3": "abc", "5": "ab", "6": "abc", "8": "abc", "9": "abc", "12": "abcdefg", "18": "abcdef", "20": "abc",
             "23": "ab", "27": "abc"}  # fmt: skip
    for item, letters in parts.items():
        assert [n for n in numbers if n.rstrip("abcdefg") == item] == [item + letter for letter in letters]


def test_stard_ai_has_all_40_items_in_48_parts() -> None:
    numbers = [number for number, _, _ in stard_ai.ITEMS]
    parts = {"15": "abcd", "16": "abc", "17": "ab", "26": "ab", "40": "ab"}
    assert numbers == [f"{i}{part}" for i in range(1, 41) for part in parts.get(str(i), [""])]
    assert len(numbers) == 48


@pytest.mark.parametrize("made", [tripod, stard])
@pytest.mark.parametrize("known", [True, False])
def test_every_item_is_in_words_and_answered_by_the_run_or_left_to_the_authors(
    metrics: Any, made: Any, known: bool
) -> None:
    rows = made(read_reported(*((metrics, fake_manifest()) if known else ({}, {})))).rows
    for number, topic, asked, answer, by_run in rows:
        assert number and topic and asked
        assert answer == AUTHORS if not by_run else answer != AUTHORS
        assert "None" not in answer
    assert 0 < sum(by_run for *_, by_run in rows) < len(rows)


def test_stard_ai_tells_what_the_run_knows_and_no_more(metrics: Any) -> None:
    answers = {number: text for number, _, _, text, _ in stard(read_reported(metrics, fake_manifest())).rows}
    assert answers["31"].startswith("Ensemble, AUROC: in scope 0.") and "all patients 0." in answers["31"]
    assert answers["15b"].startswith("5-fold cross-validation")
    for number in (
        "1",
        "2",
        "3",
        "5",
        "6",
        "8",
        "9",
        "10",
        "11",
        "16b",
        "17b",
        "26a",
        "27",
        "32",
        "35",
        "36",
        "38",
        "39",
    ):
        assert answers[number] == AUTHORS, "no run knows this"
    assert answers["29"] == AUTHORS, "nothing was evaluated elsewhere"
    external = read_reported(metrics | {"external": {"shift": [{"what": "n"}]}}, {"bundle_digest": "ab" * 32})
    assert {n: t for n, _, _, t, _ in stard(external).rows}["29"].startswith("see shift")


def test_a_run_answers_what_it_knows_and_leaves_the_rest_to_the_authors(metrics: Any) -> None:
    manifest = fake_manifest()
    manifest["config"] |= {"splits": "site", "classifiers": ["he", "rf"]}
    answers = {number: text for number, _, _, text, _ in tripod(read_reported(metrics, manifest)).rows}
    assert answers["4"] == "development with internal validation"
    assert answers["12a"] == "5-fold cross-validation, repeats: 1, site folds, grouped by patient"
    assert answers["12d"] == "folds keep each site whole"
    scope = metrics["scope"]
    assert answers["21"] == f"{scope['n']} patients in scope, {scope['n_positive']} positive"
    assert answers["6b"].startswith(f"in scope: {scope['n']} patients; out of scope: 446 squamous")
    assert answers["23a"].startswith("Ensemble, AUROC: in scope 0.")
    assert all(f"; {group} 0." in answers["23a"] for group in ("adenocarcinoma", "non-squamous", "all patients"))
    for number in ("1", "2", "3c", "5b", "17", "18a", "18b", "18c", "18d", "19", "25"):
        assert answers[number] == AUTHORS, "no run knows this"
    unknown = {number for number, _, _, _, known in tripod(read_reported({}, {})).rows if not known}
    assert {"8a", "10", "12c", "14", "20a", "21", "23a"} <= unknown, "nothing is claimed that the files do not say"


def test_an_evaluation_of_a_bundle_is_not_called_development(metrics: Any) -> None:
    of = read_reported(metrics, {"bundle_digest": "ab" * 32, "config": {"bundle": "b"}})
    answers = {number: text for number, _, _, text, _ in tripod(of).rows}
    assert answers["4"] == "external evaluation of a frozen model"
    assert answers["12f"] == "the model was not updated"
    assert answers["12a"] == "all patients are for evaluation; nothing was fitted to them"


def test_the_card_says_what_the_model_is_not_and_how_good_its_baselines_are(metrics: Any, tmp_path: Path) -> None:
    card, items, *_ = write_study_documents(tmp_path, with_evidence(metrics), fake_manifest())
    assert (card.name, items.name) == ("model-card.md", "tripod-ai.md")
    text = card.read_text()
    for words in (
        "Research use only",
        "Not a substitute for sequencing",
        "not shown to be better than clinical",
        "to be stated by",
    ):
        assert words in text
    assert "| Model | AUROC, in scope | AUROC, adenocarcinoma | AUROC, non-squamous | AUROC, all patients |" in text
    counts = {row.split(" | ")[0]: row.count("positive") for row in text.splitlines() if row.startswith("| ")}
    assert (counts["| Ensemble"], counts["| Clinical covariates"], counts["| Histology alone"]) == (4, 3, 1)
    assert "446 squamous" in text
    assert "Slope: 1.020 (0.500–1.500)" in text
    assert items.read_text().count("\n| ") == len(ITEMS) + 2
    assert (tmp_path / "stard-ai.md").read_text().startswith("# STARD-AI checklist: KRAS G12C from H&amp;E")


def test_documents_are_the_same_bytes_and_carry_no_markup_of_others(metrics: Any, tmp_path: Path) -> None:
    evil = "x | y\n# head <img src=a> [l](b) `c` *d*"
    hostile = metrics | {"target": evil}
    first = [p.read_bytes() for p in write_study_documents(tmp_path, hostile, fake_manifest())]
    assert [p.read_bytes() for p in write_study_documents(tmp_path, hostile, fake_manifest())] == first
    text = first[0].decode()
    assert "<img" not in text.replace("\\<img", "")
    assert "\n# head" not in text
    assert plain(evil) == "x \\| y \\# head \\<img src=a\\> \\[l\\](b) \\`c\\` \\*d\\*"


def bundle() -> dict[str, Any]:
    area = {"value": 0.745, "low": 0.617, "high": 0.84, "n": 363, "n_positive": 22}
    rate = {"value": 0.727, "low": 0.518, "high": 0.868}
    rates = {"sensitivity": rate, "specificity": rate, "ppv": rate, "npv": rate}
    return {
        "facts": {
            "target": "g12c", "prevalence": 0.061, "operating_points": {"rule_out": rates},
            "internal": {"models": {"ensemble": area}, "luad_only": {"ensemble": area}},
            "extractor": {"name": "vit", "version": "0.1.0", "models": {"vit": "7f9314f4b9120763"}},
        },
        "thresholds": {"ensemble": {"rule_out": -2.0, "rule_in": None}},
        "provenance": {
            "cohort": "cohort.csv", "n": 363, "n_positive": 22, "folds": 5, "splits": "site", "fusion": "logit",
            "seed": 0, "targets": {"sensitivity": 0.9, "specificity": 0.95},
            "thresholds": {"ensemble": {"rule_out": "highest with sensitivity ≥ 0.9"}},
        },
        "fusion": {"kind": "logit"},
        "members": [{"name": "he"}, {"name": "rf"}],
    }  # fmt: skip


def test_the_change_plan_has_the_parts_of_the_guidance_filled_with_what_the_bundle_states(tmp_path: Path) -> None:
    manifest = {"bundle_digest": "ab12cd", "versions": {"kras": "0.1.0"}}
    text = write_change_plan(tmp_path, bundle(), manifest).read_text()
    heads = [line for line in text.splitlines() if line.startswith("## ")]
    parts = ("1. Description of modifications", "2. Modification protocol", "3. Impact assessment")
    assert all(any(head.startswith(f"## {part}") for head in heads) for part in parts)
    assert all(
        any(part in head for head in heads) for part in ("data", "training", "performance", "update", "acceptance")
    )
    for known in (
        "Bundle ab12cd, made by kras 0.1.0", "Models: he, rf", "fused by logit", "cohort.csv, 363 patients, 22",
        "vit 0.1.0, models vit 7f9314f4b912", "6.1 %", "a sensitivity of 0.90 and a specificity of 0.95",
    ):  # fmt: skip
        assert known in text
    assert "| rule out | −2.000 | 0.119 | highest with sensitivity ≥ 0.9 |" in text  # 1 / (1 + e²)
    assert "| rule in | – | – | not stated |" in text
    assert "| AUROC, adenocarcinoma | 0.745 (0.617–0.840), 363 patients, 22 positive | \\[to be written\\] |" in text
    assert "| NPV, rule out | 72.7 % (51.8–86.8) |" in text
    assert write_change_plan(tmp_path, bundle(), manifest).read_text() == text


def test_a_change_plan_claims_nothing_that_the_bundle_does_not_state(tmp_path: Path) -> None:
    text = write_change_plan(tmp_path, {}, {}).read_text()
    assert "None" not in text and "nan" not in text
    assert text.count("to be written") > 30
    for key in bundle():
        partial = {k: v for k, v in bundle().items() if k != key}
        assert "None" not in write_change_plan(tmp_path, partial, {}).read_text()


@pytest.mark.parametrize(
    ("fusion", "words"),
    [("logit", "the mean of their calibrated logits"), ("stacked", "a logistic regression on their calibrated logits"),
     ("rank", "the mean of their ranks"), ("probability", "the mean of their calibrated probabilities")],
)  # fmt: skip
@pytest.mark.parametrize("where", ["config", "trained_on"])
def test_card_and_checklist_say_how_members_were_fused(
    metrics: Any, tmp_path: Path, fusion: str, words: str, where: str
) -> None:
    manifest = fake_manifest()
    manifest["config"] |= {"classifiers": ["he", "rf"]}
    manifest.setdefault(where, {})["fusion"] = fusion
    card, items, *_ = write_study_documents(tmp_path, metrics, manifest)
    assert f"; the ensemble is {words}" in card.read_text()
    assert f"the ensemble: {words}" in items.read_text()
    card, items, *_ = write_study_documents(tmp_path, metrics, fake_manifest())
    assert "; the ensemble is" not in card.read_text(), "where nothing says so, nothing is claimed"
