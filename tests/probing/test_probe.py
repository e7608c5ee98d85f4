"""The probe finds what was planted, nothing where nothing is, and keeps groups together."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from cohorts import kras
from PIL import Image

from kras_plugins.errors import ConfigError
from kras_plugins.pretraining.network import build
from kras_plugins.pretraining.recipe import Recipe
from kras_plugins.pretraining.weights import describe, write_weights
from kras_plugins.probing.baseline import colors_and_textures
from kras_plugins.probing.labelled import fit, read_tiles
from kras_plugins.probing.robustness import steadiness
from kras_plugins.probing.scores import Score, compare, probe

LABELS = ["a", "b", "c"] * 40
GROUPS = [str(i // 6) for i in range(120)]


def features(strength: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centers = np.eye(3).repeat(4, 1)
    x = strength * centers[[ord(label) - 97 for label in LABELS]] + rng.standard_normal((120, 12))
    return x.astype(np.float32)


def test_classes_that_are_apart_are_told_and_those_that_are_not_score_chance_within_the_interval() -> None:
    apart, alike = probe(features(6.0), LABELS, GROUPS, seeds=2), probe(features(0.0), LABELS, GROUPS, seeds=2)
    for name in ("knn", "logistic"):
        assert apart[name].value > 0.97
        assert alike[name].low <= 1 / 3 <= alike[name].high
        assert alike[name].low <= alike[name].value <= alike[name].high


def test_what_only_tells_groups_apart_is_worth_nothing() -> None:
    rng = np.random.default_rng(1)
    own = rng.standard_normal((20, 12))
    labels = [str(i // 6 % 2) for i in range(120)]  # a group has one class
    x = own[[i // 6 for i in range(120)]] + 0.01 * rng.standard_normal((120, 12))
    scores = probe(x.astype(np.float32), labels, GROUPS, seeds=2)
    assert all(s.low < 0.5 for s in scores.values())
    leaky = probe(x.astype(np.float32), labels, [str(i) for i in range(120)], seeds=1)
    assert leaky["knn"].value > 0.95


def test_balanced_accuracy_is_the_mean_recall_and_a_difference_of_equals_is_zero() -> None:
    scores = probe(features(1.0), LABELS, GROUPS, seeds=2)["logistic"]
    assert scores.value == pytest.approx(np.mean(list(scores.by_class.values())))
    assert scores.value == pytest.approx(np.mean(scores.by_seed))
    assert compare(scores, scores, LABELS, GROUPS) == (0, 0, 0)
    better = Score(**{**vars(scores), "right": np.ones(120), "value": 1.0})
    gain, low, high = compare(better, scores, LABELS, GROUPS)
    assert low <= gain <= high
    assert low > 0


def test_a_class_in_one_group_is_refused() -> None:
    with pytest.raises(ConfigError, match="class b lies in a single group"):
        probe(features(1.0)[:4], ["a", "b", "a", "a"], ["1", "1", "2", "3"])


def test_tiles_at_true_scale_keep_their_middle_and_are_mirrored_where_they_are_too_small() -> None:
    x = np.arange(6 * 6 * 3, dtype=np.uint8).reshape(6, 6, 3)
    assert np.array_equal(fit(x, 4, 1.0), x[1:5, 1:5])
    assert np.array_equal(fit(x, 10, 1.0), np.pad(x, ((2, 2), (2, 2), (0, 0)), "symmetric"))
    assert fit(x, 40, 1.0).shape == (40, 40, 3)
    assert fit(np.full((8, 8, 3), 9, np.uint8), 8, 2.0).shape == (8, 8, 3)
    assert fit(x, 12, None).shape == (12, 12, 3)


def stripes(rng: np.random.Generator, dark: bool) -> np.ndarray:
    noise = rng.random((48, 48, 1)) * (150 if dark else 60)
    return (250 - noise * [0.6, 1.0, 0.5]).astype(np.uint8)


def test_features_that_see_no_places_do_not_move_when_turned_and_those_of_one_edge_do() -> None:
    rng = np.random.default_rng(0)
    tiles = [stripes(rng, bool(i % 2)) for i in range(8)]
    still = steadiness(lambda x: np.stack([np.sort(t.ravel())[::97] for t in x]).astype(np.float32), tiles)
    assert still["turned by 90°"].cosine == pytest.approx(1)
    assert still["turned by 90°"].itself == 1
    corner = steadiness(lambda x: np.stack([t[0].ravel() - 200.0 for t in x]).astype(np.float32), tiles)
    assert corner["turned by 90°"].centered < 0.9
    assert corner["JPEG quality 40"].cosine > corner["turned by 90°"].cosine


def test_the_baseline_sees_colors_and_textures() -> None:
    rng = np.random.default_rng(0)
    one, other = colors_and_textures(stripes(rng, True)), colors_and_textures(stripes(rng, False))
    assert one.shape == (42,)
    assert np.isfinite(one).all()
    assert (one[:3] > other[:3]).all()  # darker: more optical density
    flat = colors_and_textures(np.full((32, 32, 3), 128, np.uint8))
    assert flat[3:6] == pytest.approx(0)
    assert flat[:3] == pytest.approx(-np.log10(129 / 256), rel=1e-5)


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """Tiles of two textures in four groups, as a CSV."""
    rng = np.random.default_rng(0)
    with (tmp_path / "tiles.csv").open("w", newline="") as f:
        rows = csv.writer(f)
        rows.writerow(["file", "label", "group"])
        for i in range(24):
            Image.fromarray(stripes(rng, bool(i % 2))).save(tmp_path / f"{i}.png")
            rows.writerow([f"{i}.png", "dark" if i % 2 else "pale", f"slide{i // 6}"])
    return tmp_path


def test_the_command_tells_planted_textures_apart_by_baseline_and_by_network(planted: Path) -> None:
    few = ("--seeds", "1", "--folds", "3", "--robustness", "4", "--mpp", "0.5", "--json")
    recipe = Recipe(arguments={"depth": 1, "embed_dim": 24, "num_heads": 2, "patch_size": 8}, px=32, head=(8, 8, 8))
    write_weights(planted / "own.safetensors", build(recipe), describe(recipe, 24, "CC0", {}), "f32")
    for encoder in ("baseline", "own.safetensors"):
        ran = kras("model", "probe", encoder, planted, *few, cwd=planted, store=planted / "store")
        assert ran.returncode == 0, ran.stderr
        told = json.loads(ran.stdout)
        assert told["tiles"] == {"pale": 12, "dark": 12}
        assert told["groups"] == 4
        assert told["balanced_accuracy"]["logistic"]["value"] > 0.9
        assert 0.9 < told["robustness"]["JPEG quality 40"]["cosine"] <= 1.0001


def test_folders_name_classes_and_what_is_missing_is_told(planted: Path, tmp_path: Path) -> None:
    folder = tmp_path / "classes"
    for i, name in enumerate(("x", "y")):
        (folder / name).mkdir(parents=True)
        (planted / f"{i}.png").rename(folder / name / "t.png")
    tiles = read_tiles(folder)
    assert (tiles.labels, tiles.grouped) == (("x", "y"), False)
    with pytest.raises(ConfigError, match=r"0\.png does not exist"):
        read_tiles(planted)
    with pytest.raises(ConfigError, match="neither"):
        read_tiles(folder / "x")
    (planted / "tiles.csv").write_text("path,label\n")
    with pytest.raises(ConfigError, match="no column file"):
        read_tiles(planted)
    for text, message in (
        (b"file,label\n2.png\n", "line 2: 1 cells under a header of 2"),
        (b"file,label\n2.png,\xb5\n", "not UTF-8 text"),
        (b"\x1f\x8bfile", "damaged"),
    ):
        (planted / "tiles.csv").write_bytes(text)
        with pytest.raises(ConfigError, match=rf"tiles\.csv.*{message}"):
            read_tiles(planted)
