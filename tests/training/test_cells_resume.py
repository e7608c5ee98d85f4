"""Training that was stopped goes on as if it had not been."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    from training import cells
    from training.synthetic import synthetic_fields

    monkeypatch.setattr("training.synthetic.NUMBER", 1)
    monkeypatch.setattr(cells, "SHARES", {"synthetic": 1.0})
    monkeypatch.setattr(cells, "SIDE", 64)
    monkeypatch.setattr(cells, "BATCH", 2)
    monkeypatch.setattr(cells, "CHECKPOINT_EVERY", 2)
    monkeypatch.setattr(cells, "WORKERS", 0)
    return cells, synthetic_fields(tmp_path, 0)


def test_a_stopped_training_ends_with_the_same_weights(tmp_path, drawn, monkeypatch):
    from rich.console import Console

    cells, fields = drawn
    console = Console(quiet=True)
    straight = cells.train(fields, 5, tmp_path / "a.pt", console)

    average, calls = cells._average, []

    def killed(*args):
        calls.append(1)
        if len(calls) == 4:  # after the checkpoint of step 2
            raise KeyboardInterrupt
        average(*args)

    with monkeypatch.context() as patch:
        patch.setattr(cells, "_average", killed)
        with pytest.raises(KeyboardInterrupt):
            cells.train(fields, 5, tmp_path / "b.pt", console)
    resumed = cells.train(fields, 5, tmp_path / "b.pt", console)
    for name, tensor in straight.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_the_loss_is_small_where_the_network_is_right_and_ignores_unknown_classes():
    from training.cells import loss_of

    nucleus = torch.zeros(1, 8, 8)
    nucleus[:, 2:6, 2:6] = 1
    distance, weight = nucleus * 0.9, torch.ones(1, 8, 8)
    classes = torch.where(nucleus > 0, 1, -1).long()
    shape = torch.stack([20 * nucleus - 10, torch.where(nucleus > 0, 2.197, -10.0)], 1)
    right = torch.zeros(1, 3, 4, 4)
    right[:, 1] = 6
    wrong = right.flip(1)
    wrong[:, 1] = 0
    good, bad = (float(loss_of(shape, k, nucleus, distance, classes, weight)) for k in (right, -right))
    assert good < 0.3 < bad
    unknown = torch.full_like(classes, -1)
    assert float(loss_of(shape, -right, nucleus, distance, unknown, weight)) < 0.1
    assert float(loss_of(-shape, right, nucleus, distance, classes, weight)) > 5
