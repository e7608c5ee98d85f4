"""The table that runs print: an AUROC never without counts, interval and baseline, in the words of the report."""

from __future__ import annotations

from typing import Any

import pytest

from kras_plugins.cli.metrics_table import print_metrics
from kras_plugins.evaluation.auroc import CONSTANT, EXACT
from kras_plugins.evaluation.metrics import COLLAPSED
from kras_plugins.report.reported import read_reported
from kras_plugins.report.verdict import permutation_sentence, pooled_line, verdict


def entry(value: float, low: float | None, n: int, note: str = "", high: float = 0.9) -> dict[str, Any]:
    return {"n": n, "n_positive": 9, "auroc": {"value": value, "low": low, "high": low and high, "note": note}}


def study(models: dict[str, Any], **tables: Any) -> dict[str, Any]:
    return {
        "target": "g12c",
        "n": 60,
        "models": models,
        "luad_only": {},
        "non_squamous": {},
        "comparisons": [],
    } | tables


def printed(capsys: pytest.CaptureFixture[str], metrics: dict[str, Any]) -> str:
    print_metrics(metrics)
    return " ".join(capsys.readouterr().out.split())


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")


def test_a_permutation_test_is_printed_as_the_report_says_it(capsys: pytest.CaptureFixture[str]) -> None:
    test = {"kind": "permutation", "p": 0.04, "permutations": 99, "observed": 0.712, "within": ["histology", "site"]}
    models = {"ensemble": entry(0.712, 0.6, 60), "clinical": entry(0.701, None, 60)}
    said = printed(capsys, study(models, verdict=test))
    assert "permuted within histology and site, 3 of 99 refits reach the observed AUROC of 0.712" in said
    assert " ".join(permutation_sentence({"verdict": test}).split()) in said
    assert "ermut" not in printed(capsys, study(models))


def test_counts_and_intervals_are_printed_and_a_missing_interval_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    models = {"ensemble": entry(0.712, 0.6, 60), "clinical": entry(0.701, None, 60)}
    said = printed(capsys, study(models, luad_only={"ensemble": entry(0.6, 0.5, 40)}))
    assert "in scope adenocarcinoma n=60, 9 positive n=40, 9 positive" in said
    assert "Ensemble 0.712 (0.600–0.900) 0.600 (0.500–0.900)" in said
    assert "Clinical covariates 0.701 (no interval) –" in said


def test_a_stratum_of_the_same_patients_is_not_printed_twice(capsys: pytest.CaptureFixture[str]) -> None:
    models = {"ensemble": entry(0.712, 0.6, 60)}
    assert "adenocarcinoma" not in printed(capsys, study(models, luad_only=models))


def test_what_found_nothing_and_what_is_exact_are_printed_as_what_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    models = {
        "ensemble": entry(1.0, 0.93, 60, EXACT, 1.0),
        "rf": entry(0.5, 0.5, 60, CONSTANT, 0.5),
        "mlp": entry(0.6, 0.5, 60, COLLAPSED.format(3, 5)),
    }
    said = printed(capsys, study(models))
    assert "Ensemble 1.000 (0.930–1.000, exact)" in said and "AI-RF 0.500 (constant score)" in said
    assert "AI-MLP: calibration found nothing in 3 of 5 folds" in said
    assert "In scope, the ensemble is better than chance." in said


def test_histology_alone_stands_beside_all_patients_in_the_words_of_the_report(
    capsys: pytest.CaptureFixture[str],
) -> None:
    row = {"a": "ensemble", "b": "histology_only", "population": "all_patients", "delta": -0.05, "low": -0.08,
           "high": -0.02, "p": 0.001, "p_holm": 0.004, "note": ""}  # fmt: skip
    pooled = {"ensemble": entry(0.70, 0.6, 99), "histology_only": entry(0.75, 0.7, 99)}
    metrics = study({"ensemble": entry(0.55, 0.45, 60)}, all_patients_pooled=pooled, comparisons=[row])
    said, of = printed(capsys, metrics), read_reported(metrics, {})
    assert "all patients pooled: the ensemble 0.700 (0.600–0.900), histology alone 0.750" in said.lower()
    assert "The ensemble is worse than histology alone (difference −0.050" in said
    assert verdict(of) in said and pooled_line(of) in said
    assert "In scope, the ensemble is not shown to be better than chance." in said
    del pooled["histology_only"]
    assert "there is no baseline of histology alone" in printed(capsys, metrics)


def test_whether_ruling_out_is_worth_it_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    said = printed(capsys, study({"ensemble": entry(0.6, 0.5, 60)}, triage={"verdict": "not shown to be worth more"}))
    assert said.endswith("Not shown to be worth more.")
