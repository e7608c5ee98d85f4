"""Which nuclei are missed, merged and split, on drawn ones."""

from __future__ import annotations

import numpy as np
import pytest

from training.faults import contrast_of, faults, nuclei_of
from training.fields import UNKNOWN, Field


def field_of(*boxes: tuple[int, int, int, int], gray: tuple[int, ...] = ()) -> Field:
    labels = np.zeros((60, 120), np.int32)
    pixels = np.full((60, 120, 3), 200, np.uint8)
    for i, (x0, y0, x1, y1) in enumerate(boxes):
        labels[y0:y1, x0:x1] = i + 1
        pixels[y0:y1, x0:x1] = gray[i] if gray else 100
    classes = np.full(len(boxes) + 1, UNKNOWN, np.int8)
    return Field(
        name="f", kind="k", source="s", pixels=pixels, labels=labels, classes=classes, mpp=0.5, scored=(0, 0, 120, 60)
    )


BOXES = ((5, 5, 15, 15), (15, 5, 25, 15), (50, 5, 70, 25), (90, 30, 96, 36))


def test_a_merged_pair_and_a_split_nucleus_are_told_apart_from_missed_ones():
    truth = field_of(*BOXES)
    found = np.zeros_like(truth.labels)
    found[5:15, 5:25] = 1  # both of the first two
    found[5:25, 50:60], found[5:25, 60:70] = 2, 3  # halves of the third
    result = nuclei_of(truth, found)
    assert result.merged.tolist() == [True, True, False, False]
    assert result.split.tolist() == [False, False, True, False]
    assert not result.found.any()  # halves and wholes have IoU of one half at most
    exact = nuclei_of(truth, truth.labels)
    assert exact.found.all() and not exact.merged.any() and not exact.split.any()


def test_recall_is_given_by_area_and_contrast():
    truth = field_of(*BOXES, gray=(100, 100, 190, 50))
    found = np.where(truth.labels == 3, 0, truth.labels)
    groups = faults([nuclei_of(truth, found)])
    assert groups["recall by area (µm²)"] == {
        "below 20": (1, 1.0), "20 to 40": (2, 1.0), "80 and more": (1, 0.0),
    }  # fmt: skip
    assert groups["recall by contrast"]["below 0.15"] == (1, 0.0)


def test_contrast_is_the_difference_of_densities():
    truth = field_of(BOXES[2], gray=(100,))
    assert contrast_of(truth) == pytest.approx([np.log(201 / 101)], abs=1e-3)


def test_a_field_without_nuclei_has_no_faults():
    empty = field_of()
    result = nuclei_of(empty, np.zeros_like(empty.labels))
    assert len(result.found) == 0 and faults([result])["merged"] == {}
