"""A network's values for the tiles of a DICOM slide, as a parametric map in the slide's own frame of reference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from kras_plugins.errors import ConfigError
from kras_plugins.report.heatmap import read_tiles_geojson
from kras_plugins.service.leaving import codes as own
from kras_plugins.service.leaving.dicom_source import carrier, sources, stripped
from kras_plugins.service.leaving.dicom_sr import MAKER, coded, scheme, written

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from kras_plugins.data import Float32, Float64, Int32
    from kras_plugins.service.leaving.finished import Finished, FinishedSlide

Quantity = Literal["attention", "contribution"]
OUTSIDE = -9999.0
"""The value of a pixel without an analyzed tile: Float Pixel Padding Value."""
_CONCEPTS = {"attention": own.ATTENTION, "contribution": own.CONTRIBUTION}
_MOST_PX = 4096
"""Longest side of a map: a slide of 200,000 pixels has some 900 tiles along it."""
_OFF_GRID = 0.02
"""Share of a tile by which places may differ from a grid: they are rounded to whole pixels."""


def parametric_map(done: Finished, slide_id: str, quantity: Quantity, *, identified: bool = False) -> bytes:
    """A map as a DICOM file (Parametric Map Storage, float32), one pixel per tile; the same bytes for the same result.

    Its pixels lie where the tiles lie, in the slide's frame of reference; those without a tile are `OUTSIDE`.
    `identified` as for `structured_report`. Raises ConfigError for a slide that is not a DICOM image on a disk, or that
    has no tiles with that quantity: contributions are shown only for assessable patients.
    """
    slide = next((one for one in done.slides if one.slide_id == slide_id), None)
    source = sources(done).get(slide_id)
    if slide is None or source is None:
        raise ConfigError(f"slide {slide_id} is not DICOM on a disk: a map could not refer to it", "use the GeoJSON")
    if slide.tiles is None or (quantity == "contribution" and not done.case.assessable):
        raise ConfigError(f"slide {slide_id} has no {quantity} of tiles", "see the case page")
    xy, size, values = read_tiles_geojson(slide.tiles)
    if quantity not in values:
        raise ConfigError(f"slide {slide_id} has no {quantity} of tiles", "see the case page")
    corner, grid = on_grid(slide, xy, size, values[quantity])
    made = _map(done, source if identified else stripped(source, done.patient), quantity, corner, size, grid)
    if not identified:
        _in_own_study(made, done)
    return written(made, done)


def on_grid(
    slide: FinishedSlide, xy: Int32, size: tuple[float, float], values: Float64
) -> tuple[tuple[int, int], Float32]:
    """Tiles as an image, float32[h w], one pixel per tile, and the level-0 pixel of its upper left corner.

    `xy`: int32[tile 2], `size`: (width, height), level-0 pixels. Raises ConfigError for tiles that are not on a grid.
    """
    corner = xy.min(axis=0)
    steps = (xy - corner) / np.asarray(size)
    cells = np.rint(steps).astype(int)
    width, height = cells.max(axis=0) + 1
    if np.abs(steps - cells).max() > max(_OFF_GRID, 1 / min(size)) or max(width, height) > _MOST_PX:
        raise ConfigError(f"the tiles of slide {slide.slide_id} do not lie on a grid", "use the GeoJSON")
    grid = np.full((height, width), OUTSIDE, np.float32)
    known = np.isfinite(values)
    grid[cells[known, 1], cells[known, 0]] = values[known]
    return (int(corner[0]), int(corner[1])), grid


def _map(
    done: Finished,
    source: Dataset,
    quantity: Quantity,
    corner: tuple[int, int],
    size: tuple[float, float],
    grid: Float32,
) -> Dataset:
    from highdicom import (
        PixelMeasuresSequence,
        PlaneOrientationSequence,
        PlanePositionSequence,
        VOILUTTransformation,
    )
    from highdicom.pm import ParametricMap, RealWorldValueMapping
    from highdicom.spatial import ImageToReferenceTransformer
    from pydicom.sr.codedict import codes

    measures = source.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    rows_mm, columns_mm = (float(side) for side in measures.PixelSpacing)
    origin = source.TotalPixelMatrixOriginSequence[0]
    to_slide = ImageToReferenceTransformer(
        (
            float(origin.XOffsetInSlideCoordinateSystem),
            float(origin.YOffsetInSlideCoordinateSystem),
            float(getattr(origin, "ZOffsetInSlideCoordinateSystem", 0.0)),
        ),
        [float(cosine) for cosine in source.ImageOrientationSlide],
        (rows_mm, columns_mm),
    )
    # The center of the first tile; here (0, 0) is the outer corner of the first pixel (PS3.3, C.10.5.1.2).
    middle = np.array([[corner[0] + size[0] / 2, corner[1] + size[1] / 2]])
    known = grid[grid != OUTSIDE]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
    concept = _CONCEPTS[quantity]
    made = ParametricMap(
        source_images=[source],
        pixel_array=grid,
        series_instance_uid=done.uid(f"map series {source.SOPInstanceUID}"),
        series_number=2,
        sop_instance_uid=done.uid(f"map {quantity} {source.SOPInstanceUID}"),
        instance_number=1 + list(_CONCEPTS).index(quantity),
        manufacturer=MAKER,
        manufacturer_model_name="kras",
        software_versions=done.versions.get("kras", "unknown"),
        device_serial_number=done.bundle[:16],
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[
            RealWorldValueMapping(
                lut_label=quantity,
                lut_explanation=concept.meaning[:64],
                unit=codes.UCUM.NoUnits,
                value_range=(low, high),
                quantity_definition=coded(concept),
            )
        ],
        voi_lut_transformations=[
            VOILUTTransformation(
                window_center=(low + high) / 2,
                window_width=max(high - low, 1e-6),
                voi_lut_function="LINEAR_EXACT",  # plain LINEAR allows no window narrower than 1
            )
        ],
        pixel_measures=PixelMeasuresSequence(
            pixel_spacing=(rows_mm * size[1], columns_mm * size[0]),
            slice_thickness=float(measures.get("SliceThickness", 0.001)),
        ),
        plane_orientation=PlaneOrientationSequence("SLIDE", list(source.ImageOrientationSlide)),
        plane_positions=[PlanePositionSequence("SLIDE", to_slide(middle)[0].tolist(), (1, 1))],
        content_description="Research use only: no proof of a mutation",
        content_label=quantity.upper(),
    )
    made.FloatPixelPaddingValue = made.FloatPixelPaddingRangeLimit = OUTSIDE
    made.Laterality = ""  # not known
    for element in made.iterall():
        if element.keyword == "DimensionOrganizationUID":
            element.value = done.uid(f"dimensions {quantity} {source.SOPInstanceUID}")  # highdicom's is random
    made.SeriesDescription = "Research use only: map of tiles"
    made.CodingSchemeIdentificationSequence = [scheme()]
    return made


def _in_own_study(made: Dataset, done: Finished) -> None:
    """Move a map out of the slide's study, which belongs to a patient of another name."""
    from pydicom.dataset import Dataset

    other = Dataset()
    other.StudyInstanceUID, other.ReferencedSeriesSequence = made.StudyInstanceUID, made.ReferencedSeriesSequence
    made.StudiesContainingOtherReferencedInstancesSequence = [other]
    del made.ReferencedSeriesSequence
    own_study = carrier(done)
    made.StudyInstanceUID = own_study.StudyInstanceUID
    made.StudyID, made.StudyDate, made.StudyTime = own_study.StudyID, own_study.StudyDate, own_study.StudyTime
