"""Headers that no scanner writes: one error that names the file, at once, and no memory for what is only declared."""

from __future__ import annotations

import contextlib
import io
import re
import resource
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image
from tiff_files import directory, level_zero, long, noise, opened, raw_tiff, short

from kras_plugins import SlideError
from kras_plugins.slides.stated import jpeg2000_size, jpeg_size, png_size, webp_size

DOUBLE = 12


def refused(path) -> SlideError:
    with pytest.raises(SlideError, match=path.name) as caught, opened(path) as slide:
        level_zero(slide)
    assert caught.value.hint
    assert "\n" not in str(caught.value)
    return caught.value


def test_the_sound_header_that_the_others_are_made_from_is_read(tmp_path):
    for want in ("openslide", "tiff"):
        with opened(raw_tiff(tmp_path / "a.tif", [directory()], [-1]), want) as slide:
            assert level_zero(slide).shape == (60, 60, 3)


STRIPS = {"t322": None, "t323": None, "t324": None, "t325": None, "t273": long(8)}
HEADERS = {
    "a huge image of one tile": ({"t256": long(2**31 - 1), "t257": long(2**31 - 1)}, "2147483647|lists 1 of"),
    "a huge tile": ({"t322": long(2**31 - 16), "t323": long(2**31 - 16)}, "pieces of 2147483632"),
    "an image and a tile, both huge": (
        {"t256": long(2**30), "t257": long(2**30), "t322": long(2**30), "t323": long(2**30)},
        "pieces of 1073741824",
    ),
    "a tile with less data than pixels": ({"t322": long(8192), "t323": long(8192)}, "tile"),
    "tiles of nothing": ({"t322": long(0), "t323": long(0)}, "tiles of"),
    "tiles of a negative size": (
        {"t322": (9, 1, struct.pack("<i", -64)), "t323": (9, 1, struct.pack("<i", -64))},
        "tiles of",
    ),
    "no pixels": ({"t256": long(0), "t257": long(0)}, "no pixels"),
    "more tiles than pixels need": ({"t322": long(128), "t324": long(8, 8), "t325": long(9, 9)}, "lists 2 of 1"),
    "no tiles": ({"t324": None, "t325": None}, "lists 0 of 1"),
    "two thousand million tiles listed": ({"t324": (4, 2**31, b"\x08\0\0\0")}, "lists 0 of 1"),
    "a tile beyond the end": ({"t324": long(2**31)}, "truncated|Short read|Read error"),
    "a tile of 4 GB": ({"t325": long(2**32 - 1)}, "truncated|Read error"),
    "a strip of 4 GB": ({**STRIPS, "t259": short(8), "t278": long(2**32 - 1), "t279": long(2**32 - 1)}, "truncated"),
    "strips of no rows": ({**STRIPS, "t278": long(0), "t279": long(99)}, "tiles of 60 x 0"),
    "no samples": ({"t277": short(0)}, "cannot be read"),
    "65535 samples": ({"t277": short(65535)}, "65535 x 8 bit"),
    "samples of different size": ({"t258": short(8, 8, 16)}, "not 8-bit RGB"),
    "two thousand million planes": ({"t32997": long(2**31)}, "2147483648 planes"),
    "two widths": ({"t256": short(60, 70)}, "cannot be read"),
    "a width that is no number": ({"t256": (DOUBLE, 1, struct.pack("<d", float("nan")))}, "cannot be read"),
    "a width with a fraction": ({"t256": (DOUBLE, 1, struct.pack("<d", 60.5))}, "cannot be read"),
    "a SubIFD beyond the end": ({"t330": long(2**31)}, "cannot be read"),
    "no JPEG where one is announced": ({"t259": short(7)}, "JPEG"),
}


@pytest.mark.parametrize("header", HEADERS)
def test_a_header_that_cannot_be_meant_is_one_error(tmp_path, header):
    changed, says = HEADERS[header]
    error = refused(raw_tiff(tmp_path / "a.tif", [directory(**changed)], [-1]))
    assert re.search(says, error.message), error.message


@pytest.mark.parametrize("lost", ["t256", "t257"])
def test_a_slide_whose_directory_states_no_size_is_not_taken_for_its_smaller_level(tmp_path, lost):
    small = directory(t256=long(30), t257=long(30), t254=long(1))
    pages = [directory(**{lost: None}), small]
    assert "no pixels" in refused(raw_tiff(tmp_path / "a.tif", pages, [1, -1])).message


LOOPS = {
    "a page that follows itself": ([0], "in a loop"),
    "a loop of 3 after 2": ([1, 2, 3, 4, 2], "in a loop"),
    "a loop longer than tifffile looks": ([*range(1, 300), 20], "in a loop"),
    "a page beyond the end": ([1, 2**31], "cannot be read"),
    "more pages than a slide has": ([*range(1, 1200), -1], "more than 1000 images"),
}


@pytest.mark.parametrize("loop", LOOPS)
def test_a_chain_of_pages_that_runs_in_a_loop_or_has_no_end_is_one_error(tmp_path, loop):
    following, says = LOOPS[loop]
    pages = [directory(t256=long(60 + i)) for i in range(len(following))]
    assert re.search(says, refused(raw_tiff(tmp_path / "a.tif", pages, following)).message)


def test_openslide_is_not_asked_for_a_tile_for_which_it_would_end_the_process(tmp_path):
    """It takes memory for pixels and bytes as stated; GLib aborts where there is not enough."""
    tall = raw_tiff(tmp_path / "a.tif", [directory(t323=long(1543503936))], [-1])
    heavy = raw_tiff(tmp_path / "b.tif", [directory(t259=short(7), t325=long(2**32 - 1))], [-1])
    code = "import sys; from pathlib import Path; import tiff_files as t\n"
    code += "for file in sys.argv[1:]:\n  try:\n    with t.opened(Path(file), 'openslide') as s: t.level_zero(s)\n"
    code += "  except t.SlideError as e: print(e.message)"
    here = str(Path(__file__).parents[1])
    done = subprocess.run([sys.executable, "-c", code, tall, heavy], capture_output=True, text=True, cwd=here)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search("pieces of 64 x 1543503936.*\n.*truncated", done.stdout)


def test_a_subifd_that_is_its_own_page_is_one_error(tmp_path):
    path = raw_tiff(tmp_path / "a.tif", [directory(t330=long(8 + 256 * 64))], [-1])
    assert "in a loop" in refused(path).message


@pytest.mark.parametrize("end", [0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("front", [True, False])
def test_a_truncated_file_is_one_error(tmp_path, end, front):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise(300, 300), tile=(64, 64), photometric="rgb", compression="deflate")
    data = path.read_bytes()
    if not front:  # directory at the end, as scanners write it
        raw_tiff(path, [directory()], [-1])
        data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * end)])
    refused(path)


def picture(codec: str) -> bytes:
    """A picture in few bytes that is, or says it is, far larger than a tile of 64 pixels."""
    large, small = np.zeros((4000, 4000, 3), np.uint8), np.zeros((64, 64, 3), np.uint8)
    if codec == "jpeg":
        data = bytearray(imagecodecs.jpeg8_encode(small))
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = struct.pack(">HH", 60000, 60000)
        return bytes(data)
    if codec == "jpeg2000":
        data = bytearray(imagecodecs.jpeg2k_encode(small, codecformat="j2k"))
        for at in (8, 24):
            data[at : at + 8] = struct.pack(">II", 60000, 60000)
        return bytes(data)
    if codec == "deflate":
        return zlib.compress(bytes(1 << 26))
    return imagecodecs.png_encode(large) if codec == "png" else imagecodecs.webp_encode(large, lossless=True)


@pytest.mark.parametrize("codec", ["jpeg", "jpeg2000", "png", "webp", "deflate"])
def test_a_tile_that_unfolds_to_more_than_its_place_is_refused_before_it_is_decoded(tmp_path, codec):
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, iter([picture(codec)]), shape=(64, 64, 3), dtype=np.uint8, tile=(64, 64), photometric="rgb",
        compression=codec, metadata=None,
    )  # fmt: skip
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(SlideError, match=r"a\.tif.*(states|INSUFFICIENT_SPACE)"), opened(path, "tiff") as slide:
        level_zero(slide)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


def test_a_picture_of_each_codec_that_fits_its_tile_states_its_size():
    pixels = noise(70, 50)
    webp = io.BytesIO()
    Image.fromarray(pixels).save(webp, "WEBP", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0")
    assert webp.getvalue()[12:16] == b"VP8X"
    for size, data in (
        (jpeg_size, imagecodecs.jpeg8_encode(pixels)),
        (jpeg2000_size, imagecodecs.jpeg2k_encode(pixels, codecformat="j2k")),
        (jpeg2000_size, imagecodecs.jpeg2k_encode(pixels, codecformat="jp2")),
        (png_size, imagecodecs.png_encode(pixels)),
        (webp_size, imagecodecs.webp_encode(pixels, lossless=True)),
        (webp_size, imagecodecs.webp_encode(pixels, lossless=False, level=50)),
        (webp_size, webp.getvalue()),
    ):
        assert size(data) == (50, 70)
        for end in range(0, min(len(data), 200), 5):
            with contextlib.suppress(struct.error, ValueError):
                assert size(data[:end]) == (50, 70)


def test_xml_that_unfolds_to_gigabytes_is_one_error(tmp_path):
    entities = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, 10))
    xml = f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e0 "ha">{entities}]><OME><Image Name="&e9;"/></OME>'
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, noise(90, 90), tile=(64, 64), photometric="rgb", description=xml, metadata=None)
    assert "amplification" in refused(path).message


def test_what_tifffile_finds_odd_does_not_reach_the_terminal(tmp_path):
    path = raw_tiff(tmp_path / "a.tif", [directory(t324=None, t325=None)], [-1])
    code = "import sys; from pathlib import Path; import tiff_files as t\n"
    code += "try: t.opened(Path(sys.argv[1])).__enter__()\nexcept t.SlideError as e: print(e.message)"
    here = str(Path(__file__).parents[1])
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, cwd=here)
    assert (done.returncode, done.stderr) == (0, "")
    assert "lists 0 of 1" in done.stdout
