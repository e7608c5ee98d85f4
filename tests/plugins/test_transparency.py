"""One transparent file, the same pixels through both readers: every alpha, layout and codec against the formula."""

from __future__ import annotations

import imagecodecs
import numpy as np
import pytest
import tifffile
from tiff_files import WAYS, level_zero, opened

H, W = 130, 150
Y, X = np.mgrid[:H, :W]
COLOR = np.stack([X + 60, Y + 80, (X + Y) // 2 + 90], -1).astype(np.uint8)
RAMP = (X * 3 % 256).astype(np.uint8)
COLOR[5:9, 5:9] = 0
RAMP[7:9, 5:9] = 0

ALPHAS = {
    "none": (None, None),
    "unspecified 0": ("unspecified", np.zeros_like(RAMP)),
    "unspecified 128": ("unspecified", np.full_like(RAMP, 128)),
    "unspecified 255": ("unspecified", np.full_like(RAMP, 255)),
    "associated": ("assocalpha", RAMP),
    "associated but not premultiplied": ("assocalpha", RAMP),
    "associated, 128 throughout": ("assocalpha", np.full_like(RAMP, 128)),
    "unassociated": ("unassalpha", RAMP),
}


def stored(alpha: str) -> np.ndarray:
    _, samples = ALPHAS[alpha]
    if samples is None:
        return COLOR
    return np.dstack([np.minimum(COLOR, samples[..., None]) if alpha == "associated" else COLOR, samples])


def on_white(pixels: np.ndarray, kind: str | None) -> np.ndarray:
    """What is seen on glass, in exact numbers."""
    if kind in (None, "unspecified"):
        return pixels[..., :3].astype(float)
    color, alpha = pixels[..., :3].astype(float), pixels[..., 3:].astype(float)
    if kind == "unassalpha":
        color = color * alpha / 255
    return np.minimum(color + 255 - alpha, 255)


def both(path, mpp=0.5):
    found = []
    for want in WAYS:
        with opened(path, want, mpp) as slide:
            found.append(level_zero(slide))
    assert all(np.array_equal(found[0], other) for other in found)
    return found[0]


@pytest.mark.parametrize("codec", [None, "lzw", "deflate"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("alpha", ALPHAS)
def test_both_readers_lay_a_lossless_file_on_white_exactly(tmp_path, alpha, planar, codec):
    kind, pixels = ALPHAS[alpha][0], stored(alpha)
    tifffile.imwrite(
        tmp_path / "a.tif", pixels if planar == "contig" else np.ascontiguousarray(np.moveaxis(pixels, 2, 0)),
        photometric="rgb", planarconfig=planar, tile=(64, 64), compression=codec, metadata=None,
        extrasamples=[kind] if kind else None,
    )  # fmt: skip
    assert np.abs(both(tmp_path / "a.tif") - on_white(pixels, kind)).max() <= 0.5


@pytest.mark.parametrize(
    ("alpha", "planar", "photometric"),
    [("none", "contig", "ycbcr"), *((alpha, planar, "rgb") for alpha in ALPHAS for planar in ("contig", "separate"))],
)
def test_both_readers_lay_a_jpeg_on_white_alike(tmp_path, alpha, planar, photometric):
    kind, pixels = ALPHAS[alpha][0], stored(alpha)
    count, path = pixels.shape[2], tmp_path / "a.tif"
    space = {"colorspace": "CMYK", "outcolorspace": "CMYK"} if count == 4 else {"outcolorspace": photometric}
    if count == 4 and planar == "contig":  # four components that no encoder mixes
        padded = np.pad(pixels, ((0, 62), (0, 42), (0, 0)))
        data = iter(
            [
                imagecodecs.jpeg8_encode(np.ascontiguousarray(padded[r : r + 64, c : c + 64]), level=95, **space)
                for r in range(0, H, 64)
                for c in range(0, W, 64)
            ]
        )
    else:
        data = pixels if planar == "contig" else np.ascontiguousarray(np.moveaxis(pixels, 2, 0))
    arguments = {"level": 95, "outcolorspace": photometric} if planar == "contig" else {"level": 95}
    shape = {"shape": pixels.shape, "dtype": np.uint8} if not isinstance(data, np.ndarray) else {}
    tifffile.imwrite(
        path, data, photometric="rgb", planarconfig=planar, tile=(64, 64), compression="jpeg", metadata=None,
        compressionargs=arguments, extrasamples=[kind] if kind else None, **shape,
    )  # fmt: skip
    with tifffile.TiffFile(path) as tif:
        assert tif.pages[0].photometric.name.lower() == photometric
    off = np.abs(both(path) - on_white(pixels, kind))
    assert np.median(off) <= 3  # JPEG; a sum that wraps is off by some 128


@pytest.mark.parametrize("kind", ["unspecified", "assocalpha", "unassalpha"])
def test_missing_tiles_are_white_whatever_the_fourth_sample_means(tmp_path, kind):
    path = tmp_path / "a.tif"
    black = np.zeros((64, 64, 4), np.uint8)
    black[..., 3] = 0 if kind == "unspecified" else 255
    tifffile.imwrite(
        path, iter([black, None]), shape=(64, 128, 4), dtype=np.uint8, tile=(64, 64), photometric="rgb",
        compression="deflate", extrasamples=[kind], metadata=None,
    )  # fmt: skip
    with opened(path) as slide:
        # OpenSlide cannot tell such a black tile from a missing one
        assert slide.reader == ("tiff" if kind == "unspecified" else "openslide")
        pixels = level_zero(slide)
    assert (pixels[:, :64] == 0).all()
    assert (pixels[:, 64:] == 255).all()
