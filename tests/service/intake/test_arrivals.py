"""Slides that come in: named as `kras predict` names them, one case for each bundle, nothing half done."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine

from kras_plugins.errors import UsageError
from kras_plugins.service import cases
from kras_plugins.service.bundles import Bundles
from kras_plugins.service.intake.allowed import NotAllowed
from kras_plugins.service.intake.arrivals import Arrivals
from kras_plugins.service.intake.fingerprints import fingerprint
from kras_plugins.service.settings import ServiceSettings
from kras_plugins.study.pseudonyms import Names


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    for name in ("one/a.svs", "two/a.svs", "b.svs"):
        (tmp_path / "scans" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "scans" / name).write_text(name)
    return tmp_path / "scans"


def arrivals(db: Engine, tmp_path: Path, **given: object) -> Arrivals:
    settings = ServiceSettings(**{"data": tmp_path / "data", "roots": (tmp_path / "scans",), **given})  # type: ignore[arg-type]
    return Arrivals(db, settings, Bundles(folders={}, shown=("locked",), silent=("new",)))


def test_slides_of_a_patient_are_a_case_for_each_bundle(db: Engine, scans: Path, tmp_path: Path) -> None:
    named = [scans / "one/a.svs", scans / "two/a.svs", scans / "b.svs"]
    shown, silent = arrivals(db, tmp_path).take(named, "me", patient_id="ann", priority=2)
    assert (shown.bundle_digest, shown.silent, shown.priority, shown.grouping) == ("locked", False, 2, "api")
    assert (silent.bundle_digest, silent.silent, silent.priority) == ("new", True, 1)
    assert [(s.name, Path(s.place)) for s in sorted(cases.slides_of(db, shown.id), key=lambda s: s.name)] == [
        ("a", scans / "one/a.svs"), ("a-2", scans / "two/a.svs"), ("b", scans / "b.svs"),
    ]  # fmt: skip


def test_pseudonyms_are_those_of_predict_with_the_same_file(db: Engine, scans: Path, tmp_path: Path) -> None:
    case, _ = arrivals(db, tmp_path).take([scans / "b.svs"], "me", patient_id="ann")
    names = Names(tmp_path / "data" / "pseudonyms.json")
    names.begin(tmp_path / "out", [])
    names._learn(["ann", "b"], [])
    (slide,) = cases.slides_of(db, case.id)
    assert (names.hide("patient ann"), names.hide("slide b")) == (f"patient {case.patient}", f"slide {slide.slide_id}")
    assert case.patient.startswith("id-")


def test_names_stay_where_pseudonyms_are_off(db: Engine, scans: Path, tmp_path: Path) -> None:
    case, _ = arrivals(db, tmp_path, pseudonyms=False).take([scans / "b.svs"], "me")
    assert (case.patient, case.grouping) == ("b", "alone")
    assert cases.patient_id(db, "b") == "b" and not (tmp_path / "data" / "pseudonyms.json").exists()


def test_a_patient_id_that_is_no_text_is_refused(db: Engine, scans: Path, tmp_path: Path) -> None:
    for patient in ("", " ", "a\nb", "\0", "x" * 501, "\udc80"):
        with pytest.raises(UsageError, match="patient's id"):
            arrivals(db, tmp_path).take([scans / "b.svs"], "me", patient_id=patient)


def test_nothing_is_queued_where_one_slide_cannot_be_taken(db: Engine, scans: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.svs").write_text("x")
    inlet = arrivals(db, tmp_path)
    for named, error in (
        ([scans / "b.svs", tmp_path / "secret.svs"], NotAllowed), ([scans / "b.svs"] * 2, UsageError), ([], UsageError),
        (["https://example.org/a.svs"], NotAllowed), (["ftp://example.org/a.svs"], UsageError),
    ):  # fmt: skip
        with pytest.raises(error):
            inlet.take(named, "me", patient_id="ann")
    with pytest.raises(UsageError, match="several slides but no patient"):
        inlet.take([scans / "b.svs", scans / "one/a.svs"], "me")
    assert inlet.take([scans / "b.svs"], "me", patient_id="ann")[0].version == 1


def test_a_fingerprint_is_of_all_that_a_slide_is(tmp_path: Path) -> None:
    slide, beside = tmp_path / "a.mrxs", tmp_path / "a"
    beside.mkdir()
    slide.write_text("index")
    (beside / "Slidedat.ini").write_text("x")
    first = fingerprint(slide)
    assert first.bytes == 6 and first.text.startswith("sha256:")
    assert fingerprint(slide) == first
    (beside / "Data0.dat").write_text("y")
    second = fingerprint(slide)
    (beside / "Data0.dat").rename(beside / "Data1.dat")
    assert len({first.text, second.text, fingerprint(slide).text}) == 3
    assert fingerprint(beside).bytes == 2
