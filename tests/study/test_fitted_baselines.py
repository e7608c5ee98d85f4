"""Classifiers on tiles are compared with a plain one on the same tiles, which is not a member of the ensemble."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cohorts import write_rows

from kras_plugins import study
from kras_plugins.bags import write_bag
from kras_plugins.cli.metrics_table import print_metrics
from kras_plugins.data import Bag, TileSpec
from kras_plugins.report.style import is_baseline, model_order
from kras_plugins.study.prepare import choose_baselines, choose_members
from kras_plugins.study.session import opened

SMALL = [f"classifier.he.{k}" for k in ("hidden=4", "attention=2", "seeds=1", "epochs=1")]


def write_cohort(folder: Path) -> Path:
    """Both classes have tiles alike but for a rare kind, which the mean and the maximum show."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(30):
        label = i % 2
        features = rng.normal(size=(12, 4)).astype(np.float32)
        features[0, 0] += 6 * label
        write_bag(
            folder / f"s{i}.h5",
            Bag(
                slide_id=f"s{i}", features=features, xy=np.arange(24, dtype=np.int32).reshape(-1, 2) * 448,
                size=(448.0, 448.0), tile_spec=TileSpec(px=224, mpp=0.5), encoder="vit/abc", transform_hash="0123",
            ),
        )  # fmt: skip
        rows.append({"patient_id": f"p{i}", "slide_id": f"s{i}", "histology": "LUAD", "g12c": str(label)})
    write_rows(folder / "cohort.csv", rows)
    return folder / "cohort.csv"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> study.Training:
    folder = tmp_path_factory.mktemp("baseline")
    settings = study.StudySettings(
        classifiers=("he",), extractor="h5", folds=2, workers=1, cache=folder / "store"
    ).with_options(f"extractor.h5.folder={folder}", *SMALL, "classifier.meanmax.inner_folds=2")
    return study.train(write_cohort(folder), settings, out=folder / "out")


def test_it_has_its_auroc_with_an_interval_wherever_he_has(
    trained: study.Training, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, he = trained.auroc("meanmax_only"), trained.auroc("he")
    assert plain.n == he.n == 30
    assert plain.value is not None and plain.value > 0.9
    assert plain.low is not None and plain.high is not None and plain.low <= plain.value <= plain.high
    assert "meanmax_only" in trained.metrics["luad_only"]
    assert "meanmax_only" in [row["b"] for row in trained.metrics["comparisons"]]
    assert is_baseline("meanmax_only") and model_order(trained.metrics["models"]).index("meanmax_only") > 1
    assert "Mean and maximum of tiles" in trained.report.read_text(encoding="utf-8")
    print_metrics(trained.metrics)
    assert "Mean and maximum of tiles" in capsys.readouterr().out


def test_it_is_in_the_predictions_and_neither_in_the_ensemble_nor_in_the_bundle(trained: study.Training) -> None:
    with (trained.folder / "predictions.csv").open(encoding="utf-8") as f:
        rows = list(csv.DictReader(f))
    assert {row["members"] for row in rows} == {"he"}
    assert [row["ensemble"] for row in rows] == [row["he"] for row in rows]
    assert len({row["meanmax_only"] for row in rows}) > 10
    content = json.loads((trained.bundle / "bundle.json").read_text(encoding="utf-8"))
    assert [m["name"] for m in content["members"]] == ["he"]
    assert "meanmax_only" not in content["facts"]["baselines"]
    note = "The baseline meanmax_only is classifier meanmax, which is not a member of the ensemble."
    assert note in trained.metrics["notes"]


@pytest.mark.parametrize(
    ("classifiers", "more", "wanted"),
    [
        (("he",), {}, ["meanmax_only"]),
        (("he", "meanmax"), {}, []),
        (("rf", "mlp"), {}, []),
        (("rf", "he"), {}, ["meanmax_only"]),
        (("he",), {"block": ("classifier:meanmax",)}, []),
    ],
    ids=["tiles", "a member itself", "no tiles", "some tiles", "blocked"],
)
def test_it_stands_beside_what_learns_from_tiles_unless_it_is_a_member(
    classifiers: tuple[str, ...], more: dict[str, Any], wanted: list[str]
) -> None:
    with opened(study.StudySettings(classifiers=classifiers, **more), study.SILENT) as session:
        found = choose_baselines(session, choose_members(session, classifiers))
    assert [m.name for m in found] == wanted
