"""Samples: a tile, cut and changed into two global and some local views, drawn from (seed, step, number) alone."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lightly.transforms.dino_transform import DINOViewTransform
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, Sampler, default_collate

from kras_plugins.errors import KrasError
from kras_plugins.pretraining.recipe import Recipe
from kras_plugins.pretraining.stain import another_laboratory
from kras_plugins.pretraining.tiles import Corpus

if TYPE_CHECKING:
    from kras_plugins.data import UInt8

_COMMON: dict[str, Any] = {
    "hf_prob": 0.5, "vf_prob": 0.5, "rr_prob": 0.5,  # a section has no preferred orientation
    "cj_prob": 0.8, "cj_strength": 1.0, "cj_bright": 0.2, "cj_contrast": 0.2, "cj_sat": 0.1, "cj_hue": 0.0,
    "random_gray_scale": 0.1, "solarization_prob": 0.0, "sigmas": (0.1, 1.5), "normalize": None,
}  # fmt: skip
"""Hue and solarization, made for photographs, are replaced by the stain change (as in Kang et al., CVPR 2023)."""


class Views(Dataset[list[Tensor]]):
    """Sample `step * batch + i` of the whole training: float32[3 h w] views, global ones first, normalized."""

    def __init__(self, corpus: Corpus, recipe: Recipe) -> None:
        self.corpus, self.recipe = corpus, recipe
        self.mean, self.std = (torch.tensor(v).view(3, 1, 1) for v in (recipe.mean, recipe.std))
        one, two = (
            DINOViewTransform(recipe.global_px, recipe.global_scale, gaussian_blur=p, **_COMMON) for p in (0.8, 0.1)
        )
        local = DINOViewTransform(recipe.local_px, recipe.local_scale, gaussian_blur=0.4, **_COMMON)
        self.cuts: list[Callable[[Any], Tensor]] = [one, two, *[local] * recipe.local_views]

    def __len__(self) -> int:
        """Samples of the whole training."""
        return self.recipe.steps * self.recipe.batch

    def __getitem__(self, number: int) -> list[Tensor]:
        """The views of one sample."""
        rng = np.random.default_rng([self.recipe.seed, *divmod(number, self.recipe.batch)])
        tile = self.corpus.draw(rng, self.recipe.read_px, self.recipe.mpp)
        with _seeded(int(rng.integers(2**31))):
            return self.of(tile, rng)

    def __getitems__(self, numbers: list[int]) -> list[list[Tensor]] | KrasError:
        """Several samples, or the error: what a worker process raises reaches the main process only as a traceback."""
        try:
            return [self[number] for number in numbers]
        except KrasError as e:
            return e

    def of(self, tile: UInt8, rng: np.random.Generator) -> list[Tensor]:
        """The views of uint8[h w 3]."""
        image = Image.fromarray(tile)
        views = []
        for cut in self.cuts:
            pixels = cut(image).permute(1, 2, 0).numpy()
            changed = torch.from_numpy(np.ascontiguousarray(another_laboratory(pixels, rng, self.recipe.stain)))
            views.append((changed.permute(2, 0, 1) - self.mean) / self.std)
        return views


def collate(samples: list[list[Tensor]] | KrasError) -> list[Tensor] | KrasError:
    """Samples as one batch of each view, float32[n 3 h w]; an error as it is."""
    if isinstance(samples, KrasError):
        return samples
    batch: list[Tensor] = default_collate(samples)
    return batch


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the three global generators, from which torchvision and lightly draw, and restore their states."""
    legacy, plain = np.random.get_state(), random.getstate()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(legacy)
            random.setstate(plain)


@dataclass(frozen=True, kw_only=True)
class Batches(Sampler[list[int]]):
    """Numbers of the samples of each part of each step from `first` on, for process `rank` of `processes`.

    Which samples make up a step does not depend on the number of processes or parts.
    """

    recipe: Recipe
    first: int
    rank: int
    processes: int

    def __iter__(self) -> Iterator[list[int]]:
        share = self.recipe.batch // self.processes
        part = share // self.recipe.accumulate
        for step in range(self.first, self.recipe.steps):
            start = step * self.recipe.batch + self.rank * share
            for i in range(self.recipe.accumulate):
                yield list(range(start + i * part, start + (i + 1) * part))
