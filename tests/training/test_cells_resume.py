"""Interrupted training resumes as if it had not been interrupted."""

from __future__ import annotations

from dataclasses import replace
from multiprocessing import active_children

import pytest

torch = pytest.importorskip("torch")


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    from training import learn
    from training.synthetic import synthetic_fields

    monkeypatch.setattr("training.synthetic.NUMBER", 1)
    monkeypatch.setattr(learn, "SHARES", {"synthetic": 0.5, "dotted": 0.5})
    monkeypatch.setattr(learn, "SIDE", 64)
    monkeypatch.setattr(learn, "BATCH", 2)
    monkeypatch.setattr(learn, "CHECKPOINT_EVERY", 2)
    monkeypatch.setattr(learn, "WORKERS", 0)
    (drawn,) = synthetic_fields(tmp_path, 0)
    dotted = replace(drawn, kind="dotted", dots=drawn.centers[1:])
    return learn, [drawn, dotted]


@pytest.mark.parametrize("agrees", [False, True], ids=["labels", "labels and tissue without"])
def test_a_stopped_training_ends_with_the_same_weights(agrees, tmp_path, drawn, monkeypatch):
    from rich.console import Console

    learn, fields = drawn
    console = Console(quiet=True)
    outlined, teachers = learn.outlined, []
    monkeypatch.setattr(learn, "outlined", lambda *a: teachers.append(a[1] is not None) or outlined(*a))
    unlabeled = fields[:1] if agrees else ()
    disagreement, asked = learn.disagreement, []
    monkeypatch.setattr(learn, "disagreement", lambda *a: asked.append(1) or disagreement(*a))
    straight = learn.train(fields, 5, tmp_path / "a.pt", console, unlabeled)

    assert len(asked) == 5 * agrees  # once a step
    assert teachers == [False, True, True]  # the dotted field is outlined by what was learned so far
    average, calls = learn._average, []

    def killed(*args):
        calls.append(1)
        if len(calls) == 4:  # after the checkpoint of step 2
            raise KeyboardInterrupt
        average(*args)

    with monkeypatch.context() as patch:
        patch.setattr(learn, "_average", killed)
        with pytest.raises(KeyboardInterrupt):
            learn.train(fields, 5, tmp_path / "b.pt", console, unlabeled)
    resumed = learn.train(fields, 5, tmp_path / "b.pt", console, unlabeled)
    for name, tensor in straight.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_a_stopped_training_ends_its_workers_at_once(tmp_path, drawn, monkeypatch):
    """Not only once nobody looks at the exception any more."""
    from rich.console import Console

    learn, fields = drawn
    before, during = set(active_children()), []

    def stop(*_):
        during.extend(set(active_children()) - before)
        raise KeyboardInterrupt

    monkeypatch.setattr(learn, "WORKERS", 1)
    monkeypatch.setattr(learn, "_average", stop)
    with pytest.raises(KeyboardInterrupt) as stopped:
        learn.train(fields, 5, tmp_path / "a.pt", Console(quiet=True))
    assert len(during) == 1 and not during[0].is_alive(), stopped


def test_the_loss_is_small_where_the_network_is_right_and_ignores_unknown_classes():
    from training.learn import loss_of

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
