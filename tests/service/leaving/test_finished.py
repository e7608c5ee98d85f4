"""What documents read of a folder of `kras predict`."""

from __future__ import annotations

from pathlib import Path

import pytest
from left_results import BUNDLE, left, not_assessable
from made_cases import fake_case

from kras_plugins.errors import ConfigError
from kras_plugins.service.leaving.finished import finished


def test_a_patient_without_a_page_is_read_from_the_table(tmp_path: Path) -> None:
    patient = left(tmp_path, not_assessable(cautions=("a", "b"))).prediction.patient_id
    (tmp_path / f"{patient}.case.json").unlink()
    done = finished(tmp_path, patient)
    assert not done.case.assessable
    assert (done.case.prediction.reason, done.case.prediction.cautions) == (
        "all slides failed quality control", ("a", "b"),
    )  # fmt: skip
    assert (done.bundle, done.versions["kras"]) == (BUNDLE, "0.1.0")


def test_uids_are_of_this_result_alone_and_valid(tmp_path: Path) -> None:
    left(tmp_path / "a")
    left(tmp_path / "b", fake_case("other"))
    one, other = finished(tmp_path / "a", "TCGA-05-4244"), finished(tmp_path / "b", "other")
    uids = {d.uid(what) for d in (one, other) for what in ("x", "y")}
    assert len(uids) == 4
    assert all(len(uid) <= 64 and uid.startswith("2.25.") for uid in uids)
    assert one.uid("x") == finished(tmp_path / "a", "TCGA-05-4244").uid("x")


def test_where_slides_lie_can_be_said_where_a_manifest_hides_it(tmp_path: Path) -> None:
    left(tmp_path)
    done = finished(tmp_path, "TCGA-05-4244", {"DX2": tmp_path / "there.svs"})
    assert [s.place for s in done.slides] == [None, tmp_path / "there.svs"]


@pytest.mark.parametrize("broken", ["patient", "manifest", "table"])
def test_a_damaged_folder_is_named(tmp_path: Path, broken: str) -> None:
    left(tmp_path)
    if broken == "manifest":
        (tmp_path / "manifest.json").write_text('{"calls": [{"patients": {"TCGA-05-4244": []}}]}')
    if broken == "table":
        (tmp_path / "predictions.csv").unlink()
    with pytest.raises(ConfigError, match=str(tmp_path)):
        finished(tmp_path, "nobody" if broken == "patient" else "TCGA-05-4244")
