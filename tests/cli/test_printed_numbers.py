"""The table that runs print: an AUROC never without counts, interval and baseline, or a word on what is missing."""

from __future__ import annotations

from typing import Any

import pytest

from kras_plugins.cli.metrics_table import print_metrics
from kras_plugins.report.verdict import permutation_sentence


def entry(value: float, low: float | None, n: int) -> dict[str, Any]:
    return {"n": n, "n_positive": 9, "auroc": {"value": value, "low": low, "high": low and 0.9, "note": ""}}


def printed(
    capsys: pytest.CaptureFixture[str], models: dict[str, Any], luad: dict[str, Any], **more: dict[str, Any]
) -> str:
    print_metrics({"target": "g12c", "n": 60, "models": models, "luad_only": luad, **more})
    return capsys.readouterr().out


def test_a_permutation_test_is_printed_as_the_report_says_it(capsys: pytest.CaptureFixture[str]) -> None:
    test = {"kind": "permutation", "p": 0.04, "permutations": 99, "observed": 0.712, "within": ["histology", "site"]}
    models = {"ensemble": entry(0.712, 0.6, 60), "histology_only": entry(0.701, None, 60)}
    said = " ".join(printed(capsys, models, {}, verdict=test).split())
    assert "permuted within histology and site, 3 of 99 refits reach the observed AUROC of 0.712" in said
    assert " ".join(permutation_sentence({"verdict": test}).split()) in said
    assert "ermut" not in printed(capsys, models, {})


def test_counts_and_intervals_are_printed_and_a_missing_interval_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    models = {"ensemble": entry(0.712, 0.6, 60), "histology_only": entry(0.701, None, 60)}
    said = printed(capsys, models, {"ensemble": entry(0.6, 0.5, 40)})
    assert "all, n=60 (9 pos.)" in said and "adenocarcinoma, n=40 (9 pos.)" in said
    assert "0.712 (0.600–0.900)" in said
    assert "0.701 (no interval)" in said
    assert "no baseline" not in said


def test_a_missing_baseline_of_histology_is_said_where_histologies_may_be_mixed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    models = {"ensemble": entry(0.712, 0.6, 60), "prevalence": entry(0.5, 0.5, 60)}
    for luad in ({}, {"ensemble": entry(0.6, 0.5, 40)}):
        assert "no baseline of histology alone" in printed(capsys, models, luad)
    assert "no baseline" not in printed(capsys, models, {"ensemble": entry(0.712, 0.6, 60)}), "all are adenocarcinoma"
