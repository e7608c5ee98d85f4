"""A map of sites to institutions: whole sites become whole institutions, and sites it lacks stay and are reported."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from cohorts import read_rows, write_rows
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from kras_plugins import ConfigError
from kras_plugins.cli.app import app
from kras_plugins.cohort.check import check_table
from kras_plugins.cohort.dealing import deal
from kras_plugins.cohort.labelling import label_tables
from kras_plugins.cohort.labels import Policy
from kras_plugins.cohort.sites import SiteMap, map_sites, read_sites, with_institutions
from kras_plugins.cohort.table import CohortTable, Patient
from kras_plugins.evaluation.auroc import auroc
from kras_plugins.evaluation.design import one_cohort
from kras_plugins.evaluation.histology import histology_auroc


def written(folder: Path, text: str) -> Path:
    (folder / "sites.csv").write_text(text, encoding="utf-8")
    return folder / "sites.csv"


def known(**institutions: str) -> SiteMap:
    return SiteMap(path=Path("map.csv"), institutions=institutions)


@pytest.mark.parametrize(
    "text",
    [
        "code,institution\n05,Indivumed\n66,Indivumed\n",
        "TSS Code\tSource Site\tStudy Name\n05\tIndivumed\tLUAD\n66\t indivumed \tLUSC\n",
        "Hospital,site,note\nIndivumed,05,x\nINDIVUMED,66,x\nIndivumed,66,again\n,77,not known\n",
    ],
)
def test_maps_are_read_by_the_names_of_their_columns(tmp_path: Path, text: str) -> None:
    assert read_sites(written(tmp_path, text)).institutions == {"05": "Indivumed", "66": "Indivumed"}


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("code,town\n05,Hamburg\n", "has no column of institutions; it has code, town", "one of institution, source_"),
        ("name,hospital\n05,A\n", "has no column of sites; it has name, hospital", "one of code, tss_code"),
        ("code,institution\n05,A\n66,B\n05,B\n", "line 4: site '05' is 'B' here and 'A' in line 2", "one institution"),
        ("code,institution\n,A\n", "line 2: no site", "fill in"),
        ("code,institution\n05,\n", "names no institution", "one row per site"),
        ("", "is empty", "header"),
    ],
)
def test_maps_that_cannot_be_meant_are_refused_with_file_column_and_remedy(
    tmp_path: Path, text: str, message: str, hint: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        read_sites(written(tmp_path, text))
    assert str(tmp_path / "sites.csv") in caught.value.message
    assert message in caught.value.message
    assert hint in (caught.value.hint or "")


def test_a_site_is_found_as_stated_else_by_the_barcode_and_else_stays_and_is_counted() -> None:
    sites = {"TCGA-05-0001": "05", "TCGA-66-0002": "", "P3": "Seoul", "P4": "Busan", "P5": "", "P6": "Indivumed"}
    mapped, notes = map_sites(sites, known(**{"05": "Indivumed", "66": "Indivumed", "Seoul": "SMC"}))
    assert mapped == {
        "TCGA-05-0001": "Indivumed", "TCGA-66-0002": "Indivumed", "P3": "SMC", "P4": "Busan", "P5": "",
        "P6": "Indivumed",
    }  # fmt: skip
    assert notes[0] == "sites: 4 of 6 patients are of 2 institutions of map.csv"
    assert notes[1] == "sites: 1 sites of 1 patients are not in the map and stay as they are: Busan"


def test_a_map_of_other_sites_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"map\.csv has no site of these patients: theirs are 44, its sites are 05"):
        map_sites({"P1": "44"}, known(**{"05": "A"}))


def test_banks_that_pool_hospitals_and_institutions_that_dominate_are_noted() -> None:
    sites = {f"P{i}": "abcdefgh"[i] for i in range(8)}
    plain = known(**{site: f"Hospital {site}" for site in "abcdefgh"})
    assert len(map_sites(sites, plain)[1]) == 1
    bank = known(**{**plain.institutions, "a": "Tissue Biobank of X", "b": "Riverbank Hospital"})
    assert map_sites(sites, bank)[1][1:] == [
        "sites: 1 patients (12 %) come from tissue banks and suppliers, where one site is several hospitals: "
        "Tissue Biobank of X (1)"
    ]
    large = known(**{**plain.institutions, **dict.fromkeys("abc", "Hospital a")})
    assert map_sites(sites, large)[1][1:] == [
        "sites: Hospital a has 38 % of the patients: folds of whole sites will differ in size"
    ]


@settings(deadline=None, max_examples=25)
@given(st.data())
def test_no_institution_is_in_two_folds_of_a_split_by_site(data: st.DataObject) -> None:
    n, codes = 60, [f"c{i}" for i in range(12)]
    of = {code: f"Hospital {data.draw(st.integers(0, 5))}" for code in codes} | {
        f"c{i}": f"Hospital {i}"
        for i in range(4)  # there are at least this many institutions
    }
    sites = codes * 5
    labels = [1, 0, *data.draw(st.lists(st.integers(0, 1), min_size=n - 2, max_size=n - 2))]
    for i in range(4):  # each of these institutions has both labels
        labels[i], labels[12 + i] = 1, 0
    patients = tuple(
        Patient(patient_id=f"p{i:02d}", slides=(), label=labels[i], site=sites[i], histology="LUAD") for i in range(n)
    )
    flow = {"positive": sum(labels), "negative": n - sum(labels)}
    table = CohortTable(path=Path("cohort.csv"), target="g12c", patients=patients, flow=flow)
    mapped, _ = with_institutions(table, known(**of))
    (fold,) = deal(mapped, "site", 3, [data.draw(st.integers(0, 9))]).folds
    folds_of = defaultdict(set)
    for code, k in zip(sites, fold, strict=True):
        folds_of[of[code]].add(int(k))
    assert all(len(some) == 1 for some in folds_of.values())


def test_labels_and_split_take_the_map_and_say_what_it_did(tmp_path: Path) -> None:
    patients = [f"TCGA-{site}-{i:04d}" for i, site in enumerate(["05", "66", "44", "43", "77"] * 8)]
    calls = [f"{'KRAS' if i % 3 == 0 else 'TP53'}\t{p}-01A\tp.G12C" for i, p in enumerate(patients)]
    (tmp_path / "x.maf").write_text("\n".join(["Hugo_Symbol\tTumor_Sample_Barcode\tHGVSp_Short", *calls]) + "\n")
    sites = written(tmp_path, "code,institution\n05,A\n66,A\n44,B\n43,B\n")
    labels = tmp_path / "labels.csv"
    words = [str(tmp_path / "x.maf"), "--out", str(labels), "--cohort", str(tmp_path / "cohort.csv")]
    ran = CliRunner().invoke(app, ["cohort", "labels", *words, "--sites", str(sites), "--json"])
    assert ran.exit_code == 0, ran.output
    assert {row["site"] for row in read_rows(labels)} == {"A", "B", "77"}
    assert {row["site"] for row in read_rows(tmp_path / "cohort.csv")} == {"A", "B", "77"}
    notes = json.loads((tmp_path / "labels.flow.json").read_text())["notes"]
    assert "sites: 1 sites of 8 patients are not in the map and stay as they are: 77" in notes
    ran = CliRunner().invoke(app, ["cohort", "labels", *words])
    assert ran.exit_code == 0, ran.output
    split = ["cohort", "split", str(tmp_path / "cohort.csv"), "--scheme", "site", "--folds", "3"]
    ran = CliRunner().invoke(app, [*split, "--sites", str(sites), "--out", str(tmp_path / "folds.csv")])
    assert ran.exit_code == 0, ran.output
    assert "stay as they are: 77" in ran.stdout
    folds_of = defaultdict(set)
    for row in read_rows(tmp_path / "folds.csv"):
        folds_of[{"05": "A", "66": "A", "44": "B", "43": "B"}.get(row["patient_id"][5:7])].add(row["fold"])
    assert [len(some) for some in folds_of.values()] == [1, 1, 1]
    ran = CliRunner().invoke(app, [*split, "--sites", str(tmp_path / "none.csv")])
    assert ran.exit_code == 1 and "none.csv cannot be read" in ran.stderr


def test_check_says_that_codes_which_hold_one_histology_each_are_no_hospitals(tmp_path: Path) -> None:
    rows = [
        {"patient_id": f"p{i}", "slide_id": f"p{i}", "site": f"{i % 8:02d}", "histology": ("LUAD", "LUSC")[i % 2],
         "g12c": str(int(i % 3 == 0))}
        for i in range(48)
    ]  # fmt: skip
    for changed, told in ((rows, 1), ([{**row, "site": f"{int(row['site']) // 2}"} for row in rows], 0)):
        write_rows(tmp_path / "cohort.csv", changed)
        found = check_table(tmp_path / "cohort.csv", "g12c", 5, histology_auroc)
        assert [one.what for one in found if "one histology" in one.what] == [
            "each of 8 sites has one histology, as TCGA's codes do: a site is not a whole hospital"
        ] * told


def test_what_histology_alone_scores_has_the_interval_of_the_report_which_knows_sites(tmp_path: Path) -> None:
    # Each of 16 sites sees one histology alone, as TCGA's codes do; eight have positives.
    site = np.arange(160) % 16
    y = ((site < 8) & (np.arange(160) // 16 % 3 == 0)).astype(int)
    histologies = np.where(site < 10, "LUAD", "LUSC")
    rows = [
        {"patient_id": f"p{i}", "slide_id": f"p{i}", "site": f"{site[i]}", "histology": h, "g12c": f"{y[i]}"}
        for i, h in enumerate(histologies)
    ]
    write_rows(tmp_path / "cohort.csv", rows)
    by_patient = auroc(y, histologies == "LUAD")
    area = auroc(y, histologies == "LUAD", one_cohort(len(y), [f"{s}" for s in site]))
    (said,) = [f.what for f in check_table(tmp_path / "cohort.csv", "g12c", 5, histology_auroc) if "alone" in f.what]
    assert f"(95 % interval {area.low:.3f} to {area.high:.3f})" in said
    assert area.high - area.low > 1.2 * (by_patient.high - by_patient.low)


def test_tcga_has_two_codes_for_most_institutions_and_one_histology_for_each_code(shared_data: Path) -> None:
    folder = shared_data / "tcga"
    file, calls = folder / "tss_sites.csv", [str(folder / "ras_mutations.tsv.gz")]
    with file.open(newline="", encoding="utf-8") as f:
        rows = list(csv.DictReader(f))
    studies = defaultdict(list)
    for row in rows:
        studies[row["institution"]].append(row["study"])
    assert (len(rows), len(studies)) == (68, 39)
    assert sum(sorted(some) == ["LUAD", "LUSC"] for some in studies.values()) == 29
    coded = label_tables(calls, Policy(), diseases=["LUAD", "LUSC"]).labels
    assert {(one.site, one.histology) for one in coded} == {(row["code"], row["study"]) for row in rows}
    found = label_tables(calls, Policy(), diseases=["LUAD", "LUSC"], sites=file)
    assert {one.site for one in found.labels} == set(studies)
    assert any("298 patients (31 %) come from tissue banks" in note for note in found.facts["notes"])
    assert [{**one.row(), "site": ""} for one in found.labels] == [{**one.row(), "site": ""} for one in coded]
