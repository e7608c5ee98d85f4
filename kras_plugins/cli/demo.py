"""`kras demo`: the whole thing on a synthetic cohort, without token, network or GPU."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from kras_plugins.cli.command import command
from kras_plugins.cli.console import escape, stderr, stdout
from kras_plugins.cli.options import CacheFolder, Overwrite

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
    out: Annotated[Path, typer.Option(help="folder for the synthetic cohort and the results")] = Path("kras-demo"),
    patients: Annotated[int, typer.Option(min=20, help="patients to draw")] = 40,
    signal: Annotated[float, typer.Option(min=0, help="strength of the planted signal; 0 plants none")] = 0.45,
    seed: Annotated[int, typer.Option(min=0, help="seed of the drawing")] = 0,
    abstract: Annotated[
        bool,
        typer.Option(
            "--abstract",
            help="train on one cohort of synthetic features, evaluate on another; write abstract.csv for both",
        ),
    ] = False,
    overwrite: Overwrite = False,
    cache: CacheFolder = None,
) -> None:
    """Draw a synthetic cohort and run everything on it."""
    from kras_plugins import study
    from kras_plugins.cli.metrics_table import show_study
    from kras_plugins.cli.progress import progress
    from kras_plugins.testing.cohort import draw_cohort

    what = "features" if abstract else "slides"
    stderr().print(
        f"[bold]demonstration:[/] synthetic {what} with a planted signal; the numbers say nothing about patients"
    )
    if abstract:
        from kras_plugins.cli.demo_abstract import demo_abstract

        demo_abstract(out, patients=patients, signal=signal, seed=seed, overwrite=overwrite, cache=cache)
        return
    folder = out / "cohort"
    with stderr().status("drawing slides"):
        draw_cohort(folder, patients=patients, signal=signal, seed=seed)
    file = folder / "kras.toml"
    file.write_text(_TOML, encoding="utf-8", newline="\n")
    settings = study.StudySettings.load(file, out=out / "results", cache=cache or out / "store")
    with progress() as notify:
        result = study.train(settings=settings, overwrite=overwrite, notify=notify, command=["kras", *sys.argv[1:]])
    stdout().print(f"settings: {escape(file)}")
    show_study(result, as_json=False)
    stdout().print(f"slides:   kras view {escape(result.folder)}", soft_wrap=True)
