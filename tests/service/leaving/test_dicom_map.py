"""A parametric map, read again by pydicom and highdicom, and judged by dciodvfy."""

from __future__ import annotations

import io
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from dicom_slides import STUDY
from judged import errors_in
from left_results import ORIENTATION, SERIES, dicom_slide, left, not_assessable
from planted import DATE, NAME, NUMBER

from kras_plugins.errors import ConfigError
from kras_plugins.report.heatmap import write_tiles_geojson
from kras_plugins.service.leaving.dicom_map import OUTSIDE, parametric_map
from kras_plugins.service.leaving.dicom_source import volume_of
from kras_plugins.service.leaving.dicom_sr import structured_report
from kras_plugins.service.leaving.finished import Finished, finished

SLIDE = "TCGA-05-4244-01Z-00-DX1"


@pytest.fixture
def done(tmp_path: Path) -> Finished:
    """A result whose first slide is a DICOM series."""
    dicom_slide(tmp_path / "slide")
    case = left(tmp_path / "out", place=tmp_path / "slide" / "1.dcm")
    return finished(tmp_path / "out", case.prediction.patient_id)


def test_each_pixel_of_a_map_is_a_tile_and_lies_where_the_tile_lies_on_the_glass(
    done: Finished, tmp_path: Path
) -> None:
    data = parametric_map(done, SLIDE, "attention")
    assert data == parametric_map(done, SLIDE, "attention")
    ds = pydicom.dcmread(io.BytesIO(data))
    expected = np.array([[0.1, 0.2, 0.4], [0.05, OUTSIDE, 0.25]], np.float32)
    np.testing.assert_array_equal(ds.pixel_array, expected)
    assert ds.FloatPixelPaddingValue == OUTSIDE
    assert ds.FrameOfReferenceUID == f"{SERIES}.100"
    image = highdicom.imread(io.BytesIO(data))
    np.testing.assert_array_equal(image.get_total_pixel_matrix(apply_real_world_transform=False), expected)

    # A tile of 64 pixels that are 0.0005 mm high and 0.00025 mm wide. Along a row of pixels y falls, along a column x.
    shared = ds.SharedFunctionalGroupsSequence[0]
    assert [float(v) for v in shared.PixelMeasuresSequence[0].PixelSpacing] == pytest.approx([0.032, 0.016])
    assert [float(v) for v in ds.ImageOrientationSlide] == ORIENTATION
    groups = {e.tag: e for e in (*shared, *ds.PerFrameFunctionalGroupsSequence[0])}
    place = next(e.value[0] for e in groups.values() if e.keyword == "PlanePositionSlideSequence")
    middle_x, middle_y = (128 + 32 - 0.5) * 0.00025, (64 + 32 - 0.5) * 0.0005
    assert float(place.XOffsetInSlideCoordinateSystem) == pytest.approx(30.0 - middle_y, abs=1e-6)
    assert float(place.YOffsetInSlideCoordinateSystem) == pytest.approx(20.0 - middle_x, abs=1e-6)
    assert errors_in(data, tmp_path) == []


def test_what_is_not_assessable_has_no_contributions_and_no_slide_but_dicom_has_a_map(
    done: Finished, tmp_path: Path
) -> None:
    values = pydicom.dcmread(io.BytesIO(parametric_map(done, SLIDE, "contribution"))).pixel_array
    np.testing.assert_array_equal(values, np.array([[-1.5, 0.25, 2.0], [0.5, OUTSIDE, -0.125]], np.float32))
    case = left(tmp_path / "no", not_assessable(), tmp_path / "slide")
    nobody = finished(tmp_path / "no", case.prediction.patient_id)
    assert parametric_map(nobody, SLIDE, "attention")
    with pytest.raises(ConfigError, match="has no contribution of tiles"):
        parametric_map(nobody, SLIDE, "contribution")
    with pytest.raises(ConfigError, match="DX2 is not DICOM on a disk"):
        parametric_map(done, "DX2", "attention")


def test_tiles_that_overlap_by_half_make_no_map(done: Finished, tmp_path: Path) -> None:
    file = tmp_path / "out" / f"{SLIDE}.attention.geojson"
    write_tiles_geojson(file, np.array([[0, 0], [32, 0]], np.int32), (64.0, 64.0), {"attention": np.ones(2)})
    with pytest.raises(ConfigError, match="do not lie on a grid"):
        parametric_map(done, SLIDE, "attention")


@pytest.mark.parametrize("made", ["map", "report"])
def test_a_document_names_the_pseudonym_alone_and_only_where_asked_the_patient_of_the_slide(
    done: Finished, made: str
) -> None:
    def document(identified: bool) -> bytes:
        if made == "report":
            return structured_report(done, identified=identified)
        return parametric_map(done, SLIDE, "attention", identified=identified)

    hidden, named = document(False), document(True)
    for planted in (NAME, NUMBER, DATE):
        assert planted.encode() not in hidden
    ours, theirs = (pydicom.dcmread(io.BytesIO(data)) for data in (hidden, named))
    assert (ours.PatientID, str(ours.PatientName), ours.PatientSex) == ("TCGA-05-4244", "TCGA-05-4244^", "")
    assert (theirs.PatientID, str(theirs.PatientName), theirs.PatientSex) == (NUMBER, f"{NAME}^Maria", "F")
    assert theirs.StudyInstanceUID == STUDY != ours.StudyInstanceUID


@pytest.mark.parametrize("place", ["slide/2.dcm", "slide"])
def test_the_image_meant_is_the_largest_of_the_series_whichever_of_its_files_was_named(
    tmp_path: Path, place: str
) -> None:
    dicom_slide(tmp_path / "slide")
    (tmp_path / "slide" / "notes.txt").write_text("no slide")
    header = volume_of(tmp_path / place)
    assert header is not None
    assert (header.TotalPixelMatrixColumns, header.SOPInstanceUID) == (448, f"{SERIES}.1")
    assert volume_of(tmp_path / "slide" / "notes.txt") is None
