"""Fields of view: PNG, whose every part has a checksum, and JPEG, whose pixels have none."""

from __future__ import annotations

import random
import struct
import zlib
from pathlib import Path
from typing import Any

from campaigns.fuzz.kind import Change, Kind, Must, cut, of_bytes, pick
from campaigns.fuzz.slides import TILE, WARM, digest, draw, seen

Part = tuple[bytes, bytes]
"""Name and content of a chunk."""


def _make(folder: Path, name: str, **how: Any) -> None:
    from PIL import Image

    Image.fromarray(draw(128)).save(folder / name, **how)


# --- PNG

_HEAD = b"\x89PNG\r\n\x1a\n"


def _parts(content: bytes) -> list[Part]:
    found, at = [], len(_HEAD)
    while at < len(content):
        (n,) = struct.unpack_from(">I", content, at)
        found.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + n]))
        at += 12 + n
    return found


def _joined(parts: list[Part]) -> bytes:
    chunks = (struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in parts)
    return _HEAD + b"".join(chunks)


def _change_png(folder: Path, rng: random.Random, sound: Any) -> Change:
    file = folder / "field.png"
    parts = _parts(file.read_bytes())
    data = next(i for i, (name, _) in enumerate(parts) if name == b"IDAT")

    def say(what: str, must: Any) -> Change:
        file.write_bytes(_joined(parts))
        return Change(what, must)

    def split() -> Change:
        content = parts[data][1]
        at = rng.randrange(1, len(content))
        parts[data : data + 1] = [(b"IDAT", content[:at]), (b"IDAT", content[at:])]
        return say("pixels in two chunks", Must.SAME)

    def turned() -> Change:
        content = parts[data][1]
        at = rng.randrange(1, len(content))
        parts[data : data + 1] = [(b"IDAT", content[at:]), (b"IDAT", content[:at])]
        return say("chunks of pixels exchanged", Must.REFUSED)

    def size() -> Change:
        value = rng.choice([(128, 129), (129, 128), (128, 127), (64, 256), (0, 128), (2**31 - 1, 2), (60_000, 60_000)])
        parts[0] = (b"IHDR", struct.pack(">II", *value) + parts[0][1][8:])
        # As many rows as it states are there, each as it was; PNG has decoders pass over bytes behind the last.
        if value == (128, 127):
            rows = draw(128)[:127]
            tiles = [digest(rows[y : y + TILE, x : x + TILE]) for y in (0, TILE) for x in (0, TILE)]
            return say("a row less", {**sound, "size": value, "levels": [value], "tiles": tiles})
        return say(f"size {value}", Must.REFUSED)

    def depth() -> Change:
        value = rng.choice([(16, 2), (8, 0), (8, 6), (8, 3), (4, 3), (8, 4), (1, 0), (7, 2)])
        parts[0] = (b"IHDR", parts[0][1][:8] + bytes(value) + parts[0][1][10:])
        return say(f"depth and type of color {value}", Must.REFUSED)

    def more() -> Change:
        name, content = rng.choice(
            [
                (b"tEXt", b"Comment\0mine"),
                (b"pHYs", struct.pack(">IIB", 2000000, 2000000, 1)),
                (b"gAMA", struct.pack(">I", 45455)),
                (b"tIME", bytes(7)),
                (b"prVt", b"x" * 30),
            ]
        )
        parts.insert(data, (name, content))
        return say(f"a chunk {name.decode()}", Must.SAME)

    def dropped() -> Change:
        name, _ = parts.pop(rng.choice([0, data, len(parts) - 1]))
        return say(f"no {name.decode()}", Must.SAME)

    def shorter() -> Change:
        content = zlib.decompress(parts[data][1])
        rows = rng.randrange(1, 128)
        parts[data] = (b"IDAT", zlib.compress(content[: rows * (1 + 3 * 128)]))
        return say(f"{rows} of 128 rows", Must.REFUSED)

    def critical() -> Change:
        parts.insert(1, (b"ABCD", b"unknown, and not to be passed over"))
        return say("an unknown critical chunk", Must.SAME)

    def transparent() -> Change:
        parts.insert(data, (b"tRNS", struct.pack(">HHH", 1, 2, 3)))
        return say("a transparent color that no pixel has", Must.SAME)

    def damaged() -> Change:
        what, content = of_bytes(file.read_bytes(), rng)
        file.write_bytes(content)
        return Change(what, Must.SAME)  # a checksum says so, wherever it is

    ways = [split, turned, size, depth, more, dropped, shorter, critical, transparent]
    return pick(rng, [*((1, way) for way in ways), (2, lambda: cut(file, rng)), (6, damaged)])


# --- JPEG


def _segments(content: bytes) -> tuple[list[Part], bytes]:
    """Marker and content of each segment up to the scan, and what is behind that."""
    found, at = [], 2
    while True:
        marker, (n,) = content[at + 1 : at + 2], struct.unpack_from(">H", content, at + 2)
        found.append((marker, content[at + 4 : at + 2 + n]))
        at += 2 + n
        if marker == b"\xda":
            return found, content[at:]


def _jpeg(segments: list[Part], scan: bytes) -> bytes:
    return b"\xff\xd8" + b"".join(b"\xff" + m + struct.pack(">H", len(c) + 2) + c for m, c in segments) + scan


def _change_jpeg(folder: Path, rng: random.Random, _sound: Any) -> Change:
    file = folder / "field.jpg"
    segments, scan = _segments(file.read_bytes())
    frame = next(i for i, (marker, _) in enumerate(segments) if marker == b"\xc0")

    def say(what: str, must: Any) -> Change:
        file.write_bytes(_jpeg(segments, scan))
        return Change(what, must)

    def more() -> Change:
        marker, content = rng.choice([(b"\xfe", b"mine"), (b"\xe5", b"private"), (b"\xed", bytes(40))])
        segments.insert(1, (marker, content))
        return say(f"a segment {marker.hex()}", Must.SAME)

    def dropped() -> Change:
        marker, _ = segments.pop(rng.randrange(len(segments)))
        # Without APP0 the colors are still YCbCr; without a table or a frame there is nothing to decode with.
        return say(f"no segment {marker.hex()}", Must.SAME)

    def larger() -> Change:
        value = rng.choice([(256, 128), (129 + 16, 128), (60_000, 128), (0, 128), (128, 65_535), (65_535, 65_535)])
        content = segments[frame][1]
        segments[frame] = (b"\xc0", content[:1] + struct.pack(">HH", *value) + content[5:])
        return say(f"height and width {value}", Must.REFUSED)

    def parts_of_color() -> Change:
        content = bytearray(segments[frame][1])
        content[5] = rng.choice([1, 2, 4, 0])
        segments[frame] = (b"\xc0", bytes(content))
        return say(f"{content[5]} components", Must.REFUSED)

    def deep() -> Change:
        content = segments[frame][1]
        segments[frame] = (b"\xc0", bytes([rng.choice([12, 16, 0])]) + content[1:])
        return say("samples of another depth", Must.REFUSED)

    def torn() -> Change:
        file.write_bytes(_jpeg(segments, scan[: rng.randrange(1, len(scan) // 2)] + b"\xff\xd9"))
        return Change("the scan ends early, and says that it ends", Must.REFUSED)

    def twice() -> Change:
        file.write_bytes(file.read_bytes() * 2)
        return Change("a second picture behind the first", Must.SAME)

    def tail() -> Change:
        file.write_bytes(file.read_bytes() + rng.randbytes(50))
        return Change("bytes behind the end", Must.SAME)

    def of_scan() -> Change:
        what, content = of_bytes(scan, rng)
        file.write_bytes(_jpeg(segments, content))
        return Change(f"scan: {what}", Must.ANYTHING)

    def of_all() -> Change:
        what, content = of_bytes(file.read_bytes(), rng)
        file.write_bytes(content)
        return Change(what, Must.ANYTHING)

    ways = [more, dropped, larger, parts_of_color, deep, torn, twice, tail]
    return pick(rng, [*((1, way) for way in ways), (2, lambda: cut(file, rng)), (3, of_scan), (2, of_all)])


KINDS = [
    Kind(
        name="png", make=lambda f: _make(f, "field.png"), change=_change_png, read=lambda f: seen(f, "field.png", 0.5),
        named=("field.png",), warm=WARM,
    ),
    Kind(
        name="jpeg", make=lambda f: _make(f, "field.jpg", quality=90), change=_change_jpeg,
        read=lambda f: seen(f, "field.jpg", 0.5), named=("field.jpg",), warm=WARM,
    ),
]  # fmt: skip
