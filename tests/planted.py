"""Slides of somebody with a name, which stands wherever scanners put one; label and macro have colors of their own."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from kras_plugins.testing.slides import draw_slide

NAME, NUMBER, DATE = "Zwetschgenbaum", "ACC8675309", "19470911"
PLANTED = (NAME, NUMBER, DATE, "09/11/47", "1947:09:11", "1947-09-11")
MAGENTA, LIME = (255, 0, 255), (0, 255, 0)
"""Colors of label and macro; nothing that is drawn has them."""


def draw_aperio(file: Path, seed: int) -> Path:
    """An SVS with a name in its description and in every tag that holds text, a label and a macro."""
    draw_slide(file.with_suffix(".tiff"), seed=seed, size_um=(512.0, 512.0), mpp=0.5, levels=2)
    with tifffile.TiffFile(file.with_suffix(".tiff")) as drawn:
        levels = [page.asarray() for page in drawn.pages]
    file.with_suffix(".tiff").unlink()
    height, width = levels[0].shape[:2]
    about = (
        f"Aperio Image Library v11.2.1 \r\n{width}x{height} [0,0 {width}x{height}] (256x256) JPEG/RGB Q=88"
        f"|AppMag = 20|MPP = 0.5|Filename = {NAME}_{NUMBER}|User = {NAME}|Patient = {NAME}|Date = 09/11/47"
        f"|ImageID = {NUMBER}|Title = {NAME} {DATE}|Barcode = {NUMBER}"
    )
    tags = [
        (315, "s", 0, NAME, True),
        (316, "s", 0, NAME, True),
        (269, "s", 0, NUMBER, True),
        (285, "s", 0, NAME, True),
    ]
    jpeg = {
        "photometric": "rgb",
        "compression": "jpeg",
        "metadata": None,
        "software": NAME,
        "datetime": "1947:09:11 01:02:03",
    }
    with tifffile.TiffWriter(file) as tiff:
        for i, pixels in enumerate(levels):
            tiff.write(pixels, tile=(256, 256), description=about, extratags=tags, **jpeg)
            if i == 0:  # the thumbnail stands second in an SVS
                small = np.asarray(Image.fromarray(pixels).resize((width // 8, height // 8)))
                tiff.write(small, rowsperstrip=small.shape[0], description=about, **jpeg)
        for kind, subfile, color in (("label", 1, MAGENTA), ("macro", 9, LIME)):
            flat = np.full((96, 160, 3), color, np.uint8)
            text = f"Aperio Image Library v11.2.1\r\n{kind} 160x96 {NAME} {NUMBER}"
            tiff.write(flat, rowsperstrip=96, subfiletype=subfile, description=text, **jpeg)
    return file


def draw_dicom(folder: Path, seed: int) -> Path:
    """A DICOM slide of one level with the patient's attributes, and a label of the same series beside it."""
    folder.mkdir()
    draw_slide(folder / "drawn.tiff", seed=seed, size_um=(512.0, 512.0), mpp=0.5, levels=1)
    with tifffile.TiffFile(folder / "drawn.tiff") as drawn:
        pixels = drawn.pages[0].asarray()
    (folder / "drawn.tiff").unlink()
    (folder / "volume.dcm").write_bytes(_instance(pixels, "VOLUME", 1))
    (folder / "label.dcm").write_bytes(_instance(np.full((256, 256, 3), MAGENTA, np.uint8), "LABEL", 2))
    return folder / "volume.dcm"


_LONG = {"OB", "SQ", "UT"}


def _element(tag: int, kind: str, value: bytes | str | int) -> bytes:
    if isinstance(value, int):
        value = struct.pack("<H" if kind == "US" else "<I", value)
    if isinstance(value, str):
        value = value.encode("ascii")
    value += (b"\0" if kind in {"UI", "OB"} else b" ") * (len(value) % 2)
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + kind.encode()
    return head + (struct.pack("<HI", 0, len(value)) if kind in _LONG else struct.pack("<H", len(value))) + value


def _sequence(tag: int, *items: bytes) -> bytes:
    return _element(tag, "SQ", b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(i)) + i for i in items))


def _frames(pixels: np.ndarray) -> Iterator[bytes]:
    for y in range(0, pixels.shape[0], 256):
        for x in range(0, pixels.shape[1], 256):
            out = io.BytesIO()
            Image.fromarray(pixels[y : y + 256, x : x + 256]).save(out, "JPEG", quality=88, subsampling=0)
            frame = out.getvalue()
            yield frame + b"\0" * (len(frame) % 2)


def _instance(pixels: np.ndarray, flavor: str, number: int) -> bytes:
    height, width = pixels.shape[:2]
    uid, storage, jpeg = "1.2.826.0.1.3680043.9.1947", "1.2.840.10008.5.1.4.1.1.77.1.6", "1.2.840.10008.1.2.4.50"
    frames = list(_frames(pixels))
    spacing = _element(0x00180050, "DS", "0.001") + _element(0x00280030, "DS", "0.0005\\0.0005")
    optical = _element(0x00480106, "SH", "1") + _element(0x00480107, "ST", NAME)
    data = b"".join(
        [
            _element(0x00080008, "CS", f"ORIGINAL\\PRIMARY\\{flavor}\\NONE"),
            _element(0x00080016, "UI", storage),
            _element(0x00080018, "UI", f"{uid}.{number}"),
            _element(0x00080020, "DA", DATE),
            _element(0x00080023, "DA", DATE),
            _element(0x00080050, "SH", NUMBER),
            _element(0x00080060, "CS", "SM"),
            _element(0x00080070, "LO", "Drawn"),
            _element(0x00080080, "LO", f"Hospital {NAME}"),
            _element(0x00080090, "PN", f"Dr^{NAME}"),
            _element(0x00081030, "LO", f"Study {NAME}"),
            _element(0x00100010, "PN", f"{NAME}^Maria"),
            _element(0x00100020, "LO", NUMBER),
            _element(0x00100030, "DA", DATE),
            _element(0x0020000D, "UI", f"{uid}.8"),
            _element(0x0020000E, "UI", f"{uid}.9"),
            _element(0x00200013, "IS", str(number)),
            _element(0x00209311, "CS", "TILED_FULL"),
            _element(0x00280002, "US", 3),
            _element(0x00280004, "CS", "RGB"),
            _element(0x00280006, "US", 0),
            _element(0x00280008, "IS", str(len(frames))),
            _element(0x00280010, "US", 256),
            _element(0x00280011, "US", 256),
            _element(0x00280100, "US", 8),
            _element(0x00280101, "US", 8),
            _element(0x00280102, "US", 7),
            _element(0x00280103, "US", 0),
            _element(0x00400512, "LO", f"{NAME}-{NUMBER}"),
            _element(0x00400555, "SQ", b""),
            _element(0x00480006, "UL", width),
            _element(0x00480007, "UL", height),
            _sequence(0x00480105, optical),
            _sequence(0x52009229, _sequence(0x00289110, spacing)),
        ]
    )
    items = [b"", *frames]
    encapsulated = b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(i)) + i for i in items)
    data += struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF) + encapsulated
    data += struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    meta = b"".join(
        [
            _element(0x00020001, "OB", b"\0\1"),
            _element(0x00020002, "UI", storage),
            _element(0x00020003, "UI", f"{uid}.{number}"),
            _element(0x00020010, "UI", jpeg),
            _element(0x00020012, "UI", uid),
        ]
    )
    return b"\0" * 128 + b"DICM" + _element(0x00020000, "UL", len(meta)) + meta + data
