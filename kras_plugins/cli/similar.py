"""`kras similar`: the tiles that an encoder finds nearest to a chosen one, as a picture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kras_plugins.cli.command import command
from kras_plugins.cli.console import print_json, stdout
from kras_plugins.cli.options import AsJson, Machine, OneExtractor
from kras_plugins.data import Bag, SlideRef
from kras_plugins.errors import ConfigError, SlideError

if TYPE_CHECKING:
    from kras_plugins.host.parts import Parts
    from kras_plugins.study.session import Session


@command
def similar(
    given: Annotated[
        list[Path],
        typer.Argument(help="slides, or bags (.h5) of `kras embed`; a slide named like a bag supplies the pixels"),
    ],
    tile: Annotated[str, typer.Option(metavar="X,Y", help="a point within the chosen tile, in level-0 pixels")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="picture to write (.png)")],
    of: Annotated[
        str | None, typer.Option(metavar="SLIDE", help="the chosen tile's slide [default: the first]")
    ] = None,
    count: Annotated[int, typer.Option(min=1, max=200, help="how many tiles")] = 11,
    extractor: OneExtractor = None,
    machine: Machine = Machine(),
    as_json: AsJson = False,
) -> None:
    """Find the tiles that are nearest to a chosen one.

    By the cosine of their features, within and across slides.
    """
    from kras_plugins.bags import read_bag
    from kras_plugins.cli.progress import progress
    from kras_plugins.cohort.table import bare_slides
    from kras_plugins.host.parts import open_parts
    from kras_plugins.probing.retrieval import nearest
    from kras_plugins.report.similar import draw_hits

    point = _point(tile)
    bags = [read_bag(f) for f in given if f.suffix == ".h5"]
    files = [f for f in given if f.suffix != ".h5"]
    refs = {ref.slide_id: ref for p in (bare_slides(files).patients if files else ()) for ref in p.slides}
    to_embed = [ref for slide_id, ref in refs.items() if slide_id not in {bag.slide_id for bag in bags}]
    first = of or (bags[0].slide_id if given[0].suffix == ".h5" else _id_of(given[0], refs.values()))
    with progress() as notify:
        session = machine.session(notify, extractor=extractor)
        if session.names.file is not None:
            raise ConfigError("kras similar shows slides by their names", "leave --pseudonyms out")
        with open_parts(
            session.registry,
            session.config,
            extractors=_one(session.settings.extractors) if to_embed else [],
            profiler=None,
            backend=session.settings.backend,
            reader=session.settings.reader,
        ) as parts:
            bags += _embedded(session, to_embed, parts)
            hits = nearest(bags, first, point, count)
            draw_hits(out, hits, {bag.slide_id: bag for bag in bags}, refs, parts.readers, parts.reader)
    if as_json:
        print_json([asdict(hit) for hit in hits])
        return
    for hit in hits:
        stdout().print(f"{hit.slide_id}  {hit.xy[0]},{hit.xy[1]}  {hit.cosine:.4f}", markup=False)
    stdout().print(str(out), markup=False, soft_wrap=True)


def _one(extractors: Sequence[str]) -> Sequence[str]:
    if len(extractors) > 1:
        raise ConfigError(
            f"--extractor {','.join(extractors)}: tiles are compared by one extractor", "name one of them"
        )
    return extractors


def _point(text: str) -> tuple[float, float]:
    try:
        x, y = map(float, text.split(","))
    except ValueError as e:
        raise ConfigError(f"--tile {text}: not X,Y", "write two numbers, as --tile 1024,2048") from e
    return x, y


def _id_of(path: Path, refs: Iterable[SlideRef]) -> str:
    return next(ref.slide_id for ref in refs if ref.path == path)


def _embedded(session: Session, refs: Sequence[SlideRef], parts: Parts) -> list[Bag]:
    """The bags of slides, from the store if they were embedded before. A slide that cannot be used is an error."""
    from kras_plugins.study.session import process

    if not refs:
        return []
    processed = process(session, refs, parts)
    if processed.aside:
        raise SlideError(processed.aside[0].reason, processed.aside[0].hint)
    return [bag for r in processed.results for bag in r.bags]
