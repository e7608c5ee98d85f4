"""A TIFF's content decides whether it is a slide, for both readers alike: nothing is read by half or wrongly."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from tiff_files import READERS, TILED, WAYS, images, level_zero, noise, opened

from kras_plugins import ContentError, SlideError, SlideRef
from kras_plugins.slides.slide import open_slide

Z3 = {"metadata": {"axes": "ZYXS"}}


def refusal(path, want=None) -> ContentError:
    with pytest.raises(ContentError, match=path.name) as caught, opened(path, want):
        pass
    assert caught.value.hint
    return caught.value


def um(size: float, name: str = "") -> dict:
    return {
        "metadata": {"axes": "YXS", "PhysicalSizeX": size, "PhysicalSizeY": size, **({"Name": name} if name else {})}
    }


# --- several slides in one file --------------------------------------------------------------------------------


@pytest.mark.parametrize("want", WAYS)
@pytest.mark.parametrize("name", ["a.tif", "a.ome.tif"])
@pytest.mark.parametrize("order", [1, -1])
def test_two_scenes_in_one_file_are_refused_whichever_comes_first(tmp_path, name, order, want):
    scenes = [(noise(250, 250), {}), (noise(384, 384), {})][::order]
    path = images(tmp_path / name, scenes, ome=name.endswith("ome.tif"))
    error = refusal(path, want)
    assert "384 x 384" in error.message
    assert "250 x 250" in error.message
    assert "file of its own" in error.hint


def test_two_scenes_in_strips_which_openslide_does_not_open_are_refused(tmp_path):
    path = images(tmp_path / "a.tif", [(noise(250, 250), {"tile": None}), (noise(384, 384), {"tile": None})])
    assert "several images" in refusal(path).message


@pytest.mark.parametrize("want", WAYS)
def test_two_scenes_of_one_size_are_refused(tmp_path, want):
    path = images(tmp_path / "a.tif", [(noise(200, 200), {}), (255 - noise(200, 200), {})])
    assert "2 planes or scenes of 200 x 200" in refusal(path, want).message


def test_a_small_scene_at_the_same_resolution_is_a_scene_and_a_label_is_none(tmp_path):
    main = (noise(600, 600), um(0.25))
    path = images(tmp_path / "a.ome.tif", [main, (noise(130, 100), um(0.25))], ome=True)
    assert "130" in refusal(path).message
    for label in (um(0.25, "label image"), um(9.0)):
        path = images(tmp_path / "b.ome.tif", [main, (noise(130, 100), label)], ome=True)
        with opened(path) as slide:
            assert slide.size == (600, 600)


def test_an_ome_image_half_as_large_is_a_level_only_where_its_micrometres_say_so(tmp_path):
    levels = images(tmp_path / "a.ome.tif", [(noise(200, 300), um(0.25)), (noise(100, 150), um(0.5))], ome=True)
    with opened(levels) as slide:
        assert [level.width for level in slide.levels] == [300, 150]
    scenes = images(tmp_path / "b.ome.tif", [(noise(200, 300), um(0.25)), (noise(100, 150), um(0.25))], ome=True)
    assert "several images" in refusal(scenes).message


@pytest.mark.parametrize("want", WAYS)
def test_levels_of_odd_ratios_that_are_marked_as_such_are_read(tmp_path, want):
    pages = [(noise(500, 450), {}), (noise(195, 175), {"subfiletype": 1}), (noise(51, 46), {"subfiletype": 1})]
    with opened(images(tmp_path / "a.tif", pages), want) as slide:
        assert [level.width for level in slide.levels] == [450, 175, 46]
        assert np.array_equal(level_zero(slide), pages[0][0])
        assert np.array_equal(slide._source.read_level(1, (0, 0), (175, 195)), pages[1][0])


def test_a_reduced_picture_of_other_proportions_is_no_level(tmp_path):
    pages = [(noise(300, 300), {}), (noise(100, 250), {"subfiletype": 1})]
    for want in WAYS:
        with opened(images(tmp_path / "a.tif", pages), want) as slide:
            assert len(slide.levels) == 1


def test_openslide_does_not_read_the_first_page_where_the_slide_is_another(tmp_path):
    path = images(tmp_path / "a.tif", [(noise(90, 70), {}), (noise(400, 300), {})])
    with opened(path) as slide:
        assert (slide.reader, slide.size) == ("tiff", (300, 400))
    with pytest.raises(SlideError, match="300 x 400 pixels, but OpenSlide sees an image of 70 x 90"):
        with opened(path, "openslide"):
            pass


# --- several planes of one slide -------------------------------------------------------------------------------


@pytest.mark.parametrize("want", WAYS)
@pytest.mark.parametrize("name", ["a.tif", "a.ome.tif", "a.ome.tiff"])
def test_three_focal_planes_are_refused_although_the_cohort_states_mpp(tmp_path, name, want):
    stack = np.stack([noise(200, 200)] * 3)
    path = images(tmp_path / name, [(stack, Z3)], ome="ome" in name)
    assert "3 planes" in refusal(path, want).message


@pytest.mark.parametrize("want", WAYS)
def test_planes_of_a_set_of_files_are_refused_and_the_others_are_not_opened(tmp_path, want):
    path = images(tmp_path / "a.ome.tif", [(noise(200, 200), {"metadata": {"axes": "YXS"}})], ome=True)
    with tifffile.TiffFile(path) as tif:
        xml = tif.ome_metadata
    other = '<TiffData FirstZ="1" IFD="0"><UUID FileName="/dev/zero">urn:uuid:1</UUID></TiffData>'
    xml = xml.replace('SizeZ="1"', 'SizeZ="2"').replace("</Pixels>", f"{other}</Pixels>")
    tifffile.imwrite(path, noise(200, 200), description=xml.encode(), metadata=None, **TILED)
    assert "focal planes 2" in refusal(path, want).message


def test_declared_planes_take_no_memory(tmp_path):
    xml = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0"><Pixels ID="Pixels:0" '
        'DimensionOrder="XYCZT" SizeX="200" SizeY="200" SizeZ="1" SizeC="3" SizeT="1" Type="uint8">'
        '<Channel SamplesPerPixel="3"/><TiffData IFD="0" PlaneCount="99999999999"/></Pixels></Image></OME>'
    )
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, noise(200, 200), description=xml, metadata=None, **TILED)
    with opened(path) as slide:
        assert slide.size == (200, 200)


@pytest.mark.parametrize("want", WAYS)
@pytest.mark.parametrize("text", ["ImageJ=1.53t\nimages=5\nslices=5\n", '{"shape": [4, 200, 200, 3]}'])
def test_planes_that_lie_behind_one_directory_are_refused(tmp_path, text, want):
    path = images(tmp_path / "a.tif", [(noise(200, 200), {"description": text, "metadata": None})])
    assert "planes" in refusal(path, want).message


# --- no 8-bit color --------------------------------------------------------------------------------------------

GRAY = noise(200, 200, 1)[..., 0]
KINDS = {
    "gray": (GRAY, {"photometric": "minisblack"}, "gray"),
    "inverted gray": (GRAY, {"photometric": "miniswhite"}, "gray"),
    "16-bit gray": (GRAY.astype(np.uint16), {"photometric": "minisblack"}, "1 x 16 bit.*gray"),
    "12 bits in 16": (noise(200, 200).astype(np.uint16) * 16, {}, "3 x 16 bit RGB: deep color"),
    "signed": (noise(200, 200).astype(np.int8), {}, "samples of another kind"),
    "float": (noise(200, 200).astype(np.float32), {}, "floating-point"),
    "gray float": (GRAY.astype(np.float32), {"photometric": "minisblack"}, "floating-point"),
    "black and white": (GRAY > 99, {"photometric": "miniswhite", "compression": None}, "black and white"),
    "palette": (GRAY, {"photometric": "palette", "colormap": np.zeros((3, 256), np.uint16)}, "palette"),
    "inks": (noise(200, 200, 4), {"photometric": "separated"}, "CMYK"),
    "lab": (noise(200, 200), {"photometric": "cielab"}, "CIELAB"),
    "five samples": (noise(200, 200, 5), {"extrasamples": ["unspecified"] * 2}, "5 x 8 bit RGB"),
}


@pytest.mark.parametrize("want", [None, "tiff"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_8_bit_color_is_refused_saying_what_it_is(tmp_path, kind, want):
    pixels, options, says = KINDS[kind]
    path = images(tmp_path / "a.tif", [(pixels, options)])
    refusal(path, want).message.index("not 8-bit RGB")
    with pytest.raises(ContentError, match=says), opened(path, want):
        pass
    with pytest.raises(SlideError, match=r"a\.tif"), opened(path, "openslide"):
        pass


@pytest.mark.parametrize("want", WAYS)
def test_channels_of_fluorescence_are_refused(tmp_path, want):
    stack = np.moveaxis(noise(200, 200), 2, 0)
    options = {"photometric": "minisblack", "metadata": {"axes": "CYX"}}
    assert "one channel" in refusal(images(tmp_path / "a.ome.tif", [(stack, options)], ome=True), want).message


@pytest.mark.parametrize("want", WAYS)
@pytest.mark.parametrize("turned", [2, 4, 6])
def test_a_turned_image_is_refused_as_openslide_turns_each_tile_by_itself(tmp_path, turned, want):
    path = images(tmp_path / "a.tif", [(noise(130, 150), {"extratags": [(274, 3, 1, turned, True)]})])
    assert f"Orientation {turned}" in refusal(path, want).message


# --- what is read ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("want", WAYS)
def test_a_tile_larger_than_the_image_and_bigtiff_are_read(tmp_path, want):
    pixels = noise(100, 90)
    for name, options, page in (("a.tif", {}, {"tile": (512, 512)}), ("b.tif", {"bigtiff": True}, {})):
        with opened(images(tmp_path / name, [(pixels, page)], **options), want) as slide:
            assert np.array_equal(level_zero(slide), pixels)


@pytest.mark.parametrize("subsampling", [(1, 1), (2, 1), (2, 2), (4, 1)])
def test_subsampled_colors_are_the_same_through_both_readers(tmp_path, subsampling):
    y, x = np.mgrid[:130, :150]
    smooth = np.stack([x + 60, y + 80, (x + y) // 2 + 90], -1).astype(np.uint8)
    path = images(tmp_path / "a.tif", [(smooth, {"compression": "jpeg", "subsampling": subsampling})])
    with opened(path, "openslide") as one, opened(path, "tiff") as two:
        assert np.array_equal(level_zero(one), level_zero(two))
        assert np.abs(level_zero(one).astype(int) - smooth).mean() < 3


def test_no_reader_is_asked_after_one_that_knows_the_file_and_refuses_it(tmp_path):
    path = images(tmp_path / "a.ome.tif", [(np.stack([noise(200, 200)] * 3), Z3)], ome=True)
    with pytest.raises(ContentError) as caught:
        open_slide(SlideRef(patient_id="p", slide_id="s", path=path, mpp=0.5), READERS[::-1])
    assert "no reader can use it" not in caught.value.message
