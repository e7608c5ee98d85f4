"""`kras similar`: the tiles that an encoder takes for nearest to a chosen one, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kras_plugins.cli.command import command
from kras_plugins.cli.console import print_json, stdout
from kras_plugins.cli.options import (
    AsJson,
    Backend,
    CacheFolder,
    ConfigFile,
    Overrides,
    PluginFiles,
    Reader,
    Workers,
    open_session,
)
from kras_plugins.data import Bag, SlideRef
from kras_plugins.errors import ConfigError, SlideError
from kras_plugins.study.session import Session

if TYPE_CHECKING:
    from kras_plugins.host.parts import Parts
    from kras_plugins.probing.retrieval import Hit
    from kras_plugins.slides.slide import Slide


@command
def similar(
    given: Annotated[
        list[Path],
        typer.Argument(help="slides, or bags (.h5) of `kras embed`; a slide beside a bag of its name gives its pixels"),
    ],
    tile: Annotated[str, typer.Option(metavar="X,Y", help="a point within the chosen tile, in level-0 pixels")],
    out: Annotated[Path, typer.Option(help="picture to write (.png)")],
    of: Annotated[
        str | None, typer.Option(metavar="SLIDE", help="the chosen tile's slide [default: the first]")
    ] = None,
    count: Annotated[int, typer.Option(min=1, max=200, help="how many tiles")] = 11,
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
    """Find the tiles nearest to a chosen one (cosine of their features), within and over slides."""
    from kras_plugins.bags import read_bag
    from kras_plugins.cohort.table import bare_slides
    from kras_plugins.host.parts import open_parts
    from kras_plugins.probing.retrieval import nearest

    point = _point(tile)
    session = open_session(
        config, option, plugin, cache, extractor=extractor, backend=backend, reader=reader, workers=workers
    )
    bags = [read_bag(f) for f in given if f.suffix == ".h5"]
    slides = [f for f in given if f.suffix != ".h5"]
    table = bare_slides(slides) if slides else None
    refs = [ref for patient in table.patients for ref in patient.slides] if table else []
    to_embed = [ref for ref in refs if ref.slide_id not in {bag.slide_id for bag in bags}]
    with open_parts(
        session.registry,
        session.config,
        extractor=session.settings.extractor if to_embed else None,
        profiler=None,
        backend=session.settings.backend,
        reader=session.settings.reader,
    ) as parts:
        bags += _embedded(session, to_embed, parts)
        first = of or (bags[0].slide_id if given[0].suffix == ".h5" else _id_of(given[0], refs))
        hits = nearest(bags, first, point, count)
        _draw(out, hits, {bag.slide_id: bag for bag in bags}, refs, parts)
    if as_json:
        print_json([asdict(hit) for hit in hits])
        return
    for hit in hits:
        stdout().print(f"{hit.slide_id}  {hit.xy[0]},{hit.xy[1]}  {hit.cosine:.4f}", markup=False)
    stdout().print(str(out), markup=False, soft_wrap=True)


def _point(text: str) -> tuple[float, float]:
    try:
        x, y = map(float, text.split(","))
    except ValueError as e:
        raise ConfigError(f"--tile {text}: not X,Y", "write two numbers, as --tile 1024,2048") from e
    return x, y


def _id_of(path: Path, refs: Sequence[SlideRef]) -> str:
    return next(ref.slide_id for ref in refs if ref.path == path)


def _embedded(session: Session, refs: Sequence[SlideRef], parts: Parts) -> list[Bag]:
    """The bags of slides, from the store where they were embedded before. One that cannot be used is an error."""
    from kras_plugins.cli.progress import progress
    from kras_plugins.study.session import process

    if not refs:
        return []
    with progress() as notify:
        processed = process(replace(session, notify=notify), refs, parts)
    if processed.aside:
        raise SlideError(processed.aside[0].reason, processed.aside[0].hint)
    return [r.bag for r in processed.results if r.bag is not None]


def _draw(out: Path, hits: Sequence[Hit], bags: dict[str, Bag], refs: Sequence[SlideRef], parts: Parts) -> None:
    from kras_plugins.report.gallery import Picture, tile_gallery
    from kras_plugins.report.heatmap import write_png
    from kras_plugins.slides.slide import open_slide

    paths = {ref.slide_id: ref for ref in refs}
    opened: dict[str, Slide] = {}
    tiles = []
    with ExitStack() as stack:
        for i, hit in enumerate(hits):
            if hit.slide_id in paths and hit.slide_id not in opened:
                opened[hit.slide_id] = stack.enter_context(open_slide(paths[hit.slide_id], parts.readers, parts.reader))
            slide, spec = opened.get(hit.slide_id), bags[hit.slide_id].tile_spec
            corner = (float(hit.xy[0]), float(hit.xy[1]))
            pixels = None if slide is None else slide.read(corner, (spec.px, spec.px), spec.mpp)
            what = "chosen" if i == 0 else f"{i}.  cosine {hit.cosine:.3f}"
            caption = (what, f"{hit.xy[0]}, {hit.xy[1]}", hit.slide_id)
            tiles.append(Picture(pixels=pixels, caption=caption, framed=i == 0))
    spec = bags[hits[0].slide_id].tile_spec
    total = sum(len(bag.xy) for bag in bags.values())
    title = f"nearest of {total} tiles, {spec.um / 1000:.3g} mm wide, by the cosine of their features"
    out.parent.mkdir(parents=True, exist_ok=True)
    write_png(out, tile_gallery(tiles, title))
