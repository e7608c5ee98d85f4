"""How `cells` performs on sources it never saw: `python -m training.left_out`; it resumes after an interruption.

Each origin is left out in turn: the network trains on all others and is evaluated on what was left out. `--weights
FILE` evaluates existing weights on the test split of BRCA-M2C, on which nothing is trained or chosen. Writes
training/left_out.json, which `python -m training.card` writes into the model card. With `--unlabeled`, networks also
learn from tissue without labels (`consistency`), in a folder and a file of their own; the included weights do not.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from rich.console import Console
from safetensors.torch import load_file, save_file

from kras_profiler_cells.network import CellNet, load
from training.augment import MPP
from training.brca_m2c import read_brca
from training.evaluate import finder, units_of
from training.faults import faults, nuclei_of
from training.fields import CLASSES, Field, at_mpp
from training.learn import SEED, train
from training.metrics import bootstrap
from training.sources import whole
from training.strange import strange
from training.synthetic import synthetic_fields
from training.thresholds import compared

if TYPE_CHECKING:
    from training.evaluate import Find

ROOT = Path(__file__).resolve().parents[1]
STEPS = 1500
ORIGINS = {
    "hgsc": ("hgsc-nest", "hgsc-stromal"),
    "breast": ("breast",),
    "test": ("gland", "blue-large", "blue-spindle"),
    "violet": ("violet-20x", "violet-40x"),
    "marrow": ("marrow", "pink"),
}
"""Kinds that may come from one slide or laboratory are left out together: stricter than each kind alone."""
RESOLUTIONS = (0.25, 0.35, 0.5)


def judge(find: Find, fields: Sequence[Field], draws: int = 1000) -> dict[str, Any]:
    """Scores of one kind with intervals, at each of RESOLUTIONS (the field resampled to that, then to 0.5 µm/px)."""
    out: dict[str, Any] = {}
    for mpp in RESOLUTIONS:
        tallies = [t for field in fields for t in units_of(find, at_mpp(at_mpp(field, mpp), MPP))]
        found = bootstrap(tallies, CLASSES, draws)
        scores = {k: [round(x, 4) for x in v] for k, v in found.items() if np.isfinite(v[0])}
        out[f"{mpp:g}"] = {"units": len(tallies), "nuclei": sum(t.tp + t.fn for t in tallies), "scores": scores}
    outlined = [at_mpp(f, MPP) for f in fields if f.dots is None]
    if outlined:
        out["faults"] = faults([nuclei_of(f, find(f.pixels)[0]) for f in outlined])
    return out


def main() -> None:
    """Train without each origin in turn, and evaluate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared/data/nuclei")
    parser.add_argument("--work", type=Path, help="checkpoints and weights; by default build/left-out")
    parser.add_argument("--figures", type=Path, help="by default training/left_out.json")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--origins", nargs="*", default=list(ORIGINS))
    parser.add_argument("--unlabeled", action="store_true", help="learn from tissue without labels too")
    parser.add_argument("--weights", type=Path, help="evaluate these on BRCA-M2C's test split, and train nothing")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    console = Console()
    name = "left_out_unlabeled" if options.unlabeled else "left_out"
    work = options.work or ROOT / "build" / name.replace("_", "-")
    written = options.figures or ROOT / "training" / f"{name}.json"
    work.mkdir(parents=True, exist_ok=True)
    figures = json.loads(written.read_text()) if written.is_file() else {}
    if options.weights is not None:
        figures["test split"] = judge(finder(load(options.weights)), read_brca(options.data / "brca_m2c", "test"))
        written.write_text(json.dumps(figures, indent=1) + "\n")
        return
    fields = whole(options.data)
    with tempfile.TemporaryDirectory() as folder:
        drawn = synthetic_fields(Path(folder), SEED)
    unlabeled = []
    if options.unlabeled:
        unlabeled = [field for kind in strange(options.data.parent).values() for field in kind]
    for origin in options.origins:
        weights = work / f"{origin}.safetensors"
        network = CellNet().eval()
        if weights.is_file():
            network.load_state_dict(load_file(weights))
        else:
            console.print(f"without {origin}")
            others = [f for f in fields if f.kind not in ORIGINS[origin]]
            network = train([*others, *drawn], options.steps, work / f"{origin}.pt", console, unlabeled)
            save_file({k: v.contiguous() for k, v in network.state_dict().items()}, weights)
        for kind in ORIGINS[origin]:
            of_kind = [f for f in fields if f.kind == kind]
            found = judge(finder(network), of_kind)
            figures.setdefault("left out", {})[kind] = found
            figures.setdefault("bars", {})[kind] = compared(network, of_kind)
            scores = found["0.5"]["scores"]
            wanted = ("f1", "dice", "precision", "recall", "pq", "f1 lymphocyte/tumor")
            console.print(kind, {k: scores[k][0] for k in wanted if k in scores})
            written.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
