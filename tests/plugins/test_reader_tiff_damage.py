"""Damage that decoders pass over: found by `make fuzz`, told as what it is."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiff_files import SlideError, images, noise, opened

from kras_reader_tiff.field import FieldSource


def png(path: Path, rows: int = 60, flipped: int | None = None) -> Path:
    """A PNG of 60 x 60 pixels that has so many rows of them, and a byte of them changed behind its checksum."""
    Image.fromarray(noise(60, 60)).save(path)
    content = path.read_bytes()
    at = content.index(b"IDAT")
    (n,) = struct.unpack(">I", content[at - 4 : at])
    raw = zlib.decompress(content[at + 4 : at + 4 + n])
    packed = b"IDAT" + zlib.compress(raw[: rows * (1 + 3 * 60)], 0)
    sum_of = struct.pack(">I", zlib.crc32(packed))
    if flipped is not None:
        packed = packed[:flipped] + bytes([packed[flipped] ^ 1]) + packed[flipped + 1 :]
    path.write_bytes(content[: at - 4] + struct.pack(">I", len(packed) - 4) + packed + sum_of + content[at + 8 + n :])
    return path


def test_a_whole_png_is_read_as_it_is(tmp_path: Path) -> None:
    source = FieldSource(png(tmp_path / "a.png"))
    np.testing.assert_array_equal(source.read_level(0, (0, 0), (60, 60)), noise(60, 60))


@pytest.mark.parametrize("damage", [{"rows": 41}, {"rows": 0}, {"flipped": 5000}])
def test_a_png_without_all_of_its_rows_or_with_a_wrong_checksum_is_damaged(
    tmp_path: Path, damage: dict[str, int]
) -> None:
    with pytest.raises(SlideError, match=r"a\.png: .*") as e:
        FieldSource(png(tmp_path / "a.png", **damage))
    assert "damaged" in e.value.hint


def jpeg(path: Path, **how: int) -> bytes:
    smooth = np.add.outer(np.arange(96), np.arange(96))[..., None].repeat(3, 2).astype(np.uint8)
    Image.fromarray(smooth).save(path, "JPEG", **how)
    return path.read_bytes()


@pytest.mark.parametrize("damage", ["its scan ends early", "it states more rows", "a code that is none"])
def test_a_jpeg_whose_scan_is_not_whole_is_damaged(tmp_path: Path, damage: str) -> None:
    """libjpeg fills in what is missing, and Pillow does not say so."""
    path = tmp_path / "a.jpg"
    content = jpeg(path, quality=95)
    scan, frame = content.index(b"\xff\xda"), content.index(b"\xff\xc0")
    middle = scan + (len(content) - scan) // 2
    path.write_bytes(
        {
            "its scan ends early": content[:middle] + b"\xff\xd9",
            "it states more rows": content[: frame + 5] + struct.pack(">H", 112) + content[frame + 7 :],
            "a code that is none": content[:middle] + b"\xfe\xfe" * 8 + content[middle + 16 :],
        }[damage]
    )
    with pytest.raises(SlideError, match=r"a\.jpg: ") as e:
        FieldSource(path)
    assert "damaged" in e.value.hint


def test_a_jpeg_with_padding_before_or_behind_its_end_is_whole(tmp_path: Path) -> None:
    content = jpeg(tmp_path / "a.jpg")
    pixels = FieldSource(tmp_path / "a.jpg").read_level(0, (0, 0), (96, 96))
    (tmp_path / "b.jpg").write_bytes(content[:-2] + bytes(3) + content[-2:] + bytes(9))
    np.testing.assert_array_equal(FieldSource(tmp_path / "b.jpg").read_level(0, (0, 0), (96, 96)), pixels)


@pytest.mark.parametrize("layout", [{"tile": (64, 64)}, {"tile": None, "rowsperstrip": 50}])
def test_a_compressed_image_that_is_said_to_be_uncompressed_is_damaged(tmp_path: Path, layout: dict[str, Any]) -> None:
    path = images(tmp_path / "a.tif", [(np.full((128, 128, 3), 7, np.uint8), {"compression": "deflate", **layout})])
    content = path.read_bytes()
    at = content.index(struct.pack("<HHI", 259, 3, 1))
    path.write_bytes(content[:at] + struct.pack("<HHII", 259, 3, 1, 1) + content[at + 12 :])
    with pytest.raises(SlideError, match=r"a\.tif: .*said to be uncompressed"), opened(path):
        pass


@pytest.mark.parametrize("layout", [{"tile": (64, 64)}, {"tile": None, "rowsperstrip": 50}, {"tile": None}])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_an_uncompressed_image_is_read(tmp_path: Path, layout: dict[str, Any], planar: str) -> None:
    pixels = noise(120, 128)
    data = pixels if planar == "contig" else np.moveaxis(pixels, 2, 0)
    path = images(tmp_path / "a.tif", [(data, {"compression": None, "planarconfig": planar, **layout})])
    with opened(path, "tiff") as slide:
        np.testing.assert_array_equal(slide.read((0, 0), (128, 120), 0.5), pixels)


def test_a_jpeg_tile_that_is_cut_off_is_no_gray_tile(tmp_path: Path) -> None:
    """libjpeg makes up what a scan lacks."""
    path = images(tmp_path / "a.tif", [(noise(128, 128), {"compression": "jpeg"})])
    with opened(path, "tiff") as slide:
        slide.read((0, 0), (128, 128), 0.5)
    content = path.read_bytes()
    at = content.rindex(b"\xff\xd9")
    path.write_bytes(content[:at] + b"\0\0" + content[at + 2 :])
    with opened(path, "tiff") as slide, pytest.raises(SlideError, match=r"a\.tif: .*cut off"):
        slide.read((0, 0), (128, 128), 0.5)
