"""Focus on real and drawn tiles, pen over tissue, and the verdict on a slide."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from scipy import ndimage as ndi

from kras_plugins.data import SlideQC
from kras_plugins.semantics.map import MOST_UNLIKE
from kras_plugins.slides.qc import WARN_UNLIKE, blurred, pen_share, sharpness, slide_qc
from kras_plugins.slides.tissue import TissueMask
from kras_plugins.testing.slides import draw_slide


def nuclei(n: int = 6, side: int = 224, contrast: float = 1.0, grain: float = 3.0) -> np.ndarray:
    """Tiles with sharp dark discs on pink ground, uint8[n side side 3]."""
    rng = np.random.default_rng(0)
    tiles = np.empty((n, side, side, 3))
    yy, xx = np.mgrid[:side, :side]
    for tile in tiles:
        tile[:] = (225, 165, 195)
        for y, x, r in zip(*rng.uniform(0, side, (2, 60)), rng.uniform(5, 9, 60), strict=True):
            tile[(yy - y) ** 2 + (xx - x) ** 2 < r * r] = (225, 165, 195) + contrast * np.array([-105, -85, -45])
        tile += rng.normal(0, grain, (side, side, 1))
    return tiles.clip(0, 255).astype(np.uint8)


def smear(tiles: np.ndarray, sigma: float, axes: tuple[int, ...] = (1, 2)) -> np.ndarray:
    return ndi.gaussian_filter(tiles, [sigma if a in axes else 0 for a in range(4)])


def real_tiles(folder: Path) -> np.ndarray:
    """224 px squares of the real tiles at full detail that are mostly tissue."""
    names = ("high-nuclei-score-level0", "medium-nuclei-score-level0", "very-low-nuclei-score-level0")
    names += ("tissue-level0-4302-10273-4814-10785", "tissue-level0-7352-11762-7864-12274")
    names += ("medium-nuclei-score-level1-2", "tissue-level2-3000-7666-7096-11763")
    cut = []
    for name in names:
        image = np.asarray(Image.open(folder / f"{name}.png").convert("RGB"))
        for y in range(0, image.shape[0] - 223, 224):
            for x in range(0, image.shape[1] - 223, 224):
                tile = image[y : y + 224, x : x + 224]
                if (np.ptp(tile.astype(int), axis=2) > 15).mean() > 0.5:
                    cut.append(tile)
    return np.stack(cut)


def test_sharp_nuclei_pass_and_blurred_ones_do_not() -> None:
    tiles = nuclei()
    assert not blurred(tiles, 0.5).any()
    assert blurred(smear(tiles, 3), 0.5).all()
    assert blurred(tiles, 0.5).shape == (6,)
    assert blurred(tiles, 0.5).dtype == np.bool_


@pytest.mark.parametrize("axis", [1, 2])
def test_blur_along_one_direction_lowers_sharpness(axis: int) -> None:
    tiles = nuclei()
    assert (sharpness(smear(tiles, 6, axes=(axis,)), 0.5)[0] < 0.6 * sharpness(tiles, 0.5)[0]).all()


def test_sharpness_falls_with_every_step_of_blur() -> None:
    steps = np.stack([sharpness(smear(nuclei(), s), 0.5)[0] for s in (0, 0.5, 1, 1.5, 2, 3)])
    assert (np.diff(steps[:4], axis=0) < 0).all()
    assert (np.diff(steps, axis=0) <= 0).all()


def test_sharpness_hardly_depends_on_how_strongly_a_tile_is_stained() -> None:
    strong, weak = (sharpness(nuclei(contrast=c, grain=0), 0.5)[0] for c in (1.0, 0.5))
    np.testing.assert_allclose(weak, strong, rtol=0.1)


def test_each_tile_is_judged_alone_and_in_any_channel_but_green_nothing_counts() -> None:
    tiles = np.concatenate([nuclei(3), smear(nuclei(3), 4)])
    flags = blurred(tiles, 0.5)
    assert flags.tolist() == [False] * 3 + [True] * 3
    assert [bool(blurred(t[None], 0.5)[0]) for t in tiles] == flags.tolist()
    other = tiles.copy()
    other[..., [0, 2]] = 128
    np.testing.assert_array_equal(blurred(other, 0.5), flags)


@pytest.mark.parametrize("mpp", [0.25, 0.5, 1.0])
def test_sharpness_is_what_its_formula_says(mpp: float) -> None:
    tiles = np.random.default_rng(0).integers(0, 256, (3, 100, 150, 3), dtype=np.uint8)
    near = {0.25: 2, 0.5: 1, 1.0: 1}[mpp]
    fine, coarse = np.zeros((2, 3))
    for g in (tiles[:, ::8, :, 1].astype(float), tiles[:, :, ::8, 1].swapaxes(1, 2).astype(float)):
        bend = g[..., 2 * near :] - 2 * g[..., near:-near] + g[..., : -2 * near]
        fine += (bend**2).mean((1, 2)) / 2
        coarse += ((g[..., 8 * near :] - g[..., : -8 * near]) ** 2).mean((1, 2)) / 2
    focus, contrast = sharpness(tiles, mpp)
    np.testing.assert_allclose(contrast, coarse, rtol=1e-4)
    np.testing.assert_allclose(focus, (fine - 3) / coarse, rtol=1e-4)


def test_turned_tiles_are_as_sharp() -> None:
    tiles = nuclei()
    turned = np.ascontiguousarray(tiles.transpose(0, 2, 1, 3))
    np.testing.assert_allclose(sharpness(turned, 0.5)[0], sharpness(tiles, 0.5)[0], rtol=1e-5)


def test_the_same_defocus_shows_at_twice_the_resolution() -> None:
    tiles = nuclei()
    twice = tiles.repeat(2, 1).repeat(2, 2)
    assert not blurred(smear(twice, 0.7), 0.25).any()
    assert blurred(smear(twice, 6), 0.25).all()


@pytest.mark.parametrize("value", [0, 128, 243, 255])
def test_empty_tiles_are_not_judged(value: int) -> None:
    flat = np.full((3, 224, 224, 3), value, np.uint8)
    noisy = np.clip(flat + np.random.default_rng(0).normal(0, 1.2, flat.shape), 0, 255).astype(np.uint8)
    assert not blurred(flat, 0.5).any()
    assert not blurred(noisy, 0.5).any()


@pytest.mark.parametrize("side", [1, 8, 17, 64])
def test_small_tiles_and_no_tiles_are_no_problem(side: int) -> None:
    assert blurred(np.zeros((2, side, side, 3), np.uint8), 0.5).tolist() == [False, False]
    assert blurred(np.zeros((0, side, side, 3), np.uint8), 0.5).shape == (0,)


def test_real_tiles_pass_sharp_and_are_caught_blurred(shared_data: Path) -> None:
    tiles = real_tiles(shared_data / "tiles")
    assert len(tiles) > 40
    assert blurred(tiles, 0.5).mean() <= 0.05
    assert blurred(smear(tiles, 1), 0.5).mean() < 0.5
    assert blurred(smear(tiles, 3), 0.5).mean() >= 0.95


def test_focus_costs_less_than_a_tenth_of_a_millisecond_a_tile() -> None:
    tiles = np.random.default_rng(0).integers(0, 256, (64, 224, 224, 3), dtype=np.uint8)
    cost = []
    for _ in range(9):
        began = time.process_time()
        blurred(tiles, 0.5)
        cost.append((time.process_time() - began) / 64)
    assert min(cost) < 2e-4, "0.04 ms when the machine is quiet; twice the limit, for when it is not"


def test_defocus_of_a_drawn_slide_is_found_where_it_is(tmp_path: Path) -> None:
    draw_slide(tmp_path / "s.tiff", seed=3, size_um=(896, 448), blur_um=2.0, blur_share=0.5)
    pixels = tifffile.imread(tmp_path / "s.tiff")
    tiles = pixels[:896, :1792].reshape(4, 224, 8, 224, 3).swapaxes(1, 2)
    stained = (np.ptp(tiles.astype(int), axis=-1) > 20).mean((2, 3)) > 0.5
    assert blurred(tiles[:, :4][stained[:, :4]], 0.5).mean() > 0.9
    assert not blurred(tiles[:, 4:][stained[:, 4:]], 0.5).any()


def tissue(area_mm2: float = 4.0, pen: bool = False) -> TissueMask:
    """A block of tissue, 20 px (0.16 mm) away from a block of pen where asked for; 8 µm/px."""
    mask = np.zeros((400, 600), bool)
    rows = round(area_mm2 / 0.008**2 / 300)
    mask[:rows, :300] = True
    marks = np.zeros_like(mask)
    if pen:
        marks[:, 320:360] = True
    return TissueMask(mask=mask, pen=marks, mpp=8.0)


def verdict(**changes: Any) -> SlideQC:
    facts: dict[str, Any] = {
        "slide_id": "S1",
        "tissue": tissue(),
        "blurred": np.zeros(100, bool),
        "mpp": 0.25,
        "mpp_source": "file",
    }
    return slide_qc(**(facts | changes))


def share(part: float) -> np.ndarray:
    return np.arange(100) < 100 * part


def test_a_good_slide_passes_with_its_figures() -> None:
    qc = verdict()
    assert (qc.verdict, qc.reasons) == ("pass", ())
    assert qc.tissue_mm2 == pytest.approx(4.0, rel=0.01)
    assert (qc.slide_id, qc.mpp, qc.mpp_source, qc.n_tiles) == ("S1", 0.25, "file", 100)
    assert (qc.pen_share, qc.blur_share) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("changes", "expected", "word"),
    [
        ({"tissue": tissue(0.0), "blurred": share(0)[:0]}, "fail", "no tissue"),
        ({"tissue": tissue(0.03)}, "fail", "hardly any tissue"),
        ({"tissue": tissue(0.2)}, "warn", "little tissue"),
        ({"blurred": share(0)[:0]}, "fail", "no tile"),
        ({"blurred": share(0.2)}, "pass", ""),
        ({"blurred": share(0.5)}, "warn", "partly out of focus (50%"),
        ({"blurred": share(0.95)}, "fail", "out of focus (95%"),
        ({"mpp_source": "objective"}, "warn", "objective power"),
        ({"warnings": ("the cohort says 0.5",)}, "warn", "the cohort says 0.5"),
        ({"unlike_share": 0.2}, "pass", ""),
        ({"unlike_share": 0.62}, "warn", "tissue unlike training (62%)"),
    ],
)
def test_each_fault_has_its_verdict_and_reason(changes: dict[str, Any], expected: str, word: str) -> None:
    qc = verdict(**changes)
    assert qc.verdict == expected
    assert word in "; ".join(qc.reasons)
    assert len(qc.reasons) == (expected != "pass")


def test_a_slide_is_warned_of_from_the_share_on_at_which_none_of_it_counts_as_cancer() -> None:
    assert WARN_UNLIKE == MOST_UNLIKE


def test_a_warning_of_the_slide_is_not_said_twice() -> None:
    said = "mpp 0.5 is derived from objective power 20"
    assert verdict(mpp_source="objective", warnings=(said,)).reasons == (said,)


def test_failures_come_first_among_the_reasons() -> None:
    qc = verdict(warnings=("odd",), blurred=share(1))
    assert qc.verdict == "fail"
    assert qc.reasons[0].startswith("out of focus")
    assert qc.reasons[1] == "odd"


def test_blur_without_tiles_is_unknown_not_zero() -> None:
    assert math.isnan(verdict(blurred=np.zeros(0, bool)).blur_share)


def test_pen_beside_tissue_does_not_count_and_pen_over_it_does() -> None:
    assert pen_share(tissue()) == 0.0
    assert pen_share(tissue(pen=True)) < 0.02
    crossed = np.ones((400, 600), bool)
    pen = np.zeros_like(crossed)
    pen[:, 200:260] = True
    under = TissueMask(mask=crossed & ~pen, pen=pen, mpp=8.0)
    assert pen_share(under) == pytest.approx(0.1, rel=0.01)
    pen[:, 400:460] = True
    assert verdict(tissue=TissueMask(mask=crossed & ~pen, pen=pen, mpp=8.0)).reasons == ("pen marks over tissue (20%)",)
