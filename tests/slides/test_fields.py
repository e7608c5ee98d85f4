"""Fields of view: which pictures are some, and tissue where there is no glass, or the edge cuts it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from kras_plugins.slides.fields import field_tissue, glass_of, is_field
from kras_plugins.slides.qc import little_tissue, slide_qc
from kras_plugins.slides.tissue import TissueMask, find_tissue
from kras_plugins.testing import draw_slide

PALE, GLASS, PINK = (238, 231, 238), (243, 243, 241), (200, 140, 180)
NUCLEUS = (110, 80, 160)


def at_1_um(color: tuple[int, int, int], um: tuple[int, int] = (240, 320), texture: float = 1.0) -> np.ndarray:
    """An area at 1 µm/px whose pixels vary together by `texture` gray levels."""
    rng = np.random.default_rng(0)
    return np.clip(np.array(color) + rng.normal(0, texture, (*um, 1)) + rng.normal(0, 0.5, (*um, 3)), 0, 252)


def coarse(near: np.ndarray) -> np.ndarray:
    """The same at 8 µm/px."""
    h, w = (n // 8 for n in near.shape[:2])
    return near[: 8 * h, : 8 * w].reshape(h, 8, w, 8, 3).mean((1, 3)).round().astype(np.uint8)


def seen(near: np.ndarray) -> TissueMask:
    return field_tissue(coarse(near), 8.0, near.astype(np.uint8), 1.0)


def with_nuclei(near: np.ndarray, n: int = 40) -> np.ndarray:
    out, rng = near.copy(), np.random.default_rng(1)
    for y, x in rng.integers(0, np.array(near.shape[:2]) - 8, (n, 2)):
        out[y : y + 7, x : x + 7] = np.array(NUCLEUS) + rng.normal(0, 8, (7, 7, 1))
    return out


@pytest.mark.parametrize(
    ("size", "mpp", "said", "expected"),
    [
        ((128, 128), 0.5, None, True),
        ((5000, 5000), 0.5, None, True),
        ((5001, 5000), 0.5, None, False),
        ((10_000, 10_000), 0.25, None, True),
        ((80_000, 60_000), 0.25, None, False),
        ((80_000, 60_000), 0.25, True, True),
        ((128, 128), 0.5, False, False),
    ],
)
def test_a_picture_of_two_and_a_half_millimeters_is_a_field_unless_somebody_says_otherwise(
    size: tuple[int, int], mpp: float, said: bool | None, expected: bool
) -> None:
    assert is_field(size, (mpp, mpp), said) is expected


@pytest.mark.parametrize("um", [64, 248])
@pytest.mark.parametrize("color", [PALE, PINK])
def test_a_field_without_glass_is_all_tissue_however_small_and_pale(um: int, color: tuple[int, int, int]) -> None:
    near = with_nuclei(at_1_um(color, (um, um), texture=7.0), 4 if um == 64 else 40)
    assert glass_of(near.astype(np.uint8), 1.0) is None
    assert seen(near).mask.all()
    assert seen(near).area_mm2 == pytest.approx((um / 1000) ** 2)


def test_as_bright_but_flat_it_is_glass() -> None:
    near = with_nuclei(at_1_um(GLASS))
    np.testing.assert_allclose(glass_of(near.astype(np.uint8), 1.0), GLASS, atol=1)  # type: ignore[arg-type]


@pytest.mark.parametrize("color", [GLASS, (150, 150, 150)])
def test_a_blank_or_a_gray_field_has_no_tissue(color: tuple[int, int, int]) -> None:
    near = at_1_um(color, texture=12.0 if color != GLASS else 1.0)
    assert not seen(near).mask.any()


@pytest.mark.parametrize("glass", [GLASS, (255, 255, 255), (222, 218, 221)])
def test_half_a_field_of_glass_of_any_tone_is_half_a_field_of_tissue(glass: tuple[int, int, int]) -> None:
    near = with_nuclei(at_1_um(PINK, texture=6.0))
    near[:, 160:] = np.minimum(at_1_um(glass)[:, 160:], 255)
    assert seen(near).mask.mean() == pytest.approx(0.5, abs=0.05)


def test_a_core_that_fills_its_picture_has_the_area_of_a_disc_not_of_the_square() -> None:
    um = 600
    yy, xx = np.mgrid[:um, :um] + 0.5
    inside = np.hypot(yy - um / 2, xx - um / 2) < um / 2
    near = np.where(inside[..., None], with_nuclei(at_1_um(PINK, (um, um), 6.0), 300), at_1_um(GLASS, (um, um)))
    disc = np.pi * (um / 2000) ** 2
    assert seen(near).area_mm2 == pytest.approx(disc, rel=0.04)
    assert find_tissue(coarse(near), 8.0).area_mm2 > 1.2 * disc  # on a slide, gaps as small as its corners are lumen


def test_a_small_piece_counts_where_the_field_is_small() -> None:
    near = at_1_um(GLASS, (128, 128))
    near[:, :32] = with_nuclei(at_1_um(PINK, (128, 128), 6.0))[:, :32]  # 0.004 mm²
    assert seen(near).mask.mean() == pytest.approx(32 / 128, abs=0.15)


def test_a_slide_cut_into_fields_has_its_tissue_but_for_gaps_that_the_cuts_open(tmp_path: Path) -> None:
    truth = draw_slide(tmp_path / "s.tiff", seed=4, size_um=(800.0, 800.0))
    pixels = tifffile.imread(tmp_path / "s.tiff")
    area = 0.0
    for y in range(0, 1600, 400):
        for x in range(0, 1600, 400):
            image = Image.fromarray(pixels[y : y + 400, x : x + 400])
            near, far = (np.asarray(image.reduce(k)) for k in (2, 16))
            area += field_tissue(far, 8.0, near, 1.0).area_mm2
    drawn = float(np.count_nonzero(truth.tissue)) * (truth.tissue_mpp / 1000) ** 2  # without lumina
    whole = find_tissue(np.asarray(Image.fromarray(pixels).reduce(16)), 8.0).area_mm2  # with all of them
    assert 0.97 * drawn < area < whole
    assert area == pytest.approx(whole, rel=0.12)


def test_a_small_field_does_not_fail_and_its_patient_is_judged_by_all_of_them() -> None:
    mask = np.ones((8, 8), bool)
    tissue = TissueMask(mask=mask, pen=np.zeros_like(mask), mpp=8.0)
    facts = {"slide_id": "f", "tissue": tissue, "blurred": np.zeros(1, bool), "mpp": 0.5, "mpp_source": "option"}
    assert slide_qc(**facts).verdict == "fail"  # type: ignore[arg-type]
    field = slide_qc(**facts, field=True)  # type: ignore[arg-type]
    assert (field.verdict, field.reasons) == ("pass", ())
    assert little_tissue([field] * 3) == "hardly any tissue in all fields (0.012 mm²)"
    assert little_tissue([field] * 40).startswith("little tissue")
    assert little_tissue([field] * 70) == little_tissue([]) == ""
