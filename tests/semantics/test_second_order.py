"""Ripley's L and pair correlations against analytic windows, brute force and known patterns."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from kras_plugins.semantics.features import second_order as module
from kras_plugins.semantics.features.second_order import (
    Points,
    Window,
    circle_share,
    pair_correlation,
    pairs_by_distance,
    ripley,
    second_order,
)
from kras_plugins.semantics.raster import Raster
from kras_plugins.semantics.view import View

R = np.arange(0, 206, 5.0)


def window_of(mask, mpp=4.0):
    return Window.of(mask, Raster(shape=mask.shape, mpp=mpp))


def l_shape(n=400):
    """Two arms of 1.6 mm x 0.6 mm at 4 µm."""
    mask = np.zeros((n, n), bool)
    mask[:, :150] = True
    mask[:150] = True
    return mask


def uniform(rng, mask, n, mpp=4.0):
    xy = rng.uniform(0, mask.shape[0] * mpp, (8 * n, 2))
    row, column = (xy[:, ::-1] // mpp).astype(int).T
    return xy[mask[row, column]][:n]


def estimate(mask, tumor, lymphocytes, r, mpp=4.0, reach=205.0):
    w = window_of(mask, mpp)
    a, b = Points.of(tumor, w), Points.of(lymphocytes, w)
    pairs = pairs_by_distance(a, b, reach)
    return ripley(pairs, a, b, w, r), pair_correlation(pairs, a, b, w, r)


@pytest.mark.parametrize(("width", "height"), [(640, 480), (2400, 240)])
def test_circles_in_a_rectangle_are_inside_as_geometry_says(width, height):
    """Isotropized set covariance of a rectangle: 1 - 2r(a + b)/(π a b) + r²/(π a b), for r up to the shorter side."""
    share = window_of(np.ones((height // 4, width // 4), bool)).share
    r = R[height >= R]
    expected = 1 - 2 * r * (width + height) / (np.pi * width * height) + r**2 / (np.pi * width * height)
    np.testing.assert_allclose(share[: len(r)], expected, atol=0.004)


def test_blocks_of_rows_do_not_show(monkeypatch):
    rng = np.random.default_rng(0)
    window = (rng.uniform(size=(230, 90)) < 0.7).astype(np.float32)
    weights = (rng.poisson(0.3, (230, 90)) * window).astype(np.float32)
    whole = circle_share(weights, window, 8.0)
    monkeypatch.setattr(module, "_BLOCK", 37)
    np.testing.assert_allclose(circle_share(weights, window, 8.0), whole, rtol=1e-5)


def test_one_cell_sees_its_own_surroundings():
    """A cell at the middle of a straight edge has half of any circle inside."""
    window, weights = np.zeros((80, 80), np.float32), np.zeros((80, 80), np.float32)
    window[:, 40:] = 1
    weights[40, 40] = 1
    share = circle_share(weights, window, 8.0)
    # the half-plane ends half a pixel beyond the pixel's center
    np.testing.assert_allclose(share[4:], 0.5 + np.arcsin(4 / R[4:]) / np.pi, atol=0.02)


def test_pairs_agree_with_brute_force():
    rng = np.random.default_rng(1)
    w = window_of(np.ones((200, 200), bool))
    a, b = Points.of(rng.uniform(0, 800, (300, 2)), w), Points.of(rng.uniform(0, 800, (200, 2)), w)
    np.testing.assert_array_equal(pairs_by_distance(a, b, 205), np.histogram(cdist(a.xy, b.xy), R)[0])
    d = cdist(a.xy, a.xy)[~np.eye(300, dtype=bool)]
    np.testing.assert_array_equal(pairs_by_distance(a, a, 100), np.histogram(d, R[:21])[0])


def test_k_is_the_sum_of_weights_over_pairs():
    rng = np.random.default_rng(2)
    mask = l_shape()
    t, lym = uniform(rng, mask, 400), uniform(rng, mask, 300)
    w, d = window_of(mask), cdist(t, lym)
    weight = 1 / np.interp(d[d <= 50], R, w.share)
    k = w.area_um2 / (400 * 300) * weight.sum()
    assert estimate(mask, t, lym, 50.0)[0] == pytest.approx(np.sqrt(k / np.pi) - 50, abs=0.02)


def test_complete_spatial_randomness_is_zero_and_one_in_any_window():
    mask, found = l_shape(), []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        found.append(
            [estimate(mask, uniform(rng, mask, 3000), uniform(rng, mask, 3000), r) for r in (25.0, 50.0, 100.0)]
        )
    mean = np.mean(found, axis=0)
    assert np.abs(mean[:, 0]).max() < 0.6 and np.abs(mean[:, 1] - 1).max() < 0.02


def test_tumor_at_the_rim_does_not_bias_the_pair_correlation():
    """Without correction half of each ring would be empty."""
    rng = np.random.default_rng(3)
    mask = np.ones((400, 400), bool)
    rim = rng.uniform((0, 0), (15, 1600), (1500, 2))
    g = np.mean([estimate(mask, rim, rng.uniform(0, 1600, (6000, 2)), 100.0)[1] for _ in range(4)])
    assert g == pytest.approx(1, abs=0.03)


def test_clustered_and_dispersed_patterns_lie_on_either_side():
    rng = np.random.default_rng(4)
    mask = np.ones((400, 400), bool)
    t = rng.uniform(100, 1500, (400, 2))
    attached = t + rng.normal(0, 10, t.shape)
    _, g = estimate(mask, t, attached, 20.0)
    assert g > 1.5 and estimate(mask, t, attached, 25.0)[0] > 10
    x, y = np.meshgrid(np.arange(20, 1600, 40.0), np.arange(20, 1600, 40.0))
    grid = np.stack([x.ravel(), y.ravel()], 1)
    w = window_of(mask)
    points = Points.of(grid, w)
    assert ripley(pairs_by_distance(points, points, 100), points, points, w, 25.0) == -25


def test_l_grows_with_the_map():
    rng = np.random.default_rng(5)
    mask = l_shape()
    centers = uniform(rng, mask, 60)
    points = (centers[:, None] + rng.normal(0, 15, (60, 20, 2))).reshape(-1, 2)
    row, column = np.clip(points[:, ::-1] // 4, 0, 399).astype(int).T
    points = points[mask[row, column] & (points >= 0).all(1) & (points < 1600).all(1)]
    small, large = estimate(mask, points, points + 1e-6, 50.0)[0], None
    large = estimate(mask, 2 * points, 2 * points + 1e-6, 100.0, mpp=8.0)[0]
    assert large == pytest.approx(2 * small, rel=0.02)


def test_radii_that_reach_out_of_the_window_are_nan(make_map):
    """A strip of 90 µm: circles of 50 µm lie mostly inside, those of 100 µm do not."""
    rng = np.random.default_rng(6)
    xy = rng.uniform((0, 400), (2000, 490), (900, 2))
    v = second_order(View(make_map(xy, ["tumor", "lymphocyte"] * 450, regions=(("cancer_stroma", 0, 400, 2000, 492),))))
    assert not np.isnan([v["ripley_tl_25"], v["ripley_tl_50"], v["pcf_tl_20"]]).any()
    assert np.isnan([v["ripley_tt_100"], v["ripley_tl_100"], v["pcf_tl_100"], v["pcf_tl_200"]]).all()


def test_the_scale_of_clusters_is_found(make_map):
    """Pairs of lymphocytes exactly 60 µm apart."""
    rng = np.random.default_rng(7)
    first = rng.uniform(100, 1900, (600, 2))
    angle = rng.uniform(0, 2 * np.pi, 600)
    pair = first + 60 * np.stack([np.cos(angle), np.sin(angle)], 1)
    xy = np.concatenate([first, pair, rng.uniform(0, 2000, (300, 2))])
    view = View(make_map(xy, ["lymphocyte"] * 1200 + ["tumor"] * 300, regions=(("cancer_stroma", 0, 0, 2000, 2000),)))
    assert second_order(view)["ll_scale"] in {55, 60, 65}
