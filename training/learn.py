"""How the model `cells` learns: samples, loss, schedule, and outlines by the network trained so far."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from kras_profiler_cells.network import CLASS_STEP, STRIDE, CellNet
from training.augment import draw
from training.consistency import disagreement, pairs, weight
from training.fields import Field
from training.outlines import from_dots

if TYPE_CHECKING:
    from kras_plugins.data import Float32, UInt8
    from training.augment import Sample

SIDE = 256
BATCH = 8
PEAK_LR = 3e-3
WARMUP = 150
AVERAGED = 0.1
"""The average of the weights reaches back over about this share of all steps."""
SEED = 0
CHECKPOINT_EVERY = 50
WORKERS = 2  # draw samples while the network learns
OUTLINED_AT = (0.2, 0.5)
"""When, in shares of all steps, the averaged network outlines again the nuclei for which only dots are known."""

SHARES = {
    "violet-20x": 0.09, "violet-40x": 0.06, "marrow": 0.08, "pink": 0.06, "gland": 0.07, "blue-large": 0.04,
    "blue-spindle": 0.03, "hgsc-nest": 0.14, "hgsc-stromal": 0.09, "breast": 0.28, "synthetic": 0.06,
}  # fmt: skip
"""How often a sample comes from each kind of image: ordinary H&E (breast, HGSC) more often than rare kinds."""


class Samples(Dataset[tuple[Tensor, ...]]):
    """Sample `index` is drawn from `(SEED, index)` alone: the same however often training was interrupted."""

    def __init__(self, fields: Sequence[Field], first: int, last: int) -> None:
        self.kinds = {kind: [f for f in fields if f.kind == kind] for kind in SHARES}
        present = [kind for kind, of_kind in self.kinds.items() if of_kind]
        shares = np.array([SHARES[kind] for kind in present])
        self.present, self.shares = present, shares / shares.sum()
        # Stains and nuclei are borrowed from real images, equally often from each kind.
        self.lenders = [f for kind in present if kind != "synthetic" for f in _spread(self.kinds[kind], 12)]
        self.first, self.last = first, last

    def __len__(self) -> int:
        """How many samples are left."""
        return self.last - self.first

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        """Pixels, nucleus, distance, kind and weight of one sample, see `Sample`."""
        rng = np.random.default_rng([SEED, self.first + index])
        of_kind = self.kinds[str(rng.choice(self.present, p=self.shares))]
        s: Sample = draw(of_kind[rng.integers(len(of_kind))], rng, SIDE, self.lenders)
        return tuple(torch.from_numpy(np.array(a)) for a in (s.pixels, s.nucleus, s.distance, s.kind, s.weight))


def _spread(fields: Sequence[Field], number: int) -> list[Field]:
    return [fields[i % len(fields)] for i in np.linspace(0, max(len(fields), number) - 1, number).astype(int)]


def loss_of(shape: Tensor, kind: Tensor, nucleus: Tensor, distance: Tensor, classes: Tensor, weight: Tensor) -> Tensor:
    """Cross-entropy and Dice of nuclei, absolute error of distances, cross-entropy of classes.

    `shape` float32[n 2 h w] and `kind` float32[n class h/2 w/2] are logits. Classes count equally however many pixels
    each has (labels smoothed by 0.05: some were made by a model); pixels of no known class do not count. `weight`
    float32[n h w] weighs nuclei and distances: 0 is ignored.
    """
    probability = shape[:, 0].sigmoid()
    entropy = F.binary_cross_entropy_with_logits(shape[:, 0], nucleus, weight)
    believed = weight.clamp(max=1)
    dice = 1 - (2 * (believed * probability * nucleus).sum() + 1) / (
        (believed * probability).sum() + (believed * nucleus).sum() + 1
    )
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


def train(
    fields: Sequence[Field], steps: int, checkpoint: Path, console: Console, unlabeled: Sequence[Field] = ()
) -> CellNet:
    """The network with averaged weights after `steps`, resumed from `checkpoint` if that exists.

    At the steps of OUTLINED_AT, the averaged network outlines the nuclei of fields with dots again. On `unlabeled`
    fields the network learns to agree with the averaged one (`consistency`).
    """
    torch.manual_seed(SEED)
    network = CellNet().train().to(memory_format=torch.channels_last)
    average = CellNet().eval()
    average.load_state_dict(network.state_dict())
    teacher: Mapping[str, Tensor] | None = None
    optimizer = torch.optim.AdamW(network.parameters(), lr=PEAK_LR, weight_decay=1e-3)
    fast_bf16 = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # emulated, it takes ten times as long as float32
    step, spent = 0, 0.0
    if checkpoint.is_file():
        state = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["rng"])
        step, spent, teacher = state["step"], state["seconds"], state["teacher"]
        console.print(f"resumed at step {step} of {steps}")
    borders = [*(round(share * steps) for share in OUTLINED_AT), steps]
    first, began = step, time.monotonic()
    columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress, ExitStack() as stack:
        task = progress.add_task("training", total=steps, completed=step)
        smooth = float("nan")
        while step < steps:
            if step in borders:
                teacher = {name: tensor.clone() for name, tensor in average.state_dict().items()}
            until = min(border for border in borders if border > step)
            # Closing ends their workers in any case.
            batches = stack.enter_context(closing(_batches(outlined(fields, teacher), step, until)))
            free = stack.enter_context(closing(pairs(unlabeled, SEED, step, until, SIDE))) if unlabeled else None
            for pixels, *wanted in batches:
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate(step, steps)
                with torch.autocast("cpu", torch.bfloat16, enabled=fast_bf16):
                    shape, kind = network.logits(pixels)
                loss = loss_of(shape.float(), kind.float(), *wanted)
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                if free is not None:
                    with torch.autocast("cpu", torch.bfloat16, enabled=fast_bf16):
                        apart = disagreement(network, average, *next(free))
                    torch.autograd.backward(weight(step, steps) * apart)
                torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
                optimizer.step()
                step += 1
                _average(average, network, min(1 - 1 / (AVERAGED * steps), step / (step + 10)))
                value = float(loss.detach())
                smooth = value if math.isnan(smooth) else 0.98 * smooth + 0.02 * value
                progress.update(task, completed=step)
                if step % CHECKPOINT_EVERY and step != until:
                    continue
                seconds = time.monotonic() - began
                left = seconds / (step - first) * (steps - step) / 60
                seconds += spent
                console.print(f"step {step}/{steps}, loss {smooth:.3f}, {seconds / 60:.1f} min, {left:.1f} min left")
                _save(
                    checkpoint,
                    {
                        "network": network.state_dict(),
                        "average": average.state_dict(),
                        "teacher": teacher,
                        "optimizer": optimizer.state_dict(),
                        "rng": torch.get_rng_state(),
                        "step": step,
                        "seconds": seconds,
                    },
                )
    return average


def outlined(fields: Sequence[Field], teacher: Mapping[str, Tensor] | None) -> list[Field]:
    """The fields; those with dots outlined by the network with weights `teacher`, or as they are if that is None."""
    if teacher is None:
        return list(fields)
    network = CellNet().eval()
    network.load_state_dict(dict(teacher))
    out = []
    for field in fields:
        if field.dots is not None:
            labels, weight = from_dots(field.pixels, field.dots, field.mpp, maps(network, field.pixels))
            field = replace(field, labels=labels, weight=weight)
        out.append(field)
    return out


def maps(network: CellNet, pixels: UInt8) -> tuple[Float32, Float32]:
    """`nucleus` and `distance` float32[h w] of an image of any size at 0.5 µm/px."""
    h, w = pixels.shape[:2]
    padded = np.pad(pixels, ((0, -h % STRIDE), (0, -w % STRIDE), (0, 0)), mode="symmetric")
    with torch.inference_mode():
        nucleus, distance, *_ = network(torch.from_numpy(padded[None]))
    return nucleus[0, :h, :w].numpy() / np.float32(255), distance[0, :h, :w].numpy() / np.float32(255)


def _batches(fields: Sequence[Field], step: int, until: int) -> Generator[list[Tensor]]:
    samples = Samples(fields, step * BATCH, until * BATCH)
    yield from DataLoader(samples, batch_size=BATCH, num_workers=WORKERS)


def _save(checkpoint: Path, state: Mapping[str, Any]) -> None:
    torch.save(dict(state), checkpoint.with_suffix(".part"))
    os.replace(checkpoint.with_suffix(".part"), checkpoint)


@torch.no_grad()
def _average(average: CellNet, network: CellNet, decay: float) -> None:
    """Exponential moving average of weights and of the statistics of batch normalization."""
    for mine, new in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if mine.is_floating_point():
            mine.lerp_(new, 1 - decay)
        else:
            mine.copy_(new)
