"""The TIFF reader against what was written, against tifffile and against OpenSlide."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image
from tiff_files import opened

import kras_reader_tiff
from kras_plugins import ContentError, SlideError
from kras_plugins.testing import draw_slide
from kras_reader_openslide.source import OpenSlideSource
from kras_reader_tiff import page as page_module

(PLUGIN,) = kras_reader_tiff.kras_readers()
RNG = np.random.default_rng(3)
NOISE = RNG.integers(0, 256, (301, 407, 3), dtype=np.uint8)
y, x = np.mgrid[:301, :407]
SMOOTH = np.stack([x / 2, y / 2, (x + y) / 4], -1).astype(np.uint8)


OPENED = []


@pytest.fixture(autouse=True)
def _close():
    yield
    while OPENED:
        OPENED.pop().close()


def source(path, **options):
    OPENED.append(PLUGIN.open(path, PLUGIN.options(**options)))
    return OPENED[-1]


def written(path, pixels=NOISE, photometric="rgb", **options):
    tifffile.imwrite(path, pixels, photometric=photometric, **options)
    return path


def regions():
    yield (0, 0), (407, 301)
    for _ in range(12):
        x0, y0 = int(RNG.integers(0, 400)), int(RNG.integers(0, 295))
        yield (x0, y0), (int(RNG.integers(1, 408 - x0)), int(RNG.integers(1, 302 - y0)))


LAYOUTS = {
    "one strip": {},
    "strips": {"rowsperstrip": 16},
    "deflate strips": {"rowsperstrip": 37, "compression": "deflate", "predictor": True},
    "tiles": {"tile": (64, 96)},
    "lzw tiles": {"tile": (64, 64), "compression": "lzw", "predictor": True},
    "jpeg 2000": {"tile": (128, 128), "compression": "jpeg2000"},
    "png tiles": {"tile": (64, 64), "compression": "png"},
    "big": {"tile": (64, 64), "compression": "zstd", "bigtiff": True},
    "big-endian": {"tile": (64, 64), "byteorder": ">"},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_region_of_a_lossless_file_is_exact(tmp_path, layout):
    slide = source(written(tmp_path / "a.tif", **LAYOUTS[layout]))
    assert [(level.width, level.height) for level in slide.levels] == [(407, 301)]
    for (x0, y0), (w, h) in regions():
        assert np.array_equal(slide.read_level(0, (x0, y0), (w, h)), NOISE[y0 : y0 + h, x0 : x0 + w])


@pytest.mark.parametrize("options", [{}, {"tile": (64, 64), "compression": "deflate"}, {"rowsperstrip": 20}])
def test_planar_files_are_put_together(tmp_path, options):
    planes = np.ascontiguousarray(NOISE.transpose(2, 0, 1))
    slide = source(written(tmp_path / "a.tif", planes, planarconfig="separate", **options))
    for (x0, y0), (w, h) in regions():
        assert np.array_equal(slide.read_level(0, (x0, y0), (w, h)), NOISE[y0 : y0 + h, x0 : x0 + w])


@pytest.mark.parametrize(
    "options", [{"tile": (64, 64)}, {"rowsperstrip": 16}, {"tile": (64, 64), "subsampling": (2, 2)}]
)
def test_jpeg_files_decode_as_tifffile_does(tmp_path, options):
    path = written(tmp_path / "a.tif", SMOOTH, compression="jpeg", compressionargs={"level": 95}, **options)
    out = source(path).read_level(0, (5, 7), (390, 290))
    assert np.array_equal(out, tifffile.imread(path)[7:297, 5:395])
    assert np.abs(out.astype(int) - SMOOTH[7:297, 5:395]).max() < 12


def test_the_same_slide_reads_alike_through_openslide(shared_data):
    path = shared_data / "slides/cmu_small_region.svs"
    ours, theirs = source(path), OpenSlideSource(path, "ignore", 64)
    assert (ours.levels, ours.mpp, ours.objective_power) == (theirs.levels, theirs.mpp, theirs.objective_power)
    for xy, size in (((0, 0), (500, 400)), ((1700, 2500), (520, 467))):
        assert np.abs(ours.read_level(0, xy, size).astype(int) - theirs.read_level(0, xy, size)).max() <= 4
    assert set(ours.properties) == {"format", "compression"}


def test_a_generic_pyramid_has_all_its_levels(shared_data):
    path = shared_data / "slides/generic_pyramid.tiff"
    slide = source(path)
    assert [(level.width, level.height) for level in slide.levels] == [(300, 250), (150, 125), (75, 62), (37, 31)]
    with tifffile.TiffFile(path) as tif:
        for i, level in enumerate(tif.series[0].levels):
            h, w = level.shape[:2]
            assert np.array_equal(slide.read_level(i, (0, 0), (w, h)), level.asarray())


@pytest.mark.parametrize(
    ("unit", "size", "mpp"), [("µm", 0.25, 0.25), ("nm", 250, 0.25), ("mm", 0.0005, 0.5), ("pixel", 0.25, None)]
)
def test_an_ome_pyramid_has_its_sub_images_as_levels_and_its_physical_size(tmp_path, unit, size, mpp):
    path = tmp_path / "a.ome.tif"
    levels = [NOISE, NOISE[::2, ::2], NOISE[::4, ::4]]
    scale = {
        "axes": "YXS",
        "PhysicalSizeX": size,
        "PhysicalSizeXUnit": unit,
        "PhysicalSizeY": size,
        "PhysicalSizeYUnit": unit,
    }
    with tifffile.TiffWriter(path, ome=True) as tif:
        tif.write(levels[0], subifds=2, tile=(64, 64), photometric="rgb", compression="deflate", metadata=scale)
        for level in levels[1:]:
            tif.write(level, subfiletype=1, tile=(64, 64), photometric="rgb", compression="deflate")
        tif.write(NOISE[:90, :90], photometric="rgb", metadata={"axes": "YXS", "PhysicalSizeX": 9.0})  # a label
    slide = source(path)
    assert slide.mpp == (pytest.approx((mpp, mpp)) if mpp else None)
    assert len(slide.levels) == 3
    for i, level in enumerate(levels):
        assert np.array_equal(slide.read_level(i, (3, 2), (70, 60)), level[2:62, 3:73])


def test_ome_objective_power_is_that_of_the_objective_used(tmp_path):
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(
        path, NOISE, photometric="rgb", metadata={"axes": "YXS", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.4}
    )
    with tifffile.TiffFile(path) as tif:
        xml = tif.ome_metadata
    instrument = (
        '<Instrument ID="Instrument:0"><Objective ID="Objective:0" NominalMagnification="5"/>'
        '<Objective ID="Objective:1" NominalMagnification="20"/></Instrument>'
    )
    at = xml.index("<Image ")
    xml = xml[:at] + instrument + xml[at:].replace("<Pixels ", '<ObjectiveSettings ID="Objective:1"/><Pixels ', 1)
    tifffile.imwrite(path, NOISE, photometric="rgb", description=xml.encode(), metadata=None)
    slide = source(path)
    assert (slide.objective_power, slide.mpp) == (20, (0.5, 0.4))


@pytest.mark.parametrize(
    ("resolution", "unit", "mpp"),
    [
        ((20000, 40000), "centimeter", (0.5, 0.25)),
        ((50800, 50800), "inch", (0.5, 0.5)),
        ((72, 72), "inch", None),
        ((96, 96), "inch", None),
        ((20000, 20000), "none", None),
    ],
)
def test_resolution_tags_count_where_they_are_plausible(tmp_path, resolution, unit, mpp):
    slide = source(written(tmp_path / "a.tif", resolution=resolution, resolutionunit=unit, metadata=None))
    assert slide.mpp == (pytest.approx(mpp) if mpp else None)


def test_an_aperio_description_gives_mpp_and_power(tmp_path):
    text = "Aperio Image Library v11 \r\n407x301 (64x64) JPEG/RGB Q=30|AppMag = 40|User = x|MPP = 0.2520"
    slide = source(written(tmp_path / "a.tif", tile=(64, 64), description=text, metadata=None))
    assert (slide.mpp, slide.objective_power) == ((0.252, 0.252), 40)


@pytest.mark.parametrize("want", ["tiff", "openslide"])
@pytest.mark.parametrize(
    ("text", "mpp", "power"),
    [
        ("MPP = 4.990e-01", 0.499, None),
        ("MPP = 0,4990", 0.499, None),
        ("AppMag = 40.000000|MPP = 2.5E-1", 0.25, 40),
        ("AppMag = 40,0|MPP=.25 ", 0.25, 40),
    ],
)
def test_an_aperio_number_is_read_in_any_notation(tmp_path, text, mpp, power, want):
    with opened(aperio(tmp_path, text), want, mpp=None) as slide:
        assert (slide.mpp, slide.mpp_source) == (pytest.approx((mpp, mpp)), "file")
        assert slide._source.objective_power == power
        assert slide.warnings == ()


@pytest.mark.parametrize("want", [None, "tiff", "openslide"])
@pytest.mark.parametrize("text", ["MPP = 0", "MPP = nan", "MPP = inf", "MPP = -0.5", "MPP = abc", "MPP = 1,234.5"])
def test_an_aperio_number_that_cannot_be_meant_is_none_and_is_told(tmp_path, text, want):
    with pytest.raises(SlideError, match=f"nothing states.*the file states {text},") as caught:
        with opened(aperio(tmp_path, text), want, mpp=None):
            pass
    assert "column `mpp`" in caught.value.hint
    assert caught.value.message.count("nothing states") == 1
    with opened(aperio(tmp_path, text), want, mpp=0.5) as slide:
        assert len(slide.warnings) == 1
        assert text in slide.warnings[0]


@pytest.mark.parametrize("want", ["tiff", "openslide"])
@pytest.mark.parametrize(("text", "warns"), [("40|MPP = 0.5", 1), ("20|MPP = 0.25", 1), ("20|MPP = 0.46", 0)])
def test_a_magnification_that_contradicts_the_micrometres_warns(tmp_path, text, warns, want):
    with opened(aperio(tmp_path, f"AppMag = {text}"), want, mpp=None) as slide:
        assert len(slide.warnings) == warns
        assert all("contradicts the magnification" in told for told in slide.warnings)


@pytest.mark.parametrize("size", ["0", "-0.25", "nan", "inf", "many"])
def test_an_ome_size_that_cannot_be_meant_is_none_and_is_told(tmp_path, size):
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, NOISE, photometric="rgb", tile=(64, 64), metadata={"axes": "YXS", "PhysicalSizeX": 0.5})
    with tifffile.TiffFile(path) as tif:
        xml = tif.ome_metadata.replace('PhysicalSizeX="0.5"', f'PhysicalSizeX="{size}" PhysicalSizeY="0.5"')
    tifffile.imwrite(path, NOISE, photometric="rgb", tile=(64, 64), description=xml.encode(), metadata=None)
    slide = source(path)
    assert slide.mpp is None
    assert slide.warnings == (
        f"the file states PhysicalSizeX = {size}, which is not a positive number and was ignored",
    )


def aperio(folder, text):
    text = "Aperio Image Library v11 \r\n407x301 (64x64) JPEG/RGB Q=30|" + text
    return written(folder / "a.svs", tile=(64, 64), compression="deflate", description=text, metadata=None)


def test_missing_tiles_are_white(tmp_path):
    tile = np.full((64, 64, 3), 9, np.uint8)
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, iter([tile, None, tile]), shape=(64, 192, 3), dtype=np.uint8, tile=(64, 64), photometric="rgb",
        compression="deflate",
    )  # fmt: skip
    out = source(path).read_level(0, (10, 0), (182, 64))
    assert (out[:, 54:118] == 255).all()
    assert (out[:, :54] == 9).all()


@pytest.mark.parametrize("kind", ["unassalpha", "assocalpha", "unspecified"])
def test_alpha_lies_on_white(tmp_path, kind):
    rgba = RNG.integers(0, 256, (60, 70, 4), dtype=np.uint8)
    alpha = rgba[..., 3:].astype(float)
    color = rgba[..., :3].astype(float)
    if kind == "assocalpha":
        color = np.minimum(color, alpha)
        rgba[..., :3] = color
    expected = {
        "unassalpha": (color * alpha / 255) + 255 - alpha,
        "assocalpha": color + 255 - alpha,
        "unspecified": color,
    }
    slide = source(written(tmp_path / "a.tif", rgba, extrasamples=[kind]))
    assert np.abs(slide.read_level(0, (0, 0), (70, 60)) - expected[kind]).max() <= 0.5 + 1e-9


@pytest.mark.parametrize(
    ("pixels", "options", "says"),
    [
        (NOISE.astype(np.uint16), {}, "3 x 16 bit RGB"),
        (NOISE[..., 0], {"photometric": "minisblack"}, "1 x 8 bit MINISBLACK"),
        (NOISE[..., 0], {"photometric": "palette", "colormap": np.zeros((3, 256), np.uint16)}, "PALETTE"),
        (np.zeros((40, 40, 4), np.uint8), {"photometric": "separated"}, "SEPARATED"),
        (NOISE.astype(np.float32), {}, "3 x 32 bit RGB"),
        (np.zeros((3, 40, 40, 3), np.uint8), {"metadata": {"axes": "ZYXS"}}, "3 planes"),
    ],
)
def test_what_is_not_8_bit_rgb_is_refused_saying_what_it_is(tmp_path, pixels, options, says):
    with pytest.raises(SlideError, match=rf"a\.tif: has {says}" if says[0].isdigit() else rf"a\.tif: has .*{says}"):
        source(written(tmp_path / "a.tif", pixels, **options))


def test_only_the_touched_tiles_are_read_and_only_once(tmp_path, monkeypatch):
    slide = source(written(tmp_path / "a.tif", tile=(64, 64)))
    read, raw = [], slide._raw
    monkeypatch.setattr(slide, "_raw", lambda offset, count: read.append(count) or raw(offset, count))
    slide.read_level(0, (60, 10), (8, 40))
    assert read == [64 * 64 * 3] * 2
    slide.read_level(0, (70, 10), (8, 40))
    assert len(read) == 2


def test_of_an_image_in_one_strip_only_the_rows_near_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(page_module, "RAW_ROWS", 16)
    slide = source(written(tmp_path / "a.tif"))
    read, raw = [], slide._raw
    monkeypatch.setattr(slide, "_raw", lambda offset, count: read.append(count) or raw(offset, count))
    assert np.array_equal(slide.read_level(0, (9, 290), (30, 11)), NOISE[290:301, 9:39])
    assert sum(read) <= 2 * 16 * 407 * 3


def test_the_cache_stays_within_its_size(tmp_path):
    big = RNG.integers(0, 256, (1024, 1024, 3), dtype=np.uint8)
    slide = source(written(tmp_path / "a.tif", big, tile=(128, 128)), cache_mb=1)
    assert np.array_equal(slide.read_level(0, (0, 0), (1024, 1024)), big)
    assert 0 < slide._cache._bytes <= 1 << 20
    assert slide._cache._bytes == sum(p.nbytes for p in slide._cache._kept.values())
    assert np.array_equal(slide.read_level(0, (100, 100), (900, 900)), big[100:1000, 100:1000])


def test_one_huge_compressed_strip_is_refused_with_advice(tmp_path, monkeypatch):
    monkeypatch.setattr(page_module, "MAX_SEGMENT_PX", 10000)
    with pytest.raises(SlideError, match="407 x 301") as caught:
        source(written(tmp_path / "a.tif", compression="deflate", rowsperstrip=301))
    assert "vips" in caught.value.hint


def test_threads_get_the_same_pixels(tmp_path):
    slide = source(written(tmp_path / "a.tif", SMOOTH, tile=(32, 32), compression="jpeg"), cache_mb=1)
    places = [(int(a), int(b)) for a, b in RNG.uniform(0, 230, (80, 2))]
    alone = [slide.read_level(0, xy, (70, 70)) for xy in places]
    slide._cache.clear()
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda xy: slide.read_level(0, xy, (70, 70)), places))
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


def test_first_reads_from_many_threads_do_not_move_the_file_under_each_other(tmp_path, monkeypatch):
    """tifffile reads some tags only when a tile is first decoded, from the handle that tiles are read from."""
    file = tmp_path / "a.svs"
    draw_slide(file, seed=0, size_um=(256.0, 256.0))
    seek = tifffile.FileHandle.seek

    def slowly(self, *where):
        found = seek(self, *where)
        time.sleep(0.003)
        return found

    for _ in range(3):
        slide = source(file)
        with monkeypatch.context() as patch, ThreadPoolExecutor(4) as pool:
            patch.setattr(tifffile.FileHandle, "seek", slowly)
            list(pool.map(lambda i, slide=slide: slide.read_level(0, (128 * i, 0), (128, 512)), range(4)))


def test_a_closed_file_says_so(tmp_path):
    slide = source(written(tmp_path / "a.tif", tile=(64, 64)))
    slide.close()
    slide.close()
    with pytest.raises(SlideError, match="was closed"):
        slide.read_level(0, (0, 0), (8, 8))


@pytest.mark.parametrize("compression", ["jpeg", "deflate", "lzw", None])
@pytest.mark.filterwarnings("ignore")
def test_damage_anywhere_is_a_slide_error_or_pixels_but_never_a_crash(tmp_path, compression):
    path = tmp_path / "a.tif"
    written(path, SMOOTH, tile=(64, 64), compression=compression, resolution=(20000, 20000))
    whole = path.read_bytes()
    rng = np.random.default_rng(5)
    errors = []
    for trial in range(60):
        data = bytearray(whole)
        if trial % 2:
            data = data[: int(rng.integers(1, len(data)))]
        else:  # the directory is at the front
            for at in rng.integers(0, 700, 3):
                data[at] = rng.integers(0, 256)
        path.write_bytes(data)
        try:
            slide = source(path)
            level = slide.levels[0]
            if level.width * level.height < 1e7:
                slide.read_level(0, (0, 0), (level.width, level.height))
        except SlideError as e:
            errors.append(e)
    assert len(errors) > 20
    assert all("a.tif" in e.message and e.hint for e in errors)


def test_an_unknown_compression_is_refused_at_once(shared_data):
    with pytest.raises(SlideError, match=r"unopenable\.tiff: has the compression 52479"):
        source(shared_data / "slides/broken/unopenable.tiff")


@pytest.mark.parametrize("name", ["a.png", "A.JPG", "a.jpeg"])
def test_a_field_is_a_slide_of_one_level_without_mpp(tmp_path, name):
    path = tmp_path / name
    Image.fromarray(SMOOTH).save(path, dpi=(50800, 50800), quality=95)
    slide = source(path)
    assert [(level.width, level.height) for level in slide.levels] == [(407, 301)]
    assert slide.mpp is None
    expected = np.asarray(Image.open(path))[20:70, 10:50]
    assert np.array_equal(slide.read_level(0, (10, 20), (40, 50)), expected)
    assert slide.properties["format"] in ("PNG", "JPEG")
    slide.close()


def test_a_transparent_field_lies_on_white(tmp_path):
    rgba = np.zeros((8, 8, 4), np.uint8)
    rgba[:4] = (10, 20, 30, 255)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    out = source(tmp_path / "a.png").read_level(0, (0, 0), (8, 8))
    assert (out[:4] == (10, 20, 30)).all()
    assert (out[4:] == 255).all()


@pytest.mark.parametrize(
    ("pixels", "says"),
    [
        (NOISE.astype(np.uint16) * 16, "mode RGB: deep color of 16 bits"),
        (NOISE[..., 0].astype(np.uint16) * 16, "gray of 16"),
        (np.dstack([NOISE, NOISE[..., :1]]).astype(np.uint16), "mode RGBA: deep color of 16 bits"),
    ],
)
def test_a_field_of_16_bits_is_not_read_by_its_upper_bytes(tmp_path, pixels, says):
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(pixels))
    with pytest.raises(ContentError, match=says):
        source(tmp_path / "a.png")


@pytest.mark.parametrize(("mode", "says"), [("P", "palette"), ("1", "black and white"), ("LA", "gray")])
def test_a_field_that_is_no_color_is_refused_saying_what_it_is(tmp_path, mode, says):
    Image.fromarray(SMOOTH).convert(mode).save(tmp_path / "a.png")
    with pytest.raises(ContentError, match=says):
        source(tmp_path / "a.png")


def test_an_animation_is_no_field_and_a_transparent_color_is_white(tmp_path):
    picture = Image.fromarray(NOISE)
    picture.save(tmp_path / "a.png", save_all=True, append_images=[Image.fromarray(255 - NOISE)])
    with pytest.raises(ContentError, match="animation"):
        source(tmp_path / "a.png")
    picture.save(tmp_path / "b.png", transparency=tuple(int(v) for v in NOISE[0, 0]))
    out = source(tmp_path / "b.png").read_level(0, (0, 0), (407, 301))
    assert (out[0, 0] == 255).all()
    assert np.array_equal(out[0, 1:], NOISE[0, 1:])


def test_fields_that_are_gray_damaged_or_oversized_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    Image.fromarray(NOISE[..., 0]).save(path)
    with pytest.raises(SlideError, match=r"a\.png: has mode L"):
        source(path)
    Image.fromarray(NOISE).save(path)
    whole = path.read_bytes()
    for end in (4, 30, 1000, len(whole) // 2):
        path.write_bytes(whole[:end])
        with pytest.raises(SlideError, match=r"a\.png"):
            source(path)
    path.write_bytes(whole)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10000)
    with pytest.raises(SlideError, match="decompression bomb") as caught:
        source(path)
    assert "pyramidal" in caught.value.hint
