"""`kras embed` and `kras profile`: one stage alone, for use in other tools."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kras_plugins.cli.command import command
from kras_plugins.cli.console import print_json, stdout
from kras_plugins.cli.options import AsJson, Machine, OneExtractor, Overwrite, Profiler, Slides
from kras_plugins.study.profile import TissueFormat

if TYPE_CHECKING:
    from kras_plugins.study.results import SlideOutputs

Out = Annotated[Path, typer.Option("--out", help="folder to add to")]


@command
def embed(
    slides: Slides,
    out: Out,
    extractor: OneExtractor = None,
    overwrite: Overwrite = False,
    machine: Machine = Machine(),
    as_json: AsJson = False,
) -> None:
    """Write tile features of slides as .h5 bags.

    TRIDENT and CLAM read them too. The folder gathers the slides of several calls.
    """
    from kras_plugins import study
    from kras_plugins.cli.progress import progress

    settings = machine.settings(extractor=extractor)
    with progress() as notify:
        done = study.embed(slides, settings, out=out, overwrite=overwrite, notify=notify)
    if as_json:
        print_json(
            [{"slide_id": s.slide_id, "file": str(s.path), "tiles": s.count, "seconds": s.seconds} for s in done.slides]
        )
    else:
        for s in done.slides:
            stdout().print(f"{s.path}: {s.count} tiles x {s.dim}", markup=False)
    _end(done)


@command
def profile(
    slides: Slides,
    out: Out,
    profiler: Profiler = None,
    geojson: Annotated[bool, typer.Option(help="write cells and tissue as GeoJSON for QuPath")] = True,
    gzip: Annotated[bool, typer.Option("--gzip", help="compress the GeoJSON")] = False,
    tissue: Annotated[
        TissueFormat, typer.Option(help="tissue classes as a picture: png (with a world file), ome-tiff or none")
    ] = "png",
    overlay: Annotated[bool, typer.Option("--overlay", help="draw cells and tissue over the slide")] = False,
    overwrite: Overwrite = False,
    machine: Machine = Machine(),
    as_json: AsJson = False,
) -> None:
    """Write cells, tissue and features of slides.

    Parquet, GeoJSON, PNG or OME-TIFF for each slide, and `features.csv`, one row per slide, which gathers those of
    several calls.
    """
    from kras_plugins import study
    from kras_plugins.cli.progress import progress

    settings = machine.settings(profiler=profiler)
    with progress() as notify:
        done = study.profile(
            slides,
            settings,
            out=out,
            geojson=geojson,
            gzip=gzip,
            tissue=tissue,
            overlay=overlay,
            overwrite=overwrite,
            notify=notify,
        )
    assert done.table is not None
    if as_json:
        rows = [row for row in done.table.to_pylist() if row["slide_id"] in done.added]
        unlike = {s.slide_id: s.unlike_share for s in done.slides}
        print_json(
            [
                {"slide_id": row["slide_id"], "unlike_share": unlike.get(row.pop("slide_id")), "features": row}
                for row in rows
            ]
        )
    else:
        for s in done.slides:
            if s.unlike_share is not None:
                stdout().print(f"{s.slide_id}: {s.unlike_share:.0%} of the tissue is unlike training", markup=False)
        columns = max(0, done.table.num_columns - 1)
        stdout().print(f"{out / 'features.csv'}: {done.table.num_rows} slides x {columns}", markup=False)
        _print_sums(done)
    _end(done)


def _print_sums(done: SlideOutputs) -> None:
    """Print what this call found in total, if every slide has a map of cells and tissue."""
    assert done.table is not None
    if not done.slides or "area_tissue" not in done.table.column_names:
        return
    tissue = {row["slide_id"]: row["area_tissue"] or 0.0 for row in done.table.to_pylist()}
    mm2, cells = sum(tissue[s.slide_id] for s in done.slides), sum(s.count for s in done.slides)
    stdout().print(f"{len(done.slides)} slides: {mm2:.3g} mm² of tissue, {cells:,} cells", markup=False)


def _end(done: SlideOutputs) -> None:
    """Leave with exit code 3 if slides were set aside, which was reported as it happened."""
    from kras_plugins.cli.command import EXIT_SET_ASIDE

    if done.failures:
        raise typer.Exit(EXIT_SET_ASIDE)
