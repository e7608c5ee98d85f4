"""What `score` writes for people: a page and a case for each patient, and a page of all patients."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from cohorts import read_rows, write_rows
from quick_study import quick

from kras_plugins import study
from kras_plugins.data import Explanation
from kras_plugins.report.case_json import read_case
from kras_plugins.study.case_slides import Explained
from kras_plugins.study.notify import Notify
from kras_plugins.study.results import Scoring, Training

INDEX = "index.html"


@pytest.fixture(scope="module")
def scored(done: Training, tables: Path, tmp_path_factory: pytest.TempPathFactory) -> Scoring:
    """Two calls for two patients each, one of each histology, into one folder."""
    home = tmp_path_factory.mktemp("scored")
    settings = quick(tables, done.folder.parent / "store")
    cohort = read_rows(tables / "cohort.csv")
    for name, rows in (("a.csv", cohort[2:4]), ("b.csv", cohort[4:6])):
        write_rows(home / name, rows)
        last = study.score(done.bundle, home / name, settings, out=home / "out")
    return last


def test_the_page_of_all_patients_gathers_those_of_every_call_in_the_order_of_the_table(scored: Scoring) -> None:
    rows = read_rows(scored.folder / "predictions.csv")
    page = (scored.folder / INDEX).read_text()
    assert re.findall(r'<a href="([^"]+)\.html">', page) == [row["patient_id"] for row in rows]
    assert len(rows) == 4
    for row in rows:
        assert row["slides"] in page
        percent = f"{100 * float(row['ensemble']):.1f} %"
        assert (percent in page) == (row["call"] != "not_assessable")
    manifest = json.loads((scored.folder / "manifest.json").read_text())
    assert all(INDEX in call["outputs"] for call in manifest["calls"])


def test_a_case_says_what_predictions_csv_says_and_where_a_feature_lies_among_training_patients(
    scored: Scoring, done: Training
) -> None:
    rows = {row["patient_id"]: row for row in read_rows(scored.folder / "predictions.csv")}
    content = json.loads((done.bundle / "bundle.json").read_text())
    distribution = content["facts"]["distribution"]
    in_scope = content["provenance"]["n_in_scope"]
    assert distribution["n"] == in_scope < content["provenance"]["n"]
    for patient, row in rows.items():
        case = read_case(scored.folder / f"{patient}.case.json")
        assert case.prediction.call == row["call"]
        assert case.among == in_scope
        if row["call"] == "not_assessable":
            assert (case.prediction.ensemble, case.prediction.members, case.moved) == (None, {}, {})
            continue
        assert case.prediction.ensemble == pytest.approx(float(row["ensemble"]), abs=1e-4)
        moved = case.moved["rf"]
        sizes = [abs(m.contribution) for m in moved]
        assert sizes == sorted(sizes, reverse=True)
        for m in moved:
            quantiles = distribution["features"][m.measure.feature]
            assert list(m.measure.quantiles) == quantiles
            assert m.measure.percentile == pytest.approx(np.interp(m.measure.value, quantiles, range(5, 100, 5)))
            assert m.measure.feature in (scored.folder / f"{patient}.html").read_text()


def test_no_page_names_another_patient_or_a_path_of_this_machine(scored: Scoring) -> None:
    patients = {row["patient_id"] for row in read_rows(scored.folder / "predictions.csv")}
    for patient in patients:
        for file in (f"{patient}.html", f"{patient}.case.json"):
            text = (scored.folder / file).read_text()
            assert patient in text
            assert not [other for other in patients - {patient} if other in text]
            assert str(scored.folder.parent) not in text


def test_a_page_of_somebody_else_stays_as_it_is_and_ours_goes_with_overwrite(
    done: Training, tables: Path, tmp_path: Path
) -> None:
    settings, out = quick(tables, done.folder.parent / "store"), tmp_path / "out"
    write_rows(tmp_path / "a.csv", read_rows(tables / "cohort.csv")[2:3])
    out.mkdir()
    (out / INDEX).write_text("mine")
    said: list[str] = []

    class Heard(Notify):
        def warn(self, text: str, details: str = "") -> None:
            said.append(text)

    study.score(done.bundle, tmp_path / "a.csv", settings, out=out, notify=Heard())
    assert (out / INDEX).read_text() == "mine"
    assert any("was not written by kras" in text for text in said)
    (out / INDEX).unlink()
    study.score(done.bundle, tmp_path / "a.csv", settings, out=out)
    assert "KRAS G12C from H&amp;E: 1 patient<" in (out / INDEX).read_text()
    study.score(done.bundle, tmp_path / "a.csv", settings, out=out, prevalence=0.1, overwrite=True)
    assert "where 10.0 % of patients are positive" in " ".join((out / INDEX).read_text().split())


def explanation(contribution: list[float]) -> Explanation:
    """Tiles of two slides, in a row each."""
    n = len(contribution)
    return Explanation(
        kind="contribution", values=np.array(contribution), slide_ids=tuple("ab"[i % 2] for i in range(n)),
        xy=np.array([(100 * i, 7) for i in range(n)], np.int32), attention=np.arange(n) / (n * (n - 1) / 2),
    )  # fmt: skip


def test_the_six_tiles_that_raise_and_lower_most_are_those_over_all_slides() -> None:
    values = [0.5, -0.1, 0.0, 0.3, -0.9, *(0.01 * i for i in range(1, 9))]
    why = Explained.of("he", explanation(values), assessable=True)
    assert why is not None
    top = why.top({"a": (10.0, 10.0), "b": (20.0, 20.0)})
    assert [t.value for t in top.raising] == sorted(values, reverse=True)[:6]
    assert [(t.value, t.slide_id, t.xy, t.size) for t in top.lowering] == [
        (-0.9, "a", (400, 7), (10.0, 10.0)), (-0.1, "b", (100, 7), (20.0, 20.0)),
    ]  # fmt: skip
    assert top.attended == ()
    assert why.on("b").xy.tolist() == [[100 * i, 7] for i in range(1, len(values), 2)]


def test_without_a_result_the_most_attended_tiles_are_shown_and_none_that_moved_a_score() -> None:
    why = Explained.of("he", explanation([0.5, -0.5, 0.1]), assessable=False)
    assert why is not None
    top = why.top({"a": (10.0, 10.0)})
    assert (top.raising, top.lowering) == ((), ())
    assert [t.xy for t in top.attended] == [(200, 7), (0, 7)], "of slides that can be read"
    assert (
        Explained.of("rf", Explanation(kind="contribution", values=np.ones(2), names=("a", "b")), assessable=True)
        is None
    )
