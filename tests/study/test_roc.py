"""The curve that Python gives has the area that the report prints, of whichever model and patients."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from cohorts import read_rows, write_rows
from quick_study import quick
from sklearn.metrics import auc

from kras_plugins import study
from kras_plugins.errors import ConfigError
from kras_plugins.study.results import StudyResult, Training
from kras_plugins.study.roc import roc_of

TABLES = {
    "in_scope": "models", "adenocarcinoma": "luad_only", "non_squamous": "non_squamous",
    "all_patients": "all_patients_pooled",
}  # fmt: skip


def areas(result: StudyResult) -> dict[tuple[str, str], tuple[float, float]]:
    """By population and model: the area below the curve, and the stated AUROC."""
    found = {}
    for among, table in TABLES.items():
        for model in result.metrics[table]:
            stated = result.auroc(model, among=among)  # type: ignore[arg-type]
            found[among, model] = (auc(*result.roc(model, among=among)), stated.value)  # type: ignore[arg-type]
    return found


def test_the_area_below_each_curve_is_the_auroc(tables: Path, tmp_path: Path) -> None:
    settings = quick(tables, tmp_path / "store", classifiers=("rf", "lgbm"), repeats=2)
    result = study.train(tables / "cohort.csv", settings, out=tmp_path / "out")
    found = areas(result)
    assert {("in_scope", "ensemble"), ("adenocarcinoma", "site_only"), ("all_patients", "histology_only")} <= set(found)
    assert len({round(stated, 6) for _, stated in found.values()}) > 4, "models and populations differ"
    for key, (area, stated) in found.items():
        assert area == pytest.approx(stated, abs=1e-9), key


def test_of_an_external_cohort_too(done: Training, tables: Path, tmp_path: Path) -> None:
    settings = quick(tables, tmp_path / "store")
    result = study.validate(done.bundle, tables / "cohort.csv", settings, out=tmp_path / "out")
    for key, (area, stated) in areas(result).items():
        assert area == pytest.approx(stated, abs=1e-9), key


def test_a_curve_begins_and_ends_in_its_corners_and_never_falls(done: Training) -> None:
    x, y = done.roc()
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    assert (np.diff(x) >= 0).all() and (np.diff(y) >= -1e-12).all()


def test_a_calibration_that_found_nothing_leaves_the_ranking_within_folds(tables: Path, tmp_path: Path) -> None:
    """Features of chance: a fold's calibrated scores may all be alike, and the AUROC ranks by what was before."""
    rng = np.random.default_rng(1)
    for name in ("LUAD", "LUSC"):
        rows = read_rows(tables / f"{name}.csv")
        chance = {key for key in rows[0] if key.startswith("DENSITY")}
        write_rows(
            tmp_path / f"{name}.csv",
            [{k: f"{rng.normal():.4f}" if k in chance else v for k, v in row.items()} for row in rows],
        )
    result = study.train(tables / "cohort.csv", quick(tmp_path, tmp_path / "store"), out=tmp_path / "out")
    logits = {row["fold"]: set() for row in result.predictions.to_pylist()}  # type: ignore[var-annotated]
    for row in result.predictions.to_pylist():
        logits[row["fold"]].add(row["rf"])
    assert min(map(len, logits.values())) == 1, "this seed has no such fold: choose another"
    area, stated = areas(result)["in_scope", "rf"]
    assert stated != 0.5 and area == pytest.approx(stated, abs=1e-9)


def test_what_has_no_curve_says_why(done: Training, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="this study has no he among in_scope"):
        done.roc("he")
    shutil.copytree(done.folder, tmp_path / "copy")
    (tmp_path / "copy" / "folds.parquet").write_bytes(b"PAR1")
    with pytest.raises(ConfigError, match=r"folds\.parquet is missing or damaged"):
        study.read_training(tmp_path / "copy").roc()


def test_patients_of_one_label_have_no_curve(done: Training) -> None:
    rows = [row | {"label": 0} for row in done.predictions.to_pylist()]
    with pytest.raises(ConfigError, match="has no ROC curve among all_patients"):
        roc_of(done.folder, done.metrics, rows, "ensemble", "all_patients")
