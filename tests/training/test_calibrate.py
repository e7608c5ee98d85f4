"""Temperature and calibration error against distributions that are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

pytest.importorskip("torch")

from training import calibrate
from training.calibrate import Typed


def drawn(n: int, factor: float, kind: str = "a", seed: int = 0, pixels: int = 3) -> Typed:
    """Nuclei whose logits, divided by `factor`, say how often each class is right."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (n, 3))
    labels = np.array([rng.choice(3, p=p) for p in softmax(logits, axis=1)])
    return Typed(
        logits=np.repeat(logits * factor, pixels, axis=0).astype(np.float32),
        nucleus=np.repeat(np.arange(n), pixels),
        labels=labels,
        kind=(kind,) * n,
    )


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_the_temperature_is_what_logits_were_multiplied_by(factor):
    typed = drawn(4000, factor)
    found = calibrate.temperature(typed)
    assert found == pytest.approx(factor, rel=0.08)
    told = calibrate.calibrated(typed, found)["a"]
    assert told["error after"] < 0.03
    assert factor == 1.0 or told["error before"] > 0.06


def test_kinds_count_alike_and_each_is_judged_by_the_others():
    many, few = drawn(3000, 3.0, "many"), drawn(300, 1.0, "few", seed=1)
    both = Typed(
        logits=np.concatenate([many.logits, few.logits]),
        nucleus=np.concatenate([many.nucleus, few.nucleus + 3000]),
        labels=np.concatenate([many.labels, few.labels]),
        kind=many.kind + few.kind,
    )
    found = calibrate.temperature(both)
    assert 1.3 < found < 2.5  # that of the many alone would be 3
    told = calibrate.calibrated(both, found)
    assert told["many"]["error as the others set it"] > 0.1
    part = both.of(np.array(both.kind) == "few")
    np.testing.assert_array_equal(part.logits, few.logits)
    np.testing.assert_array_equal(part.nucleus, few.nucleus)


def test_a_nucleus_has_the_mean_probability_of_its_pixels():
    typed = Typed(
        logits=np.float32([[5, 0, 0], [0, 5, 0], [0, 0, 2]]),
        nucleus=np.array([0, 0, 1]),
        labels=np.array([0, 2]),
        kind=("a", "a"),
    )
    each = softmax(typed.logits / 2.0, axis=1)
    np.testing.assert_allclose(calibrate.probabilities(typed, 2.0), [(each[0] + each[1]) / 2, each[2]], rtol=1e-6)


def test_the_calibration_error_is_the_gap_between_confidence_and_accuracy():
    probability = np.array([[0.8, 0.2]] * 10 + [[0.3, 0.7]] * 10)
    labels = np.array([0] * 6 + [1] * 4 + [1] * 7 + [0] * 3)  # 60 % right at 0.8, 70 % right at 0.7
    assert calibrate.calibration_error(probability, labels) == pytest.approx((0.2 + 0.0) / 2)


def test_logits_are_taken_inside_the_scored_nuclei_of_known_class():
    import torch

    from kras_profiler_cells.network import CellNet
    from training.fields import Field

    labels = np.zeros((70, 90), np.int32)
    labels[10:20, 10:20], labels[40:50, 40:50], labels[10:20, 60:70], labels[0:6, 0:6] = 1, 2, 3, 4
    pixels = np.random.default_rng(0).integers(0, 255, (70, 90, 3)).astype(np.uint8)
    field = Field(
        name="f",
        kind="k",
        source="s",
        pixels=pixels,
        labels=labels,
        classes=np.array([-1, 2, -1, 0, 1], np.int8),
        mpp=0.5,
        scored=(8, 0, 90, 70),
    )
    torch.manual_seed(0)
    network = CellNet().eval()
    typed = calibrate.typed_nuclei(network, [field])
    assert typed.labels.tolist() == [2, 0] and typed.kind == ("k", "k")
    assert np.bincount(typed.nucleus).tolist() == [25, 25]
    padded = np.pad(pixels, ((0, 58), (0, 38), (0, 0)), mode="symmetric")
    with torch.inference_mode():
        maps = network.logits(torch.from_numpy(padded[None]))[1][0].numpy()
    np.testing.assert_allclose(typed.logits[typed.nucleus == 0], maps[:, 5:10, 5:10].reshape(3, -1).T, rtol=1e-6)
    told = calibrate.fit(network, [field])
    assert float(network.temperature) == pytest.approx(told["used"])
    network.temperature.fill_(2.0)
    after = network(torch.from_numpy(padded[None]))[2].numpy()
    expected = softmax(maps / 2.0, axis=0) * 255
    np.testing.assert_allclose(after[0], expected, atol=0.51)
