"""How far tissue is from the training tissue of typing: an out-of-distribution score from the network's features."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STEP = 64
"""Pixels per pixel of the map: 32 µm at 0.5 µm/px; sides of an image must be multiples of it."""
WINDOW = 5
"""Features are averaged over this many pixels of the map each way: 160 µm. Single places vary too much to distinguish
organs; means over larger windows mix tissues (training/unlike.py)."""
GLASS = 215.0
"""Pixels in which red, green and blue are all brighter are glass, which says nothing about the tissue beside it."""
KINDS = 4
"""Number of kinds of training images whose means are stored."""
_FARTHEST = 15.0  # float16 overflows when many larger numbers are squared and added


class Unlike(nn.Module):
    """Mahalanobis distance of the mean features around a place from the nearest kind of training image.

    After Lee et al., NeurIPS 2018, but with kinds of images instead of classes, each with its own covariance: synthetic
    slides vary less than tissue does. `mean` float32[kind channel], `whiten` float32[kind channel channel] and `limit`
    float32[kind] are set by `training.unlike.fit`: d² = |whiten (x - mean)|² / limit is below 1 for a stated share of
    held-out windows of that kind. With the initial values, nothing is unlike.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mean = nn.Buffer(torch.zeros(KINDS, channels))
        self.limit = nn.Buffer(torch.ones(KINDS))
        self.whiten = nn.Buffer(torch.zeros(KINDS, channels, channels))

    def forward(self, deep: Tensor, tiles: Tensor) -> Tensor:
        """d² / (d² + 1) float32[tile h/64 w/64]: 0.5 at the limit; `deep`, `tiles`: see `around`."""
        features, _ = self.around(deep, tiles)
        away = []
        for mean, whiten, limit in zip(self.mean, self.whiten, self.limit, strict=True):
            scaled = whiten / limit.sqrt()
            away.append(F.conv2d(features, scaled[:, :, None, None], -scaled @ mean))
        squares = torch.stack([a.clamp(-_FARTHEST, _FARTHEST).square().sum(1) for a in away])
        nearest = squares.amin(0)
        return nearest / (nearest + 1)

    def around(self, deep: Tensor, tiles: Tensor) -> tuple[Tensor, Tensor]:
        """Mean features of the tissue around each place float32[tile channel h/64 w/64], and its share [tile 1 …].

        `deep` float32[tile channel h/16 w/16]; `tiles` float32[tile 3 h w], pixels of 0 to 255.
        """
        cell = tiles.shape[-1] // deep.shape[-1]
        # A sixteenth of the pixels is enough to recognize glass.
        darkest = F.avg_pool2d(tiles, cell // 4, cell).amin(1, keepdim=True)
        tissue = (darkest < GLASS).to(deep.dtype)
        each = STEP // cell
        sums, weight = F.avg_pool2d(deep * tissue, each), F.avg_pool2d(tissue, each)
        sums, weight = (F.avg_pool2d(v, WINDOW, 1, WINDOW // 2) for v in (sums, weight))
        return sums / (weight + 1e-4), weight
