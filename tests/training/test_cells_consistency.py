"""Agreement on tissue without labels: with itself a network agrees, and only the trained one learns."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")


@pytest.fixture
def networks():
    from kras_profiler_cells.network import CellNet

    torch.manual_seed(0)
    network, average = CellNet(), CellNet().eval()
    average.load_state_dict(network.state_dict())
    return network, average


@pytest.fixture
def tiles():
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8))


def test_a_network_agrees_with_itself_about_one_tile(networks, tiles):
    from training.consistency import disagreement

    network, average = networks
    assert disagreement(network.eval(), average, tiles, tiles).item() == 0


def test_what_differs_is_learned_by_the_trained_network_alone(networks, tiles):
    from training.consistency import disagreement

    network, average = networks
    apart = disagreement(network.train(), average, tiles, tiles.flip(0))
    assert apart.item() > 0
    apart.backward()
    assert any(p.grad is not None and bool(p.grad.any()) for p in network.parameters())
    assert all(p.grad is None for p in average.parameters())


@pytest.mark.parametrize(("nucleus", "counted"), [(20.0, 1), (-20.0, 0)], ids=["nuclei", "no nuclei"])
def test_classes_count_by_a_quarter_where_the_average_sees_nuclei(nucleus, counted):
    from training.consistency import disagreement

    shape = torch.full((1, 2, 4, 4), nucleus)  # both agree about it
    theirs, mine = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.1, 0.2, 0.7])
    said = [
        SimpleNamespace(logits=lambda _, p=p: (shape, p.log().view(1, 3, 1, 1).expand(1, 3, 2, 2)))
        for p in (mine, theirs)
    ]
    tile = torch.zeros(1, 4, 4, 3, dtype=torch.uint8)
    wanted = 0.25 * counted * 4 * (0.6**2 + 0.6**2) / (counted * 4 * 3 + 1)  # four pixels of three classes
    assert disagreement(*said, tile, tile).item() == pytest.approx(wanted, abs=1e-6)


def test_its_weight_rises_over_the_first_part_and_stays():
    from training.consistency import RISE, WEIGHT, weight

    weights = [weight(step, 1000) for step in range(0, 1000, 10)]
    assert weights == sorted(weights)
    assert weights[0] < 0.01 * WEIGHT
    assert {weight(step, 1000) for step in (round(RISE * 1000), 999)} == {WEIGHT}


def test_a_pair_is_one_place_drawn_from_its_number_and_only_its_look_differs(tmp_path, monkeypatch):
    from training import consistency
    from training.consistency import Pairs
    from training.synthetic import synthetic_fields

    monkeypatch.setattr("training.synthetic.NUMBER", 1)
    fields = synthetic_fields(tmp_path, 0)
    pairs = Pairs(fields, 0, 3, 8, 64)
    assert len(pairs) == 5
    plain, changed = pairs[1]
    assert plain.shape == changed.shape == (64, 64, 3) and plain.dtype == changed.dtype == torch.uint8
    assert not torch.equal(plain, changed)
    again = Pairs(fields, 0, 4, 8, 64)[0]  # the fourth, wherever counting starts
    assert torch.equal(again[0], plain) and torch.equal(again[1], changed)
    assert not torch.equal(pairs[2][0], plain)
    for look in ("recolor", "restain", "photograph"):
        monkeypatch.setattr(consistency, look, lambda pixels, *_: pixels)
    plain, changed = pairs[1]
    assert torch.equal(plain, changed)
