"""The network of the profiler `cells`: fixed convolutions from pixels to where nuclei are."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kras_profiler_cells.stain import HEMATOXYLIN

CONTRAST_OD = 0.04  # a nucleus is this much denser than its surroundings; glass noise and eosin texture stay below
SPREAD = 0.25  # and by this share of the local spread, so that dark stain does not fuse neighbors
STEEPNESS = 25.0  # per optical density: 0.1 above the threshold gives a probability of 0.92
SATURATION_OD = 1.2  # denser (ink, pigment, folds) says nothing more and would drag the local mean up
SMOOTH_PX = 1.0  # removes pixel and JPEG noise, keeps gaps of 1 µm between nuclei
CENTER_PX = 3.5  # at 0.5 µm/px the scale at which a lymphocyte (7 µm) has one peak and neighbors stay apart
SURROUND_PX = 24.0  # surroundings: some three nuclei wide, and mostly within the halo of 32 px
COARSE = 4  # the surroundings are computed at a quarter of the resolution


class NucleusFilters(nn.Module):
    """Hematoxylin density against its local surroundings.

    `forward`: uint8[tile h w 3] at 0.5 µm/px, h and w multiples of 4, to `nucleus` and `distance`, float32[tile h w]
    each in [0, 1]. `nucleus` is 0.5 where the density exceeds the local threshold; `distance` is `nucleus` weighted by
    a Gaussian, which falls from a nucleus' center to its edge as a normalized distance map does. Edges are
    replicated.
    """

    def __init__(self) -> None:
        super().__init__()
        self.hematoxylin = nn.Buffer(torch.tensor(HEMATOXYLIN).reshape(1, 3, 1, 1))
        self.smooth = nn.Buffer(torch.tensor(gaussian(SMOOTH_PX)))
        self.center = nn.Buffer(torch.tensor(gaussian(CENTER_PX)))
        self.surround = nn.Buffer(torch.tensor(gaussian(SURROUND_PX / COARSE)))

    def forward(self, tiles: Tensor) -> tuple[Tensor, Tensor]:
        """Maps of where nuclei are and how central each pixel is in its nucleus."""
        density = -torch.log10((tiles.permute(0, 3, 1, 2).float() + 1.0) / 256.0)
        stain = F.conv2d(density, self.hematoxylin).clamp(0.0, SATURATION_OD)
        # The threshold varies slowly: computing it at the coarse resolution leaves little to do for every pixel.
        coarse = F.avg_pool2d(stain, COARSE)
        mean, square = blur(coarse, self.surround), blur(coarse * coarse, self.surround)
        spread = (square - mean * mean).clamp(min=1e-6).sqrt()
        threshold = F.interpolate(
            mean + CONTRAST_OD + SPREAD * spread, scale_factor=float(COARSE), mode="bilinear", align_corners=False
        )
        nucleus = torch.sigmoid(STEEPNESS * (blur(stain, self.smooth) - threshold))
        return nucleus[:, 0], blur(nucleus, self.center)[:, 0]


def gaussian(sigma: float) -> Sequence[float]:
    """A one-dimensional Gaussian kernel cut at three standard deviations, summing to one."""
    radius = math.ceil(3 * sigma)
    raw = [math.exp(-0.5 * (i / sigma) ** 2) for i in range(-radius, radius + 1)]
    return [value / sum(raw) for value in raw]


def blur(image: Tensor, kernel: Tensor) -> Tensor:
    """Convolve float32[tile 1 h w] with a one-dimensional kernel along both axes, edges replicated."""
    radius = kernel.shape[0] // 2
    image = F.conv2d(F.pad(image, (radius, radius, 0, 0), mode="replicate"), kernel.reshape(1, 1, 1, -1))
    return F.conv2d(F.pad(image, (0, 0, radius, radius), mode="replicate"), kernel.reshape(1, 1, -1, 1))
