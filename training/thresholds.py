"""How certain a pixel and a nucleus must be, compared on left-out sources (`python -m training.left_out`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit, logit

from kras_profiler_cells import TOP
from kras_profiler_cells.network import CellNet
from training.augment import MPP
from training.evaluate import decoded, decoder, maps_of, units_of
from training.fields import CLASSES, Field, at_mpp
from training.metrics import bootstrap

if TYPE_CHECKING:
    from kras_plugins.data import UInt8
    from kras_profiler_cells.decode import Decode
    from training.evaluate import Find, Maps

SHIFTS = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5)
"""Offsets of the nucleus logit: larger ones give wider outlines and more nuclei."""
SURE = (0.7, 0.75, 0.8, 0.85, 0.9)
"""Values of the option `min_prob` that are compared."""


def shifted(nucleus: UInt8, by: float) -> UInt8:
    """A map of probabilities in 255ths after adding `by` to its logits."""
    levels = expit(logit(np.clip(np.arange(TOP + 1) / TOP, 1e-3, 1 - 1e-3)) + by)
    table: UInt8 = np.round(TOP * levels).astype(np.uint8)
    return table[nucleus]


def compared(network: CellNet, fields: Sequence[Field]) -> dict[str, float]:
    """F1 on fields of one kind, by "shift, min_prob"."""
    shown = [at_mpp(field, MPP) for field in fields]
    maps = {id(field.pixels): maps_of(network, field.pixels) for field in shown}
    out: dict[str, float] = {}
    for by in SHIFTS:
        changed = {at: {**m, "nucleus": shifted(m["nucleus"], by)} for at, m in maps.items()}
        for sure in SURE:
            decode = decoder(min_prob=sure)
            find = _finder(decode, changed)
            tallies = [t for field in shown for t in units_of(find, field)]
            out[f"{by:g}, {sure:g}"] = round(float(bootstrap(tallies, CLASSES, 1)["f1"][0]), 4)
    return out


def _finder(decode: Decode, maps: Mapping[int, Maps]) -> Find:
    return lambda pixels: decoded(decode, maps[id(pixels)], pixels)
