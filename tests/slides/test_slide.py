"""The host's slide, on readers made of arrays and on real files."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kras_plugins import (
    ConfigError,
    ContentError,
    Level,
    PluginError,
    ReaderOptions,
    ReaderPlugin,
    SlideError,
    SlideRef,
)
from kras_plugins.host.parts import UsableReader
from kras_plugins.slides import slide as slide_module
from kras_plugins.slides.slide import open_slide

RNG = np.random.default_rng(7)
NOISE = RNG.integers(0, 256, (240, 320, 3), dtype=np.uint8)


def halved(pixels: np.ndarray) -> np.ndarray:
    h, w = pixels.shape[0] // 2, pixels.shape[1] // 2
    return np.rint(pixels.reshape(h, 2, w, 2, 3).mean((1, 3))).astype(np.uint8)


class ArraySource:
    """A reader's source made of arrays; it remembers what it was asked for."""

    quickhash: str | None = None

    def __init__(self, arrays, mpp=(0.5, 0.5), power=None) -> None:
        self.arrays = arrays
        self.levels = tuple(Level(width=a.shape[1], height=a.shape[0]) for a in arrays)
        self.mpp, self.objective_power = mpp, power
        self.properties = {"made": "here"}
        self.asked: list[tuple[int, tuple[int, int], tuple[int, int]]] = []
        self.closed = 0

    def read_level(self, level, xy, size):
        assert xy[0] >= 0
        assert xy[1] >= 0
        assert xy[0] + size[0] <= self.levels[level].width
        assert xy[1] + size[1] <= self.levels[level].height
        self.asked.append((level, xy, size))
        return self.arrays[level][xy[1] : xy[1] + size[1], xy[0] : xy[0] + size[0]]

    def close(self):
        self.closed += 1


def reader(source, name="arrays", suffixes=(".arr",), **options):
    def open_(_path, _options):
        if isinstance(source, Exception):
            raise source
        return source

    plugin = ReaderPlugin(name=name, summary="arrays", suffixes=suffixes, open=open_)
    return UsableReader(plugin, ReaderOptions(**options))


@pytest.fixture
def ref(tmp_path):
    path = tmp_path / "a.arr"
    path.write_bytes(b"content")
    return SlideRef(patient_id="p", slide_id="s", path=path)


def opened(ref, arrays=(NOISE,), mpp=(0.5, 0.5)):
    source = ArraySource(list(arrays), mpp)
    return open_slide(ref, [reader(source)]), source


# --- resolution -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cohort", "file", "option", "power", "mpp", "source"),
    [
        (0.25, (0.26, 0.26), 1.0, 40, (0.25, 0.25), "cohort"),
        (None, (0.26, 0.3), 1.0, 40, (0.26, 0.3), "file"),
        (None, None, 1.0, 10, (1.0, 1.0), "option"),
        (None, None, None, 40, (0.25, 0.25), "objective"),
    ],
)
def test_mpp_comes_from_cohort_then_file_then_option_then_objective(ref, cohort, file, option, power, mpp, source):
    stated = {"mpp": option} if option else {}
    slide = open_slide(replace(ref, mpp=cohort), [reader(ArraySource([NOISE], file, power), **stated)])
    assert (slide.mpp, slide.mpp_source) == (mpp, source)
    assert bool(slide.warnings) == (source == "objective")


def test_a_cohort_that_contradicts_the_file_by_more_than_five_percent_warns(ref):
    assert not opened(replace(ref, mpp=0.52))[0].warnings
    (warning,) = opened(replace(ref, mpp=0.53))[0].warnings
    assert "0.53" in warning
    assert "0.5" in warning


def test_without_any_mpp_the_error_says_all_three_ways(ref):
    with pytest.raises(SlideError, match=r"a\.arr") as caught:
        opened(ref, mpp=None)
    for way in ("column `mpp`", "-o reader.arrays.mpp=", "objective power"):
        assert way in caught.value.hint


@pytest.mark.parametrize("mpp", [0.04, 21.0, 352.8])
def test_a_wrongly_scaled_slide_is_refused_with_the_number(ref, mpp):
    with pytest.raises(SlideError, match=f"wrongly scaled, {mpp:g}"):
        opened(ref, mpp=(mpp, mpp))
    with pytest.raises(SlideError, match=f"wrongly scaled, {mpp:g} µm per pixel by cohort"):
        opened(replace(ref, mpp=mpp))


# --- which level ----------------------------------------------------------------------------------------------


def test_a_level_within_two_percent_is_read_as_it_is(ref):
    slide, source = opened(ref, [NOISE, halved(NOISE)])
    for asked in (0.981 * 1.0, 1.0, 1.019):
        assert slide.actual_mpp(asked) == 1.0
        assert np.array_equal(slide.read((0, 0), (160, 120), asked), source.arrays[1])
    assert slide.actual_mpp(1.025) == 1.025
    assert slide.actual_mpp(0.97) == 0.97


def test_a_slightly_oblong_level_gives_its_mean_mpp_and_a_more_oblong_one_is_resampled(ref):
    assert opened(ref, mpp=(0.5, 0.505))[0].actual_mpp(0.5) == pytest.approx(0.5025)
    assert opened(ref, mpp=(0.49, 0.508))[0].actual_mpp(0.5) == 0.5


def test_pixels_come_from_the_nearest_finer_level(ref):
    slide, source = opened(ref, [NOISE, halved(NOISE), halved(halved(NOISE))])
    for mpp, level in ((0.6, 0), (0.95, 0), (1.1, 1), (1.9, 1), (2.3, 2), (9.0, 2)):
        source.asked.clear()
        slide.read((0, 0), (4, 4), mpp)
        assert {asked[0] for asked in source.asked} == {level}


def test_enlarging_up_to_twofold_warns_and_beyond_is_refused(ref):
    slide, _ = opened(ref)
    slide.read((0, 0), (8, 8), 0.5)
    assert not slide.warnings
    assert slide.actual_mpp(0.25) == 0.25
    slide.read((3, 3), (8, 8), 0.25)
    slide.read((5, 3), (8, 8), 0.25)
    assert len(slide.warnings) == 1
    assert "2.00-fold" in slide.warnings[0]
    with pytest.raises(SlideError, match=r"0\.2 µm per pixel asked for") as caught:
        slide.actual_mpp(0.2)
    assert "0.25" in caught.value.hint
    with pytest.raises(SlideError):
        slide.read((0, 0), (8, 8), 0.2)


@pytest.mark.parametrize("mpp", [0.0, -1.0, float("nan"), float("inf")])
def test_a_meaningless_mpp_is_refused(ref, mpp):
    with pytest.raises(SlideError):
        opened(ref)[0].read((0, 0), (1, 1), mpp)


# --- pixels ---------------------------------------------------------------------------------------------------


def test_level_zero_at_its_own_mpp_is_a_crop(ref):
    slide, _ = opened(ref)
    assert np.array_equal(slide.read((17, 33), (50, 40), 0.5), NOISE[33:73, 17:67])


def test_twice_the_mpp_is_the_mean_of_two_by_two_blocks(ref):
    slide, _ = opened(ref)
    out = slide.read((10, 20), (30, 25), 1.0)
    assert np.abs(out - NOISE[20:70, 10:70].reshape(25, 2, 30, 2, 3).mean((1, 3))).max() <= 0.5


@pytest.mark.parametrize("mpp", [0.66, 0.998, 1.37, 3.1])
def test_a_gradient_stays_that_gradient_at_any_resolution(ref, mpp):
    gradient = np.stack(np.broadcast_arrays(np.arange(256)[None, :], np.arange(200)[:, None], 9), -1).astype(np.uint8)
    slide, _ = opened(ref, [gradient])
    x0, y0, n = 12.25, 7.5, 20
    out = slide.read((x0, y0), (n, n), mpp)
    center = (np.arange(n) + 0.5) * mpp / 0.5
    assert np.abs(out[..., 0] - (x0 + center - 0.5)).max() <= 0.51
    assert np.abs(out[..., 1] - (y0 + center - 0.5)[:, None]).max() <= 0.51
    assert (out[..., 2] == 9).all()


def test_a_region_read_from_a_coarser_level_lies_where_it_lies_at_level_zero(ref):
    # 250 rows give 62: the factor differs per axis and is not whole
    rows, columns = np.meshgrid(np.arange(62) * 250 / 62, np.arange(75) * 4.0, indexing="ij")
    level = np.rint(np.stack([columns, rows, rows], -1) * 0.8).astype(np.uint8)
    slide, source = opened(ref, [np.zeros((250, 300, 3), np.uint8), level])
    out = slide.read((120, 100), (10, 10), 6.0)
    assert {asked[0] for asked in source.asked} == {1}
    at = (np.arange(10) + 0.5) * 12
    assert np.abs(out[..., 0] - 0.8 * (120 + at - 2)).max() < 1.5
    assert np.abs(out[..., 1] - 0.8 * (100 + at - 2)[:, None]).max() < 1.5


def test_oblong_pixels_become_square(ref):
    # a disk of 60 µm radius on pixels of 0.5 x 1 µm
    y, x = np.mgrid[:160, :320]
    disk = (np.hypot((x + 0.5) * 0.5 - 80, (y + 0.5) * 1.0 - 80) < 60).astype(np.uint8) * 255
    slide, _ = opened(ref, [np.repeat(disk[..., None], 3, 2)], mpp=(0.5, 1.0))
    out = slide.read((0, 0), (80, 80), 2.0)[..., 0] > 127
    assert abs(out.any(0).sum() - out.any(1).sum()) <= 1
    assert out.sum() * 4 == pytest.approx(np.pi * 3600, rel=0.01)


def test_beyond_the_edge_is_white(ref):
    slide, source = opened(ref, [np.full((40, 60, 3), 7, np.uint8)])
    out = slide.read((-10, -5), (80, 50), 0.5)
    expected = np.full((50, 80, 3), 255)
    expected[5:45, 10:70] = 7
    assert np.array_equal(out, expected)
    source.asked.clear()
    assert (slide.read((500, 0), (20, 20), 0.7) == 255).all()
    assert (slide.read((-50, 0), (20, 20), 0.9) == 255).all()
    assert not source.asked
    # half covered: the mean of slide and white
    assert slide.read((59, 0), (1, 1), 1.0).tolist() == [[[131] * 3]]


def test_an_enlarged_slide_is_not_tinted_by_the_white_beyond_its_edge(ref):
    slide, _ = opened(ref, [np.full((40, 60, 3), 7, np.uint8)])
    assert (slide.read((0, 0), (100, 66), 0.3) == 7).all()


@pytest.mark.parametrize("mpp", [0.5, 0.3, 1.0, 1.234])
def test_cutting_a_large_region_changes_nothing_and_bounds_what_is_read(ref, monkeypatch, mpp):
    slide, source = opened(ref)
    whole = slide.read((-7.5, 3.25), (150, 170), mpp)
    monkeypatch.setattr(slide_module, "BLOCK_PX", 5000)
    source.asked.clear()
    cut = slide.read((-7.5, 3.25), (150, 170), mpp)
    assert len(source.asked) > 1
    assert max(w * h for _, _, (w, h) in source.asked) < 6500
    # float32 sums differ in the last bit
    assert np.abs(whole.astype(int) - cut).max() <= 1
    assert (whole != cut).mean() < 1e-3


def test_threads_read_the_same_pixels_as_one(ref):
    slide, _ = opened(ref)
    places = [(float(x), float(y)) for x, y in RNG.uniform(-20, 300, (60, 2))]
    alone = [slide.read(xy, (32, 32), 0.77) for xy in places]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda xy: slide.read(xy, (32, 32), 0.77), places))
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


# --- thumbnail ------------------------------------------------------------------------------------------------


def test_a_thumbnail_covers_the_slide_to_the_pixel(ref):
    slide, _ = opened(ref, mpp=(0.5, 0.4))
    pixels, (x, y) = slide.thumbnail(3.0)
    assert pixels.shape == (32, 53, 3)
    assert (x * 53, y * 32) == pytest.approx((320 * 0.5, 240 * 0.4))
    assert np.abs(pixels.mean((0, 1)) - NOISE.mean((0, 1))).max() < 0.5


def test_a_thumbnail_takes_a_level_as_it_is(ref):
    slide, source = opened(ref, [NOISE, halved(NOISE)])
    pixels, mpp = slide.thumbnail(1.01)
    assert np.array_equal(pixels, source.arrays[1])
    assert mpp == (1.0, 1.0)


def test_a_thumbnail_is_never_too_large_and_is_read_in_pieces(ref, monkeypatch):
    monkeypatch.setattr(slide_module, "THUMBNAIL_PX", 1000)
    monkeypatch.setattr(slide_module, "BLOCK_PX", 4000)
    slide, source = opened(ref)
    pixels, mpp = slide.thumbnail(0.5)
    assert pixels.shape[0] * pixels.shape[1] <= 1030
    assert mpp[0] == pytest.approx(320 * 0.5 / pixels.shape[1])
    assert max(w * h for _, _, (w, h) in source.asked) < 6000


# --- identity -------------------------------------------------------------------------------------------------


def test_the_fingerprint_is_the_quickhash_or_the_digest_of_the_ends(ref):
    source = ArraySource([NOISE])
    source.quickhash = "abc"
    assert open_slide(ref, [reader(source)]).fingerprint == "quickhash:abc:7"
    ref.path.write_bytes(bytes(3 << 20))
    first = opened(ref)[0].fingerprint
    assert first.startswith("sha256:")
    assert first.endswith(f":{3 << 20}")
    for at in (0, (3 << 20) - 1):
        changed = bytearray(3 << 20)
        changed[at] = 1
        ref.path.write_bytes(changed)
        assert opened(ref)[0].fingerprint != first


def test_closing_closes_the_source(ref):
    slide, source = opened(ref)
    with slide:
        assert slide.properties == {"made": "here"}
        assert (slide.reader, slide.size, slide.ref) == ("arrays", (320, 240), ref)
    assert source.closed == 1


# --- which reader ---------------------------------------------------------------------------------------------


def test_the_longest_suffix_wins_then_the_name_whatever_the_case(tmp_path):
    path = tmp_path / "S.OME.TIF"
    path.write_bytes(b"x")
    ref = SlideRef(patient_id="p", slide_id="s", path=path)
    names = ("zeta", (".ome.tif",)), ("beta", (".tif",)), ("alpha", (".tif",)), ("other", (".svs",))
    offers = [reader(ArraySource([NOISE]), name=name, suffixes=suffixes) for name, suffixes in names]
    assert open_slide(ref, offers).reader == "zeta"
    assert open_slide(ref, offers[1:]).reader == "alpha"
    assert open_slide(ref, offers, want="beta").reader == "beta"
    assert open_slide(ref, offers, want="other").reader == "other"
    with pytest.raises(ConfigError, match="'gamma'") as caught:
        open_slide(ref, offers, want="gamma")
    assert "alpha, beta, other, zeta" in caught.value.hint


def test_an_unknown_suffix_lists_the_known_ones(tmp_path):
    path = tmp_path / "notes.docx"
    path.write_bytes(b"x")
    with pytest.raises(SlideError, match=r"notes\.docx.*'\.docx'") as caught:
        open_slide(SlideRef(patient_id="p", slide_id="s", path=path), [reader(ArraySource([NOISE]))])
    assert ".arr" in caught.value.hint


def test_missing_empty_and_folder_are_slide_errors(ref, tmp_path):
    offer = [reader(ArraySource([NOISE]))]
    with pytest.raises(SlideError, match=r"b\.arr: No such file"):
        open_slide(replace(ref, path=tmp_path / "b.arr"), offer)
    with pytest.raises(SlideError, match="folder"):
        open_slide(replace(ref, path=tmp_path), offer)
    with pytest.raises(SlideError, match="'s' has no file"):
        open_slide(replace(ref, path=None), offer)
    ref.path.write_bytes(b"")
    with pytest.raises(SlideError, match=r"a\.arr: is empty"):
        open_slide(ref, offer)


def test_the_next_reader_is_tried_and_if_all_fail_every_cause_is_named(ref):
    bad = reader(SlideError(f"{ref.path}: bad header", "hint one"), name="a")
    worse = reader(SlideError("worse header", "hint two"), name="b")
    good = reader(ArraySource([NOISE]), name="c")
    slide = open_slide(ref, [good, worse, bad])
    assert (slide.reader, slide.warnings) == ("c", ())
    with pytest.raises(SlideError, match=r"a\.arr: .*a: bad header; b: worse header") as caught:
        open_slide(ref, [worse, bad])
    assert caught.value.hint == "hint one; or hint two"
    assert caught.value.__cause__ is not None


def test_a_refusal_for_what_the_file_holds_ends_the_matter(ref):
    refusing = reader(ContentError(f"{ref.path}: has 3 focal planes", "export one"), name="b")
    for before in (ArraySource([NOISE], mpp=None), SlideError("not mine"), ZeroDivisionError("oops")):
        with pytest.raises(ContentError, match="3 focal planes"):
            open_slide(ref, [reader(before, name="a"), refusing, reader(ArraySource([NOISE]), name="c")])
    assert open_slide(ref, [refusing, reader(ArraySource([NOISE]), name="c")], want="c").reader == "c"


def test_readers_that_say_the_same_say_it_once(ref):
    with pytest.raises(SlideError) as caught:
        open_slide(ref, [reader(SlideError("cut short", "copy it"), name=name) for name in "ab"])
    assert str(caught.value) == "cut short (copy it)"


def test_what_a_reader_warns_of_is_told_also_where_it_leaves_nothing_to_measure_by(ref):
    source = ArraySource([NOISE])
    source.warnings = ("the file states MPP = 0",)
    assert open_slide(ref, [reader(source)]).warnings == ("the file states MPP = 0",)
    source.mpp = None
    with pytest.raises(SlideError, match="nothing states.*; the file states MPP = 0"):
        open_slide(ref, [reader(source)])


@pytest.mark.parametrize(
    ("cohort", "file", "power", "warns"),
    [(None, 0.5, 40, 1), (None, 0.25, 20, 1), (0.5, None, 40, 1), (None, 0.23, 40, 0), (0.25, 0.25, 40, 0)],
)
def test_an_mpp_that_contradicts_the_objective_warns_whoever_stated_it(ref, cohort, file, power, warns):
    slide = open_slide(replace(ref, mpp=cohort), [reader(ArraySource([NOISE], file and (file, file), power))])
    assert sum("contradicts the magnification" in told for told in slide.warnings) == warns == len(slide.warnings)


def test_more_pixels_than_any_scanner_makes_are_damage(ref):
    source = ArraySource([NOISE])
    source.levels = (Level(width=1 << 21, height=1 << 20),)
    with pytest.raises(SlideError, match="2097152 x 1048576 pixels, more than any scanner makes"):
        open_slide(ref, [reader(source)])
    assert source.closed == 1


def test_a_reader_without_mpp_makes_way_for_one_that_has_it(ref):
    vague = ArraySource([NOISE], mpp=None)
    slide = open_slide(ref, [reader(vague, name="a"), reader(ArraySource([NOISE]), name="b")])
    assert (slide.reader, vague.closed) == ("b", 1)


def test_a_reader_that_raises_is_a_plugin_error_with_its_cause(ref):
    crash = reader(ZeroDivisionError("oops"), name="a")
    with pytest.raises(PluginError, match=r"'a' failed on .*a\.arr: ZeroDivisionError: oops") as caught:
        open_slide(ref, [crash])
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    slide = open_slide(ref, [crash, reader(ArraySource([NOISE]), name="b")])
    assert "ZeroDivisionError" in slide.warnings[0]
    with pytest.raises(ConfigError, match="mine"):
        open_slide(ref, [reader(ConfigError("mine"), name="a"), reader(ArraySource([NOISE]), name="b")])


def test_what_a_reader_raises_or_breaks_while_reading_is_named(ref):
    slide, source = opened(ref)
    for error, kind in ((SlideError("damaged"), SlideError), (KeyError("x"), PluginError)):

        def fail(*_args, error=error):
            raise error

        source.read_level = fail
        with pytest.raises(kind):
            slide.read((0, 0), (4, 4), 0.5)
    for wrong in (np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((4, 5, 3), np.uint8)):
        source.read_level = lambda *_args, wrong=wrong: wrong
        with pytest.raises(PluginError, match=r"instead of uint8\[4, 4, 3\]"):
            slide.read((0, 0), (4, 4), 0.5)


def test_a_reader_without_levels_broke_its_contract_and_is_closed(ref):
    source = ArraySource([])
    with pytest.raises(PluginError, match="no levels"):
        open_slide(ref, [reader(source)])
    assert source.closed == 1


# --- real files -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bundled():
    import kras_reader_openslide
    import kras_reader_tiff

    plugins = [*kras_reader_openslide.kras_readers(), *kras_reader_tiff.kras_readers()]
    return [UsableReader(plugin, plugin.options()) for plugin in plugins]


def real(path: Path, mpp: float | None = None) -> SlideRef:
    return SlideRef(patient_id="p", slide_id="s", path=path, mpp=mpp)


def test_a_real_slide_reads_alike_through_both_readers_at_any_mpp(shared_data, bundled):
    ref = real(shared_data / "slides/cmu_small_region.svs")
    with open_slide(ref, bundled) as one, open_slide(ref, bundled, want="openslide") as two:
        assert (one.reader, one.mpp, one.mpp_source) == ("tiff", (0.499, 0.499), "file")
        assert two.fingerprint.startswith("quickhash:6335ea0e")
        assert one.actual_mpp(0.5) == 0.499
        assert one.actual_mpp(1.0) == 1.0
        for mpp in (0.5, 1.0, 0.8, 0.26):
            a, b = (s.read((1000.5, 2850), (200, 150), mpp).astype(int) for s in (one, two))
            assert np.abs(a - b).max() <= 4
            assert a.std() > 5


def test_broken_slides_are_slide_errors_that_name_the_file(shared_data, bundled):
    for path in sorted((shared_data / "slides/broken").iterdir()):

        def use(path=path):
            with open_slide(real(path), bundled) as slide:
                slide.read((0, 0), slide.size, slide.mpp[0])

        with pytest.raises(SlideError, match=path.name):
            use()


def test_a_tiff_with_72_dpi_states_no_mpp(shared_data, bundled):
    path = shared_data / "slides/generic_pyramid.tiff"
    with pytest.raises(SlideError, match="nothing states"):
        open_slide(real(path), bundled)
    with open_slide(real(path, 0.5), bundled) as slide:
        assert len(slide.levels) == 4
        assert slide.warnings == ()
