"""Nuclei changed within their outlines (paler, with or without a dark rim), and nuclei set into another tissue."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from training.fields import densities, light

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Float32, Int32, UInt8

    Typed = tuple[UInt8, Int32, npt.NDArray[np.int8]]

LEAST_PX = 60
"""Smaller nuclei (15 µm² at 0.5 µm/px) have no discernible middle."""


def vesicular(pixels: UInt8, labels: Int32, distance: Float32, rng: np.random.Generator) -> UInt8:
    """Make some nuclei vesicular: the middle is cleared to near the cytoplasm's color, the rim is kept.

    `labels` int32[h w], `distance` float32[h w] as `augment.targets` gives it. One to three nucleoli are drawn.
    """
    sizes = np.bincount(labels.ravel())
    large = np.flatnonzero(sizes[1:] > LEAST_PX) + 1
    chosen = large[rng.random(len(large)) < rng.uniform(0.2, 0.9)]
    if not len(chosen):
        return pixels
    picked = np.isin(labels, chosen)
    od = densities(pixels)
    around = ndimage.binary_dilation(picked, iterations=5) & (labels == 0)
    if not around.any():
        return pixels
    cytoplasm = od[around].mean(0)
    middle = np.clip((distance - rng.uniform(0.1, 0.3)) / 0.3, 0, 1)
    grain = ndimage.gaussian_filter(rng.standard_normal(labels.shape).astype(np.float32), 1.2) * 2.2
    cleared = picked * middle * np.clip(rng.uniform(0.4, 0.95) - 0.2 * np.maximum(grain, 0), 0, 1)
    dark = od[picked].max(0) if rng.random() < 0.5 else np.percentile(od[picked], 75, axis=0)
    od = od + cleared[..., None].astype(np.float32) * (cytoplasm - od)
    inner = np.flatnonzero((picked & (distance > 0.5)).ravel())
    if len(inner):
        spots = np.zeros(labels.size, np.float32)
        spots[rng.choice(inner, min(len(inner), int(rng.uniform(0.5, 2.5) * len(chosen))), replace=False)] = 1
        spread = rng.uniform(0.8, 1.3)
        cover = ndimage.gaussian_filter(spots.reshape(labels.shape), spread) * (2 * np.pi * spread**2)
        od = od + np.clip(cover, 0, 1)[..., None] * picked[..., None] * np.maximum(dark - od, 0)
    return light(od.astype(np.float32))


def faded(pixels: UInt8, labels: Int32, rng: np.random.Generator) -> UInt8:
    """Make some nuclei pale, like those out of focus or cut at their end: nearer to the cytoplasm's color."""
    numbers = np.unique(labels)[1:]
    chosen = numbers[rng.random(len(numbers)) < rng.uniform(0.1, 0.6)]
    around = ndimage.binary_dilation(labels > 0, iterations=4) & (labels == 0)
    if not len(chosen) or not around.any():
        return pixels
    od = densities(pixels)
    amount = np.zeros(int(labels.max()) + 1, np.float32)
    amount[chosen] = rng.uniform(0.3, 0.8, len(chosen))
    cover = ndimage.gaussian_filter(amount[labels], rng.uniform(0.5, 1.5))[..., None]
    return light(od + cover * (od[around].mean(0) - od))


def implant(host: Typed, donor: Typed, rng: np.random.Generator) -> Typed:
    """Set nuclei of `donor` among those of `host`, each (pixels, labels, classes) of one size, where there are none.

    A nucleus keeps its contrast to its surroundings, not its color; it may touch its new neighbors.
    """
    pixels, labels, classes = host
    other, theirs, their_classes = donor
    numbers = np.unique(theirs)[1:]
    numbers = rng.permutation(numbers)[: int(rng.integers(5, 40))]
    if not len(numbers):
        return host
    od, brought = densities(pixels), densities(other)
    background = brought[ndimage.binary_dilation(theirs > 0, iterations=6) & (theirs == 0)]
    ground = background.mean(0) if len(background) else brought.reshape(-1, 3).mean(0)
    occupied = labels > 0
    taken = np.zeros(labels.shape, bool)
    out, kinds, last = labels.copy(), [*classes.tolist()], len(classes) - 1
    boxes = ndimage.find_objects(theirs)
    for number in numbers.tolist():
        box = boxes[number - 1]
        mine = theirs[box] == number
        if np.any(occupied[box] & mine):
            continue
        last += 1
        out[box][mine] = last
        taken[box] |= mine
        occupied[box] |= mine
        kinds.append(int(their_classes[number]))
    cover = np.clip(ndimage.gaussian_filter(taken.astype(np.float32), 0.7) * 1.2, 0, 1)[..., None] * taken[..., None]
    od = od + cover * (brought - ground)
    return light(np.maximum(od, 0)), out, np.array(kinds, np.int8)
