"""Cells and tissue alone, and the semantic features of each slide, for use in other tools."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from kras_plugins.study.notify import SILENT, Notify
from kras_plugins.study.results import SlideOutput, SlideOutputs
from kras_plugins.study.settings import StudySettings

if TYPE_CHECKING:
    import pyarrow as pa

    from kras_plugins.host.parts import Parts
    from kras_plugins.processing.pipeline import SlideResult

TissueFormat = Literal["png", "ome-tiff", "none"]
"""The image formats of the tissue raster: png comes with a world file."""


def profile(
    slides: Sequence[Path | str] | Path | str,
    settings: StudySettings | None = None,
    *,
    out: Path | str,
    geojson: bool = True,
    gzip: bool = False,
    tissue: TissueFormat = "png",
    overlay: bool = False,
    overwrite: bool = False,
    notify: Notify = SILENT,
) -> SlideOutputs:
    """Write cells and tissue of slides, one folder per slide, and features.csv with a row for each.

    Slides may be fields of view or tissue cores, also as PNG and JPEG. If a cohort names several slides of a patient,
    patients.csv has a row for each patient.

    Parameters:
        slides: slide files, folders of them, or one cohort CSV.
        settings: profiler and its options, backend, reader, workers, store.
        out: folder to add to.
        geojson: write cells and tissue as GeoJSON for QuPath; `gzip`: compressed.
        tissue: the image format of the tissue raster.
        overlay: also draw cells and tissue over the slide.
        overwrite: replace what another profiler, or the same with other options, left in that folder.
        notify: receives progress, notes and warnings.

    Returns:
        The folder of each slide with its number of cells, and the table of features.

    Raises:
        UsageError: a path that does not exist.
        ConfigError: a folder with profiles of another kind; no slide could be used.

    Example:
        >>> from kras_plugins import study
        >>> done = study.profile("slides", out="profiles", geojson=False)
        >>> done.table.num_rows, done.table.column_names[:1]
        (1, ['slide_id'])
    """
    from kras_plugins.store import safe_name
    from kras_plugins.study.feature_tables import fields_note, gather_tables
    from kras_plugins.study.maps import map_of, write_exports, write_overlay
    from kras_plugins.study.stages import stage

    def write(result: SlideResult, parts: Parts, into: Path) -> SlideOutput | None:
        semantic = map_of(result, parts)
        if semantic is None:
            return None
        folder = into / safe_name(result.ref.slide_id)
        folder.mkdir(exist_ok=True)
        write_exports(folder, semantic, result, geojson=geojson, gzip=gzip, tissue=tissue)
        if overlay:
            write_overlay(folder / "overlay.png", semantic, result, parts, notify)
        return SlideOutput(
            slide_id=result.ref.slide_id,
            path=folder,
            count=semantic.cells.num_rows,
            dim=0 if result.profile is None else len(result.profile.names),
            seconds=result.seconds,
            unlike_share=semantic.unlike_share,
        )

    def gather(folder: Path, results: Sequence[SlideResult]) -> pa.Table:
        if missing := fields_note(results):
            notify.note(missing)
        return gather_tables(folder, results)

    settings = settings or StudySettings()
    return stage("profiler", slides, settings, Path(out), write, gather, overwrite=overwrite, notify=notify)
