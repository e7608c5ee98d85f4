from __future__ import annotations

import numpy as np
import pytest
import torch

from kras_plugins.learning.training import EarlyStopping, positive_weight


def test_the_weight_of_positives_is_the_root_of_the_odds():
    labels = np.array([1, 0, 0, 0, 0] * 3, dtype=np.int8)
    assert positive_weight(labels) == pytest.approx(2)


def train(losses, patience, smoothing=0.0, solved=0.0):
    """Networks whose weight is the epoch's number; returns the restored weights and the epochs run."""
    weight = torch.zeros(len(losses[0]), 1)
    stopping = EarlyStopping([weight], patience, smoothing, solved)
    for epoch, loss in enumerate(losses, start=1):
        weight.fill_(epoch)
        if stopping.update(torch.tensor(loss)):
            break
    stopping.restore()
    return weight[:, 0].tolist(), epoch


def test_each_network_gets_its_own_best_epoch_back():
    losses = [(3.0, 1.0), (2.0, 2.0), (1.0, 3.0), (2.0, 3.0), (2.0, 3.0), (0.0, 0.0)]
    weights, epochs = train(losses, patience=2)
    assert weights == [3.0, 1.0]
    assert epochs == 5


def test_a_network_that_is_done_is_not_revived_by_a_late_improvement():
    losses = [(1.0, 5.0), (2.0, 4.0), (2.0, 3.0), (0.0, 2.0), (0.0, 1.0)]
    assert train(losses, patience=2)[0] == [1.0, 5.0]


def test_smoothing_sees_through_one_lucky_epoch():
    losses = [(4.0,), (0.5,), (4.0,), (2.0,), (1.5,), (1.5,)]
    assert train(losses, patience=9)[0] == [2.0]
    assert train(losses, patience=9, smoothing=0.7)[0] == [6.0]


def test_a_network_that_solved_its_task_is_done():
    losses = [(1.0, 1.0), (0.04, 0.5), (0.01, 0.04), (0.0, 0.0)]
    assert train(losses, patience=9, solved=0.05) == ([2.0, 3.0], 3)
