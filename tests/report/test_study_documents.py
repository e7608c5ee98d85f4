"""The model card and the TRIPOD+AI checklist: complete, honest, and safe as Markdown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from study_pages import fake_manifest, fake_metrics, fake_predictions, with_evidence

from kras_plugins.report.markdown import plain
from kras_plugins.report.reported import read_reported
from kras_plugins.report.study import write_study_documents
from kras_plugins.report.tripod import AUTHORS, ITEMS, checklist


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


def test_a_run_answers_what_it_knows_and_leaves_the_rest_to_the_authors(metrics: Any) -> None:
    manifest = fake_manifest()
    manifest["config"] |= {"splits": "site", "classifiers": ["he", "rf"]}
    answers = {number: text for number, _, _, text, _ in checklist(read_reported(metrics, manifest))}
    assert answers["4"] == "development with internal validation"
    assert answers["12a"] == "5-fold cross-validation, 1 times, site folds, grouped by patient"
    assert answers["12d"] == "folds keep each site whole"
    scope = metrics["scope"]
    assert answers["21"] == f"{scope['n']} patients in scope, {scope['n_positive']} positive"
    assert answers["6b"].startswith(f"in scope: {scope['n']} patients; out of scope: 446 squamous")
    assert answers["23a"].startswith("Ensemble, AUROC: in scope 0.")
    assert all(f"; {group} 0." in answers["23a"] for group in ("adenocarcinoma", "non-squamous", "all patients"))
    for number in ("1", "2", "3c", "5b", "17", "18a", "18b", "18c", "18d", "19", "25"):
        assert answers[number] == AUTHORS, "no run knows this"
    unknown = {number for number, _, _, _, known in checklist(read_reported({}, {})) if not known}
    assert {"8a", "10", "12c", "14", "20a", "21", "23a"} <= unknown, "nothing is claimed that the files do not say"


def test_an_evaluation_of_a_bundle_is_not_called_development(metrics: Any) -> None:
    of = read_reported(metrics, {"bundle_digest": "ab" * 32, "config": {"bundle": "b"}})
    answers = {number: text for number, _, _, text, _ in checklist(of)}
    assert answers["4"] == "external evaluation of a frozen model"
    assert answers["12f"] == "the model was not updated"
    assert answers["12a"] == "all patients are for evaluation; nothing was fitted to them"


def test_the_card_says_what_the_model_is_not_and_how_good_its_baselines_are(metrics: Any, tmp_path: Path) -> None:
    card, items = write_study_documents(tmp_path, with_evidence(metrics), fake_manifest())
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


def test_documents_are_the_same_bytes_and_carry_no_markup_of_others(metrics: Any, tmp_path: Path) -> None:
    evil = "x | y\n# head <img src=a> [l](b) `c` *d*"
    hostile = metrics | {"target": evil}
    first = [p.read_bytes() for p in write_study_documents(tmp_path, hostile, fake_manifest())]
    assert [p.read_bytes() for p in write_study_documents(tmp_path, hostile, fake_manifest())] == first
    text = first[0].decode()
    assert "<img" not in text.replace("\\<img", "")
    assert "\n# head" not in text
    assert plain(evil) == "x \\| y \\# head \\<img src=a\\> \\[l\\](b) \\`c\\` \\*d\\*"


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
    card, items = write_study_documents(tmp_path, metrics, manifest)
    assert f"; the ensemble is {words}" in card.read_text()
    assert f"the ensemble: {words}" in items.read_text()
    card, items = write_study_documents(tmp_path, metrics, fake_manifest())
    assert "; the ensemble is" not in card.read_text(), "where nothing says so, nothing is claimed"
