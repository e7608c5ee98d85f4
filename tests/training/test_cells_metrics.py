"""Scores of found nuclei against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from training.metrics import add, bootstrap, overlap, pair, scores, tally

CLASSES = ("tumor", "lymphocyte", "fibroblast")


def boxes(*corners: tuple[int, int, int, int], shape: tuple[int, int] = (40, 60)) -> np.ndarray:
    labels = np.zeros(shape, np.int32)
    for i, (x0, y0, x1, y1) in enumerate(corners):
        labels[y0:y1, x0:x1] = i + 1
    return labels


def compare(truth, found, true_class=None, found_class=None, counted=None):
    m, n = truth.max() + 1, found.max() + 1
    unknown = [np.full(k, -1) for k in (m, n)]
    true_class = unknown[0] if true_class is None else np.array([-1, *true_class])
    found_class = unknown[1] if found_class is None else np.array([-1, *found_class])
    counted_truth, counted_found = counted or (np.ones(m, bool), np.ones(n, bool))
    return tally(truth, found, true_class, found_class, counted_truth, counted_found, 3)


THREE = boxes((0, 0, 10, 10), (20, 0, 30, 10), (40, 0, 50, 10))


def test_identical_maps_score_one():
    result = scores(compare(THREE, THREE, [0, 1, 2], [0, 1, 2]), CLASSES)
    assert all(value == 1 for value in result.values())


def test_labels_may_be_permuted():
    permuted = np.array([0, 3, 1, 2])[THREE].astype(np.int32)
    result = scores(compare(THREE, permuted, [0, 1, 2], [1, 2, 0]), CLASSES)
    assert result["f1"] == result["aji"] == result["pq"] == result["f1 tumor"] == 1


def test_a_shift_of_a_third_halves_the_overlap():
    """A 12-pixel square moved by 4: intersection 96, union 192, IoU exactly 0.5, which is no match."""
    truth, found = boxes((0, 0, 12, 12)), boxes((4, 0, 16, 12))
    assert overlap(truth, found).iou == pytest.approx(0.5)
    missed = scores(compare(truth, found), CLASSES)
    assert missed["f1"] == 0 and missed["pq"] == 0
    assert missed["aji"] == pytest.approx(96 / 192)
    nearer = scores(compare(truth, boxes((3, 0, 15, 12))), CLASSES)
    assert nearer["f1"] == 1
    assert nearer["pq"] == nearer["aji"] == pytest.approx(108 / 180)


def test_a_merged_pair_is_one_false_and_two_missed():
    """Two touching 100 px squares found as one of 200: IoU 0.5 with each. AJI after Kumar: both take the merged one."""
    truth, found = boxes((0, 0, 10, 10), (10, 0, 20, 10)), boxes((0, 0, 20, 10))
    total = compare(truth, found)
    assert (total.tp, total.fp, total.fn) == (0, 1, 2)
    assert scores(total, CLASSES)["aji"] == pytest.approx((100 + 100) / (200 + 200))


def test_a_split_nucleus_keeps_its_larger_part():
    """100 px found as 70 and 30: one pair of IoU 0.7; the other part is false and adds its area to AJI's union."""
    truth, found = boxes((0, 0, 10, 10)), boxes((0, 0, 7, 10), (7, 0, 10, 10))
    total = compare(truth, found)
    assert (total.tp, total.fp, total.fn) == (1, 1, 0)
    result = scores(total, CLASSES)
    assert result["f1"] == pytest.approx(2 / 3)
    assert result["pq"] == pytest.approx(0.7 / 1.5)
    assert result["aji"] == pytest.approx(70 / (100 + 30))


def test_missed_and_false_nuclei_enlarge_the_union_of_aji():
    """One exact pair of 100, one missed of 100, one false of 50: AJI 100 / 250, PQ 1 / 2."""
    truth, found = boxes((0, 0, 10, 10), (20, 0, 30, 10)), boxes((0, 0, 10, 10), (0, 20, 10, 25))
    result = scores(compare(truth, found), CLASSES)
    assert result["aji"] == pytest.approx(100 / 250)
    assert result["pq"] == pytest.approx(0.5)
    assert (result["precision"], result["recall"]) == (0.5, 0.5)


def test_a_nucleus_of_the_wrong_class_is_missed_for_its_own_and_false_for_the_other():
    total = compare(THREE, THREE, [0, 0, 1], [0, 1, 1])
    result = scores(total, CLASSES)
    assert result["f1"] == 1
    assert result["f1 tumor"] == pytest.approx(2 / 3)  # tp 1, fn 1
    assert result["f1 lymphocyte"] == pytest.approx(2 / 3)  # tp 1, fp 1
    assert np.isnan(result["f1 fibroblast"])
    assert result["f1 lymphocyte/tumor"] == pytest.approx(2 / 3)
    assert result["typing lymphocyte/tumor"] == pytest.approx(2 / 3)


def test_finding_counts_in_the_class_score_but_not_in_typing():
    """A missed tumor nucleus and a false lymphocyte: typing of what was paired is perfect."""
    truth, found = boxes((0, 0, 10, 10), (20, 0, 30, 10), (40, 0, 50, 10)), boxes((0, 0, 10, 10), (20, 0, 30, 10))
    found[30:36, 0:8] = 3
    result = scores(compare(truth, found, [0, 1, 0], [0, 1, 1]), CLASSES)
    assert result["typing lymphocyte/tumor"] == 1
    assert result["f1 tumor"] == pytest.approx(2 / 3) and result["f1 lymphocyte"] == pytest.approx(2 / 3)


def test_a_word_of_no_class_is_a_miss_and_never_false():
    total = compare(THREE, THREE, [0, 0, 1], [0, -1, 1])
    assert total.typed[0].tolist() == [1, 0, 1]
    assert total.among[0].tolist() == [1, 0, 0, 1]


def test_context_may_be_a_partner_but_is_not_counted():
    """Truth 2 is context: found 2, its partner, is not false. Found 3 lies in the context as well."""
    counted = (np.array([False, True, False, True]), np.array([False, True, True, False]))
    total = compare(THREE, THREE, [0, 1, 1], [0, 1, 1], counted)
    assert (total.tp, total.fp, total.fn) == (2, 0, 0)


@pytest.mark.parametrize("empty", ["truth", "found", "both"])
def test_empty_maps_have_no_pairs(empty):
    nothing = np.zeros_like(THREE)
    truth, found = (nothing if empty in (name, "both") else THREE for name in ("truth", "found"))
    total = compare(truth, found)
    result = scores(total, CLASSES)
    assert total.tp == 0 and len(pair(overlap(truth, found)).iou) == 0
    assert np.isnan(result["f1"]) if empty == "both" else result["f1"] == 0


def test_blocks_add_up_to_the_whole():
    truth = boxes((0, 0, 10, 10), (20, 0, 30, 10), (40, 0, 50, 10))
    found = boxes((1, 0, 11, 10), (22, 0, 30, 10), (40, 20, 50, 30))
    whole = compare(truth, found, [0, 1, 2], [0, 1, 1])
    parts = []
    for low, high in ((0, 15), (15, 60)):
        at = [np.array([np.nan, *(np.nonzero(m == i)[1].mean() for i in (1, 2, 3))]) for m in (truth, found)]
        parts.append(compare(truth, found, [0, 1, 2], [0, 1, 1], tuple((x >= low) & (x < high) for x in at)))
    assert scores(add(parts), CLASSES) == pytest.approx(scores(whole, CLASSES), nan_ok=True)


def test_an_interval_holds_its_value_and_shrinks_with_more_images():
    rng = np.random.default_rng(0)
    images = []
    for _ in range(40):
        found = THREE * (rng.random(4) < 0.7)[THREE]
        images.append(compare(THREE, found.astype(np.int32)))
    few, many = (bootstrap(images[:n], CLASSES, draws=300)["recall"] for n in (8, 40))
    assert few[1] <= few[0] <= few[2] and many[1] <= many[0] <= many[2]
    assert many[2] - many[1] < few[2] - few[1]
