"""The decoder of `cells` takes short cuts; on real tissue it must give what plain library calls give."""

from __future__ import annotations

import heapq
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage
from skimage.measure import regionprops
from skimage.segmentation import watershed

import kras_profiler_cells as plugin
from kras_plugins import Tile
from kras_profiler_cells import decode, flooding, maps, runs, stain
from kras_profiler_cells.nuclei import nuclei_of, sums
from kras_profiler_cells.outlines import outlines

OPTIONS = plugin.CellsOptions()
DECODE = decode.Decode(
    OPTIONS.min_area_um2, OPTIONS.max_area_um2, OPTIONS.min_prob, OPTIONS.min_class_prob, plugin.WORDS
)


def markers_of(mask: np.ndarray, distance: np.ndarray, mpp: float) -> np.ndarray:
    """The cores that are large enough, numbered from 1; `distance` in 255ths, here and below."""
    cores, _ = ndimage.label(mask & (distance > flooding.CORE * 255))
    large = np.bincount(cores.ravel()) * mpp**2 >= flooding.CORE_UM2
    large[0] = False
    return np.where(large, np.cumsum(large), 0)[cores]


def by_watershed(mask: np.ndarray, distance: np.ndarray, mpp: float) -> np.ndarray:
    """The label map of large enough cores that flood the mask, pixel by pixel.

    Not by scikit-image, whose versions differ: how deep a pixel counts, and which of the first ones goes first.
    """
    labels = np.pad(markers_of(mask, distance, mpp), 1)
    free, height = np.pad(mask, 1) & (labels == 0), np.pad(-distance.astype(int), 1)
    queue = [(height[at], age, at) for age, at in enumerate(zip(*np.nonzero(labels), strict=True))]
    heapq.heapify(queue)
    age = len(queue)
    while queue:
        level, _, (row, col) = heapq.heappop(queue)
        for at in ((row - 1, col), (row, col - 1), (row, col + 1), (row + 1, col)):
            if free[at]:
                free[at], labels[at], age = False, labels[row, col], age + 1
                heapq.heappush(queue, (max(height[at], level), age, at))
    return labels[1:-1, 1:-1]


def by_libraries(maps: dict[str, np.ndarray], mpp: float) -> np.ndarray:
    """The label map of the decoder's definition, each step on the whole image."""
    nucleus = maps["nucleus"] / 255
    mask = ndimage.binary_fill_holes(ndimage.binary_opening(nucleus > 0.5))
    labels = by_watershed(mask, maps["distance"], mpp)
    n = labels.max() + 1
    area = np.bincount(labels.ravel(), minlength=n) * mpp**2
    strength = np.array([nucleus[labels == i].mean() if area[i] else 0 for i in range(n)])
    kept = (area >= OPTIONS.min_area_um2) & (area <= OPTIONS.max_area_um2) & (strength >= OPTIONS.min_prob)
    kept[0] = False
    return np.where(kept, np.cumsum(kept), 0)[labels]


def one_step_at_a_time(labels: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """How far each of 32 rays goes, walked pixel by pixel; NaN where the centroid lies outside of its nucleus."""
    reach = np.full((len(x), 32), np.nan, np.float32)
    padded = np.pad(labels, 3)
    for i in range(len(x)):
        for k, angle in enumerate(np.arange(32) * (2 * np.pi / 32)):
            ray = np.array([np.cos(angle), np.sin(angle)], np.float32)

            def inside(far: float, i: int = i, ray: np.ndarray = ray) -> bool:
                column, row = np.rint(np.float32([x[i], y[i]]) + np.float32(far) * ray).astype(int) + 3
                return bool(padded[row, column] == i + 1)

            if inside(0):
                far = 0.0
                while inside(far + 1):
                    far += 1
                reach[i, k] = far + 0.5 * inside(far + 0.5)
    return reach


@pytest.fixture(scope="module", params=["skin", "ovarian carcinoma"])
def real(request, shared_data: Path):
    """Pixels and maps, in 255ths, of a real tile; sides that differ, so that a swap of axes shows."""
    torch = pytest.importorskip("torch")
    from kras_profiler_cells.network import load

    if request.param == "skin":
        openslide = pytest.importorskip("openslide")
        with openslide.OpenSlide(str(shared_data / "slides" / "cmu_small_region.svs")) as slide:
            pixels = np.asarray(slide.read_region((770, 1500), 0, (448, 512)).convert("RGB"))
    else:
        pixels = np.asarray(Image.open(shared_data / "nuclei" / "hgsc" / "hgsc_nest.jpg").convert("RGB"))[400:912, :448]
    with torch.inference_mode():
        found = load(plugin.WEIGHTS)(torch.from_numpy(pixels[None].copy()))
    named = zip(("nucleus", "distance", "classes", "unlike"), found, strict=True)
    return pixels, {name: m[0].numpy() for name, m in named}


def test_real_nuclei_are_those_of_the_plain_definition(real):
    _, maps = real
    expected = by_libraries(maps, 0.5)
    assert expected.max() > 40
    np.testing.assert_array_equal(DECODE.segment(maps, 0.5), expected)


def test_real_nuclei_measure_what_scikit_image_measures(real):
    pixels, maps = real
    labels = by_libraries(maps, 0.5)
    density = stain.hematoxylin(pixels)
    cells = DECODE(maps, Tile(pixels=pixels, mpp=0.5))
    theirs = regionprops(labels, np.stack([density, maps["nucleus"] / 255], axis=-1))
    assert len(cells.x) == len(theirs)
    expected = {
        "area_um2": [r.area / 4 for r in theirs],
        "perimeter_um": [r.perimeter / 2 for r in theirs],
        "major_um": [r.axis_major_length / 2 for r in theirs],
        "minor_um": [r.axis_minor_length / 2 for r in theirs],
        "h_od_mean": [r.intensity_mean[0] for r in theirs],
        "h_od_sd": [r.intensity_std[0] for r in theirs],
        "prob": [r.intensity_mean[1] for r in theirs],
    }
    for name, values in expected.items():
        np.testing.assert_allclose(cells.columns[name], values, rtol=1e-4, err_msg=name)
    np.testing.assert_allclose(np.stack([cells.y, cells.x], 1), [r.centroid for r in theirs], rtol=1e-5)
    half = labels[::2, ::2].shape
    for i, r in enumerate(theirs[:30]):
        rows, cols = (r.coords // 2).T
        assert rows.max() < half[0] and cols.max() < half[1]
        mean = maps["classes"][:, rows, cols].mean(1)
        name = plugin.WORDS[int(mean.argmax())] if mean.max() / mean.sum() >= 0.5 else "other"
        assert cells.classes[i] == name


def test_real_outlines_are_those_of_a_walk_pixel_by_pixel(real):
    _, maps = real
    nuclei = nuclei_of(DECODE.segment(maps, 0.5))
    labels = nuclei.labels[2:-2, 2:-2]
    y, x = np.float32([r.centroid for r in regionprops(labels)]).T.copy()
    reach = one_step_at_a_time(labels, x, y)
    ours = outlines(nuclei, x, y) - np.stack([x, y], 1)[:, None]
    known = np.isfinite(reach)
    assert known.mean() > 0.9
    np.testing.assert_allclose(np.hypot(*ours[known].T), reach[known], atol=1e-3)


def test_real_nuclei_outside_of_what_is_wanted_are_left_out_and_the_others_stay_as_they_are(real):
    pixels, maps = real
    every = DECODE(maps, Tile(pixels=pixels, mpp=0.5))
    low, high = (100.0, 150.0), (300.0, 250.0)
    some = DECODE(maps, Tile(pixels=pixels, mpp=0.5, wanted=(low, high)))
    inside = (every.x >= low[0]) & (every.x <= high[0]) & (every.y >= low[1]) & (every.y <= high[1])
    assert 0 < inside.sum() < len(inside) / 2
    np.testing.assert_array_equal(some.x, every.x[inside])
    np.testing.assert_array_equal(some.y, every.y[inside])
    for name, values in every.columns.items():
        np.testing.assert_array_equal(some.columns[name], values[inside], err_msg=name)
    assert list(some.classes) == [every.classes[i] for i in np.flatnonzero(inside)]
    np.testing.assert_array_equal(some.outlines, [every.outlines[i] for i in np.flatnonzero(inside)])


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 24), st.integers(1, 24), st.floats(0.1, 0.9))
def test_pieces_of_runs_are_numbered_as_scipy_numbers_pieces_of_images(seed, h, w, share):
    mask = np.random.default_rng(seed).random((h, w)) < share
    framed = np.pad(mask, 1)
    starts, stops = runs.runs_of(framed)
    component, n = runs.components(starts, stops, w + 2)
    ours = np.zeros(framed.size, int)
    for run, (start, stop) in enumerate(zip(starts, stops, strict=True)):
        ours[start:stop] = component[run] + 1
    expected, n_expected = ndimage.label(framed)
    assert n == n_expected
    np.testing.assert_array_equal(ours.reshape(framed.shape), expected)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(3, 24), st.integers(3, 24), st.floats(0.1, 0.9))
def test_masks_are_opened_and_filled_as_scipy_does(seed, h, w, share):
    rng = np.random.default_rng(seed)
    mask = rng.random((h, w)) < share
    image = np.where(mask, rng.integers(128, 256, (h, w)), rng.integers(0, 128, (h, w))).astype(np.uint8)
    expected = ndimage.binary_opening(image > 127)
    starts, stops = runs.opened_runs(image, 127)
    for ours, theirs in zip((starts, stops), runs.runs_of(np.pad(expected, 2)), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    filled = np.zeros((h + 4, w + 4), bool)
    for start, stop in zip(*runs.filled(starts, stops, h + 4, w + 4), strict=True):
        filled.ravel()[start:stop] = True
    np.testing.assert_array_equal(filled, np.pad(ndimage.binary_fill_holes(expected), 2))


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(3, 40), st.integers(3, 40), st.floats(0.3, 0.9), st.sampled_from([0, 16]))
def test_nuclei_are_flooded_as_a_plain_queue_floods_them(seed, h, w, share, steps):
    """With and without plateaus, where the order of reaching alone decides."""
    rng = np.random.default_rng(seed)
    smooth = [ndimage.gaussian_filter(rng.standard_normal((h, w)), 1.5) for _ in range(2)]
    mask = smooth[0] > np.quantile(smooth[0], 1 - share)
    depth = np.clip(0.4 + 2 * smooth[1], 0, 1)
    if steps:
        depth = np.rint(depth * steps) / steps
    depth = np.rint(255 * depth).astype(np.uint8)
    labels = flooding.flood_cores(*runs.runs_of(np.pad(mask, 2)), depth, 0.5)
    np.testing.assert_array_equal(labels, np.pad(by_watershed(mask, depth, 0.5), 2))


def test_real_nuclei_are_those_of_scikit_images_watershed(real):
    _, maps = real
    mask, distance = maps["nucleus"] > 127, maps["distance"]
    labels = flooding.flood_cores(*runs.runs_of(np.pad(mask, 2)), distance, 0.5)[2:-2, 2:-2]
    expected = watershed(-distance.astype(int), markers_of(mask, distance, 0.5), mask=mask)
    assert np.mean(labels[mask] != expected[mask]) < 2e-3


def test_maps_in_bytes_are_rounded_and_cut_where_they_leave_0_to_1():
    values = np.float32([[0, 0.4, 0.5019, 1], [-0.3, 1.7, np.nan, np.inf]])
    np.testing.assert_array_equal(maps.in_bytes(values), [[0, 102, 128, 255], [0, 255, 0, 255]])
    given = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert maps.in_bytes(given) is given
    np.testing.assert_array_equal(maps.in_bytes(values[:, ::2]), [[0, 128], [0, 0]])


def test_maps_of_floats_give_the_nuclei_of_their_bytes(real):
    _, rounded = real
    rng = np.random.default_rng(0)
    floats = {k: ((m + rng.uniform(-0.49, 0.49, m.shape)) / 255).astype(np.float32) for k, m in rounded.items()}
    np.testing.assert_array_equal(DECODE.segment(floats, 0.5), DECODE.segment(rounded, 0.5))


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 12), st.sampled_from([1, 2, 4]))
def test_nuclei_hold_the_pixels_of_their_labels_and_their_sums(seed, h, w, step):
    rng = np.random.default_rng(seed)
    h, w = h * step, w * step
    labels = np.unique(rng.integers(0, 4, (h, w)).repeat(2, axis=1)[:, :w], return_inverse=True)[1].reshape(h, w)
    labels = labels.astype(np.int32)
    kinds = rng.integers(0, 256, (2, h // step, w // step)).astype(np.uint8)
    nuclei = nuclei_of(labels)
    np.testing.assert_array_equal(nuclei.map(), labels)
    np.testing.assert_array_equal(nuclei.size, np.bincount(labels.ravel())[1:])
    np.testing.assert_array_equal(labels[nuclei.pixels], np.repeat(np.arange(len(nuclei)), nuclei.size) + 1)
    wide = kinds.repeat(step, axis=1).repeat(step, axis=2)
    expected = [[int(kind[labels == i + 1].sum()) for kind in wide] for i in range(len(nuclei))]
    np.testing.assert_array_equal(sums(nuclei, kinds), np.reshape(expected, (-1, 2)))
