"""The check before a study: each thing that breaks one is found, and a clean cohort has no error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import fisher_exact

from kras_plugins import ConfigError, SlideError
from kras_plugins.cohort.check import check_across, check_table
from kras_plugins.cohort.check_slides import Opened, check_slides
from kras_plugins.cohort.confounding import permutation_p
from kras_plugins.cohort.findings import Finding, in_order
from kras_plugins.cohort.histology import word_map
from kras_plugins.evaluation.histology import histology_auroc


def people(n: int = 120) -> list[dict[str, str]]:
    """A clean cohort: every fourth patient positive, histology and sites independent of it."""
    return [
        {
            "patient_id": f"p{i}",
            "slide_id": f"s{i}",
            "path": f"s{i}.svs",
            "cohort": "ours",
            "site": f"h{i // 4 % 6}",
            "histology": ("LUAD", "LUSC")[i // 8 % 2],
            "g12c": str(int(i % 4 == 0)),
            "age": str(50 + i * 7 % 31),
        }
        for i in range(n)
    ]


def write(folder: Path, rows: list[dict[str, str]], name: str = "cohort.csv") -> Path:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    lines = [",".join(columns), *(",".join(row.get(column, "") for column in columns) for row in rows)]
    (folder / name).write_text("\n".join(lines) + "\n")
    return folder / name


@pytest.fixture
def check(tmp_path: Path):
    def check(rows: list[dict[str, str]], folds: int = 5) -> list[Finding]:
        return in_order(check_table(write(tmp_path, rows), "g12c", folds, histology_auroc))

    return check


def found(findings: list[Finding], severity: str, words: str) -> Finding:
    """The one finding of a severity that says these words."""
    (one,) = [f for f in findings if words in f.what]
    assert one.severity == severity
    return one


def test_a_sound_cohort_has_notes_only(check) -> None:
    findings = check(people())
    assert {f.severity for f in findings} == {"note"}
    found(findings, "note", "120 labeled patients, 30 positive")
    assert "AUROC 0.500" in found(findings, "note", "is it adenocarcinoma").what


@pytest.mark.parametrize("column", ["split", "cohort"])
def test_a_patient_in_several_splits_or_cohorts_is_an_error(check, column: str) -> None:
    rows = people()
    for row in rows:
        row[column] = "a"
    rows.append({**rows[0], "slide_id": "again", "path": "again.svs", column: "b"})
    assert found(check(rows), "error", f"patients in several {column}s").who == ("p0 (a and b)",)


def test_all_problems_of_the_table_are_told_at_once(check) -> None:
    rows = people()
    rows.append({**rows[0], "slide_id": "x1", "path": "x1.svs", "g12c": "0"})
    rows.append({**rows[1], "slide_id": "x2", "path": "x2.svs", "site": "elsewhere"})
    rows.append({**rows[2], "slide_id": "x3", "path": "s3.svs"})
    findings = check(rows)
    for words in ("patients with two values of g12c", "patients with two values of site", "the same file"):
        found(findings, "error", words)
    assert "1 patients without one known g12c" in found(findings, "note", "set aside").what


def test_one_tcga_patient_under_two_ids_is_an_error(check) -> None:
    rows = people()
    rows[0]["patient_id"], rows[1]["patient_id"] = "TCGA-05-4244", "TCGA-05-4244-01A"
    assert found(check(rows), "error", "under several ids").who == ("TCGA-05-4244 and TCGA-05-4244-01A",)


def test_slides_of_another_patient_of_normal_tissue_and_frozen_ones_are_found_by_their_names(check) -> None:
    rows = people()
    for i, name in enumerate(["01Z-00-DX1", "01A-01-TS1", "11A-01-BS1", "01Z-00-DX2"]):
        rows[i].update(patient_id=f"TCGA-05-000{i}", path=f"TCGA-05-000{i}-{name}.svs")
    rows[3]["path"] = "TCGA-05-9999-01Z-00-DX2.svs"
    findings = check(rows)
    assert found(findings, "error", "named after another patient").who == ("s3 (row: TCGA-05-0003)",)
    assert found(findings, "error", "normal tissue").who == ("s2",)
    assert found(findings, "warning", "frozen sections mixed").who == ("s1", "s2")


def test_fewer_positives_than_folds_are_an_error_and_few_of_them_a_warning(check) -> None:
    rows = people()
    for i, row in enumerate(r for r in rows if r["g12c"] == "1"):
        row["g12c"] = str(int(i < 4))
    assert found(check(rows, 5), "error", "4 of 120 labeled patients are positive").do == "use at most 4 folds"
    found(check(rows, 3), "warning", "4 positive patients are 1.3 per fold")


def test_labels_of_one_class_are_an_error_and_no_crash(check) -> None:
    found(check([{**row, "g12c": "0"} for row in people()]), "error", "0 of 120 labeled patients are positive")


def test_a_histology_that_holds_all_positives_is_warned_of_with_what_it_alone_would_score(check) -> None:
    rows = people()
    for row in rows:
        row["histology"] = "LUAD" if row["g12c"] == "1" else row["histology"]
    y = np.array([row["g12c"] == "1" for row in rows])
    luad = np.array([row["histology"] == "LUAD" for row in rows])
    area = (1 + luad[y].mean() - luad[~y].mean()) / 2
    one = found(check(rows), "warning", "is it adenocarcinoma")
    assert f"AUROC {area:.3f}" in one.what
    assert "n 120, 30 positive" in one.what


def test_a_site_that_goes_with_the_label_is_warned_of(check) -> None:
    rows = people()
    for row in rows:
        row["site"] = "h0" if row["g12c"] == "1" else row["site"]
    findings = check(rows)
    one = found(findings, "warning", "1 of 6 sites have all positives")
    assert one.who == ("h0",)
    assert "--splits site" in one.do
    found(findings, "warning", "too few for 5 folds of whole sites")


def test_sites_that_differ_by_their_histology_alone_do_not_count_as_confounded(check) -> None:
    rows = people(240)
    rng = np.random.default_rng(0)
    for i, row in enumerate(rows):
        row["histology"] = ("LUAD", "LUSC")[i % 2]
        row["site"] = f"{row['histology']}-{i // 2 % 5}"
        row["g12c"] = str(int(row["histology"] == "LUAD" and rng.random() < 0.4))
    one = next(f for f in check(rows) if "sites have all positives" in f.what)
    assert one.severity == "note"
    assert "p 0.0005" in one.what


def test_a_site_with_positives_only_is_named(check) -> None:
    rows = people()
    for row in [r for r in rows if r["g12c"] == "1"][:4]:
        row["site"] = "pure"
    assert found(check(rows), "warning", "only positive patients").who == ("pure (4 patients)",)


@pytest.mark.parametrize(
    ("column", "word"),
    [
        (lambda i, y: "yes" if y else "no", "equals"),
        (lambda i, y: "measured" if y else "", "equals"),
        (lambda i, y: f"{'ab'[i % 2] if y else 'cd'[i % 2]}", "reveals"),
        (lambda i, y: str(100 + i if y else i / 2), "nearly reveals"),
        (lambda i, y: str(-i - 1 if y else i), "nearly reveals"),
    ],
)
def test_a_covariate_that_tells_the_label_is_an_error(check, column, word: str) -> None:
    rows = [{**row, "extra": column(i, row["g12c"] == "1")} for i, row in enumerate(people())]
    assert found(check(rows), "error", f"column extra {word} g12c").who == ("extra",)


def test_cells_that_keep_a_covariate_from_being_numbers_are_named(check) -> None:
    rows = people()
    rows[3]["age"], rows[7]["age"], rows[9]["age"] = "6O", "#DIV/0!", "NA"
    for i, row in enumerate(rows):  # codes of levels are not measurements
        row["grade"] = ("1", "2", "3", "3A")[i % 7 % 4]
    odd = found(check(rows), "warning", "column age contains numbers, except in 2 cells")
    assert odd.who == ("line 5: '6O'", "line 9: '#DIV/0!'")
    assert not [f for f in check(rows) if "grade" in f.what]


def test_decimal_commas_hide_no_covariate_that_tells_the_label(check) -> None:
    rows = [{**row, "extra": f'"{100 + i if row["g12c"] == "1" else i / 2:.1f}"'} for i, row in enumerate(people())]
    for row in rows:
        row["extra"] = row["extra"].replace(".", ",")
    assert found(check(rows), "error", "column extra nearly reveals g12c").who == ("extra",)


@pytest.mark.parametrize("column", ["kras_category", "kras_driver", "kras_hgvsp"])
def test_columns_that_state_the_outcome_by_their_name_are_no_finding(check, column: str) -> None:
    assert {f.severity for f in check([{**row, column: row["g12c"]} for row in people()])} == {"note"}


def test_a_test_method_that_tells_the_label_is_an_error(check) -> None:
    rows = [{**row, "kras_test": "PCR" if row["g12c"] == "1" else "NGS"} for row in people()]
    found(check(rows), "error", "column kras_test equals g12c")


def test_slides_without_a_path_are_an_error_unless_no_slide_has_one(check) -> None:
    rows = people()
    rows[0]["path"] = ""
    assert found(check(rows), "error", "slides without a path").who == ("s0",)
    found(check([{**row, "path": ""} for row in rows]), "note", "no slide has a path")


def test_missing_sites_and_histologies_are_warned_of(check) -> None:
    rows = people()
    rows[0]["site"] = rows[1]["histology"] = ""
    findings = check(rows)
    assert found(findings, "warning", "no site").who == ("p0",)
    assert found(findings, "warning", "no histology").who == ("p1",)


def test_a_file_that_is_no_cohort_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a;b\n1;2\n")
    with pytest.raises(ConfigError, match="semicolons"):
        check_table(tmp_path / "x.csv", "g12c", 5, histology_auroc)


def test_patients_in_two_cohort_files_are_found_whatever_part_of_the_barcode_names_them(tmp_path: Path) -> None:
    a = write(tmp_path, [{**people(1)[0], "patient_id": "TCGA-05-4244"}], "a.csv")
    b = write(tmp_path, [{**people(1)[0], "patient_id": "TCGA-05-4244-01A"}], "b.csv")
    (one,) = check_across([a, b])
    assert one.severity == "error"
    assert one.who == (f"TCGA-05-4244 ({a}, {b})",)
    both = write(tmp_path, [{"patient_id": "TCGA-05-4244"}, {"patient_id": "TCGA-05-4244-01A"}], "both.csv")
    assert not check_across([both])  # concerns one file only


def test_the_permutation_test_agrees_with_fishers_exact_one() -> None:
    y = np.repeat([1, 0, 1, 0], [9, 6, 4, 11]).astype(np.int8)
    groups = ["a"] * 15 + ["b"] * 15
    exact = fisher_exact([[9, 6], [4, 11]]).pvalue
    assert permutation_p(y, groups, [""] * 30) == pytest.approx(exact, abs=0.03)


def test_the_permutation_test_keeps_its_level_within_strata() -> None:
    rng = np.random.default_rng(1)
    p = []
    for _ in range(40):
        strata = rng.choice(["x", "y"], 80)
        groups = [f"{s}{rng.integers(3)}" for s in strata]
        y = (rng.random(80) < np.where(strata == "x", 0.6, 0.1)).astype(np.int8)
        p.append(permutation_p(y, groups, strata.tolist()))
    assert np.mean(np.array(p) < 0.05) <= 0.15


def opener(contents: dict[str, object]):
    def open_one(ref) -> Opened:
        content = contents[ref.path.name]
        if isinstance(content, Exception):
            raise content
        return content

    return open_one


def opened(fingerprint: str, mpp: float = 0.5, source: str = "file", warnings: tuple[str, ...] = ()) -> Opened:
    return Opened(fingerprint=fingerprint, mpp=mpp, mpp_source=source, warnings=warnings)


def test_one_content_of_two_patients_is_an_error_and_of_one_patient_a_warning(tmp_path: Path) -> None:
    rows = people(5)
    rows[4]["patient_id"] = "p3"
    contents = {f"s{i}.svs": opened(f) for i, f in enumerate("xxabb")}
    findings = check_slides([write(tmp_path, rows)], opener(contents))
    assert found(findings, "error", "belongs to several patients").who == ("s0 of p0", "s1 of p1")
    assert found(findings, "warning", "appears 2 times").who == ("s3 of p3", "s4 of p3")


def test_slides_that_are_missing_or_cannot_be_opened_are_errors_and_the_rest_is_checked(tmp_path: Path) -> None:
    (tmp_path / "s1.svs").touch()
    contents = {
        "s0.svs": SlideError("no such file", "find it"),
        "s1.svs": SlideError("nothing states how many micrometers wide a pixel is", "give mpp"),
        "s2.svs": opened("a", 0.25, "objective", ("derived from objective power 40",)),
        "s3.svs": opened("b", 0.5, warnings=("the cohort says 0.5 µm/px, the file 0.25",)),
    }
    findings = check_slides([write(tmp_path, people(4))], opener(contents))
    assert found(findings, "error", "slide missing").who == ("s0",)
    assert found(findings, "error", "cannot be used: nothing states").who == ("s1",)
    assert found(findings, "warning", "no mpp in the file").who == ("s2",)
    assert found(findings, "warning", "the cohort says").who == ("s3",)
    assert "several magnifications" in found(findings, "note", "2 slides open").what


def test_whole_files_are_compared_only_when_asked_and_each_group_is_told_once(tmp_path: Path) -> None:
    for i, text in enumerate(["same", "same", "diff"]):
        (tmp_path / f"s{i}.svs").write_text(text)
    file = write(tmp_path, people(3))
    apart = opener({f"s{i}.svs": opened(str(i)) for i in range(3)})
    assert not [f for f in check_slides([file], apart) if f.severity == "error"]
    (one,) = [f for f in check_slides([file], apart, whole=True) if f.severity == "error"]
    assert one.who == ("s0 of p0", "s1 of p1")
    alike = opener({f"s{i}.svs": opened("x" if i < 2 else "y") for i in range(3)})
    assert len([f for f in check_slides([file], alike, whole=True) if f.severity == "error"]) == 1


def test_how_histologies_are_understood_is_told_for_confirmation(check) -> None:
    rows = people()
    rows[0]["histology"], rows[1]["histology"] = "metastatic lung adenocarcinoma", "tumor A"
    findings = check(rows)
    told = found(findings, "note", "histologies are understood as follows").what
    assert "'metastatic lung adenocarcinoma' (1) is adenocarcinoma" in told
    assert "is squamous" in told
    assert found(findings, "warning", "not recognized").who == ("tumor A",)


def test_words_that_the_user_explains_are_shown_as_theirs_and_unknown_ones_are_counted_apart(tmp_path: Path) -> None:
    rows = people()
    for i, word in enumerate(("Typ A", "typ a ", "NS", "tumor B", "")):
        rows[i]["histology"] = word
    mine = word_map({"typ a": "adenocarcinoma", "ns": "squamous", "typ c": "large cell"})
    findings = check_table(write(tmp_path, rows), "g12c", 5, histology_auroc, mine)
    told = found(findings, "note", "histologies are understood as follows").what
    assert "'Typ A' (1) is adenocarcinoma (yours)" in told and "'NS' (1) is squamous (yours)" in told
    assert "'LUAD' (59) is adenocarcinoma," in told and "'tumor B' (1) is unknown" in told
    counts = found(findings, "note", "patients by histology").what
    assert counts.endswith("61 adenocarcinoma, 57 squamous; in addition, 2 unknown, 1 of whom state none")
    assert found(findings, "warning", "not recognized").who == ("tumor B",)
    assert found(findings, "note", "that no patient has").who == ("typ c",)


def test_specimens_that_models_are_not_made_for_are_warned_of_with_who(check) -> None:
    rows = people()
    for i, row in enumerate(rows):
        row["preservation"], row["neoadjuvant"] = ("frozen" if i in (3, 5) else "FFPE"), "no"
    rows.append({**rows[7], "slide_id": "again", "path": "again.svs", "preservation": "OCT"})
    findings = check(rows)
    assert found(findings, "warning", "3 of 120 patients: frozen section (column preservation)").who == (
        "p3",
        "p5",
        "p7",
    )
    assert not [f for f in findings if "pretreated" in f.what]


def test_ids_that_are_equal_but_for_case_are_one_patient(check) -> None:
    rows = people()
    rows[0]["patient_id"], rows[1]["patient_id"] = "Case-A1", "case-a1"
    assert found(check(rows), "error", "under several ids").who == ("Case-A1 and case-a1",)


def test_rows_in_the_order_of_the_label_are_warned_of(check) -> None:
    rows = sorted(people(), key=lambda row: row["g12c"])
    found(check(rows), "warning", "the rows are sorted by g12c")
    found(check(rows[::-1]), "warning", "the rows are sorted by g12c")
    rows[0], rows[-1] = rows[-1], rows[0]
    assert not [f for f in check(rows) if "sorted" in f.what]


def test_the_order_of_the_label_is_seen_within_histologies_but_for_a_few_rows_and_not_where_chance_makes_it(
    check,
) -> None:
    rows = sorted(people(), key=lambda row: (row["histology"], row["g12c"]))  # two lists, one after the other
    found(check(rows), "warning", "the rows are sorted by g12c: ")
    many = sorted(people(200), key=lambda row: (row["histology"], row["g12c"] == "0"))
    last = [i for i, row in enumerate(many) if row["g12c"] == "1"][-1]
    many[last], many[last + 1] = many[last + 1], many[last]
    found(check(many), "warning", "the rows are sorted by g12c, except for a few: ")
    one = [{**row, "g12c": str(int(i == 0))} for i, row in enumerate(people())]
    assert not [f for f in check(one) if "sorted" in f.what]  # 1 of n orders
    half = [{**row, "histology": ("LUAD", "LUSC")[i >= 20], "g12c": str(int(i < 20))} for i, row in enumerate(people())]
    assert not [f for f in check(half) if "sorted" in f.what]  # it follows the histology, which another finding reports
