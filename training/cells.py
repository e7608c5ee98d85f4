"""Train the model `cells`: `python -m training.cells` from the repository; it resumes where it was stopped.

Writes the weights into the plug-in, held-out figures into training/cells.json and the tables of docs/models/cells.md.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from kras_profiler_cells.network import CLASS_STEP, CellNet
from training import calibrate, unlike
from training.augment import draw
from training.card import write_card
from training.evaluate import conditions, evaluate, finder
from training.nuclei import Field, describe, load
from training.strange import strange
from training.synthetic import synthetic_fields

if TYPE_CHECKING:
    from training.augment import Sample

ROOT = Path(__file__).resolve().parents[1]
SIDE = 256
BATCH = 8
STEPS = 4000
PEAK_LR = 3e-3
WARMUP = 150
EMA = 0.998
SEED = 0
CHECKPOINT_EVERY = 50
WORKERS = 2  # draw samples while the network learns

SHARES = {
    "violet-20x": 0.12, "violet-40x": 0.09, "marrow": 0.11, "pink": 0.10,
    "hgsc-nest": 0.28, "hgsc-stromal": 0.18, "synthetic": 0.12,
}  # fmt: skip
"""How often a sample comes from each kind of image: ordinary H&E (pink, HGSC) before what is seldom seen."""


class Samples(Dataset[tuple[Tensor, ...]]):
    """Sample `index` is drawn from `(SEED, index)` alone: the same however often training was stopped."""

    def __init__(self, fields: list[Field], first: int, last: int) -> None:
        self.kinds = {kind: [f for f in fields if f.kind == kind] for kind in SHARES}
        self.first, self.last = first, last

    def __len__(self) -> int:
        """How many samples are left."""
        return self.last - self.first

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        """Pixels, nucleus, distance, kind and weight of one sample, see `Sample`."""
        rng = np.random.default_rng([SEED, self.first + index])
        kind = rng.choice(list(SHARES), p=list(SHARES.values()))
        of_kind = self.kinds[str(kind)]
        s: Sample = draw(of_kind[rng.integers(len(of_kind))], rng, SIDE)
        return tuple(torch.tensor(a) for a in (s.pixels, s.nucleus, s.distance, s.kind, s.weight))


def loss_of(shape: Tensor, kind: Tensor, nucleus: Tensor, distance: Tensor, classes: Tensor, weight: Tensor) -> Tensor:
    """Cross-entropy and Dice of nuclei, absolute error of distances, cross-entropy of classes.

    `shape` float32[n 2 h w] and `kind` float32[n class h/2 w/2] are logits. Classes count equally however many pixels
    each has (labels smoothed by 0.05: they were made by a model); pixels of no known class do not count.
    """
    probability = shape[:, 0].sigmoid()
    entropy = F.binary_cross_entropy_with_logits(shape[:, 0], nucleus, weight)
    dice = 1 - (2 * (probability * nucleus).sum() + 1) / (probability.sum() + nucleus.sum() + 1)
    error = ((shape[:, 1].sigmoid() - distance).abs() * (1 + 2 * nucleus) * weight).mean()
    coarse = classes[:, ::CLASS_STEP, ::CLASS_STEP]
    each = F.cross_entropy(kind, coarse, ignore_index=-1, label_smoothing=0.05, reduction="none")
    present = [each[coarse == c].mean() for c in range(kind.shape[1]) if bool((coarse == c).any())]
    typing = torch.stack(present).mean() if present else kind.sum() * 0
    return entropy + dice + 2 * error + 0.5 * typing


def learning_rate(step: int, steps: int) -> float:
    """Linear warm-up, then a cosine to a hundredth."""
    if step < WARMUP:
        return PEAK_LR * (step + 1) / WARMUP
    done = (step - WARMUP) / max(1, steps - WARMUP)
    return PEAK_LR * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))


def train(fields: list[Field], steps: int, checkpoint: Path, console: Console) -> CellNet:
    """The network with averaged weights after `steps`, taken up from `checkpoint` where that exists."""
    torch.manual_seed(SEED)
    network = CellNet().train().to(memory_format=torch.channels_last)
    average = CellNet().eval()
    average.load_state_dict(network.state_dict())
    optimizer = torch.optim.AdamW(network.parameters(), lr=PEAK_LR, weight_decay=1e-3)
    step, spent = 0, 0.0
    if checkpoint.is_file():
        state = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["rng"])
        step, spent = state["step"], state["seconds"]
        console.print(f"resumed at step {step} of {steps}")
    rest = Samples(fields, step * BATCH, steps * BATCH)
    samples = DataLoader(rest, batch_size=BATCH, num_workers=WORKERS)
    first, began = step, time.monotonic()
    columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("training", total=steps, completed=step)
        smooth = float("nan")
        for pixels, *wanted in _batches(samples):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, steps)
            with torch.autocast("cpu", torch.bfloat16):
                shape, kind = network.logits(pixels)
            loss = loss_of(shape.float(), kind.float(), *wanted)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimizer.step()
            step += 1
            _average(average, network, min(EMA, step / (step + 10)))
            value = float(loss.detach())
            smooth = value if math.isnan(smooth) else 0.98 * smooth + 0.02 * value
            progress.update(task, completed=step)
            if step % CHECKPOINT_EVERY == 0 or step == steps:
                seconds = time.monotonic() - began
                left = seconds / (step - first) * (steps - step) / 60
                seconds += spent
                console.print(f"step {step}/{steps}, loss {smooth:.3f}, {seconds / 60:.1f} min, {left:.1f} min left")
                state = {
                    "network": network.state_dict(),
                    "average": average.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "rng": torch.get_rng_state(),
                    "step": step,
                    "seconds": seconds,
                }
                torch.save(state, checkpoint.with_suffix(".part"))
                os.replace(checkpoint.with_suffix(".part"), checkpoint)
    return average


def _batches(samples: DataLoader[tuple[Tensor, ...]]) -> Iterator[list[Tensor]]:
    yield from samples


@torch.no_grad()
def _average(average: CellNet, network: CellNet, decay: float) -> None:
    """Exponential moving average of weights and of the statistics of batch normalization."""
    for mine, new in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if mine.is_floating_point():
            mine.lerp_(new, 1 - decay)
        else:
            mine.copy_(new)


def trust(network: CellNet, fields: Sequence[Field], left_out: Sequence[Field], data: Path) -> dict[str, Any]:
    """Set when a trained network's typing is to be trusted: `unlike` and `temperature`; gives the figures of both.

    `fields`: those it was trained on; `left_out`: of the same kinds, never seen; `data`: the folder `strange` reads.
    """
    typed = [f for f in left_out if np.any(f.classes >= 0)]
    fitted = unlike.fit(network, fields, typed)
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
    parser.add_argument("--evaluate", action="store_true", help="train nothing, evaluate the weights that are there")
    parser.add_argument("--refit", action="store_true", help="train nothing, fit what typing is trusted by")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    console = Console()
    train_fields, held_out = load(options.data)
    with tempfile.TemporaryDirectory() as folder:
        train_fields += synthetic_fields(Path(folder), SEED)
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
    typing = None if options.evaluate else trust(network, train_fields, held_out, options.data.parent)
    if not options.evaluate:
        save_file({k: v.contiguous() for k, v in network.state_dict().items()}, options.weights)
        options.weights.chmod(0o644)  # safetensors makes it the owner's alone
        (options.work / "checkpoint.pt").unlink(missing_ok=True)  # the next run begins anew
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
