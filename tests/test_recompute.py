"""metrics.json of a study is what scikit-learn, scipy and statsmodels make of its files (benchmarks/recompute.py)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cohorts import write_rows
from quick_study import quick
from recomputing import SCRIPT, recompute

from kras_plugins.study import train, validate

SETTINGS = {"classifiers": ("rf", "lgbm"), "folds": 3, "repeats": 2, "prevalences": (0.13,)}


def draw(folder: Path, *, patients: int, seed: int) -> None:
    """A cohort with sites, covariates and three histologies, and its features; some patients lack a value.

    Specimens and assays are said in many words, and specimens in two columns.
    """
    rng = np.random.default_rng(seed)
    cohort, tables = [], {"LUAD": [], "LUSC": []}  # type: ignore[var-annotated]
    for i in range(patients):
        label, kind = int(rng.random() < 0.4), ("LUAD", "LUAD", "NSCLC", "LUSC", "")[i % 5]
        name, specimen = f"P{seed}-{i:03d}", rng.integers(4)
        cohort.append(
            {
                "patient_id": name,
                "slide_id": name,
                "g12c": str(label),
                "histology": kind,
                "site": f"S{rng.integers(9)}" if i % 11 else "",
                "sex": ("female", "male", "")[rng.integers(3)],
                "age": str(rng.integers(40, 85)),
                "scanner": ("GT450", "AT2", "P1000")[rng.integers(3)],
                "specimen": ("CT-guided biopsy", "core", "Lobectomy", "wedge resection")[specimen],
                "sample_type": ("Biopsies", "Biopsies", "surgical", "surgical")[specimen],
                "kras_test": ("TSO-500", "TruSight Oncology 500", "PCR")[rng.integers(3)],
                "panel": ("A", "B", "", "B")[rng.integers(4)],
                "kras_driver": ("1", "1", "0", "")[rng.integers(1 - label, 4)],
            }
        )
        end = "_HE" if kind == "LUAD" else "_FFPE"
        row = {"CASE_ID": f"{i}", "case": name}
        row |= {f"LYMPHOCYTE DENSITY {k}{end}": f"{rng.normal() + (label if k == 0 else 0):.4f}" for k in range(5)}
        tables["LUAD" if kind == "LUAD" else "LUSC"].append(row)
    write_rows(folder / "cohort.csv", cohort)
    for table, rows in tables.items():
        write_rows(folder / f"{table}.csv", rows)


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """By command, the folder of a study and its cohort: two repeats of cross-validation, and its bundle elsewhere."""
    home = tmp_path_factory.mktemp("recompute")
    for name, patients, seed in (("here", 70, 1), ("elsewhere", 60, 2)):
        (home / name).mkdir()
        draw(home / name, patients=patients, seed=seed)
    settings = quick(home / "here", home / "store", **SETTINGS).with_options("classifier.rf.trees=20")
    done = train(home / "here" / "cohort.csv", settings, out=home / "run")
    other = quick(home / "elsewhere", home / "store", prevalences=(0.13,))
    validate(done.bundle, home / "elsewhere" / "cohort.csv", other, out=home / "evaluate")
    return {
        "run": (home / "run", home / "here" / "cohort.csv"),
        "evaluate": (home / "evaluate", home / "elsewhere" / "cohort.csv"),
    }


@pytest.mark.parametrize(("command", "fewest"), [("run", 6000), ("evaluate", 4500)])
def test_every_number_is_found_again_by_other_libraries(
    studies: dict[str, tuple[Path, Path]], command: str, fewest: int
) -> None:
    code, numbers, said = recompute(*studies[command])
    assert code == 0 and " 0 differ" in said, said
    assert numbers >= fewest
    left = said.partition(" numbers not recomputed:\n")[2].splitlines()
    # What the bundle's training was is in no file of an evaluation.
    assert bool(left) is (command == "evaluate") and all(line.startswith("  external.") for line in left), said
    metrics = json.loads((studies[command][0] / "metrics.json").read_text())
    columns = list(dict.fromkeys(row["column"] for row in metrics["subgroups"]))
    assert columns == ["histology", "specimen", "kras_test", "site", "panel"]  # sample_type says what specimen does


def written(folder: Path, into: Path, metrics: Mapping[str, Any]) -> Path:
    """The files of a study with other metrics."""
    for name in ("folds.parquet", "predictions.csv", "manifest.json"):
        shutil.copy(folder / name, into)
    (into / "metrics.json").write_text(json.dumps(metrics))
    return into


def test_one_digit_that_somebody_changed_is_found(studies: dict[str, tuple[Path, Path]], tmp_path: Path) -> None:
    folder, cohort = studies["run"]
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["luad_only"]["ensemble"]["auroc"]["high"] -= 0.00001
    code, _, said = recompute(written(folder, tmp_path, metrics), cohort)
    assert code == 1
    assert " 1 differ" in said and "luad_only.ensemble.auroc.high" in said


@pytest.mark.parametrize(("p", "differ"), [(0.05, 0), (0.049, 1)])
def test_p_of_a_permutation_test_counts_refits_whose_mean_is_in_no_file(
    studies: dict[str, tuple[Path, Path]], tmp_path: Path, p: float, differ: int
) -> None:
    folder, cohort = studies["run"]
    metrics = json.loads((folder / "metrics.json").read_text())
    observed = metrics["models"]["ensemble"]["auroc"]["value"]
    metrics["verdict"] = {"kind": "permutation", "p": p, "permutations": 99, "observed": observed, "null_mean": 0.5}
    _, _, said = recompute(written(folder, tmp_path, metrics), cohort)
    assert f" {differ} differ" in said and ("verdict.p: 0.049" in said) is bool(differ), said
    assert said.endswith("1 numbers not recomputed:\n  verdict.null_mean (1)\n")


def test_nothing_that_is_tested_takes_part() -> None:
    """A number that the product made would agree with itself."""
    for file in [SCRIPT, *(SCRIPT.parent / "recomputed").glob("*.py")]:
        assert "import kras" not in file.read_text() and "from kras" not in file.read_text(), file
