"""`kras model probe`: which encoder is worth using, by numbers on labelled tiles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kras_plugins.cli.command import command
from kras_plugins.cli.console import print_json, stderr, stdout
from kras_plugins.cli.options import AsJson, Backend, ConfigFile, Overrides, PluginFiles, open_session

if TYPE_CHECKING:
    from kras_plugins.data import Float32, UInt8
    from kras_plugins.probing.robustness import Embed

BASELINE = "baseline"
_FILES = (".safetensors", ".pth", ".pt", ".bin")


@command
def probe(
    encoder: Annotated[
        str, typer.Argument(help="a preset, a timm name, a weights file, or `baseline`: colors and textures")
    ],
    tiles: Annotated[Path, typer.Argument(help="folder with a subfolder per class, or a CSV: file, label, group")],
    mpp: Annotated[
        float | None,
        typer.Option(help="µm per pixel of the tiles: they are shown at true scale; else stretched to fit"),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="cross-validations with other folds")] = 5,
    folds: Annotated[int, typer.Option(min=2, help="folds of each")] = 5,
    robustness: Annotated[int, typer.Option(min=0, help="tiles for robustness, evenly spread; 0 leaves it out")] = 64,
    extractor: Annotated[str, typer.Option(help="extractor that runs it; options of others with -o")] = "vit",
    backend: Backend = None,
    config: ConfigFile = None,
    option: Overrides = None,
    plugin: PluginFiles = None,
    as_json: AsJson = False,
) -> None:
    """Measure an encoder: kNN and logistic probe, cross-validated by group, and robustness of its features."""
    import numpy as np

    from kras_plugins.probing.labelled import read_pixels, read_tiles
    from kras_plugins.probing.robustness import steadiness
    from kras_plugins.probing.scores import probe as score

    found = read_tiles(tiles)
    pixels = [read_pixels(f) for f in found.files]
    overrides = [*(option or ()), *_chosen(encoder, extractor)]
    with _embedder(encoder, extractor, overrides, config, plugin, backend, mpp) as embed:
        with stderr().status(f"{len(found)} tiles"):
            features = embed(pixels)
            scores = score(features, found.labels, found.groups, seeds=seeds, folds=folds)
            some = np.unique(np.linspace(0, len(pixels) - 1, max(1, robustness)).astype(int)).tolist()
            steady = steadiness(embed, [pixels[i] for i in some]) if robustness else {}
    result: dict[str, Any] = {
        "encoder": encoder,
        "dim": int(features.shape[1]),
        "tiles": dict(Counter(found.labels)),
        "groups": len(set(found.groups)),
        "grouped": found.grouped,
        "chance": 1 / len(set(found.labels)),
        "balanced_accuracy": {k: {n: v for n, v in asdict(s).items() if n != "right"} for k, s in scores.items()},
        "robustness": {k: asdict(v) for k, v in steady.items()},
    }
    if as_json:
        print_json(result)
    else:
        _show(result)


def _chosen(encoder: str, extractor: str) -> list[str]:
    if encoder == BASELINE:
        return []
    if encoder.endswith(_FILES):
        return [f"extractor.{extractor}.weights={encoder}"]
    return [f"extractor.{extractor}.model={encoder}"]


@contextmanager
def _embedder(
    encoder: str,
    extractor: str,
    overrides: Sequence[str],
    config: Path | None,
    plugins: list[Path] | None,
    backend: str | None,
    mpp: float | None,
) -> Iterator[Embed]:
    """A function from tiles of any size, a list of uint8[h w 3], to float32[tile d]."""
    import numpy as np

    from kras_plugins.host.isolation import ask
    from kras_plugins.host.parts import open_parts
    from kras_plugins.probing.baseline import colors_and_textures
    from kras_plugins.probing.labelled import fit

    if encoder == BASELINE:
        yield lambda tiles: np.stack([colors_and_textures(t) for t in tiles])
        return
    session = open_session(config, overrides, plugins, backend=backend)
    with open_parts(
        session.registry, session.config, extractor=extractor, profiler=None, backend=session.settings.backend
    ) as parts:
        part = parts.extractor
        assert part is not None

        def embed(tiles: Sequence[UInt8]) -> Float32:
            scale = mpp / part.tile.mpp if mpp else None
            shown = [fit(t, part.tile.px, scale) for t in tiles]
            size = part.batch
            batches = [np.stack(shown[i : i + size]) for i in range(0, len(shown), size)]
            return np.concatenate([ask(part.provided.id, part.made, batch) for batch in batches])

        yield embed


def _show(result: dict[str, Any]) -> None:
    from rich.table import Table

    classes = ", ".join(f"{n} {name}" for name, n in result["tiles"].items())
    stdout().print(f"{result['encoder']}: {result['dim']} features; {classes}; {result['groups']} groups")
    if not result["grouped"]:
        stdout().print("[yellow]no groups given:[/] tiles of one slide are on both sides, the scores are too high")
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
