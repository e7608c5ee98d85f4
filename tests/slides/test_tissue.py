"""Tissue and pen: analytic pictures, everything that is not tissue, invariances, real thumbnails."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from scipy import ndimage as ndi

from kras_plugins.slides.tissue import TissueMask, find_tissue, glass_color
from kras_plugins.testing.slides import draw_slide

GLASS = (243, 243, 241)
INKS = ("red", "green", "blue")  # a drawn black stroke is as small as a clump of pigment
TISSUE = {
    "ordinary": (200, 140, 180),
    "eosin": (225, 150, 185),
    "hematoxylin": (120, 105, 170),
    "pale": (240, 222, 236),
}
INK = {"red": (215, 30, 40), "green": (40, 130, 110), "blue": (50, 100, 200), "black": (15, 15, 18)}


def picture(h: int = 300, w: int = 400, glass: tuple[int, int, int] = GLASS, noise: float = 1.5) -> np.ndarray:
    """Empty glass with sensor noise."""
    rng = np.random.default_rng(0)
    return np.clip(np.array(glass) + rng.normal(0, noise, (h, w, 3)), 0, 252).astype(np.uint8)


def disc(h: int, w: int, y: float, x: float, r: float) -> np.ndarray:
    yy, xx = np.mgrid[:h, :w] + 0.5
    return (yy - y) ** 2 + (xx - x) ** 2 < r**2


def paint(image: np.ndarray, where: np.ndarray, color: tuple[int, int, int], texture: float = 6.0) -> np.ndarray:
    rng = np.random.default_rng(1)
    out = image.copy()
    n = int(where.sum())
    out[where] = np.clip(np.array(color) + rng.normal(0, texture, (n, 1)) + rng.normal(0, 1, (n, 3)), 0, 252)
    return out


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


@pytest.mark.parametrize("color", TISSUE.values(), ids=TISSUE)
@pytest.mark.parametrize("quality", [None, 60])
def test_a_disc_of_any_stain_is_found_where_it_is(color: tuple[int, int, int], quality: int | None) -> None:
    where = disc(300, 400, 140, 210, 90)
    image = paint(picture(), where, color)
    found = find_tissue(image if quality is None else jpeg(image, quality), 8.0)
    assert iou(found.mask, where) > 0.93
    assert not found.pen.any()
    assert found.area_mm2 == pytest.approx(np.pi * 0.72**2, rel=0.06)


@pytest.mark.parametrize(
    "glass",
    [(252, 252, 252), (200, 200, 200), (235, 232, 205), (225, 235, 240), (228, 240, 228), (150, 150, 152)],
    ids=["white", "grey", "yellow", "blue", "green", "dark"],
)
@pytest.mark.parametrize("quality", [None, 30])
def test_blank_glass_of_any_tint_has_no_tissue(glass: tuple[int, int, int], quality: int | None) -> None:
    image = picture(glass=glass, noise=2.5)
    found = find_tissue(image if quality is None else jpeg(image, quality), 8.0)
    assert not found.mask.any()
    assert not found.pen.any()


@pytest.mark.parametrize("value", [0, 255])
def test_a_picture_of_one_color_has_no_tissue(value: int) -> None:
    found = find_tissue(np.full((40, 50, 3), value, np.uint8), 8.0)
    assert not found.mask.any()
    assert not found.pen.any()


@pytest.mark.parametrize("glass", [(200, 200, 200), (235, 232, 205)], ids=["grey", "yellow"])
def test_tinted_glass_does_not_hide_tissue(glass: tuple[int, int, int]) -> None:
    where = disc(300, 400, 150, 200, 80)
    seen = tuple(int(t * g / 243) for t, g in zip(TISSUE["ordinary"], glass, strict=True))
    found = find_tissue(paint(picture(glass=glass), where, seen), 8.0)  # type: ignore[arg-type]
    assert iou(found.mask, where) > 0.93


def test_glass_color_is_measured_past_white_padding() -> None:
    image = picture(glass=(205, 208, 200))
    image[:, :100] = 255
    assert np.abs(glass_color(image).astype(int) - (205, 208, 200)).max() <= 3


@pytest.mark.parametrize("color", TISSUE.values(), ids=TISSUE)
def test_a_picture_full_of_tissue_is_all_tissue(color: tuple[int, int, int]) -> None:
    image = paint(picture(), np.ones((300, 400), bool), color)
    assert find_tissue(image, 8.0).mask.mean() > 0.98


def test_pale_tissue_is_kept_beside_dark_tissue() -> None:
    dark, pale = disc(300, 400, 150, 110, 80), disc(300, 400, 150, 290, 80)
    image = paint(paint(picture(), dark, (110, 60, 130)), pale, TISSUE["pale"])
    assert iou(find_tissue(image, 8.0).mask, dark | pale) > 0.93


def test_black_borders_and_black_background_are_neither_tissue_nor_pen() -> None:
    where = disc(300, 400, 150, 200, 80)
    image = paint(picture(), where, TISSUE["ordinary"])
    rng = np.random.default_rng(2)
    border = np.ones((300, 400), bool)
    border[25:-25, 40:-40] = False
    image[border] = rng.integers(0, 12, (int(border.sum()), 3))
    found = find_tissue(jpeg(image, 80), 8.0)
    assert not (found.mask & border).any()
    assert found.pen.mean() < 0.002
    assert iou(found.mask, where) > 0.9


@pytest.mark.parametrize("color", INK.values(), ids=INK)
@pytest.mark.parametrize("mpp", [4.0, 8.0, 32.0])
def test_a_pen_stroke_on_glass_is_pen_and_not_tissue(color: tuple[int, int, int], mpp: float) -> None:
    where = disc(300, 400, 150, 130, 80)
    stroke = np.zeros((300, 400), bool)
    stroke[60:240, 280 : 280 + round(400 / mpp)] = True
    image = paint(paint(picture(), where, TISSUE["ordinary"]), stroke, color)
    found = find_tissue(jpeg(image, 85), mpp)
    assert (found.pen & stroke).sum() > 0.85 * stroke.sum()
    assert not (found.mask & stroke).any()
    assert iou(found.mask, where) > 0.9


@pytest.mark.parametrize("color", INK.values(), ids=INK)
def test_a_pen_stroke_over_tissue_takes_only_what_it_covers(color: tuple[int, int, int]) -> None:
    image = paint(picture(), disc(300, 400, 150, 200, 120), TISSUE["ordinary"])
    stroke = np.zeros((300, 400), bool)
    stroke[140:180, 5:-5] = True
    through = np.where(stroke[..., None], (image.astype(float) / 243 * color), image).astype(np.uint8)
    found = find_tissue(through, 8.0)
    assert (found.pen & stroke).sum() > 0.85 * stroke.sum()
    assert iou(found.mask, disc(300, 400, 150, 200, 120) & ~stroke) > 0.9


def test_a_clump_of_black_pigment_in_tissue_is_tissue_and_black_dirt_on_glass_is_not() -> None:
    body = disc(300, 400, 150, 150, 110)
    image = paint(picture(), body, TISSUE["ordinary"])
    for x in (100, 190):
        image = paint(image, disc(300, 400, 150, x, 14), (30, 28, 30))  # 0.04 mm²
    found = find_tissue(paint(image, disc(300, 400, 150, 340, 14), (30, 28, 30)), 8.0)
    assert not found.pen.any()
    assert iou(found.mask, body) > 0.93


def test_mask_and_pen_never_overlap() -> None:
    rng = np.random.default_rng(3)
    small = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    found = find_tissue(small.repeat(12, 0).repeat(12, 1), 8.0)
    assert found.pen.any()
    assert found.mask.any()
    assert not (found.mask & found.pen).any()


def test_dust_is_dropped_and_a_small_fragment_is_kept() -> None:
    image = picture()
    for x in range(40, 200, 20):
        image = paint(image, disc(300, 400, 60, x, 3), TISSUE["ordinary"])  # 0.002 mm²
    image = paint(image, disc(300, 400, 120, 100, 25), (120, 118, 119))  # gray dirt
    fragment = disc(300, 400, 220, 300, 14)  # 0.04 mm²
    found = find_tissue(paint(image, fragment, TISSUE["ordinary"]), 8.0)
    assert (found.mask & fragment).sum() > 0.9 * fragment.sum()
    assert found.mask.sum() < 1.6 * fragment.sum()


def test_small_holes_are_filled_and_large_ones_stay() -> None:
    body, small, large = disc(300, 400, 150, 200, 120), disc(300, 400, 150, 150, 7), disc(300, 400, 150, 260, 30)
    found = find_tissue(paint(picture(), body & ~small & ~large, TISSUE["ordinary"]), 8.0)
    assert found.mask[small].all()
    assert not found.mask[disc(300, 400, 150, 260, 26)].any()


def test_area_does_not_depend_on_the_resolution() -> None:
    fine = paint(picture(800, 1200, noise=3), disc(800, 1200, 380, 600, 250), TISSUE["ordinary"], texture=12)
    areas = {}
    for factor in (1, 2, 4, 8):
        image = fine.reshape(800 // factor, factor, 1200 // factor, factor, 3).mean(axis=(1, 3)).astype(np.uint8)
        areas[factor] = find_tissue(image, 4.0 * factor).area_mm2
    assert areas[1] == pytest.approx(np.pi, rel=0.03)
    assert all(a == pytest.approx(areas[1], rel=0.03) for a in areas.values())


def test_tissue_moves_and_turns_with_the_picture() -> None:
    shape = disc(320, 400, 140, 150, 60) | disc(320, 400, 180, 230, 50)
    flat = np.full((320, 400, 3), GLASS, np.uint8)
    flat[shape] = TISSUE["ordinary"]
    mask = find_tissue(flat, 8.0).mask
    np.testing.assert_array_equal(
        find_tissue(np.roll(flat, (32, 48), (0, 1)), 8.0).mask, np.roll(mask, (32, 48), (0, 1))
    )
    np.testing.assert_array_equal(find_tissue(np.ascontiguousarray(flat[::-1, ::-1]), 8.0).mask, mask[::-1, ::-1])


def test_the_picture_is_left_alone_and_the_result_repeats() -> None:
    image = paint(picture(), disc(300, 400, 140, 210, 90), TISSUE["ordinary"])
    before = image.copy()
    one, two = find_tissue(image, 8.0), find_tissue(image, 8.0)
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(one.mask, two.mask)
    np.testing.assert_array_equal(one.pen, two.pen)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (3, 2)])
def test_tiny_pictures_are_no_problem(shape: tuple[int, int]) -> None:
    found = find_tissue(np.full((*shape, 3), 120, np.uint8), 64.0)
    assert found.mask.shape == found.pen.shape == shape


@pytest.mark.parametrize(
    ("pen", "stain"), [(None, (0.4, 0.4)), *((color, (1.0, 1.0)) for color in INKS)], ids=["pale", *INKS]
)
def test_a_drawn_slide_gives_what_was_drawn(tmp_path: Path, pen: str | None, stain: tuple[float, float]) -> None:
    truth = draw_slide(tmp_path / "s.tiff", seed=1, size_um=(1024, 896), pen=pen, stain=stain, levels=1)
    pixels = tifffile.imread(tmp_path / "s.tiff")
    h, w = pixels.shape[0] // 16, pixels.shape[1] // 16
    image = pixels[: h * 16, : w * 16].reshape(h, 16, w, 16, 3).mean((1, 3)).astype(np.uint8)
    found = find_tissue(image, 8.0)
    tissue, stroke = (
        np.asarray(Image.fromarray(m).resize((w, h), Image.Resampling.NEAREST)) for m in (truth.tissue > 0, truth.pen)
    )
    # The lumina of the drawn glands are smaller than the holes that are filled.
    assert iou(found.mask, ndi.binary_fill_holes(tissue | stroke & found.pen) & ~stroke) > 0.85
    assert (found.pen & stroke).sum() >= 0.7 * stroke.sum()
    assert (found.pen & ~stroke).mean() < 0.02
    assert not (found.mask & stroke).sum() > 0.1 * stroke.sum()


def load(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def test_real_field_agrees_with_the_expected_mask(shared_data: Path) -> None:
    folder = shared_data / "thumbnails"
    # A field at high power in truth; its gaps and strands are sized as those of a thumbnail at 8 µm/px.
    found = find_tissue(load(folder / "tcga-lung-rgb.png"), 8.0)
    assert iou(found.mask, np.load(folder / "tissue-mask-tcga-lung-rgb.npy")) > 0.88
    assert not found.pen.any()


def test_real_slide_agrees_with_the_expected_mask(shared_data: Path) -> None:
    folder = shared_data / "thumbnails"
    image = load(folder / "diagnostic-slide-thumb-rgb.png")
    found = find_tissue(image, 40.0)
    expected = np.load(folder / "tissue-mask-diagnostic-slide-thumb-rgb.npy")  # counts pen as tissue
    assert iou(found.mask | found.pen, expected) > 0.83
    assert not found.pen[-15:].any(), "the shadow at the lower edge is no pen"
    assert not found.mask[-15:].any(), "nor tissue"
    for name, (x, y) in {"green": (267, 38), "red": (253, 119), "black": (224, 186)}.items():
        assert found.pen[y, x], f"{name} pen at {x}, {y}"


def test_real_svs_agrees_with_the_expected_mask(shared_data: Path) -> None:
    import openslide

    expected = np.load(shared_data / "thumbnails" / "tissue-mask-cmu-1-small-region.npy")
    with openslide.OpenSlide(shared_data / "slides" / "cmu_small_region.svs") as slide:
        region = slide.read_region((0, 0), 0, slide.dimensions).convert("RGB")
    image = np.asarray(region.resize(expected.shape[::-1], Image.Resampling.BOX))
    mpp = 0.499 * region.width / expected.shape[1]
    found = find_tissue(image, mpp)
    # The expected mask is dilated and fills the open keratin cyst; all that is found lies inside of it.
    assert iou(found.mask, expected) > 0.83
    assert (found.mask & expected).sum() > 0.99 * found.mask.sum()
    coarse = np.asarray(region.resize((region.width // 16, region.height // 16), Image.Resampling.BOX))
    assert find_tissue(coarse, 0.499 * 16).area_mm2 == pytest.approx(found.area_mm2, rel=0.04)


@pytest.mark.parametrize(
    ("name", "mpp", "pen", "inked"),
    [
        ("tcga-green-pen", 5.0, (0.17, 0.27), [(300, 200), (240, 500), (180, 405)]),
        ("tcga-red-pen", 5.0, (0.2, 0.32), [(100, 250), (115, 210), (30, 8)]),
        ("wsi-blue-pen", 64.0, (0.025, 0.05), [(160, 68), (154, 110)]),
    ],
)
def test_real_pen_is_flagged(
    shared_data: Path, name: str, mpp: float, pen: tuple[float, float], inked: list[tuple[int, int]]
) -> None:
    found: TissueMask = find_tissue(load(shared_data / "thumbnails" / f"{name}.png"), mpp)
    assert pen[0] < found.pen.mean() < pen[1]
    assert all(found.pen[y, x] for x, y in inked)
    assert found.mask.mean() > 0.3
