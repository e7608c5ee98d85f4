"""The untrained first version of the profiler `cells`, kept as the baseline for the trained one.

Fixed stain vectors and Gaussians find nuclei, rules of thumb type them; nothing was learned.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import ndimage
from skimage.segmentation import watershed
from torch import Tensor, nn
from torch.nn import functional as F

from kras_profiler_cells import TOP
from kras_profiler_cells.maps import in_bytes
from kras_profiler_cells.morphometry import measure
from kras_profiler_cells.nuclei import nuclei_of, sums
from kras_profiler_cells.stain import HEMATOXYLIN, hematoxylin

if TYPE_CHECKING:
    from kras_plugins.data import Float32, Int32, UInt8

CONTRAST_OD = 0.04  # a nucleus is this much denser than its surroundings; glass noise and eosin texture stay below
SPREAD = 0.25  # and by this share of the local spread, so that dark stain does not fuse neighbors
STEEPNESS = 25.0  # per optical density: 0.1 above the threshold gives a probability of 0.92
SATURATION_OD = 1.2  # denser pixels (ink, pigment, folds) add no information and would raise the local mean
SMOOTH_PX = 1.0  # removes pixel and JPEG noise, keeps gaps of 1 µm between nuclei
CENTER_PX = 3.5  # at 0.5 µm/px the scale at which a lymphocyte (7 µm) has one peak and neighbors stay apart
SURROUND_PX = 24.0  # surroundings: some three nuclei wide
COARSE = 4  # the surroundings are computed at a quarter of the resolution
PEAK_UM = 5.5  # two centers closer than half of this are one nucleus; lymphocytes touch at 6 to 7 µm
FAINT = 0.72  # mean nucleus probability below this is blurred or out of focus, not a nucleus

# Diploid nuclei have about the same amount of DNA: a lymphocyte packs it into 25-50 µm² at a high density, a tumor
# cell spreads it. Area over density separates the two in weak and strong stain better than either alone.
LYMPHOCYTE_MAX_UM2_PER_OD = 85.0
LYMPHOCYTE_MAX_UM2 = 80.0
LYMPHOCYTE_MAX_ECCENTRICITY = 0.88
LYMPHOCYTE_MIN_PROB = 0.88
FIBROBLAST_MIN_ECCENTRICITY = 0.9
TUMOR_MIN_UM2 = 40.0


class NucleusFilters(nn.Module):
    """Hematoxylin density against its local surroundings.

    `forward`: uint8[tile h w 3] at 0.5 µm/px, h and w multiples of 4, to `nucleus` and `distance`, float32[tile h w]
    each in [0, 1].
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
        coarse = F.avg_pool2d(stain, COARSE)
        mean, square = blur(coarse, self.surround), blur(coarse * coarse, self.surround)
        spread = (square - mean * mean).clamp(min=1e-6).sqrt()
        threshold = F.interpolate(
            mean + CONTRAST_OD + SPREAD * spread, scale_factor=float(COARSE), mode="bilinear", align_corners=False
        )
        nucleus = torch.sigmoid(STEEPNESS * (blur(stain, self.smooth) - threshold))
        return nucleus[:, 0], blur(nucleus, self.center)[:, 0]


def find(pixels: UInt8) -> tuple[Int32, list[str]]:
    """Label map int32[h w] and class of each nucleus of uint8[h w 3] at 0.5 µm/px."""
    h, w = pixels.shape[:2]
    padded = np.pad(pixels, ((0, -h % COARSE), (0, -w % COARSE), (0, 0)), mode="edge")
    with torch.inference_mode():
        nucleus, distance = (m[0, :h, :w].numpy() for m in NucleusFilters()(torch.from_numpy(padded[None])))
    labels = segment(nucleus, distance, 0.5, 8.0, 400.0)
    nuclei = nuclei_of(labels)
    columns = measure(nuclei, hematoxylin(pixels[nuclei.pixels]), 0.5)
    return labels, classify({"prob": sums(nuclei, in_bytes(nucleus)[None])[:, 0] / (TOP * nuclei.size), **columns})


def segment(nucleus: Float32, distance: Float32, mpp: float, min_um2: float, max_um2: float) -> Int32:
    """Label map int32[h w] of nuclei: each peak of `distance` floods its basin of `nucleus` > 0.5."""
    mask = ndimage.binary_fill_holes(ndimage.binary_opening(nucleus > 0.5))
    reach = 2 * max(1, round(PEAK_UM / 2 / mpp)) + 1
    peaks = mask & (distance == ndimage.maximum_filter(distance, size=reach))
    markers, _ = ndimage.label(peaks, structure=np.ones((3, 3)))
    labels = watershed(-distance, markers, mask=mask).astype(np.int32)
    size = np.bincount(labels.ravel())
    strength = np.bincount(labels.ravel(), weights=nucleus.ravel()) / np.maximum(size, 1)
    area = size * mpp * mpp
    keep = (area >= min_um2) & (area <= max_um2) & (strength >= FAINT)
    keep[0] = False
    return np.asarray(np.where(keep, np.cumsum(keep), 0).astype(np.int32)[labels], dtype=np.int32)


def classify(columns: Mapping[str, Float32]) -> list[str]:
    """Class of each nucleus (tumor, lymphocyte, fibroblast, other) from its `measure` columns; first match wins."""
    area, eccentricity = columns["area_um2"], columns["eccentricity"]
    compact = area <= np.minimum(LYMPHOCYTE_MAX_UM2_PER_OD * columns["h_od_mean"], LYMPHOCYTE_MAX_UM2)
    distinct = columns["prob"] >= LYMPHOCYTE_MIN_PROB
    rules = {
        "lymphocyte": compact & distinct & (eccentricity <= LYMPHOCYTE_MAX_ECCENTRICITY),
        "fibroblast": eccentricity > FIBROBLAST_MIN_ECCENTRICITY,
        "tumor": area >= TUMOR_MIN_UM2,
    }
    return [str(name) for name in np.select(list(rules.values()), list(rules), "other")]


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
