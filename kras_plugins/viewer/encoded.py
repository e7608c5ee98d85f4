"""Pixels encoded for the browser, and a cache of those that it may request again."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING

import imagecodecs
from PIL import Image

if TYPE_CHECKING:
    from kras_plugins.data import UInt8

QUALITY = 85
"""JPEG quality for viewing: at 75, OpenSlide's default, chromatin shows blocks."""
CACHE_BYTES = 64 << 20
"""Encoded tiles that are kept: about 1,500, which covers two views side by side and some moving back."""


def jpeg(pixels: UInt8) -> bytes:
    """uint8[h w 3] as JPEG; without the metadata of any file."""
    return bytes(imagecodecs.jpeg8_encode(pixels, level=QUALITY))


def png(pixels: UInt8) -> bytes:
    """uint8[h w 4] as PNG, fast rather than small: it goes to this machine's own browser."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


class Cache:
    """Encoded tiles by what they show; the least recently used are dropped first. Thread-safe."""

    def __init__(self, most: int = CACHE_BYTES) -> None:
        self._most = most
        self._bytes = 0
        self._kept: OrderedDict[Hashable, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], bytes]) -> bytes:
        """What is kept under a key; made first if it is missing."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = make()
        with self._lock:
            if key not in self._kept:
                self._kept[key] = made
                self._bytes += len(made)
            while self._bytes > self._most:
                self._bytes -= len(self._kept.popitem(last=False)[1])
        return made
