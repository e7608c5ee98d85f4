"""`kras model check`: how far a backend's results are from what they should be."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kras_plugins.cli.command import command
from kras_plugins.cli.console import print_json, stdout
from kras_plugins.cli.options import AsJson, ModelNames, Plugins
from kras_plugins.errors import BackendError
from kras_plugins.files.leftovers import scratch

if TYPE_CHECKING:
    from kras_plugins.probing.parity import Parity


@command
def check_models(
    names: ModelNames = None,
    backend: Annotated[str, typer.Option(help="the backend to measure")] = "triton",
    slide: Annotated[
        Path | None, typer.Option(help="slide whose tiles to compare; a synthetic one if not given")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="tiles to compare")] = 32,
    plugins: Plugins = Plugins(),
    as_json: AsJson = False,
) -> None:
    """Compare a backend with `local` and with PyTorch in float32.

    Ends with exit code 1 if a result is beyond the limits.
    """
    from kras_plugins.host.catalog import configured_models
    from kras_plugins.probing.parity import compare, slide_tiles
    from kras_plugins.testing import draw_slide

    session = plugins.session()
    rows: list[Parity] = []
    with scratch("check") as work:
        if slide is None:
            slide = work / "drawn.tiff"
            draw_slide(slide, seed=0)
        for owner, spec in configured_models(session.registry, session.config, session.notify.warn, names or ()):
            pixels = slide_tiles(spec, slide, count, session.registry, session.config)
            rows += compare(spec, pixels, backend, session.registry, session.config, owner)
    if as_json:
        print_json([vars(row) | {"passed": row.passed} for row in rows])
    else:
        _print(rows)
    far = [r for r in rows if not r.passed]
    if far:
        raise BackendError(
            f"{far[0].model}: {backend} is too far from {far[0].against} (cosine {far[0].cosine:.6f}, relative error "
            f"{far[0].error:.2g})",
            "export the model again; another precision may be needed",
        )


def _print(rows: Sequence[Parity]) -> None:
    from rich.table import Table

    heads = ("model", "output", "against", "tiles", "cosine", "at least", "relative error", "at most", "")
    table = Table(*heads, box=None)
    for r in rows:
        table.add_row(
            r.model, r.output, r.against, str(r.tiles), f"{r.cosine:.6f}", f"{r.cosine_limit:g}", f"{r.error:.2g}",
            f"{r.error_limit:g}", "ok" if r.passed else "[red]TOO FAR[/]",
        )  # fmt: skip
    stdout().print(table)
