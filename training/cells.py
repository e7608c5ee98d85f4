"""Train the model `cells`: `python -m training.cells` from the repository; it resumes after an interruption.

Writes the weights into the plug-in, held-out figures into training/cells.json and the tables of docs/models/cells.md.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from safetensors.torch import load_file, save_file

from kras_profiler_cells.network import CellNet
from training import calibrate, unlike
from training.card import write_card
from training.evaluate import conditions, evaluate, finder
from training.fields import Field, describe
from training.learn import SEED, train
from training.sources import load
from training.strange import strange
from training.synthetic import synthetic_fields

ROOT = Path(__file__).resolve().parents[1]
STEPS = 3500


def trust(
    network: CellNet, fields: Sequence[Field], left_out: Sequence[Field], drawn: Sequence[Field], data: Path
) -> dict[str, Any]:
    """Set when to trust a trained network's typing, `unlike` and `temperature`, and return the figures of both.

    `fields`: those it was trained on; `left_out` and `drawn`: of the same kinds, never seen; `data`: the folder that
    `strange` reads. Synthetic (drawn) fields do not set the temperature: confidence must be calibrated on real cells.
    """
    typed = [f for f in left_out if np.any(f.classes >= 0)]
    fitted = unlike.fit(network, fields, [*typed, *drawn])
    like = {kind: [f for f in typed if f.kind == kind] for kind in sorted({f.kind for f in typed})}
    measured = unlike.figures(network, like, strange(data))
    return {"unlike": {**fitted, "measured": measured}, **calibrate.fit(network, typed)}


def figures(network: CellNet, held_out: list[Field], console: Console) -> dict[str, Any]:
    """Held-out scores of the trained network and of the untrained first version, and of changed conditions."""
    from training.baseline import find as untrained

    trained = finder(network.eval())
    out: dict[str, Any] = {"trained": evaluate(trained, held_out), "untrained": evaluate(untrained, held_out)}
    out["conditions"] = {}
    for name, change in conditions().items():
        console.print(f"evaluating: {name}")
        out["conditions"][name] = {
            who: evaluate(find, held_out, change, draws=100)
            for who, find in (("trained", trained), ("untrained", untrained))
        }
    return out


def main() -> None:
    """Train, evaluate, and write weights, figures and the card's tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared/data/nuclei", help="dsb2018 and hgsc")
    parser.add_argument("--weights", type=Path, default=ROOT / "plugins/kras_profiler_cells/cells.safetensors")
    parser.add_argument("--figures", type=Path, default=ROOT / "training/cells.json")
    parser.add_argument("--card", type=Path, default=ROOT / "docs/models/cells.md")
    parser.add_argument("--work", type=Path, default=ROOT / "build/train-cells", help="checkpoints")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--threads", type=int, default=2, help="results depend on it only by rounding")
    parser.add_argument("--evaluate", action="store_true", help="train nothing, evaluate the existing weights")
    parser.add_argument("--refit", action="store_true", help="train nothing, fit `unlike` and `temperature` again")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    console = Console()
    train_fields, held_out = load(options.data)
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as apart:
        train_fields += synthetic_fields(Path(folder), SEED)
        drawn = synthetic_fields(Path(apart), SEED + 1)
    for side, fields in (("training", train_fields), ("held out", held_out)):
        for kind, text in describe(fields).items():
            console.print(f"{side} {kind}: {text}")
    if options.evaluate or options.refit:
        network = CellNet().eval()
        network.load_state_dict(load_file(options.weights), strict=options.evaluate)
    else:
        options.work.mkdir(parents=True, exist_ok=True)
        (options.work / "pid").write_text(str(os.getpid()))
        network = train(train_fields, options.steps, options.work / "checkpoint.pt", console)
    typing = None if options.evaluate else trust(network, train_fields, held_out, drawn, options.data.parent)
    if not options.evaluate:
        save_file({k: v.contiguous() for k, v in network.state_dict().items()}, options.weights)
        options.weights.chmod(0o644)  # safetensors makes it the owner's alone
        (options.work / "checkpoint.pt").unlink(missing_ok=True)  # the next run starts again
    found = figures(network, held_out, console)
    if typing is None and options.figures.is_file():
        typing = json.loads(options.figures.read_text()).get("typing")
    found |= {} if typing is None else {"typing": typing}
    found["data"] = {"training": describe(train_fields), "held out": describe(held_out)}
    options.figures.write_text(json.dumps(found, indent=1) + "\n")
    write_card(found, options.card)
    for name in ("dsb2018", "hgsc"):
        for who in ("trained", "untrained"):
            scores = found[who][name]["scores"]
            console.print(name, who, {k: f"{v[0]:.3f} ({v[1]:.3f}-{v[2]:.3f})" for k, v in scores.items()})


if __name__ == "__main__":
    main()
