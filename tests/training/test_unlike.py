"""The score of being unlike training is fitted so that left-out fields of known kinds keep its limit."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis

torch = pytest.importorskip("torch")

from training import unlike  # noqa: E402
from training.fields import Field  # noqa: E402


def test_whitened_features_have_the_length_of_the_mahalanobis_distance():
    rng = np.random.default_rng(0)
    features = (rng.standard_normal((400, 6)) @ rng.standard_normal((6, 6)) + 3).astype(np.float32)
    mean, whiten = unlike.gaussian(features)
    precision = whiten.T.astype(float) @ whiten
    found = unlike._square(features[:20], mean, whiten)
    assert found == pytest.approx([mahalanobis(x, mean, precision) ** 2 for x in features[:20]], rel=1e-4)
    assert np.linalg.inv(precision) == pytest.approx(np.cov(features.T, bias=True), rel=0.1, abs=0.1)


def test_a_kind_that_varies_less_has_a_covariance_of_its_own():
    rng = np.random.default_rng(1)
    wide, narrow = rng.standard_normal((2, 2000, 4)).astype(np.float32) * np.float32([[[3]], [[0.1]]])
    away = np.float32([[1, 0, 0, 0]])
    assert unlike._square(away, *unlike.gaussian(wide)) == pytest.approx([1 / 9], rel=0.2)
    assert unlike._square(away, *unlike.gaussian(narrow)) == pytest.approx([100], rel=0.2)


def field(seed: int, kind: str, color: tuple[float, float, float], classes: tuple[int, ...] = (-1, 0)) -> Field:
    """Grainy tissue of one color."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(60, 200, (80, 80, 1)) * np.array(color)
    pixels = np.kron(coarse, np.ones((4, 4, 1))).astype(np.uint8)
    labels = np.zeros(pixels.shape[:2], np.int32)
    labels[100:110, 100:110] = 1
    return Field(
        name=f"{kind} {seed}",
        kind=kind,
        source=f"{kind} {seed}",
        pixels=pixels,
        labels=labels,
        classes=np.array(classes, np.int8),
        mpp=0.5,
        scored=(0, 0, 320, 320),
    )


PINK, GREEN = (1.0, 0.6, 0.8), (0.1, 1.0, 0.1)


def test_left_out_fields_keep_the_limit_and_another_tissue_does_not():
    from kras_profiler_cells.network import CellNet

    torch.manual_seed(0)
    network = CellNet().eval()
    assert unlike.scores(network, field(0, "pink", PINK)).max() == 0  # as it is made it finds nothing unlike
    fields = [field(i, "pink", PINK) for i in range(5)]
    untyped = field(7, "green", GREEN, (-1, -1))  # nothing is learned of types there: it stays unlike
    told = unlike.fit(network, [*fields, untyped], [field(9, "other", PINK)], draws=64)
    assert set(told["limits"]) == {"pink"} and told["limits"]["pink"]["windows"] == 5 * 25
    mine, theirs = unlike.scores(network, field(8, "pink", PINK)), unlike.scores(network, untyped)
    assert np.mean(mine < 1) > 0.8 and np.median(theirs) > 2 * np.median(mine)
    found = unlike.figures(network, {"mine": [field(8, "pink", PINK)]}, {"theirs": [untyped]})
    assert found["theirs"]["auroc"] > 0.9 and found["theirs"]["share above"] == np.mean(theirs > 1)
    maps = network(torch.from_numpy(untyped.pixels[None]))
    expected = theirs / (1 + theirs)  # the graph says what the fit says
    assert maps[3].numpy().ravel() / 255 == pytest.approx(expected, abs=0.01)


def test_samples_show_tissue_beside_glass_as_slides_do():
    rng = np.random.default_rng(0)
    tissue = np.full((128, 128, 3), 120, np.uint8)
    shown = [unlike.on_glass(tissue, rng) for _ in range(40)]
    glass = np.array([np.mean(s.min(2) > 200) for s in shown])
    assert 0.2 < np.mean(glass > 0.05) < 0.6 and glass.max() < 0.8
    assert all(np.mean(s == 120) > 0.1 for s in shown)
