"""Outlines made from dots, and nuclei changed within their outlines."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from training.fields import UNKNOWN, densities, light
from training.implant import faded, implant, vesicular
from training.metrics import nearest_pairs, scores, tally_of_pairs
from training.outlines import EDGE, SURE, UNDOTTED, from_dots

NUCLEUS, CYTOPLASM = (90, 60, 140), (225, 165, 205)
DISCS = [(30, 30, 9), (60, 34, 7), (47, 34, 8), (30, 80, 10), (80, 80, 6)]
"""(x, y, radius): the second and third touch."""


def drawn(discs=DISCS, side: int = 110, hollow: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Pixels and labels of discs; hollow ones are pale within a rim of 2 px."""
    y, x = np.indices((side, side))
    labels = np.zeros((side, side), np.int32)
    pixels = np.full((side, side, 3), CYTOPLASM, np.uint8)
    for i, (cx, cy, r) in enumerate(discs):
        away = np.hypot(x - cx, y - cy)
        labels[(away <= r) & (labels == 0)] = i + 1
    depth = ndimage.distance_transform_edt(labels > 0)
    pixels[(labels > 0) & ((depth <= 2.5) | (not hollow))] = NUCLEUS
    return pixels, labels


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def dots_of(discs=DISCS) -> np.ndarray:
    return np.array([(x, y) for x, y, _ in discs], float)


def test_a_dot_in_each_nucleus_gives_its_outline():
    pixels, truth = drawn()
    labels, _ = from_dots(pixels, dots_of(), 0.5)
    for i in range(1, len(DISCS) + 1):
        assert dice(labels == i, truth == i) > 0.85, i


def test_a_dot_off_the_middle_gives_the_same_nucleus():
    pixels, truth = drawn([(50, 50, 10)])
    labels, _ = from_dots(pixels, np.array([[54.0, 47.0]]), 0.5)
    assert dice(labels == 1, truth == 1) > 0.85


def test_a_nucleus_with_a_pale_middle_is_outlined_by_its_rim():
    discs = [(30, 30, 9), (80, 80, 9)]
    pixels, truth = drawn(discs, hollow=True)
    labels, _ = from_dots(pixels, dots_of(discs), 0.5)
    assert dice(labels > 0, truth > 0) > 0.8


def test_where_no_edge_is_seen_a_nucleus_is_a_small_disc():
    plain = np.full((80, 80, 3), CYTOPLASM, np.uint8)
    labels, _ = from_dots(plain, np.array([[40.0, 40.0]]), 0.5)
    assert 40 < np.count_nonzero(labels == 1) < 200


def test_what_a_network_sees_goes_before_the_stain():
    plain = np.full((110, 110, 3), CYTOPLASM, np.uint8)
    _, truth = drawn()
    nucleus = (truth > 0).astype(np.float32)
    depth = ndimage.distance_transform_edt(truth > 0).astype(np.float32)
    labels, weight = from_dots(plain, dots_of()[:4], 0.5, (nucleus, depth / depth.max()))
    for i in (1, 4):
        assert dice(labels == i, truth == i) > 0.9
    assert np.all(labels[truth == 5] == 0)  # no dot, no label; and not believed to be none
    assert np.all(weight[ndimage.binary_erosion(truth == 5, iterations=3)] == UNDOTTED)


def test_edges_are_believed_less_than_dots_and_far_surroundings():
    pixels, _ = drawn()
    labels, weight = from_dots(pixels, dots_of(), 0.5)
    assert all(weight[y, x] == SURE for x, y, _ in DISCS)
    assert weight[5, 100] == SURE
    edge = (labels > 0) & ~ndimage.binary_erosion(labels > 0)
    assert np.all(weight[edge] == EDGE)


def test_an_image_without_dots_has_no_nuclei():
    pixels, _ = drawn()
    labels, weight = from_dots(pixels, np.zeros((0, 2)), 0.5)
    assert labels.max() == 0 and np.all(weight == SURE)


def test_vesicular_nuclei_are_paler_inside_and_keep_rim_and_surroundings():
    pixels, labels = drawn([(30, 30, 12), (80, 80, 12)])
    depth = ndimage.distance_transform_edt(labels > 0)
    distance = (depth / depth.max()).astype(np.float32)
    changed = [vesicular(pixels, labels, distance, np.random.default_rng(s)) for s in range(20)]
    assert all(np.all(c[labels == 0] == pixels[labels == 0]) for c in changed)
    rim, middle = (depth == 1), distance > 0.6
    paler = [densities(pixels)[middle].mean() - densities(c)[middle].mean() for c in changed]
    assert np.mean(np.array(paler) > 0.1) > 0.5
    for c in changed:
        assert np.abs(densities(c)[rim] - densities(pixels)[rim]).mean() < 0.1


def test_faded_nuclei_are_nearer_to_their_surroundings_which_stay():
    pixels, labels = drawn()
    far = ndimage.distance_transform_edt(labels == 0) > 8
    contrasts = []
    for seed in range(20):
        changed = faded(pixels, labels, np.random.default_rng(seed))
        assert np.all(changed[far] == pixels[far])
        dense = [densities(changed)[ndimage.binary_erosion(labels == i, iterations=3)].mean() for i in range(1, 6)]
        contrasts.append(np.array(dense) - densities(pixels)[5, 100].mean())
    whole = densities(np.array([[NUCLEUS]], np.uint8)).mean() - densities(np.array([[CYTOPLASM]], np.uint8)).mean()
    shares = np.array(contrasts) / whole
    assert shares.min() > 0.1 and shares.max() < 1.02
    assert 0.1 < np.mean(shares < 0.75) < 0.7


def test_implanted_nuclei_bring_their_class_and_contrast_and_cover_nobody():
    host, donor = drawn([(30, 30, 9)]), drawn([(32, 32, 9), (80, 80, 10)])
    green = light(densities(donor[0]) + np.array([0.4, 0.0, 0.4], np.float32))
    pixels, labels, classes = implant(
        (*host, np.array([UNKNOWN, 2], np.int8)), (green, donor[1], np.array([UNKNOWN, 0, 1], np.int8)),
        np.random.default_rng(0),
    )  # fmt: skip
    assert labels.max() == 2 and classes.tolist() == [UNKNOWN, 2, 1]  # the first would cover the host's
    np.testing.assert_array_equal(labels == 1, host[1] == 1)
    np.testing.assert_array_equal(labels == 2, donor[1] == 2)
    inside = ndimage.binary_erosion(labels == 2, iterations=2)
    expected = densities(host[0])[inside] + densities(green)[inside] - densities(green)[5, 5]
    np.testing.assert_allclose(densities(pixels)[inside], expected, atol=0.05)


def test_densities_and_light_are_inverse():
    every = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.abs(light(densities(every)).astype(int) - every).max() <= 1


def test_points_pair_nearest_first_and_once():
    truth = np.array([[0.0, 0.0], [3.0, 0.0], [50.0, 0.0]])
    found = np.array([[1.0, 0.0], [-1.5, 0.0], [53.0, 0.0]])
    i, j = nearest_pairs(truth, found, 3.5)
    assert sorted(zip(i.tolist(), j.tolist(), strict=True)) == [(0, 0), (2, 2)]  # 1's only partner is nearer to 0
    i, j = nearest_pairs(truth, found[:0], 3.5)
    assert len(i) == len(j) == 0


def test_pairs_are_scored_by_finding_and_class():
    total = tally_of_pairs(np.array([0, 0, 1]), np.array([0, 1, 1, -1]), np.array([0, 1, 2]), np.array([0, 1, 3]), 3)
    result = scores(total, ("tumor", "lymphocyte", "fibroblast"))
    assert (total.tp, total.fp, total.fn) == (3, 1, 0)
    assert result["f1 tumor"] == pytest.approx(2 / 3)  # one right, one given another class
    assert result["f1 lymphocyte"] == 0  # two given, none right, one missed
