"""The profiler `cells` does not type what is unlike its training, and says how much that is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

import kras_profiler_cells as plugin
from kras_plugins import PluginError, Tile
from kras_profiler_cells.decode import Decode

torch = pytest.importorskip("torch")


def test_the_score_is_the_distance_of_the_mean_of_the_tissue_around_from_the_nearest_kind():
    """Against the definition, summed up place by place."""
    from kras_profiler_cells.unlike import GLASS, KINDS, STEP, WINDOW, Unlike

    rng = np.random.default_rng(0)
    deep = rng.standard_normal((1, 4, 24, 28)).astype(np.float32)
    tiles = np.full((1, 3, 384, 448), 100, np.float32)
    tiles[:, :, :, 160:] = GLASS + 20
    tiles[:, 1, 200:, 160:] = GLASS - 1  # one dark color is no glass
    unlike = Unlike(4)
    means, whiten = rng.standard_normal((KINDS, 4)), rng.standard_normal((KINDS, 4, 4)) * 2
    limits = rng.uniform(1, 9, KINDS)
    unlike.mean.copy_(torch.from_numpy(means))
    unlike.limit.copy_(torch.from_numpy(limits))
    unlike.whiten.copy_(torch.from_numpy(whiten))
    found = unlike(torch.from_numpy(deep), torch.from_numpy(tiles))[0].numpy()
    assert found.shape == (6, 7)
    tissue = np.ones((24, 28), bool)
    tissue[:12, 10:] = False  # row 12 starts at pixel 192; its first sixteenth is looked at
    tissue[12, 10:] = False
    reach, each = WINDOW // 2, STEP // 16
    for y, x in np.ndindex(6, 7):
        rows, columns = (slice(max(0, (at - reach) * each), (at + reach + 1) * each) for at in (y, x))
        inside = tissue[rows, columns]
        features = deep[0][:, rows, columns][:, inside].mean(1) if inside.any() else np.zeros(4)
        each_kind = zip(means, whiten, limits, strict=True)
        square = min(np.sum((w @ (features - m)) ** 2) / limit for m, w, limit in each_kind)
        assert found[y, x] == pytest.approx(square / (square + 1), abs=2e-3), (y, x)


def drawn(unlike: np.ndarray | None) -> dict[str, np.ndarray]:
    """Maps of four round nuclei, all sure to be tumor."""
    y, x = np.mgrid[:128, :128]
    depth = np.max([1 - np.hypot(x - cx, y - cy) / 10 for cx in (32, 96) for cy in (32, 96)], axis=0).clip(0)
    kinds = np.stack([np.full((64, 64), v, np.float32) for v in (0.9, 0.05, 0.05)])
    maps = {"nucleus": (depth > 0).astype(np.float32), "distance": depth.astype(np.float32), "classes": kinds}
    return maps if unlike is None else {**maps, "unlike": unlike}


TILE = Tile(pixels=np.full((128, 128, 3), 120, np.uint8), mpp=0.5)


def test_a_nucleus_where_tissue_is_unlike_training_is_other():
    maps = drawn(np.float32([[0.2, 0.9], [0.4, 0.6]]))
    cells = Decode(8.0, 400.0, 0.5, 0.5, plugin.WORDS, 0.5)(maps, TILE)
    found = {(int(x > 64), int(y > 64)): c for x, y, c in zip(cells.x, cells.y, cells.classes, strict=True)}
    assert found == {(0, 0): "tumor", (1, 0): "other", (0, 1): "tumor", (1, 1): "other"}
    np.testing.assert_array_equal(cells.unlike, [[False, True], [False, True]])
    strict, none = (Decode(8.0, 400.0, 0.5, 0.5, plugin.WORDS, most)(maps, TILE) for most in (0.3, 1.0))
    assert strict.classes.count("other") == 3 and none.classes == ["tumor"] * 4


def test_a_network_that_does_not_say_what_is_unlike_types_all():
    cells = Decode(8.0, 400.0, 0.5, 0.5, plugin.WORDS, 0.5)(drawn(None), TILE)
    assert cells.classes == ["tumor"] * 4 and cells.unlike is None


@pytest.mark.parametrize("shape", [(3, 3), (2, 4), (128,), (0, 0)])
def test_a_map_of_what_is_unlike_that_fits_no_tile_is_refused(shape):
    with pytest.raises(PluginError, match="unlike is"):
        Decode(8.0, 400.0, 0.5, 0.5, plugin.WORDS, 0.5)(drawn(np.zeros(shape, np.float32)), TILE)


@pytest.fixture(scope="module")
def shares():
    """The share of an image's tissue that the shipped network says is unlike its training."""
    record = next(iter(plugin.kras_profilers()))
    spec = record.models(record.options())[0]
    module = spec.build(Path(spec.weights.source))

    def share(pixels: np.ndarray) -> float:
        pixels = pixels[: pixels.shape[0] // 64 * 64, : pixels.shape[1] // 64 * 64]
        with torch.inference_mode():
            unlike = module(torch.from_numpy(np.ascontiguousarray(pixels)[None]))[3][0].numpy()
        tissue = ndimage.uniform_filter((pixels.min(2) < 215).astype(np.float32), 64)[32::64, 32::64] > 0.25
        return float(np.mean(unlike[tissue] > 127.5))

    return share


def test_drawn_tissue_which_it_learned_from_is_not_unlike(tmp_path, shares):
    import tifffile

    from kras_plugins.testing.slides import draw_slide

    for seed, histology in ((3, "LUAD"), (4, "LUSC")):
        draw_slide(tmp_path / "s.tif", seed=seed, size_um=(500, 500), histology=histology)
        with tifffile.TiffFile(tmp_path / "s.tif") as f:
            assert shares(f.pages[0].asarray()) < 0.2
