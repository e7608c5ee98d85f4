"""Damage that decoders pass over: found by `make fuzz`, told as what it is."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

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
