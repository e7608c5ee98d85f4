"""`kras cohort`: from a mutation table and slides to a cohort that is checked and split."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from cohorts import kras, read_rows

from kras_plugins.cohort.folds_file import keeps_sites, read_folds
from kras_plugins.cohort.splits import folds
from kras_plugins.cohort.table import read_cohort
from kras_plugins.evaluation.histology import histology_auroc
from kras_plugins.learning.plan import derive_seed
from kras_plugins.testing import draw_slide

UUID = "7f5a7bf1-7ec4-4f30-b1f8-8c7a3a6d1f10"
MAF = """#version gdc-1.0.0
Hugo_Symbol\tVariant_Classification\tHGVSp_Short\tTumor_Sample_Barcode
KRAS\tMissense_Mutation\tp.G12C\tTCGA-05-0001-01A-01D-1105-08
KRAS\tMissense_Mutation\tp.G12V\tTCGA-05-0002-01A-01D-1105-08
KRAS\tMissense_Mutation\tp.G12C\tTCGA-05-0003-06A-01D-1105-08
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A MAF, a list of who was sequenced, and slides, of which one is frozen and two are copies."""
    root = tmp_path_factory.mktemp("cohort")
    (root / "luad.maf").write_text(MAF)
    (root / "cases_sequenced.txt").write_text("case_list_ids: TCGA-05-0001-01\tTCGA-05-0004-01\n")
    (root / "slides").mkdir()
    draw_slide(root / "one.tiff", seed=1, size_um=(256.0, 256.0))
    draw_slide(root / "two.tiff", seed=2, size_um=(256.0, 256.0))
    for source, name in (("one", "0001-01Z-00-DX1"), ("two", "0002-01Z-00-DX1"), ("two", "0004-01Z-00-DX1")):
        shutil.copy(root / f"{source}.tiff", root / "slides" / f"TCGA-05-{name}.{UUID}.tiff")
    for name in ("0001-01A-01-TS1", "0003-01Z-00-DX1", "0005-01Z-00-DX1"):
        shutil.copy(root / "one.tiff", root / "slides" / f"TCGA-05-{name}.{UUID}.tiff")
    return root


@pytest.fixture(scope="module")
def labelled(folder: Path) -> dict:
    words = ("LUAD=luad.maf", "--sequenced", "LUAD=cases_sequenced.txt", "--slides", "slides", "--out", "labels.csv")
    ran = kras("cohort", "labels", *words, "--json", cwd=folder, store=folder / "store")
    assert ran.returncode == 0, ran.stderr
    assert "label unknown: no primary tumor sequenced" in ran.stderr
    return json.loads(ran.stdout)


def test_labels_are_written_with_who_was_dropped_and_why(folder: Path, labelled: dict) -> None:
    rows = {row["patient_id"]: row for row in read_rows(folder / "labels.csv")}
    assert {patient[-4:]: row["g12c"] for patient, row in rows.items()} == {
        "0001": "1",
        "0002": "0",
        "0003": "",
        "0004": "0",
    }
    assert rows["TCGA-05-0002"]["kras_category"] == "other driver"
    assert rows["TCGA-05-0004"]["kras_category"] == "wild type"
    assert json.loads((folder / "labels.flow.json").read_text()) == labelled
    assert labelled["samples_left_out"] == {"06": 1}
    assert labelled["totals"]["by_histology"]["LUAD"]["g12c"] == 1
    dropped = {step["step"]: step.get("slides") for step in labelled["slide_flow"]}
    assert dropped["dropped: not DX: frozen section"] == 1
    assert dropped["dropped: label unknown: no primary tumor sequenced"] == 1
    assert dropped["dropped: patient in no source: no proof of sequencing"] == 1


def test_the_cohort_is_one_that_a_run_reads(folder: Path, labelled: dict) -> None:
    table = read_cohort(folder / "cohort.csv")
    assert [(p.patient_id, p.label, p.site, p.histology) for p in table.patients] == [
        ("TCGA-05-0001", 1, "05", "LUAD"),
        ("TCGA-05-0002", 0, "05", "LUAD"),
        ("TCGA-05-0004", 0, "05", "LUAD"),
    ]
    for patient in table.patients:
        for slide in patient.slides:
            assert slide.path.is_file()
            assert not {name for name in slide.extra if "kras" in name}  # no outcome reaches a reader


def test_without_slides_the_cohort_is_one_for_finished_features(folder: Path) -> None:
    words = ("LUAD=luad.maf", "--sequenced", "cases_sequenced.txt", "--out", "l.csv", "--cohort", "features.csv")
    ran = kras("cohort", "labels", *words, cwd=folder, store=folder / "store")
    assert ran.returncode == 0, ran.stderr
    table = read_cohort(folder / "features.csv", needs_paths=False)
    assert [(p.patient_id, p.label) for p in table.patients] == [(f"TCGA-05-000{i}", int(i == 1)) for i in (1, 2, 4)]


def test_check_opens_the_slides_and_fails_where_a_study_would_break(folder: Path, labelled: dict) -> None:
    ran = kras("cohort", "check", "cohort.csv", "--folds", "2", "--hash", "--json", cwd=folder, store=folder / "store")
    assert ran.returncode == 1
    assert "opening slides: 3 of 3" in ran.stderr
    findings = json.loads(ran.stdout)["findings"]
    (same,) = [f for f in findings if "by its content" in f["what"]]
    assert same["severity"] == "error"
    assert same["who"] == ["TCGA-05-0002-01Z-00-DX1 of TCGA-05-0002", "TCGA-05-0004-01Z-00-DX1 of TCGA-05-0004"]
    assert any("too few for 2 folds" in f["what"] for f in findings)
    assert all(f["do"] for f in findings if f["severity"] == "error")


def test_check_names_real_slides_that_cannot_be_used_and_why(shared_data: Path, tmp_path: Path) -> None:
    slides = shared_data / "slides"
    files = [slides / "cmu_small_region.svs", *sorted((slides / "broken").iterdir()), slides / "none.svs"]
    lines = [f"p{i},s{i},{file},{i % 2}" for i, file in enumerate(files)]
    (tmp_path / "c.csv").write_text("\n".join(["patient_id,slide_id,path,g12c", *lines]) + "\n")
    ran = kras("cohort", "check", "c.csv", "--folds", "2", "--json", cwd=tmp_path, store=tmp_path / "store")
    assert ran.returncode == 1
    bad = {f["who"][0]: f for f in json.loads(ran.stdout)["findings"] if f["what"].startswith("slide ")}
    assert set(bad) == {f"s{i}" for i in range(1, len(files))}
    assert all(f["severity"] == "error" and f["do"] for f in bad.values())
    assert "slide missing" in bad[f"s{len(files) - 1}"]["what"]


def many(folder: Path, n: int = 60) -> Path:
    lines = [f"p{i},s{i},h{i % 9},{('LUAD', 'LUSC')[i % 2]},{int(i % 4 == 0)}" for i in range(n)]
    (folder / "many.csv").write_text("\n".join(["patient_id,slide_id,site,histology,g12c", *lines]) + "\n")
    return folder / "many.csv"


def test_check_of_a_sound_table_exits_with_zero(tmp_path: Path) -> None:
    many(tmp_path)
    ran = kras("cohort", "check", "many.csv", "--folds", "3", cwd=tmp_path, store=tmp_path / "store")
    assert ran.returncode == 0, ran.stdout
    assert "0 errors" in ran.stdout
    assert "is it adenocarcinoma" in ran.stdout


def test_of_several_cohorts_each_finding_says_which_it_is_about(tmp_path: Path) -> None:
    text = many(tmp_path).read_text()
    (tmp_path / "more.csv").write_text(
        text.replace("\np", "\nq").replace(",s", ",t").replace("tlide_id,tite", "slide_id,site")
    )
    ran = kras(
        "cohort", "check", "many.csv", "more.csv", "--json", "--no-slides", cwd=tmp_path, store=tmp_path / "store"
    )
    found = [one["what"] for one in json.loads(ran.stdout)["findings"]]
    assert all(sum("labeled patients" in what and name in what for what in found) == 1 for name in ("many", "more"))


def test_what_histology_alone_would_score_is_what_a_run_will_say() -> None:
    histologies = ["LUAD", "LUAD", "", "LUSC"]
    assert histology_auroc([1, 0, 1, 0], histologies, ["a", "b", "a", ""])[0] == pytest.approx((0.5 + 1 + 0 + 1) / 4)


@pytest.mark.parametrize("scheme", ["random", "site"])
def test_split_writes_folds_that_come_back_and_says_how_alike_they_are(tmp_path: Path, scheme: str) -> None:
    table = read_cohort(many(tmp_path), needs_paths=False)
    words = ("--scheme", scheme, "--folds", "3", "--repeats", "2", "--seed", "4", "--json")
    ran = kras("cohort", "split", "many.csv", *words, cwd=tmp_path, store=tmp_path / "store")
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    y = np.array([p.label for p in table.patients], np.int8)
    fold = read_folds(tmp_path / "folds.csv", [p.patient_id for p in table.patients], y)
    assert fold.shape == (2, 60)
    sites = [p.site for p in table.patients]
    assert keeps_sites(fold, sites) == (scheme == "site")
    for r in range(2):  # the folds of `kras run` with the same seed
        dealt = folds(y, [p.histology for p in table.patients], sites, 3, derive_seed(4, "outer", r), scheme)
        np.testing.assert_array_equal(fold[r], dealt)
    assert len(told["imbalance"]) == 2
    for one in told["folds"]:
        held = fold[one["repeat"] - 1] == one["fold"] - 1
        assert (one["n"], one["n_positive"]) == (held.sum(), y[held].sum())


def test_a_table_that_is_no_mutation_table_is_one_line_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "x.tsv").write_text("a\tb\n1\t2\n")
    ran = kras("cohort", "labels", "x.tsv", cwd=tmp_path, store=tmp_path / "store")
    assert ran.returncode == 1
    assert "x.tsv lacks Hugo_Symbol, Tumor_Sample_Barcode" in ran.stderr
    assert "hint:" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not (tmp_path / "labels.csv").exists()
