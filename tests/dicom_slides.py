"""Slides as DICOM series, written by pydicom: full and sparse tiling, several codecs, a patient with a name."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import imagecodecs
import numpy as np
from planted import DATE, LIME, MAGENTA, NAME, NUMBER
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit

WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
STUDY = "1.2.826.0.1.3680043.9.20.1"
SPACING = (0.0005, 0.00025)
"""Of rows and columns, in mm: pixels that are not square."""


@dataclass(frozen=True)
class Codec:
    """How frames are stored: transfer syntax, what the samples are said to be, and what encodes a tile."""

    syntax: UID
    photometric: str
    encode: Callable[[np.ndarray], bytes]


def whole(stream: bytes) -> bytes:
    """A JPEG 2000 stream up to its end: imagecodecs 2024.6 returned the rest of its buffer with it."""
    return stream[: stream.rindex(b"\xff\xd9") + 2]


CODECS = {
    "jpeg": Codec(
        JPEGBaseline8Bit,
        "YBR_FULL_422",
        lambda tile: imagecodecs.jpeg8_encode(tile, level=90, outcolorspace="YCBCR", subsampling="422"),
    ),
    "jpeg_rgb": Codec(
        JPEGBaseline8Bit, "RGB", lambda tile: imagecodecs.jpeg8_encode(tile, level=90, outcolorspace="RGB")
    ),
    "jpeg2000": Codec(
        JPEG2000Lossless,
        "YBR_RCT",
        lambda tile: whole(imagecodecs.jpeg2k_encode(tile, codecformat="j2k", reversible=True, level=0)),
    ),
    "none": Codec(ExplicitVRLittleEndian, "RGB", lambda tile: tile.tobytes()),
}


def instance(
    pixels: np.ndarray,
    number: int,
    *,
    series: str,
    codec: str = "jpeg",
    flavor: str = "VOLUME",
    tile: int = 64,
    sparse: bool = False,
    missing: Collection[int] = (),
    part: slice | None = None,
    spacing: tuple[float, float] = SPACING,
) -> Dataset:
    """An instance of a series that shows `pixels`; its tiles are numbered row by row.

    `missing`: tiles that a sparse one lacks. `part`: of one that is full, the tiles that this instance of a
    concatenation has.
    """
    height, width = pixels.shape[:2]
    padded = np.pad(pixels, ((0, -height % tile), (0, -width % tile), (0, 0)), constant_values=255)
    corners = [(x, y) for y in range(0, height, tile) for x in range(0, width, tile)]
    kept = [corner for i, corner in enumerate(corners) if i not in missing][part or slice(None)]
    how = CODECS[codec]
    frames = [how.encode(np.ascontiguousarray(padded[y : y + tile, x : x + tile])) for x, y in kept]
    ds = _header(number, series, flavor)
    ds.file_meta.TransferSyntaxUID = how.syntax
    ds.Rows = ds.Columns = tile
    ds.TotalPixelMatrixColumns, ds.TotalPixelMatrixRows = width, height
    ds.NumberOfFrames = len(frames)
    ds.SamplesPerPixel, ds.PlanarConfiguration, ds.PixelRepresentation = 3, 0, 0
    ds.PhotometricInterpretation = how.photometric
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit = 7
    scale = Dataset()
    scale.PixelSpacing = list(spacing)
    scale.SliceThickness = 0.001
    shared = Dataset()
    shared.PixelMeasuresSequence = [scale]
    ds.SharedFunctionalGroupsSequence = [shared]
    ds.DimensionOrganizationType = "TILED_SPARSE" if sparse else "TILED_FULL"
    if sparse:
        ds.PerFrameFunctionalGroupsSequence = [_place(x, y) for x, y in kept]
    if part is not None:
        ds.ConcatenationUID = f"{series}.99"
        ds.ConcatenationFrameOffsetNumber = part.start
    ds.PixelData = encapsulate(frames) if how.syntax.is_compressed else b"".join(frames)
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = how.syntax.is_compressed
    return ds


def pyramid(
    levels: Sequence[np.ndarray], series: str, *, codec: str = "jpeg", tile: int = 64, sparse: bool = False,
    missing: Collection[int] = (), spacing: tuple[float, float] = SPACING,
) -> list[Dataset]:  # fmt: skip
    """The instances of a slide: its levels, of which the second is sparse if any, a label and an overview."""
    made = []
    for number, pixels in enumerate(levels, start=1):
        factor = levels[0].shape[0] / pixels.shape[0]
        own = {"sparse": sparse and number == 2, "missing": missing if number == 2 else ()}
        scaled = (spacing[0] * factor, spacing[1] * factor)
        made.append(instance(pixels, number, series=series, codec=codec, tile=tile, spacing=scaled, **own))  # type: ignore[arg-type]
    for number, (flavor, color) in enumerate({"LABEL": MAGENTA, "OVERVIEW": LIME}.items(), start=len(levels) + 1):
        picture = np.full((48, 64, 3), color, np.uint8)
        made.append(instance(picture, number, series=series, flavor=flavor, tile=64))
    return made


def other_kind(series: str) -> Dataset:
    """A picture that is no slide: secondary capture."""
    ds = instance(np.zeros((64, 64, 3), np.uint8), 1, series=series, codec="none")
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    return ds


def save(instances: Sequence[Dataset], folder: Path) -> list[Path]:
    """Write instances as the files of a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{number}.dcm" for number in range(1, len(instances) + 1)]
    for ds, file in zip(instances, files, strict=True):
        ds.save_as(file, enforce_file_format=True)
    return files


def _header(number: int, series: str, flavor: str) -> Dataset:
    """What an instance says of itself and of the patient."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = WHOLE_SLIDE
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = f"{series}.{number}"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = STUDY, series
    ds.ImageType = ["ORIGINAL", "PRIMARY", flavor, "NONE"]
    ds.Modality, ds.InstanceNumber = "SM", number
    ds.Manufacturer, ds.ManufacturerModelName = "Drawn", "By hand"
    ds.StudyDate = ds.ContentDate = ds.PatientBirthDate = DATE
    ds.AccessionNumber = ds.PatientID = NUMBER
    ds.PatientName, ds.ReferringPhysicianName = f"{NAME}^Maria", f"Dr^{NAME}"
    ds.InstitutionName = ds.StudyDescription = ds.ContainerIdentifier = f"{NAME} {NUMBER}"
    path = Dataset()
    path.OpticalPathIdentifier, path.OpticalPathDescription, path.ObjectiveLensPower = "1", NAME, 20
    ds.OpticalPathSequence = [path]
    return ds


def _place(x: int, y: int) -> Dataset:
    at = Dataset()
    at.ColumnPositionInTotalImagePixelMatrix, at.RowPositionInTotalImagePixelMatrix = x + 1, y + 1
    at.XOffsetInSlideCoordinateSystem = at.YOffsetInSlideCoordinateSystem = at.ZOffsetInSlideCoordinateSystem = 0
    groups = Dataset()
    groups.PlanePositionSlideSequence = [at]
    return groups
