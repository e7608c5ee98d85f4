"""Nearest tiles: cosine over slides, the chosen tile found by a point, bags of one encoder only."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kras_plugins.data import Bag, TileSpec
from kras_plugins.errors import ConfigError
from kras_plugins.probing.retrieval import nearest


def bag(slide_id: str, features: np.ndarray, size: float = 448.0, **changes: object) -> Bag:
    """Tiles in one row from the origin."""
    xy = np.stack([np.arange(len(features)) * int(size), np.zeros(len(features))], axis=1).astype(np.int32)
    made = Bag(
        slide_id=slide_id,
        features=np.asarray(features, np.float32),
        xy=xy,
        size=(size, size),
        tile_spec=TileSpec(px=224, mpp=0.5),
        encoder="vit/abc",
        transform_hash="t",
    )
    return replace(made, **changes)


def test_tiles_are_ordered_by_the_angle_between_features_whatever_their_length_and_slide() -> None:
    angles = np.deg2rad([0, 50, 20, 170])
    a = bag("a", 3 * np.stack([np.cos(angles), np.sin(angles)], axis=1))
    b = bag("b", 0.01 * np.stack([np.cos([np.deg2rad(-10)]), np.sin([np.deg2rad(-10)])], axis=1))
    hits = nearest([a, b], "a", (10, 10), count=3)
    assert [(h.slide_id, h.xy[0]) for h in hits] == [("a", 0), ("b", 0), ("a", 896), ("a", 448)]
    np.testing.assert_allclose([h.cosine for h in hits], np.cos(np.deg2rad([0, 10, 20, 50])), atol=1e-6)
    assert len(nearest([a, b], "a", (10, 10), count=99)) == 5


def test_cosines_are_scikit_learns_also_over_several_slabs(monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.metrics.pairwise import cosine_similarity

    monkeypatch.setattr("kras_plugins.bags._SLAB", 7)
    rng = np.random.default_rng(0)
    bags = [bag("a", rng.standard_normal((20, 16))), bag("b", rng.standard_normal((5, 16)))]
    hits = nearest(bags, "b", (448 * 2 + 1, 1), count=24)
    want = cosine_similarity(bags[1].features[2:3], np.concatenate([x.features for x in bags]))[0]
    np.testing.assert_allclose([h.cosine for h in hits], np.sort(want)[::-1], atol=1e-5)


def test_the_chosen_tile_stands_first_even_beside_its_twin() -> None:
    hits = nearest([bag("a", np.ones((3, 4)))], "a", (448 + 447, 447), count=1)
    assert [h.xy for h in hits] == [(448, 0), (0, 0)]


def test_a_point_without_a_tile_is_refused_and_the_nearest_named() -> None:
    with pytest.raises(ConfigError, match="no tile with tissue at 900,10") as e:
        nearest([bag("a", np.ones((2, 4)))], "a", (900, 10), count=1)
    assert "448,0" in e.value.hint


def test_bags_of_different_encoders_or_transforms_are_not_compared() -> None:
    one = bag("a", np.ones((2, 4)))
    for other in (bag("b", np.ones((2, 4)), encoder="vit/other"), bag("b", np.ones((2, 4)), transform_hash="u")):
        with pytest.raises(ConfigError, match="different encoders"):
            nearest([one, other], "a", (0, 0), count=1)


def test_an_unknown_slide_is_refused_and_the_known_ones_named() -> None:
    with pytest.raises(ConfigError, match="no slide 'z'") as e:
        nearest([bag("a", np.ones((2, 4)))], "z", (0, 0), count=1)
    assert "a" in e.value.hint
