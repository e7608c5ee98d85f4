"""The lines of AACR 2023 abstract 5399 from metrics.json: each beside what was printed, none lost, none invented."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from study_pages import Page

from kras_plugins.cohort.table import Patient
from kras_plugins.evaluation.drivers import drivers
from kras_plugins.files.spreadsheet import unguarded
from kras_plugins.report.abstract import Line, abstract_lines, abstract_table
from kras_plugins.report.published import hanley_mcneil
from kras_plugins.report.study import write_study_report
from kras_plugins.study.outputs import write_table

MEMBERS = ("he", "mlp", "rf")


def entry(value: float, n: int, n_positive: int, **more: Any) -> dict[str, Any]:
    """A model whose numbers follow from its AUROC, so that the origin of each is known."""
    area = {"value": value, "low": value - 0.1, "high": value + 0.1, "fold_mean": value - 0.01, "note": ""}
    return {"n": n, "n_positive": n_positive, "auroc": area, **more}


def estimate(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.2, "high": value + 0.2}


def a_run(members: Sequence[str] = MEMBERS) -> dict[str, Any]:
    """metrics.json of a cross-validation: 500 patients, 260 of them in scope, 30 positive."""
    models = [*members, "ensemble"]
    return {
        "schema_version": 2,
        "target": "g12c",
        "drivers": {"n": 500, "n_positive": 80},
        "models": {
            **{name: entry(0.61 + i / 100, 260, 30) for i, name in enumerate(models)},
            "prevalence": entry(0.5, 260, 30),
            "clinical": entry(0.55, 260, 30),
        },
        "all_patients_pooled": {
            **{name: entry(0.71 + i / 100, 500, 31) for i, name in enumerate(models)},
            "histology_only": entry(0.757, 500, 31),
        },
        "subgroups": [],
        "non_squamous": {},
    }


def an_evaluation() -> dict[str, Any]:
    """The same of an external cohort, with thresholds and subgroups."""
    metrics = a_run() | {"external": {"internal": {}}, "drivers": None}
    rules = {
        "youden": {"sensitivity": estimate(0.7), "specificity": estimate(0.6)},
        "target_sensitivity": {"sensitivity": estimate(0.9), "specificity": estimate(0.3)},
    }
    metrics["models"]["ensemble"]["operating_points"] = rules
    rows = (
        ("kras_test", "TSO500", 0.66, 180, 20, 0.4),
        ("kras_test", "PCR", 0.58, 80, 10, 0.4),
        ("specimen", "resection", 0.67, 100, 12, 0.0004),
        ("specimen", "needle biopsy", 0.59, 150, 17, 0.0004),
        ("site", "TSO500", 0.99, 9, 5, None),
    )
    metrics["subgroups"] = [
        {"column": c, "level": level, "n": n, "n_positive": k, "auroc": estimate(value), "note": "", "p_interaction": p}
        for c, level, value, n, k, p in rows
    ]
    metrics["non_squamous"] = {"ensemble": entry(0.65, 250, 30)}
    return metrics


def by_name(metrics: dict[str, Any]) -> dict[str, Line]:
    lines = {line.line: line for line in abstract_lines(metrics)}
    assert len(lines) == len(abstract_lines(metrics))
    return lines


COHORT = {"cohort": "cross-validated", "pooled_n": 500, "pooled_n_positive": 31}
TCGA = {"published_n": 930, "published_n_positive": 62}
SMC = {"published_n": 363, "published_n_positive": 22}


def approx(line: Line) -> Line:
    return replace(line, **{k: round(v, 6) for k, v in vars(line).items() if isinstance(v, float)})


def test_a_run_has_the_lines_of_the_first_cohort_with_every_number_in_its_place() -> None:
    of_patients = {**COHORT, **TCGA, "statistic": "patients", "n": 260, "n_positive": 30}
    of_area = of_patients | {"statistic": "AUROC", "histology_only": 0.757}

    def model(name: str, published: float, ours: float, pooled: float) -> Line:
        theirs = hanley_mcneil(published, 62, 868)
        return Line(
            line=name, published=published, published_low=theirs[0], published_high=theirs[1],
            ours=ours, low=ours - 0.1, high=ours + 0.1, pooled=pooled,
            pooled_low=pooled - 0.1, pooled_high=pooled + 0.1, ours_fold_mean=pooled - 0.01, **of_area,
        )  # fmt: skip

    expected = [
        Line(line="patients", published=930, ours=260, pooled=500, **of_patients),
        Line(line="KRAS drivers", published=150, pooled=80, **of_patients),
        Line(line="KRAS G12C", published=62, ours=30, pooled=31, **of_patients),
        model("HE only", 0.768, 0.61, 0.71),
        model("AI-MLP", 0.714, 0.62, 0.72),
        model("AI-RF", 0.697, 0.63, 0.73),
        model("ensemble", 0.787, 0.64, 0.74),
    ]
    assert list(map(approx, abstract_lines(a_run()))) == list(map(approx, expected))


def test_an_evaluation_stands_beside_the_external_cohort_with_rates_and_subgroups() -> None:
    found = by_name(an_evaluation())
    assert {line.cohort for line in found.values()} == {"external"}
    printed = {name: (line.published, line.published_n) for name, line in found.items()}
    assert printed == {
        "patients": (363, 363),
        "KRAS drivers": (None, 363),
        "KRAS G12C": (22, 363),
        "HE only": (0.599, 363),
        "AI-MLP": (0.644, 363),
        "AI-RF": (0.678, 363),
        "ensemble": (0.745, 363),
        "ensemble, sensitivity": (0.71, 363),
        "ensemble, specificity": (0.727, 363),
        "ensemble, KRAS by TSO500": (0.787, 249),
        "ensemble, KRAS by another test": (0.72, 114),
        "ensemble, resections": (0.724, 138),
        "ensemble, biopsies": (0.763, 225),
        "ensemble, non-squamous": (0.697, 286),
    }
    ours = {name: (line.ours, line.n, line.n_positive) for name, line in list(found.items())[7:]}
    assert ours == {
        "ensemble, sensitivity": (0.7, 260, 30),
        "ensemble, specificity": (0.6, 260, 30),
        "ensemble, KRAS by TSO500": (0.66, 180, 20),
        "ensemble, KRAS by another test": (0.58, 80, 10),
        "ensemble, resections": (0.67, 100, 12),
        "ensemble, biopsies": (0.59, 150, 17),
        "ensemble, non-squamous": (0.65, 250, 30),
    }
    for name, line in found.items():
        area = line.statistic == "AUROC"
        assert line.histology_only == (0.757 if area else None), name
        assert (line.low is not None and line.high is not None) == (line.statistic != "patients"), name
    assert found["KRAS drivers"].note == "not stated" and found["KRAS drivers"].pooled is None
    assert found["ensemble, sensitivity"].note.startswith("at the frozen threshold Youden; the counts of the abstract")
    assert found["ensemble, KRAS by TSO500"].note == "p (interaction) 0.400"
    assert found["ensemble, biopsies"].note == "p (interaction) <\N{NO-BREAK SPACE}0.001"


def test_a_member_that_was_not_run_keeps_its_line_and_the_ensemble_says_of_whom_it_is() -> None:
    found = by_name(a_run(("mlp", "lgbm")))
    assert (found["HE only"].note, found["HE only"].ours, found["HE only"].n) == ("not in this run", None, None)
    assert found["HE only"].published == 0.768 and found["HE only"].pooled is None
    assert found["AI-MLP"].note == "" and found["AI-MLP"].ours == 0.61
    assert found["ensemble"].note == "of mlp, lgbm; the abstract's is of he, mlp, rf"


def test_the_order_of_the_members_makes_no_other_ensemble() -> None:
    assert by_name(a_run(("rf", "he", "mlp")))["ensemble"].note == ""


@pytest.mark.parametrize(
    ("levels", "line", "n", "value", "note"),
    [
        ((), "ensemble, KRAS by TSO500", None, None, "kras_test has no such level beside others"),
        ((), "ensemble, KRAS by another test", None, None, "kras_test has no such level beside others"),
        (("NGS", "PCR"), "ensemble, KRAS by another test", None, None, "kras_test has no such level beside others"),
        (("PCR", "TruSight Oncology 500"), "ensemble, KRAS by TSO500", 31, 0.51, ""),
        (("PCR", "tso-500"), "ensemble, KRAS by another test", 30, 0.5, ""),
        (("NGS", "PCR", "TSO 500"), "ensemble, KRAS by another test", 61, 0.44, ""),
        (("PCR+TSO500", "TSO500"), "ensemble, KRAS by TSO500", 31, 0.51, ""),
        (("TSO500 v1", "TSO500 v2"), "ensemble, KRAS by TSO500", None, None,
         "kras_test has several such levels: TSO500 v1, TSO500 v2"),
    ],
)  # fmt: skip
def test_levels_are_known_in_any_spelling_and_the_others_are_taken_together(
    levels: Sequence[str], line: str, n: int | None, value: float | None, note: str
) -> None:
    metrics = an_evaluation()
    metrics["subgroups"] = [
        {"column": "kras_test", "level": level, "n": 30 + i, "n_positive": 5, "auroc": estimate((50 + i) / 100),
         "auroc_rest": estimate(0.44), "note": "", "p_interaction": None}
        for i, level in enumerate(levels)
    ]  # fmt: skip
    found = by_name(metrics)[line]
    assert (found.n, found.ours, found.note) == (n, value, note)
    assert found.published is not None


def test_a_group_too_small_for_an_auroc_says_so() -> None:
    metrics = an_evaluation()
    metrics["subgroups"][2] |= {"auroc": None, "note": "fewer than 5 patients of a class", "p_interaction": None}
    found = by_name(metrics)["ensemble, resections"]
    assert (found.n, found.n_positive, found.ours, found.low) == (100, 12, None, None)
    assert found.note == "fewer than 5 patients of a class"


def test_without_threshold_or_stratum_the_line_says_why_it_is_empty() -> None:
    metrics = an_evaluation() | {"non_squamous": {}}
    metrics["models"]["ensemble"]["operating_points"]["youden"]["sensitivity"] = {"value": None}
    found = by_name(metrics)
    assert found["ensemble, sensitivity"].note.startswith("no threshold could be set")
    assert found["ensemble, non-squamous"].note == "nobody in scope is known to be non-squamous"


@pytest.mark.parametrize("metrics", [a_run(), an_evaluation()])
def test_another_target_has_the_lines_and_none_of_the_published_figures(metrics: dict[str, Any]) -> None:
    lines, same = abstract_lines(metrics | {"target": "kras_driver"}), abstract_lines(metrics)
    assert lines[2].line == "KRAS driver mutation"
    assert {(x.published, x.published_n, x.published_n_positive) for x in lines} == {(None, None, None)}
    assert [(x.ours, x.pooled, x.n) for x in lines] == [(x.ours, x.pooled, x.n) for x in same]
    assert not any("abstract imply" in x.note for x in lines)


def test_metrics_without_any_key_give_the_lines_of_a_run() -> None:
    assert [line.ours for line in abstract_lines({"target": "g12c"})] == [None] * 7


def test_the_table_comes_back_from_its_file_as_it_was(tmp_path: Path) -> None:
    rows = abstract_table(an_evaluation())
    write_table(tmp_path / "abstract.csv", rows)
    with (tmp_path / "abstract.csv").open(encoding="utf-8", newline="") as f:
        read = list(csv.DictReader(f))
    assert list(read[0]) == list(rows[0])
    back = [{k: type(v)(unguarded(cell)) if (v := row[k]) is not None else cell for k, cell in line.items()}
            for line, row in zip(read, rows, strict=True)]  # fmt: skip
    assert back == [{k: "" if v is None else v for k, v in row.items()} for row in rows]


@pytest.mark.parametrize("target", ["g12c", "kras_driver"])
def test_the_report_has_the_same_lines(target: str, tmp_path: Path, undrawn: None) -> None:
    page = Page(write_study_report(tmp_path, an_evaluation() | {"target": target}, [], {}))
    at = next(i for i, row in enumerate(page.rows) if row[0] == "External")
    rows = [dict(enumerate(row)) for row in page.rows[at + 1 : at + 15]]
    assert [row[0].removesuffix(", AUROC") for row in rows] == [
        line.line for line in abstract_lines(an_evaluation() | {"target": target})
    ]
    ensemble = list(rows[6].values())
    ours = ["0.730", "0.740 (0.640–0.840)", "0.757", "500 (31)", "0.640 (0.540–0.740)", "260 (30)"]
    assert ensemble[1:] == (["0.745 (0.62–0.87)", "363 (22)", *ours] if target == "g12c" else ours)
    assert ("Abstract" in page.rows[at]) == (target == "g12c")
    assert "ensemble, KRAS by TSO500; ensemble, KRAS by another test: p (interaction) 0.400." in page.text


def test_drivers_are_counted_where_the_cohort_states_them() -> None:
    def patients(*cells: str) -> list[Patient]:
        return [
            Patient(patient_id=str(i), slides=(), label=i % 2, covariates={"kras_driver": cell} if cell else {})
            for i, cell in enumerate(cells)
        ]

    assert drivers(patients("1", "0", "1.0", "NS", "0+1", ""), "g12c") == {"n": 3, "n_positive": 2}
    assert drivers(patients("", ""), "g12c") is None
    assert drivers(patients("", "", ""), "kras_driver") == {"n": 3, "n_positive": 1}
