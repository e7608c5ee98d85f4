"""`kras embed` and `kras profile`: one stage alone, for those who take our features elsewhere."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kras_plugins.cli.common import (
    EXIT_SET_ASIDE,
    AsJson,
    Backend,
    CacheFolder,
    ConfigFile,
    Overrides,
    PluginFiles,
    Reader,
    Session,
    Workers,
    command,
    open_session,
    print_json,
    stdout,
)
from kras_plugins.errors import ConfigError
from kras_plugins.store import safe_name

if TYPE_CHECKING:
    from kras_plugins.host.parts import Parts
    from kras_plugins.processing.pipeline import SlideResult

Slides = Annotated[list[Path], typer.Argument(help="slide files")]
Out = Annotated[Path, typer.Option("--out", help="folder to write into")]


class TissueFormat(StrEnum):
    """How the tissue raster is written as a picture."""

    png = "png"
    ome_tiff = "ome-tiff"
    none = "none"


@command
def embed(
    slides: Slides,
    out: Out,
    extractor: Annotated[str | None, typer.Option(help="feature extractor [default: vit]")] = None,
    backend: Backend = None,
    reader: Reader = None,
    workers: Workers = None,
    config: ConfigFile = None,
    option: Overrides = None,
    plugin: PluginFiles = None,
    cache: CacheFolder = None,
    as_json: AsJson = False,
) -> None:
    """Write the tile features of slides as .h5 bags that TRIDENT and CLAM read too."""
    from kras_plugins.bags import write_bag

    session = open_session(config, option, plugin, cache)
    name = session.setting("extractor", extractor, "vit")
    written = []
    with _processed(session, slides, out, name, None, backend, reader, workers) as (results, _):
        for r in results:
            if r.bag is None:
                continue
            file = out / f"{safe_name(r.ref.slide_id)}.h5"
            part = file.with_name(f".{file.name}.part")
            write_bag(part, r.bag)
            part.replace(file)
            written.append(
                {"slide_id": r.ref.slide_id, "file": str(file), "tiles": len(r.bag.xy), "seconds": r.seconds}
            )
            if not as_json:
                stdout().print(f"{file}: {len(r.bag.xy)} tiles x {r.bag.features.shape[1]}")
        if as_json:
            print_json(written)


@command
def profile(
    slides: Slides,
    out: Out,
    profiler: Annotated[str | None, typer.Option(help="semantic profiler [default: cells]")] = None,
    geojson: Annotated[bool, typer.Option(help="write cells and tissue as GeoJSON for QuPath")] = True,
    gzip: Annotated[bool, typer.Option("--gzip", help="compress the GeoJSON")] = False,
    tissue: Annotated[
        TissueFormat, typer.Option(help="tissue classes as a picture: png (with a world file), ome-tiff or none")
    ] = TissueFormat.png,
    overlay: Annotated[bool, typer.Option("--overlay", help="draw cells and tissue over the slide")] = False,
    backend: Backend = None,
    reader: Reader = None,
    workers: Workers = None,
    config: ConfigFile = None,
    option: Overrides = None,
    plugin: PluginFiles = None,
    cache: CacheFolder = None,
    as_json: AsJson = False,
) -> None:
    """Write cells and tissue of slides (Parquet, GeoJSON, PNG or OME-TIFF) and `features.csv`, one row a slide."""
    from kras_plugins.cli.maps import map_of, write_exports, write_overlay
    from kras_plugins.cli.tables import noted

    session = open_session(config, option, plugin, cache)
    name = session.setting("profiler", profiler, "cells")
    with noted(), _processed(session, slides, out, None, name, backend, reader, workers) as (results, parts):
        profiles = [r.profile for r in results if r.profile is not None]
        for r in results:
            semantic = map_of(r, parts)
            if semantic is None:
                continue
            folder = out / safe_name(r.ref.slide_id)
            folder.mkdir(exist_ok=True)
            write_exports(folder, semantic, r, geojson=geojson, gzip=gzip, tissue=tissue.value)
            if overlay:
                write_overlay(folder / "overlay.png", semantic, r, parts)
        if profiles:
            with (out / "features.csv").open("w", newline="", encoding="utf-8") as f:
                writer = csv.writer(f)
                writer.writerow(["slide_id", *profiles[0].names])
                writer.writerows([p.id, *("" if v != v else repr(float(v)) for v in p.values)] for p in profiles)
        if as_json:
            print_json(
                [
                    {"slide_id": p.id, "features": dict(zip(p.names, map(float, p.values), strict=True))}
                    for p in profiles
                ]
            )
        else:
            stdout().print(
                f"{out / 'features.csv'}: {len(profiles)} slides x {len(profiles[0].names) if profiles else 0}"
            )


@contextmanager
def _processed(
    session: Session,
    slides: Sequence[Path],
    out: Path,
    extractor: str | None,
    profiler: str | None,
    backend: str | None,
    reader: str | None,
    workers: int | None,
) -> Iterator[tuple[list[SlideResult], Parts]]:
    """Process bare slides; leaves with exit code 3 when some were set aside, 1 when all were."""
    from kras_plugins.cli.study import process
    from kras_plugins.cohort.table import bare_slides
    from kras_plugins.host.parts import open_parts

    refs = [ref for patient in bare_slides(slides).patients for ref in patient.slides]
    out.mkdir(parents=True, exist_ok=True)
    with open_parts(
        session.registry,
        session.config,
        extractor=extractor,
        profiler=profiler,
        backend=session.setting("backend", backend, "local"),
        reader=reader,
    ) as parts:
        results, failures = process(session, refs, parts, workers)
        if not results:
            raise ConfigError(
                "no slide could be used", f"the first: {failures[0].error}" if failures else "give slides"
            )
        yield results, parts
    if failures:
        raise typer.Exit(EXIT_SET_ASIDE)
