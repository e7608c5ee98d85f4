"""A frame of pixel data, as it is stored, to RGB: JPEG, JPEG 2000 or uncompressed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import imagecodecs
import numpy as np

from kras_plugins.slides.stated import jpeg2000_size, jpeg_size
from kras_reader_dicomweb.level import Matrix

if TYPE_CHECKING:
    from kras_plugins.data import UInt8

JPEG, JPEG2000, END = b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\xff\xd9"


def codec(data: bytes, matrix: Matrix) -> str:
    """The compression of a frame: `jpeg`, `jpeg2000`, or `none`. Raises ValueError if it is something else.

    Determined by its first bytes: servers do not always state it, or state it wrongly.
    """
    raw = len(data) - 3 * matrix.grid.width * matrix.grid.height in (0, 1)  # an odd count is padded
    for name, begins in (("jpeg", JPEG), ("jpeg2000", JPEG2000)):
        if data.startswith(begins) and not (raw and END not in data[-3:]):
            return name
    if not raw:
        raise ValueError("a frame that is neither JPEG, JPEG 2000 nor uncompressed")
    return "none"


def decode(data: bytes, matrix: Matrix) -> UInt8:
    """The pixels uint8[h w 3] of a tile. Raises ValueError, or what the codecs raise.

    An image that states another size than the tile's is refused before memory is allocated for it.
    """
    kind, size = codec(data, matrix), (matrix.grid.width, matrix.grid.height)
    if kind == "none":
        if matrix.photometric != "RGB":
            raise ValueError(f"uncompressed {matrix.photometric}")
        pixels = np.frombuffer(data, np.uint8, 3 * size[0] * size[1])
        planes = pixels.reshape(3, size[1], size[0]).transpose(1, 2, 0)
        return planes if matrix.planar else pixels.reshape(size[1], size[0], 3)
    stated = (jpeg_size if kind == "jpeg" else jpeg2000_size)(data)
    if stated != size:
        raise ValueError(f"a tile of {size[0]} x {size[1]} pixels states {stated[0]} x {stated[1]}")
    if kind == "jpeg":  # the header takes precedence over what a decoder would guess, as in OpenSlide
        space = "RGB" if matrix.photometric == "RGB" else "YCBCR"
        decoded: UInt8 = imagecodecs.jpeg8_decode(data, colorspace=space, outcolorspace="RGB")
    else:
        decoded = imagecodecs.jpeg2k_decode(data)
    if decoded.shape != (size[1], size[0], 3) or decoded.dtype != np.uint8:
        raise ValueError("a tile that is not in 8-bit color")
    return decoded
