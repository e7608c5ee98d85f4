"""The OpenSlide reader against OpenSlide itself, and against exact TIFF pixels."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import openslide
import pytest
import tifffile
from PIL import Image, ImageCms

import kras_reader_openslide
from kras_plugins import SlideError
from kras_reader_openslide.source import _on_white
from kras_reader_tiff.source import TiffSource

(PLUGIN,) = kras_reader_openslide.kras_readers()


OPENED = []


@pytest.fixture(autouse=True)
def _close():
    yield
    while OPENED:
        OPENED.pop().close()


def source(path, **options):
    OPENED.append(PLUGIN.open(path, PLUGIN.options(**options)))
    return OPENED[-1]


def exact(path):
    OPENED.append(TiffSource(path, 8))
    return OPENED[-1]


@pytest.fixture
def svs(shared_data):
    return shared_data / "slides/cmu_small_region.svs"


@pytest.fixture
def pyramid(shared_data):
    return shared_data / "slides/generic_pyramid.tiff"


def smooth(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 / width, y * 255 / height, (x + y) % 64 + 90], -1).astype(np.uint8)


def test_a_real_slide_states_its_facts_and_no_person(svs):
    slide = source(svs)
    assert [(level.width, level.height) for level in slide.levels] == [(2220, 2967)]
    assert (slide.mpp, slide.objective_power) == ((0.499, 0.499), 20)
    assert slide.quickhash == "6335ea0e6cc54c2cba64bb265d3c713a50cd84484924e3a9c109558c13521d5c"
    assert slide.properties["openslide.vendor"] == "aperio"
    # the file names its user, its file name and an image number
    assert not {"b414003d", "CMU-1", "1004486"} & {part for v in slide.properties.values() for part in v.split("-")}
    slide.close()


def test_pixels_are_those_of_openslide(svs, shared_data):
    for path, xy, size in (
        (svs, (0, 0), (300, 200)),
        (svs, (1999, 2700), (221, 267)),
        (shared_data / "slides/dicom/boxes_0.dcm", (0, 0), (16, 16)),
    ):
        with openslide.OpenSlide(path) as reference:
            expected = np.asarray(reference.read_region(xy, 0, size).convert("RGB"))
        assert np.array_equal(source(path).read_level(0, xy, size), expected)


def test_coarser_levels_are_read_at_their_own_coordinates(pyramid):
    """Downsamplings of 2, 4.016 and 8.086: the exact pixels are those of the TIFF reader."""
    ours, theirs = source(pyramid), exact(pyramid)
    assert ours.levels == theirs.levels
    for level, (x, y, w, h) in (
        (0, (13, 40, 99, 80)),
        (1, (31, 17, 100, 90)),
        (2, (9, 5, 60, 50)),
        (3, (7, 6, 20, 20)),
    ):
        a, b = (s.read_level(level, (x, y), (w, h)).astype(int) for s in (ours, theirs))
        # coordinates of level 0 are whole: up to an eighth of a pixel off at a downsampling of 4
        assert np.abs(a - b).mean() < (0.01 if level < 2 else 6)


def test_level_coordinates_are_not_off_by_a_pixel(tmp_path):
    path = tmp_path / "ramp.tif"
    levels = [
        np.repeat(np.arange(w, dtype=np.uint8)[None, :, None], h, 0).repeat(3, 2) for w, h in ((250, 200), (62, 50))
    ]
    with tifffile.TiffWriter(path) as tif:
        for i, level in enumerate(levels):
            tif.write(level, tile=(64, 64), photometric="rgb", compression="deflate", subfiletype=int(i > 0))
    slide = source(path)
    assert len(slide.levels) == 2
    for x in range(0, 50, 7):
        assert np.abs(slide.read_level(1, (x, 3), (8, 8))[..., 0] - np.arange(x, x + 8.0)).max() <= 1
        assert abs(slide.read_level(1, (x, 3), (8, 8))[..., 0].mean() - (x + 3.5)) < 0.25


def test_transparent_pixels_become_white_and_half_transparent_ones_lie_on_white():
    argb = np.array([[0x00000000, 0xFF102030], [0x80402010, 0xFFFFFFFF]], np.uint32)
    assert _on_white(argb).tolist() == [
        [[255, 255, 255], [0x10, 0x20, 0x30]],
        [[0x40 + 127, 0x20 + 127, 0x10 + 127], [255, 255, 255]],
    ]


def test_a_missing_tile_is_white(tmp_path):
    path = tmp_path / "sparse.tif"
    tile = np.full((64, 64, 3), 9, np.uint8)
    description = "Aperio Image Library v11 \r\n192x64 [0,0 192x64] (64x64)|AppMag = 20|MPP = 0.5"
    tifffile.imwrite(
        path, iter([tile, None, tile]), shape=(64, 192, 3), dtype=np.uint8, tile=(64, 64), photometric="rgb",
        compression="deflate", description=description, metadata=None,
    )  # fmt: skip
    slide = source(path)
    out = slide.read_level(0, (0, 0), (192, 64))
    assert slide.mpp == (0.5, 0.5)
    assert (out[:, 64:128] == 255).all()
    assert (out[:, :64] == 9).all()


def test_threads_get_the_same_pixels_and_a_handle_each(svs):
    slide = source(svs, cache_mb=8)
    places = [(int(x), int(y)) for x, y in np.random.default_rng(0).uniform(0, 2000, (80, 2))]
    alone = [slide.read_level(0, xy, (96, 96)) for xy in places]
    assert len(slide._idle) == 1
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda xy: slide.read_level(0, xy, (96, 96)), places))
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))
    assert 1 <= len(slide._idle) <= 4
    slide.close()
    slide.close()
    assert not slide._idle
    with pytest.raises(SlideError, match="was closed"):
        slide.read_level(0, (0, 0), (8, 8))


def test_a_damaged_place_is_an_error_each_time_and_its_handle_is_dropped(shared_data):
    slide = source(shared_data / "slides/broken/unreadable.svs")
    for _ in range(2):
        with pytest.raises(SlideError, match=r"unreadable\.svs: Bogus marker length"):
            slide.read_level(0, (0, 0), (16, 16))
        assert not slide._idle


def test_after_an_error_the_rest_of_the_slide_is_still_read(tmp_path):
    path = tmp_path / "half.tif"
    tifffile.imwrite(path, smooth(128, 256), tile=(128, 128), photometric="rgb", compression="deflate")
    with tifffile.TiffFile(path) as tif:
        offset = tif.pages[0].dataoffsets[1]
    data = bytearray(path.read_bytes())
    data[offset : offset + 40] = bytes(40)
    path.write_bytes(data)
    slide = source(path)
    with pytest.raises(SlideError, match=r"half\.tif"):
        slide.read_level(0, (128, 0), (64, 64))
    assert np.array_equal(slide.read_level(0, (0, 0), (100, 100)), smooth(128, 256)[:100, :100])


def test_files_that_openslide_cannot_open_are_slide_errors(shared_data, tmp_path):
    for name, cause in (("truncated.svs", "does not know"), ("unopenable.tiff", "Unsupported TIFF compression")):
        with pytest.raises(SlideError, match=rf"{name}: .*{cause}"):
            source(shared_data / "slides/broken" / name)
    text = tmp_path / "text.svs"
    text.write_text("not a slide")
    with pytest.raises(SlideError, match=r"text\.svs") as caught:
        source(text)
    assert caught.value.hint
    assert caught.value.__cause__ is not None


def test_a_generic_tiff_states_mpp_only_where_it_is_plausible(tmp_path, pyramid):
    assert source(pyramid).mpp is None
    path = tmp_path / "größe.tif"
    tifffile.imwrite(
        path, smooth(100, 100), tile=(64, 64), photometric="rgb", resolution=(20000, 20000), resolutionunit="centimeter"
    )
    assert source(path).mpp == pytest.approx((0.5, 0.5))


def test_colors_follow_the_icc_profile_only_on_request(pyramid, svs):
    region = ((60, 50), (150, 120))
    raw = source(pyramid).read_level(0, *region)
    assert np.array_equal(raw, exact(pyramid).read_level(0, *region))
    with openslide.OpenSlide(pyramid) as reference:
        profile = reference.color_profile
        intent = ImageCms.getDefaultIntent(profile)
        to = ImageCms.createProfile("sRGB")
        expected = ImageCms.profileToProfile(Image.fromarray(raw), profile, to, ImageCms.Intent(intent))
    assert np.array_equal(source(pyramid, icc="srgb").read_level(0, *region), np.asarray(expected))
    # without a profile there is nothing to convert
    assert np.array_equal(source(svs, icc="srgb").read_level(0, *region), source(svs).read_level(0, *region))


def test_a_broken_icc_profile_is_an_error_only_where_it_is_used(pyramid, monkeypatch):
    monkeypatch.setattr("openslide.lowlevel.read_icc_profile", lambda _handle: b"nonsense")
    source(pyramid)
    with pytest.raises(SlideError, match="ICC") as caught:
        source(pyramid, icc="srgb")
    assert "icc=ignore" in caught.value.hint


def test_empty_levels_are_dropped(pyramid, monkeypatch):
    true = openslide.lowlevel.get_level_dimensions
    monkeypatch.setattr("openslide.lowlevel.get_level_dimensions", lambda h, i: (0, 5) if i == 1 else true(h, i))
    slide = source(pyramid)
    assert [level.width for level in slide.levels] == [300, 75, 37]
    assert slide.read_level(1, (0, 0), (75, 62)).shape == (62, 75, 3)
    monkeypatch.setattr("openslide.lowlevel.get_level_dimensions", lambda _h, _i: (0, 0))
    with pytest.raises(SlideError, match="no pixels"):
        source(pyramid)


def test_color_conversion_changes_results_and_the_cache_does_not():
    assert PLUGIN.options(cache_mb=7, icc="srgb").result_affecting() == {"mpp": None, "field": None, "icc": "srgb"}
    assert isinstance(PLUGIN.suffixes, tuple)
    assert ".svs" in PLUGIN.suffixes
