"""The DICOM slide of a result, as its documents refer to it: with or without what identifies the patient."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from kras_plugins.urls import Url

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from kras_plugins.service.leaving.finished import Finished

WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
"""SOP class of VL Whole Slide Microscopy Image Storage."""
_NEEDED = (
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID", "Modality",
    "PositionReferenceIndicator", "ImageType", "Rows", "Columns", "NumberOfFrames", "TotalPixelMatrixRows",
    "TotalPixelMatrixColumns", "TotalPixelMatrixOriginSequence", "ImageOrientationSlide", "ImagedVolumeWidth",
    "ImagedVolumeHeight", "ImagedVolumeDepth", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
    "DimensionOrganizationType", "TotalPixelMatrixFocalPlanes", "NumberOfOpticalPaths", "SamplesPerPixel",
)  # fmt: skip
"""Geometry and references. All else may identify somebody: specimens, containers, institutions, free text."""
_OF_THE_PATIENT = ("PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate", "StudyTime")


def volume_of(place: Path | Url | None) -> Dataset | None:
    """The header of a slide's largest VOLUME image; None if the slide is not DICOM, or is not on a disk.

    `place`: a file of the series, whose other files are in the same folder, or this folder.
    """
    if not isinstance(place, Path):
        return None
    if place.is_dir():
        found = [header for file in sorted(place.iterdir()) if (header := _header(file)) is not None]
    else:
        own = _header(place)
        if own is None:
            return None
        beside = (_header(file) for file in sorted(place.parent.iterdir()))
        found = [h for h in beside if h is not None and h.SeriesInstanceUID == own.SeriesInstanceUID]
    volumes = [h for h in found if h.SOPClassUID == WHOLE_SLIDE and "VOLUME" in h.ImageType]
    return max(volumes, key=lambda h: int(h.TotalPixelMatrixColumns), default=None)


def sources(done: Finished) -> dict[str, Dataset]:
    """The images of all DICOM slides of a result, by slide."""
    found = ((slide.slide_id, volume_of(slide.place)) for slide in done.slides)
    return {slide_id: header for slide_id, header in found if header is not None}


def stripped(header: Dataset, patient: str) -> Dataset:
    """A copy with geometry and references alone; of the patient it has only the name `patient`."""
    from pydicom.dataset import Dataset

    kept = Dataset()
    kept.file_meta = header.file_meta
    for keyword in _NEEDED:
        if keyword in header:
            kept[keyword] = header[keyword]
    return _called(kept, patient)


def carrier(done: Finished) -> Dataset:
    """An image that does not exist: a document takes patient and study from it if no slide provides them."""
    from pydicom.dataset import Dataset

    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = WHOLE_SLIDE, done.uid("no image")
    made.SeriesInstanceUID, made.StudyInstanceUID = done.uid("no series"), done.uid("study")
    _called(made, done.patient)
    made.StudyID, made.StudyDate, made.StudyTime = "kras", f"{done.at:%Y%m%d}", f"{done.at:%H%M%S}"
    return made


def _called(one: Dataset, patient: str) -> Dataset:
    name = re.sub(r"[\\^=\x00-\x1f]", "_", patient)  # characters that separate the parts of a value in DICOM
    one.PatientID, one.PatientName = name[:64], f"{name[:63]}^"
    for keyword in _OF_THE_PATIENT:
        setattr(one, keyword, "")
    one.SpecificCharacterSet = "ISO_IR 192"
    return one


def _header(file: Path) -> Dataset | None:
    """The header of a DICOM file; None for any other file."""
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    for _ in _marked(file):
        try:
            return dcmread(file, stop_before_pixels=True)
        except (InvalidDicomError, OSError, ValueError):
            return None
    return None


def _marked(file: Path) -> Iterator[Path]:
    """The file, if it has DICOM's magic bytes after its preamble."""
    if file.is_file():
        with file.open("rb") as f:
            f.seek(128)
            if f.read(4) == b"DICM":
                yield file
