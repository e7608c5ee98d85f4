"""`kras model probe`: which encoder is worth using, by numbers on labeled tiles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from kras_plugins.cli.command import command
from kras_plugins.cli.console import print_json, stderr, stdout
from kras_plugins.cli.options import AsJson, Backend, Plugins


@command
def probe(
    encoder: Annotated[
        str,
        typer.Argument(
            metavar="ENCODER", help="a preset, a timm name, a weights file, or `baseline`: colors and textures"
        ),
    ],
    tiles: Annotated[
        Path, typer.Argument(metavar="TILES", help="folder with a subfolder per class, or a CSV: file, label, group")
    ],
    mpp: Annotated[
        float | None,
        typer.Option(help="µm per pixel of the tiles: they are shown at true scale; else stretched to fit"),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="cross-validations, each with different folds")] = 5,
    folds: Annotated[int, typer.Option(min=2, help="folds of each")] = 5,
    robustness: Annotated[
        int, typer.Option(min=0, help="tiles for the robustness check, evenly spread; 0 skips it")
    ] = 64,
    extractor: Annotated[str, typer.Option(help="extractor that runs it; options of others with -o")] = "vit",
    backend: Backend = None,
    plugins: Plugins = Plugins(),
    as_json: AsJson = False,
) -> None:
    """Measure what an encoder is worth on labeled tiles.

    kNN and logistic probe, cross-validated by group, and the robustness of its features.
    """
    from kras_plugins.probing.encoder import BASELINE, measure, opened_encoder, options_of

    chosen = replace(plugins, option=[*(plugins.option or ()), *options_of(encoder, extractor)])
    session = chosen.session(backend=backend)
    with (
        opened_encoder(
            session.registry,
            session.config,
            extractor=None if encoder == BASELINE else extractor,
            backend=session.settings.backend,
            mpp=mpp,
        ) as embed,
        stderr().status(f"measuring {encoder}"),
    ):
        found = measure(embed, tiles, seeds=seeds, folds=folds, robustness=robustness)
    result = {"encoder": encoder, **found}
    if as_json:
        print_json(result)
    else:
        _print(result)


def _print(result: Mapping[str, Any]) -> None:
    from rich.table import Table

    classes = ", ".join(f"{n} {name}" for name, n in result["tiles"].items())
    stdout().print(f"{result['encoder']}: {result['dim']} features; {classes}; {result['groups']} groups")
    if not result["grouped"]:
        stdout().print(
            "[yellow]no groups given:[/] tiles of one slide are on both sides of a split, so scores are too high"
        )
    table = Table("probe", "balanced accuracy", "95 % interval", "over seeds", "by class", box=None)
    for name, s in result["balanced_accuracy"].items():
        spread = f"{min(s['by_seed']):.3f}–{max(s['by_seed']):.3f}"
        each = ", ".join(f"{c} {v:.2f}" for c, v in s["by_class"].items())
        table.add_row(name, f"{s['value']:.3f}", f"{s['low']:.3f}–{s['high']:.3f}", spread, each)
    stdout().print(table)
    stdout().print(f"by chance: {result['chance']:.3f}")
    if result["robustness"]:
        steady = Table("change", "cosine", "5th percentile", "centered cosine", "nearest is itself", box=None)
        for name, r in result["robustness"].items():
            steady.add_row(name, *(f"{r[k]:.3f}" for k in ("cosine", "least", "centered", "itself")))
        stdout().print(steady)
