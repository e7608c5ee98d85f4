"""Resampling against an independent integral-image oracle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kras_plugins.slides.resample import resample


def area_mean(
    pixels: np.ndarray, start: tuple[float, float], step: tuple[float, float], size: tuple[int, int]
) -> np.ndarray:
    """Exact area means in float64 from the integral image, interpolated at fractional corners."""
    out = pixels.astype(np.float64)
    for axis, s, d, n in ((0, start[1], step[1], size[1]), (1, start[0], step[0], size[0])):
        total = np.concatenate([np.zeros_like(out.take([0], axis)), out.cumsum(axis)], axis)
        edges = s + d * np.arange(n + 1)
        at = np.apply_along_axis(lambda line, e=edges: np.interp(e, np.arange(len(line)), line), axis, total)
        out = np.diff(at, axis=axis) / d
    return out


@settings(deadline=None, max_examples=60)
@given(
    step=st.tuples(st.floats(1, 9), st.floats(1, 9)),
    start=st.tuples(st.floats(0, 3), st.floats(0, 3)),
    size=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    seed=st.integers(0, 99),
)
def test_every_output_pixel_is_the_mean_of_the_area_it_covers(step, start, size, seed):
    shape = [int(np.ceil(s + d * n)) + 1 for s, d, n in zip(start[::-1], step[::-1], size[::-1], strict=True)]
    pixels = np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)
    # half a level of rounding, and the thousandth of a pixel that counts as whole
    assert np.abs(resample(pixels, start, step, size) - area_mean(pixels, start, step, size)).max() < 1.1


@pytest.mark.parametrize("factor", [(2, 2), (3, 2), (4, 4)])
def test_a_whole_ratio_is_the_mean_of_blocks(factor):
    pixels = np.random.default_rng(1).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    size = (24 // factor[0], 24 // factor[1])
    blocks = pixels.reshape(size[1], factor[1], size[0], factor[0], 3).mean((1, 3))
    assert np.abs(resample(pixels, (0.0, 0.0), factor, size) - blocks).max() <= 0.5


def test_the_same_scale_at_a_whole_offset_is_a_crop():
    pixels = np.random.default_rng(2).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    assert np.array_equal(resample(pixels, (2.0, 1.0), (1.0, 1.0), (5, 6)), pixels[1:7, 2:7])


def test_enlarging_interpolates_linearly_between_centers():
    ramp = np.repeat(np.arange(0, 200, 10, dtype=np.uint8)[None, :, None], 4, 0).repeat(3, 2)
    out = resample(ramp, (4.0, 0.0), (0.5, 1.0), (10, 4))[0, :, 0]
    centers = 4 + 0.5 * (np.arange(10) + 0.5) - 0.5
    assert np.abs(out - 10 * centers).max() <= 0.5


@pytest.mark.parametrize("step", [0.5, 0.7, 1.3, 2.004, 7.9])
def test_one_color_stays_that_color_to_the_edge(step):
    pixels = np.full((80, 80, 3), (231, 17, 254), np.uint8)
    out = resample(pixels, (0.0, 0.0), (step, step), (int(80 / step),) * 2)
    assert (out == (231, 17, 254)).all()
