"""`--target` takes any column of labels, and what readers see follows it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cohorts import draw_tables, read_rows, write_rows
from quick_study import quick
from typer.testing import CliRunner

from kras_plugins import study
from kras_plugins.cli.app import app
from kras_plugins.cli.metrics_table import print_metrics
from kras_plugins.errors import ConfigError


def draw(folder: Path, target: str, seed: int) -> Path:
    """A cohort with its label in column `target`, and with the labels of other variants."""
    folder.mkdir()
    draw_tables(folder, seed=seed)
    rows = read_rows(folder / "cohort.csv")
    for i, row in enumerate(rows):
        row |= {target: row.pop("g12c"), "g12c": str(int(i % 7 == 0)), "g13": str(int(i % 9 == 0))}
    write_rows(folder / "cohort.csv", rows)
    return folder / "cohort.csv"


def test_a_study_of_another_target_is_checked_split_trained_and_validated_under_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target, title = "q61", "KRAS Q61 mutation"
    cohort, other = draw(tmp_path / "here", target, 0), draw(tmp_path / "there", target, 1)
    for words in (("check", "--no-slides"), ("split", "--out", str(tmp_path / "folds.csv"))):
        ran = CliRunner().invoke(app, ["cohort", words[0], str(cohort), "--folds", "3", "--target", target, *words[1:]])
        assert ran.exit_code == 0, ran.output
    settings = quick(cohort.parent, tmp_path / "store", target=target)
    trained = study.train(cohort, settings, out=tmp_path / "out")
    assert (trained.metrics["target"], trained.metrics["n_positive"]) == (target, 9)
    looked_at = {row["factor"] for row in trained.metrics["confounders"]}
    assert not looked_at & {target, "g12c", "g13"}
    validated = study.validate(
        tmp_path / "out" / "bundle", other, quick(other.parent, tmp_path / "store"), out=tmp_path / "external"
    )
    for result in (trained, validated):
        page = (result.folder / "report.html").read_text()
        assert f"<h1>{title} from H&amp;E slides" in page
        assert f"Predicts {title} from H&amp;E slides" in (result.folder / "model-card.md").read_text()
        assert "G12C" not in page + (result.folder / "model-card.md").read_text()
        print_metrics(result.metrics)
        assert f"{title}: AUROC with 95 % interval" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "bundle" / "bundle.json").read_text())["facts"]["target"] == target


def test_a_target_that_is_no_column_of_labels_is_refused_by_name(tmp_path: Path) -> None:
    cohort = draw(tmp_path / "here", "q61", 0)
    for target, told in (("g12d", "lacks g12d"), ("histology", "histology is neither 0 nor 1")):
        ran = CliRunner().invoke(app, ["cohort", "split", str(cohort), "--target", target])
        assert ran.exit_code == 1
        with pytest.raises(ConfigError, match=told) as caught:
            study.train(cohort, quick(cohort.parent, tmp_path / "store", target=target), out=tmp_path / "no")
        assert "did you mean" not in (caught.value.hint or "")  # g12c is no g12d
