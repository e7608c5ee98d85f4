"""`kras demo`: the whole thing on a synthetic cohort, without token, network or GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kras_plugins.cli.common import CacheFolder, command, stderr, stdout
from kras_plugins.cli.run import run

_TOML = """\
# The demo's settings. `vit-mini` is the small demonstration encoder that comes with kras and needs no download. What it
# finds is the planted texture of synthetic slides and says nothing about patients.
[run]
cohort = "cohort.csv"
extractor = "vit"
profiler = "cells"
classifiers = ["he", "mlp", "rf", "lgbm"]
demonstration = ["the cohort is synthetic and its signal was planted"]

[extractor.vit]
model = "vit-mini"
"""


@command
def demo(
    out: Annotated[Path, typer.Option(help="folder to draw into and to write into")] = Path("kras-demo"),
    patients: Annotated[int, typer.Option(min=20, help="patients to draw")] = 40,
    signal: Annotated[float, typer.Option(min=0, help="strength of the planted signal, 0 for none")] = 0.45,
    seed: Annotated[int, typer.Option(min=0, help="seed of the drawing")] = 0,
    cache: CacheFolder = None,
) -> None:
    """Draw a synthetic cohort, run everything on it, and say where the report is."""
    from kras_plugins.testing.cohort import draw_cohort

    stderr().print(
        "[bold]demonstration:[/] synthetic slides with a planted signal; the numbers say nothing about patients"
    )
    folder = out / "cohort"
    with stderr().status("drawing slides"):
        draw_cohort(folder, patients=patients, signal=signal, seed=seed)
    settings = folder / "kras.toml"
    settings.write_text(_TOML, encoding="utf-8")
    run(config=settings, out=out / "results", cache=cache or out / "store")
    stdout().print(f"settings: {settings}\nbundle:   {out / 'results' / 'bundle'}")
