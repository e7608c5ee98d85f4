"""`ip_preset=quantile` from the command line: thresholds of each fold, stored in the bundle, used on new slides."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
from cohorts import kras, read_rows, write_rows

from kras_plugins.data import CELL_COLUMNS, TISSUE_CLASSES, SemanticMap
from kras_plugins.semantics.cells import CELL_SCHEMA
from kras_plugins.semantics.map import write_map

OPTIONS = ("--profiler", "import", "-o", "profiler.import.cells=maps")


def study(folder: Path, name: str, patients: int, seed: int) -> None:
    """Patients with a tumor of 2 by 2 mm, half epithelium; lymphocytes as many as the patient's own level gives."""
    rng = np.random.default_rng(seed)
    tissue = np.full((250, 250), TISSUE_CLASSES.index("cancer_stroma"), np.uint8)
    tissue[::2] = TISSUE_CLASSES.index("cancer_epithelium")
    rows = []
    for i in range(patients):
        xy = rng.uniform(0, 2000, (rng.poisson(rng.lognormal(5, 1)), 2)).astype(np.float32)
        given = {"x_um": xy[:, 0], "y_um": xy[:, 1], "x_px": 2 * xy[:, 0], "y_px": 2 * xy[:, 1]}
        columns = [pa.array(given[n]) if n in given else pa.nulls(len(xy), pa.float32()) for n in CELL_COLUMNS]
        columns[CELL_COLUMNS.index("class")] = pa.array(["lymphocyte"] * len(xy), pa.string())
        slide = f"{name}{i}"
        (folder / "maps" / slide).mkdir(parents=True)
        semantic = SemanticMap(
            slide_id=slide,
            cells=pa.table(columns, schema=CELL_SCHEMA),
            tissue=tissue,
            analysed=np.ones(tissue.shape, np.bool_),
            origin_um=(0.0, 0.0),
            tissue_mpp=8.0,
            provides=frozenset({"lymphocyte", "tumor", "cancer_epithelium", "cancer_stroma"}),
            source="drawn",
            ce_source="import",
        )
        write_map(folder / "maps" / slide, semantic)
        rows.append({"patient_id": slide, "slide_id": slide, "histology": "LUAD", "g12c": str(int(i % 3 == 0))})
    write_rows(folder / f"{name}.csv", rows)


def test_thresholds_are_fitted_in_each_fold_frozen_in_the_bundle_and_used_on_new_slides(tmp_path: Path) -> None:
    study(tmp_path, "train", 60, seed=0)
    study(tmp_path, "new", 4, seed=1)
    ran = kras(
        "run", "train.csv", *OPTIONS, "--classifiers", "rf", "--folds", "3", "--out", "out",
        "-o", "classifier.rf.ip_preset=quantile", "-o", "classifier.rf.trees=20",
        cwd=tmp_path, store=tmp_path / "store",
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    files = list((tmp_path / "out" / "bundle").rglob("classifier.json"))
    found = [json.loads(file.read_text())["preprocessor"]["thresholds"] for file in files]
    assert len(found) == 3
    assert all(t["preset"] == "quantile" and 0 < t["ce"] < 106 for t in found)  # these cells are sparser than Lunit's
    assert len({(t["ce"], t["cs"]) for t in found}) > 1  # each fold has its own
    ran = kras(
        "predict", "out/bundle", "new.csv", *OPTIONS[2:], "--out", "scored", cwd=tmp_path, store=tmp_path / "store"
    )
    assert ran.returncode == 0, ran.stderr
    assert all(0 < float(r["ensemble"]) < 1 for r in read_rows(tmp_path / "scored" / "predictions.csv"))
