"""The network of the profiler `cells`: a small encoder-decoder, cheap where there are many pixels."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kras_profiler_cells import TOP, WORDS
from kras_profiler_cells.unlike import STEP, Unlike

WIDTHS = (16, 32, 96, 192)
"""Channels at 1/2, 1/4, 1/8 and 1/16 of the resolution; nothing is computed at full resolution."""
STRIDE = STEP  # sides of an image must be multiples of it
CLASS_STEP = 2  # pixels per pixel of the class maps


class CellNet(nn.Module):
    """Where nuclei are, how central each pixel is in its nucleus, and what cell it belongs to.

    `forward`: uint8[tile h w 3] at 0.5 µm/px, h and w multiples of 64, to `nucleus` uint8[tile h w] (probability),
    `distance` uint8[tile h w] (distance to the nucleus' edge over the largest one within that nucleus, 0 outside),
    `classes` uint8[tile class h/2 w/2] (probabilities of WORDS given a nucleus) and `unlike` uint8[tile h/64 w/64] (how
    far the tissue is from training, half at the limit). All are 255ths: a quarter of the bytes to transfer from a GPU
    or a server. `temperature`: the divisor of class logits, for calibrated probabilities (`training.calibrate`).
    """

    def __init__(self) -> None:
        super().__init__()
        a, b, c, d = WIDTHS
        self.stem = unit(3, a, kernel=5, stride=2)
        self.down1 = Residual(a)
        self.to2, self.down2 = unit(a, b, stride=2), Residual(b)
        self.to3, self.down3 = unit(b, c, stride=2), Residual(c)
        self.to4, self.bottom = unit(c, d, stride=2), nn.Sequential(Residual(d), Residual(d))
        self.up3, self.up2, self.up1 = Up(d, c), Up(c, b), Up(b, a)
        # Every output pixel of a 2 x 2 block has channels of its own: sharp edges at the cost of half the resolution.
        self.shape = nn.Sequential(unit(a, 2 * a), nn.Conv2d(2 * a, 2 * 4, 1), nn.PixelShuffle(2))
        self.kind = nn.Sequential(unit(a, a), nn.Conv2d(a, len(WORDS), 1))
        self.temperature = nn.Buffer(torch.ones(1))
        self.unlike = Unlike(d)

    def logits(self, tiles: Tensor) -> tuple[Tensor, Tensor]:
        """Before the sigmoid and softmax: float32[tile 2 h w] of nucleus and distance, float32[tile class h/2 w/2]."""
        shape, kind, _ = self.computed(tiles.permute(0, 3, 1, 2).float())
        return shape, kind

    def computed(self, tiles: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The result of `logits` for float32[tile 3 h w], and the deepest features float32[tile channel h/16 w/16]."""
        one = self.down1(self.stem((tiles - 170.0) / 60.0))
        two = self.down2(self.to2(one))
        three = self.down3(self.to3(two))
        deep = self.bottom(self.to4(three))
        x = self.up1(self.up2(self.up3(deep, three), two), one)
        return self.shape(x), self.kind(x), deep

    def forward(self, tiles: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Probabilities, distance and unlikeness in 255ths, see the class."""
        pixels = tiles.permute(0, 3, 1, 2).float()
        # In float32 whatever the precision of the body: bfloat16 has eight bits, and levels would merge.
        shape, kind, deep = (x.float() for x in self.computed(pixels))
        nucleus, distance = shape.sigmoid().unbind(1)
        classes = (kind / self.temperature).softmax(1)
        return in_255ths(nucleus), in_255ths(distance), in_255ths(classes), in_255ths(self.unlike(deep, pixels))


def in_255ths(values: Tensor) -> Tensor:
    """float32 of 0 to 1 as uint8 of 0 to 255, rounded as `maps.in_bytes` rounds."""
    # floor first: engines differ in whether a cast rounds or truncates.
    return torch.floor(values * TOP + 0.5).clamp(0, TOP).to(torch.uint8)


def unit(channels: int, to: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution, batch normalization (folded into it when exported) and ReLU."""
    return nn.Sequential(
        nn.Conv2d(channels, to, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(to), nn.ReLU(inplace=True)
    )


class Residual(nn.Module):
    """Two convolutions plus the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = unit(channels, channels)
        self.second = nn.Sequential(nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        """float32[tile channel h w] to the same."""
        return F.relu(x + self.second(self.first(x)))


class Up(nn.Module):
    """Double the resolution, add the encoder's features of that level, and mix."""

    def __init__(self, channels: int, to: int) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(channels, to, 1, bias=False)
        self.mix = unit(to, to)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """float32[tile channel h w] and the skip float32[tile to 2h 2w] to the skip's shape."""
        up = F.interpolate(self.narrow(x), scale_factor=2.0, mode="bilinear", align_corners=False)
        mixed: Tensor = self.mix(up + skip)
        return mixed


def load(weights: Path) -> CellNet:
    """The trained network in evaluation mode; the file must have exactly its tensors."""
    from safetensors.torch import load_file

    network = CellNet()
    network.load_state_dict(load_file(weights), strict=True)
    return network.eval()
