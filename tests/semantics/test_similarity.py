"""Squares and what is measured on them, against matrices of weights and known patterns."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kras_plugins.semantics.features.hotspots import getis_ord, hotspots, significant
from kras_plugins.semantics.features.similarity import (
    bhattacharyya,
    geary,
    lacunarity,
    lee,
    local_entropy,
    moran,
    morisita_horn,
    pearson,
    similarity,
    sorensen,
)
from kras_plugins.semantics.lattice import area_by_square, lattice_over
from kras_plugins.semantics.raster import Raster
from kras_plugins.semantics.view import View

seeds = st.integers(0, 10_000)


def weights(use, itself=False):
    """Queen neighbors among used squares, bool[square square]."""
    at = np.argwhere(use)
    far = np.abs(at[:, None] - at[None]).max(2)
    return (far <= 1) if itself else (far == 1)


def random_squares(seed):
    rng = np.random.default_rng(seed)
    use = rng.uniform(size=(7, 9)) < 0.7
    use[:2, :2] = True
    return use, rng.poisson(3, (7, 9)).astype(float), rng.poisson(5, (7, 9)).astype(float)


@settings(deadline=None, derandomize=True, max_examples=25)
@given(seeds)
def test_autocorrelation_is_that_of_a_matrix_of_weights(seed):
    use, a, b = random_squares(seed)
    alone = weights(use).sum(1) == 0
    linked = use.copy()
    linked[tuple(np.argwhere(use)[alone].T)] = False
    w = weights(linked).astype(float)
    w /= w.sum(1, keepdims=True)
    x = a[linked]
    z = x - x.mean()
    n = len(x)
    assert moran(a, use) == pytest.approx(n / w.sum() * (z @ w @ z) / (z @ z))
    contrast = np.sum(w * (x[:, None] - x[None]) ** 2)
    assert geary(a, use) == pytest.approx((n - 1) / (2 * w.sum()) * contrast / (z @ z))
    v = weights(use, itself=True).astype(float)
    v /= v.sum(1, keepdims=True)
    za, zb = a[use] - a[use].mean(), b[use] - b[use].mean()
    expected = use.sum() / np.sum(v.sum(1) ** 2) * ((v @ za) @ (v @ zb)) / np.sqrt((za @ za) * (zb @ zb))
    assert lee(a, b, use) == pytest.approx(expected) == lee(b, a, use)


@settings(deadline=None, derandomize=True, max_examples=25)
@given(seeds)
def test_gi_star_is_that_of_a_matrix_of_weights(seed):
    use, a, _ = random_squares(seed)
    w, x = weights(use, itself=True).astype(float), a[use]
    n = len(x)
    s = np.sqrt(np.mean(x**2) - x.mean() ** 2)
    top = w @ x - x.mean() * w.sum(1)
    expected = top / (s * np.sqrt((n * (w**2).sum(1) - w.sum(1) ** 2) / (n - 1)))
    np.testing.assert_allclose(getis_ord(a, use), expected)


def test_checkerboards_and_slopes_are_the_extremes_of_autocorrelation():
    use = np.ones((30, 30), bool)
    slope = np.add.outer(np.arange(30.0), np.zeros(30))
    noise = np.random.default_rng(0).normal(size=(30, 30))
    stripes = np.add.outer(np.arange(30) % 2 * 1.0, np.zeros(30))
    assert moran(slope, use) > 0.95 and geary(slope, use) < 0.05
    assert moran(noise, use) == pytest.approx(0, abs=0.06) and geary(noise, use) == pytest.approx(1, abs=0.06)
    assert moran(stripes, use) < -0.4 and geary(stripes, use) > 1.4
    assert np.isnan(moran(np.ones((5, 5)), np.ones((5, 5), bool)))


def test_similarity_of_shares():
    a, b = np.array([1.0, 2, 3, 0]), np.array([0.0, 0, 0, 7])
    assert morisita_horn(a, 5 * a) == pytest.approx(1) and bhattacharyya(a, 5 * a) == pytest.approx(1)
    assert morisita_horn(a, b) == 0 == bhattacharyya(a, b) == sorensen(a > 0, b > 0)
    assert sorensen(np.array([1, 1, 0, 0]) > 0, np.array([0, 1, 1, 1]) > 0) == pytest.approx(2 / 5)
    p, q = np.array([0.5, 0.5]), np.array([0.2, 0.8])
    assert morisita_horn(10 * p, 5 * q) == pytest.approx(2 * 0.5 / (0.5 + 0.68))
    assert pearson(a, 2 * a + 1) == pytest.approx(1) and pearson(a, -a) == pytest.approx(-1)
    nothing = np.zeros(4)
    assert all(np.isnan(f(a, nothing)) for f in (morisita_horn, bhattacharyya, pearson))
    assert np.isnan(sorensen(a > 0, nothing > 0))


def test_entropy_of_even_mixing_is_one_bit():
    assert local_entropy(np.array([4.0, 8, 100, 1]), np.array([4.0, 0, 100, 1])) == pytest.approx(2 / 3)
    assert np.isnan(local_entropy(np.array([2.0]), np.array([2.0])))


def test_lacunarity_of_randomness_is_one_plus_one_over_the_mean():
    rng = np.random.default_rng(0)
    area = np.full((300, 300), 0.0025)
    assert lacunarity(rng.poisson(1.5, area.shape) * 1.0, area, 4, 200) == pytest.approx(1 + 1 / 24, rel=0.01)
    assert lacunarity(np.full(area.shape, 3.0), area, 4, 200) == pytest.approx(1)
    area[:, 150:] = 0  # what lies beyond the window is not empty of cells but unknown
    assert lacunarity(np.where(area > 0, 3.0, 0.0), area, 4, 200) == pytest.approx(1)


def test_squares_measure_the_window_and_move_with_it():
    mask = np.zeros((200, 200), bool)
    mask[30:130, 20:95] = True  # 400 x 300 µm
    raster = Raster(shape=mask.shape, mpp=4.0)
    lattice = lattice_over(mask, raster, 100.0)
    assert lattice.area.sum() == pytest.approx(0.12)
    assert lattice.area.max() == pytest.approx(0.01)
    np.testing.assert_allclose(lattice.area.sum(0), [0.02, 0.04, 0.04, 0.02])  # the centroid is a corner
    assert lattice.use.all()  # the outer columns are covered by half
    moved = lattice_over(np.roll(mask, (17, 31), (0, 1)), raster, 100.0)
    turned = lattice_over(np.rot90(mask), raster, 100.0)
    np.testing.assert_allclose(moved.area, lattice.area, rtol=1e-5)
    np.testing.assert_allclose(turned.area, np.rot90(lattice.area), rtol=1e-5)
    half = mask.copy()
    half[:, 60:] = False
    part = area_by_square(half, raster, lattice.origin_um, lattice.area.shape, 100.0)
    assert part.sum() == pytest.approx(half.sum() * 16e-6) and (part <= lattice.area + 1e-9).all()
    assert lattice_over(np.zeros((9, 9), bool), Raster(shape=(9, 9), mpp=4.0), 50.0).use.sum() == 0


def view_of(make_map, tumor, lymphocytes, **kw):
    xy = np.concatenate([tumor, lymphocytes])
    kinds = ["tumor"] * len(tumor) + ["lymphocyte"] * len(lymphocytes)
    return View(make_map(xy, kinds, regions=(("cancer_stroma", 0, 0, 2000, 2000),), **kw))


def test_randomness_is_alike_and_mirrored_halves_are_apart(make_map):
    rng = np.random.default_rng(0)
    random = similarity(view_of(make_map, rng.uniform(0, 2000, (8000, 2)), rng.uniform(0, 2000, (8000, 2))))
    assert 0.93 < random["mh_100"] < 1 and random["mh_200"] > random["mh_50"]
    for name in ("moran_l", "moran_t", "lee_tl", "pearson_tl"):
        assert random[name] == pytest.approx(0, abs=0.12), name
    left, right = rng.uniform((0, 0), (1000, 2000), (8000, 2)), rng.uniform((1000, 0), (2000, 2000), (8000, 2))
    halves = similarity(view_of(make_map, left, right))
    assert halves["mh_100"] == 0 == halves["sorensen"] == halves["local_entropy"]
    assert halves["moran_l"] > 0.8 and halves["lee_tl"] < -0.8 and halves["lacunarity_l"] > 1.9
    assert not np.isnan(list(halves.values())).any()


def test_hotspots_are_rare_at_random_and_found_where_planted(make_map):
    rng = np.random.default_rng(1)
    t, lym = rng.uniform(0, 2000, (6000, 2)), rng.uniform(0, 2000, (6000, 2))
    random = hotspots(view_of(make_map, t, lym))
    assert random["immune_hs_frac"] < 0.02 and random["co_hs_all"] < 0.01
    block = rng.uniform((500, 500), (900, 900), (3000, 2))
    planted = hotspots(view_of(make_map, np.concatenate([t, block]), np.concatenate([lym, block + 3])))
    assert 0.04 <= planted["immune_hs_frac"] <= 0.0625  # the block, and what is beside it
    assert planted["co_hs_immune"] > 0.7 and planted["co_hs_cancer"] > 0.8
    assert planted["co_hs_all"] == pytest.approx(planted["co_hs_immune"] * planted["immune_hs_frac"])
    assert planted["immune_hs_ce"] == 0 and planted["gi_max"] > 10
    hole = lym[~np.all((lym > 1000) & (lym < 1500), axis=1)]
    assert hotspots(view_of(make_map, t, hole))["cold_l_frac"] == pytest.approx(0.0625, abs=0.02)
    assert np.isnan(list(hotspots(view_of(make_map, t, lym[:0])).values())).all()


def test_hot_and_cold_squares_are_told_by_sign():
    hot, cold = significant(np.array([6.0, -6, 0.5, -0.5]))
    assert hot.tolist() == [True, False, False, False] and cold.tolist() == [False, True, False, False]
