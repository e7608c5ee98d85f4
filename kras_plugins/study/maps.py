"""The semantic map of a processed slide, as files and as a picture."""

from __future__ import annotations

from pathlib import Path

from kras_plugins.data import SemanticMap
from kras_plugins.host.parts import Parts
from kras_plugins.processing.pipeline import SlideResult, load_semantics, map_folder_of
from kras_plugins.report.heatmap import write_png
from kras_plugins.report.overlay import FIELD_PX, OVERVIEW_PX, Field, densest, draw_overlay
from kras_plugins.semantics.export import write_tissue_ome_tiff, write_tissue_png
from kras_plugins.semantics.geojson import slide_mpp, write_cells_geojson, write_tissue_geojson
from kras_plugins.semantics.map import FACTS, copy_map, read_map, write_map
from kras_plugins.slides.slide import open_slide
from kras_plugins.study.notify import Notify

_FIELD_MPP = 0.25


def map_of(result: SlideResult, parts: Parts) -> SemanticMap | None:
    """The map that a slide's profile was made from, None without a map (a table of finished features)."""
    folder = map_folder_of(result)
    if folder is not None:
        return read_map(folder, result.ref.slide_id)
    if parts.profiler is None or not parts.profiler.loads:
        return None
    loaded = load_semantics(result.ref, parts.profiler)
    return loaded if isinstance(loaded, SemanticMap) else None


def write_exports(
    folder: Path, semantic: SemanticMap, result: SlideResult, *, geojson: bool, gzip: bool, tissue: str
) -> None:
    """Write a map into a folder: Parquet, raster and facts; GeoJSON; tissue as `png`, `ome-tiff` or `none`.

    Files with level-0 coordinates are left out for tissue of a slide whose resolution is unknown.
    """
    made = map_folder_of(result)
    if made is None and semantic.outlines is not None and (semantic.outlines.parent / FACTS).is_file():
        made = semantic.outlines.parent
    if made is None:
        write_map(folder, semantic)
    else:
        copy_map(made, folder, semantic.slide_id)
    mpp = mpp_of(semantic, result)
    if geojson:
        ending = ".geojson.gz" if gzip else ".geojson"
        write_cells_geojson(semantic, folder / f"cells{ending}", mpp)
        if mpp is not None:
            write_tissue_geojson(semantic, folder / f"tissue{ending}", mpp)
    if tissue == "png" and mpp is not None:
        write_tissue_png(semantic, folder / "tissue.png", mpp)
    elif tissue == "ome-tiff":
        write_tissue_ome_tiff(semantic, folder / "tissue.ome.tiff")


def mpp_of(semantic: SemanticMap, result: SlideResult) -> tuple[float, float] | None:
    """µm per level-0 pixel: from the cells, else the slide, else the cohort."""
    known = slide_mpp(semantic)
    single = result.ref.mpp if result.qc is None else result.qc.mpp
    return known if known is not None or single is None else (single, single)


def write_overlay(path: Path, semantic: SemanticMap, result: SlideResult, parts: Parts, notify: Notify) -> Path | None:
    """Draw cells and tissue over the slide's own pixels (never its label or macro image); None without pixels."""
    ref = result.ref
    known = tuple(suffix for reader in parts.readers for suffix in reader.plugin.suffixes)
    if ref.place is None or not ref.place.name.lower().endswith(known):
        notify.warn(f"{ref.slide_id}: no slide to draw cells over; no overlay is written")
        return None
    with open_slide(ref, parts.readers, parts.reader) as slide:
        larger = OVERVIEW_PX // max(slide.size)
        if larger:  # a field is shown whole, as large as possible
            whole = slide.box((0, 0), slide.size, (larger * slide.size[0], larger * slide.size[1]))
            image = draw_overlay(semantic, whole, (slide.mpp[0] / larger, slide.mpp[1] / larger), slide.mpp, [])
            return write_png(path, image)
        size_um = (slide.size[0] * slide.mpp[0], slide.size[1] * slide.mpp[1])
        overview, mpp = slide.thumbnail(max(*slide.mpp, max(size_um) / OVERVIEW_PX))
        at = max(_FIELD_MPP, *slide.mpp)
        fields = []
        for place in densest(semantic, FIELD_PX * at):
            room = [max(0.0, whole - FIELD_PX * at) for whole in size_um]  # no white beyond the slide's edge
            x, y = (min(max(start, 0.0), last) / unit for start, last, unit in zip(place, room, slide.mpp, strict=True))
            corner = (x, y)
            fields.append(Field(pixels=slide.read(corner, (FIELD_PX, FIELD_PX), at), xy=corner, mpp=at))
        image = draw_overlay(semantic, overview, mpp, slide.mpp, fields)
    return write_png(path, image)
