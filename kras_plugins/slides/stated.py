"""The size that an encoded picture states in its own header, read before a decoder takes memory for it."""

from __future__ import annotations

from collections.abc import Callable
from struct import unpack_from

from tifffile import COMPRESSION

Size = tuple[int, int]


def jpeg_size(data: bytes) -> Size:
    """Width and height of a JPEG. Raises struct.error or ValueError where it states none, as the functions below do."""
    at = 2
    while True:
        marker, length = unpack_from(">HH", data, at)
        if marker < 0xFF01:
            raise ValueError("not a JPEG")
        if marker == 0xFFFF or 0xFFD0 <= marker <= 0xFFD8:  # padding, and markers without a segment
            at += 1 if marker == 0xFFFF else 2
        elif 0xFFC0 <= marker <= 0xFFCF and marker not in (0xFFC4, 0xFFC8, 0xFFCC):
            height, width = unpack_from(">HH", data, at + 5)
            return width, height
        else:
            at += 2 + length


def jpeg2000_size(data: bytes) -> Size:
    """Width and height of a JPEG 2000 codestream, or of the one in a file of boxes."""
    at = 0
    while not data.startswith(b"\xff\x4f", at):
        length, kind = unpack_from(">I4s", data, at)
        header = 8
        if length == 1:
            (length,), header = unpack_from(">Q", data, at + 8), 16
        at += header if kind == b"jp2c" else max(length, header)
    right, bottom, left, top = unpack_from(">4I", data, at + 8)
    return right - left, bottom - top


def png_size(data: bytes) -> Size:
    """Width and height of a PNG."""
    width, height = unpack_from(">II", data, 16)
    return width, height


def webp_size(data: bytes) -> Size:
    """Width and height of a WebP picture of any of its three kinds."""
    kind = data[12:16]
    if kind == b"VP8X":
        low_x, high_x, low_y, high_y = unpack_from("<HBHB", data, 24)
        return (low_x | high_x << 16) + 1, (low_y | high_y << 16) + 1
    if kind == b"VP8L":
        (bits,) = unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF


SIZED: dict[int, Callable[[bytes], Size]] = {
    COMPRESSION.OJPEG: jpeg_size,
    COMPRESSION.JPEG: jpeg_size,
    COMPRESSION.APERIO_JP2000_RGB: jpeg2000_size,
    COMPRESSION.JPEG_2000_LOSSY: jpeg2000_size,
    COMPRESSION.JPEG2000: jpeg2000_size,
    COMPRESSION.PNG: png_size,
    COMPRESSION.WEBP: webp_size,
}
"""Codecs whose pictures state a size, which need not be that of the tile."""
BOUNDED = frozenset({
    COMPRESSION.NONE, COMPRESSION.LZW, COMPRESSION.ADOBE_DEFLATE, COMPRESSION.DEFLATE, COMPRESSION.PACKBITS,
    COMPRESSION.LZMA, COMPRESSION.ZSTD,
})  # fmt: skip
"""Codecs that write no more than the tile has room for."""
