"""Bars for nuclei are compared on sources left out, and missing labels are no errors."""

from __future__ import annotations

import numpy as np

from training.evaluate import units_of
from training.fields import UNKNOWN, Field
from training.thresholds import shifted


def test_a_shift_adds_to_the_logit():
    p = np.arange(1, 255) / 255
    expected = 1 / (1 + (1 - p) / p * np.exp(-1.5))
    np.testing.assert_allclose(shifted(np.arange(1, 255, dtype=np.uint8), 1.5) / 255, expected, atol=0.5 / 255 + 1e-9)
    assert shifted(np.array([0, 128, 255], np.uint8), 0.0).tolist() == [0, 128, 255]


def test_what_is_found_where_labels_are_not_to_be_believed_is_no_error():
    """Three are found: one is labeled, one lies where labels may be missing, one where they are not."""
    labels = np.zeros((60, 120), np.int32)
    labels[10:20, 10:20] = 1
    weight = np.full(labels.shape, 255, np.uint8)
    weight[10:20, 50:57] = 51
    found = labels.copy()
    found[10:20, 50:60] = 2  # by seven tenths there
    found[30:40, 50:60] = 3
    field = Field(
        name="f",
        kind="k",
        source="s",
        pixels=np.full((60, 120, 3), 200, np.uint8),
        labels=labels,
        classes=np.full(2, UNKNOWN, np.int8),
        mpp=0.5,
        scored=(0, 0, 120, 60),
        weight=weight,
    )
    (result,) = units_of(lambda _: (found, ["tumor"] * 3), field)
    assert (result.tp, result.fp, result.fn) == (1, 1, 0)
