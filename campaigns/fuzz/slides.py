"""Slides in TIFF: Aperio's SVS, and a plain pyramid."""

from __future__ import annotations

import hashlib
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from campaigns.fuzz.kind import Change, Kind, Must, cut, damage, pick

if TYPE_CHECKING:
    import numpy as np

SIDE, TILE = 256, 64
WHITE = "white"


def draw(side: int = SIDE) -> np.ndarray[Any, Any]:
    """uint8[side side 3]: pink with violet spots, no two tiles alike."""
    import numpy as np

    rng = np.random.default_rng(5)
    y, x = np.mgrid[:side, :side]
    waves = np.sin(x / 9) * np.cos(y / 7) * 30 + rng.normal(0, 6, (side, side))
    channels = [200 + waves - x / 8, 140 + waves + y / 8, 180 + waves / 2 + (x - y) / 9]
    return np.clip(np.stack(channels, 2), 0, 250).astype(np.uint8)


def seen(folder: Path, name: str, mpp: float | None = None) -> Any:
    """Size, resolution, levels, and the digest of each tile of level 0 of 64 pixels, as a run would read them."""
    import kras_reader_openslide
    import kras_reader_tiff
    from kras_plugins.data import SlideRef
    from kras_plugins.host.parts import UsableReader
    from kras_plugins.slides.slide import open_slide

    plugins = (*kras_reader_openslide.kras_readers(), *kras_reader_tiff.kras_readers())
    readers = [UsableReader(plugin, plugin.options()) for plugin in plugins]
    with open_slide(SlideRef(patient_id="p", slide_id="s", path=folder / name, mpp=mpp), readers) as slide:
        width, height = slide.size
        if width * height > 1 << 24:
            return {"size": slide.size}
        pixels = slide.box((0, 0), (width, height), (width, height))
        slide.read((0, 0), (min(64, width), min(64, height)), 2 * max(slide.mpp))
        return {
            "size": slide.size,
            "mpp": slide.mpp,
            "source": slide.mpp_source,
            "levels": [(level.width, level.height) for level in slide.levels],
            "tiles": [
                digest(pixels[y : y + TILE, x : x + TILE])
                for y in range(0, height, TILE)
                for x in range(0, width, TILE)
            ],
        }


def digest(pixels: np.ndarray[Any, Any]) -> str:
    """What tells one tile from another."""
    return WHITE if pixels.min() == 255 else hashlib.sha256(pixels.tobytes()).hexdigest()[:12]


# --- TIFF


@dataclass(frozen=True)
class Tag:
    """An entry of a directory: where it stands in the file, and where its values do."""

    at: int
    code: int
    kind: int
    count: int
    values_at: int


_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8}


def directories(content: bytes) -> list[tuple[int, dict[int, Tag]]]:
    """The directories of a classic little-endian TIFF: where each is, and its tags."""
    found, (offset,) = [], struct.unpack_from("<I", content, 4)
    while offset:
        (n,) = struct.unpack_from("<H", content, offset)
        tags = {}
        for at in range(offset + 2, offset + 2 + 12 * n, 12):
            code, kind, count = struct.unpack_from("<HHI", content, at)
            inline = _BYTES.get(kind, 8) * count <= 4
            tags[code] = Tag(at, code, kind, count, at + 8 if inline else struct.unpack_from("<I", content, at + 8)[0])
        found.append((offset, tags))
        (offset,) = struct.unpack_from("<I", content, offset + 2 + 12 * n)
    return found


WIDTH, COMPRESSION, DESCRIPTION, OFFSETS, COUNTS, TABLES = 256, 259, 270, 324, 325, 347
NEEDED = (256, 257, 258, 259, 262, 277, 322, 323, 324, 325, 347)


def _change_tiff(file: Path, rng: random.Random, sound: Any, more: list[Callable[[bytearray], Change]]) -> Change:
    content = bytearray(file.read_bytes())
    pages = directories(bytes(content))
    tags = pages[0][1]
    n = tags[OFFSETS].count
    i, j = rng.sample(range(n), 2)

    def say(what: str, must: Any) -> Change:
        file.write_bytes(bytes(content))
        return Change(what, must)

    def with_tiles(tiles: list[str]) -> Any:
        return {**sound, "tiles": tiles}

    def exchange(code: int) -> None:
        a, b = tags[code].values_at + 4 * i, tags[code].values_at + 4 * j
        content[a : a + 4], content[b : b + 4] = content[b : b + 4], content[a : a + 4]

    def exchanged(*codes: int) -> Change:
        for code in codes:
            exchange(code)
        tiles = list(sound["tiles"])
        tiles[i], tiles[j] = tiles[j], tiles[i]
        return say(f"tags {codes}: entries {i} and {j} exchanged", with_tiles(tiles))

    def missing() -> Change:
        struct.pack_into("<I", content, tags[COUNTS].values_at + 4 * i, 0)
        return say(f"tile {i} has no bytes", with_tiles([WHITE if k == i else t for k, t in enumerate(sound["tiles"])]))

    def shorter() -> Change:
        at = tags[COUNTS].values_at + 4 * i
        (count,) = struct.unpack_from("<I", content, at)
        struct.pack_into("<I", content, at, rng.randrange(1, count // 2))
        return say(f"tile {i} of {count} bytes is said to have fewer", Must.REFUSED)

    def beyond() -> Change:
        struct.pack_into("<I", content, tags[OFFSETS].values_at + 4 * i, rng.choice([len(content), 2**31, 2**32 - 1]))
        return say(f"tile {i} lies beyond the end", Must.REFUSED)

    def dropped() -> Change:
        code = rng.choice([c for c in NEEDED if c in tags])
        struct.pack_into("<H", content, tags[code].at, 65000)
        return say(f"tag {code} left out", Must.SAME)

    def larger() -> Change:
        code, by = rng.choice([256, 257]), rng.choice([TILE, 10 * TILE, 2**20, 2**31])
        struct.pack_into("<HI", content, tags[code].at + 2, 4, 1)
        struct.pack_into("<I", content, tags[code].at + 8, SIDE + by)
        return say(f"tag {code} is {SIDE + by}", Must.REFUSED)

    def huge() -> Change:
        code, value = rng.choice([322, 323]), rng.choice([0, 16, 48, 128, 2**16, 2**31])
        struct.pack_into("<HI", content, tags[code].at + 2, 4, 1)
        struct.pack_into("<I", content, tags[code].at + 8, value)
        return say(f"tag {code} is {value}", Must.REFUSED)

    def loop() -> Change:
        at = pages[-1][0]
        (count,) = struct.unpack_from("<H", content, at)
        struct.pack_into("<I", content, at + 2 + 12 * count, rng.choice(pages)[0])
        return say("directories run in a loop", Must.REFUSED)

    def chain_cut() -> Change:
        at = pages[0][0]
        (count,) = struct.unpack_from("<H", content, at)
        struct.pack_into("<I", content, at + 2 + 12 * count, 0)
        return say("the directories end after the first", {**sound, "levels": sound["levels"][:1]})

    def more_bytes() -> Change:
        content.extend(rng.randbytes(100))
        return say("bytes after the end", Must.SAME)

    def bytes_of_tile() -> Change:
        at, count = (struct.unpack_from("<I", content, tags[c].values_at + 4 * i)[0] for c in (OFFSETS, COUNTS))
        place = at + rng.randrange(count // 4, count - 2)
        content[place] ^= 1 << rng.randrange(8)
        return say(f"a bit of tile {i} turned at byte {place}", Must.ANYTHING)

    def magic() -> Change:
        content[:4] = rng.choice([b"MM\0*", b"II+\0", b"II*\1", b"\0\0\0\0"])
        return say(f"begins with {bytes(content[:4])!r}", Must.REFUSED)

    ways = [missing, shorter, beyond, dropped, larger, huge, loop, chain_cut, more_bytes, magic]
    ways += [lambda: exchanged(OFFSETS, COUNTS), lambda: exchanged(OFFSETS), lambda: exchanged(COUNTS)]
    return pick(
        rng,
        [
            *((2, way) for way in ways),
            *((3, lambda way=way: _saved(file, content, way)) for way in more),
            (3, lambda: cut(file, rng)),
            (4, bytes_of_tile),
            (4, lambda: damage(file, rng, start=len(content) - 1500)),
            (4, lambda: damage(file, rng)),
        ],
    )


def _saved(file: Path, content: bytearray, way: Callable[[bytearray], Change]) -> Change:
    change = way(content)
    file.write_bytes(bytes(content))
    return change


def _make_svs(folder: Path) -> None:
    import tifffile

    pixels = draw()
    about = (
        f"Aperio Image Library v11.2.1 \r\n{SIDE}x{SIDE} [0,0 {SIDE}x{SIDE}] ({TILE}x{TILE}) JPEG/RGB Q=88"
        "|AppMag = 20|MPP = 0.5000|Date = 01/02/03"
    )
    jpeg: dict[str, Any] = {"photometric": "rgb", "compression": "jpeg", "metadata": None, "description": about}
    with tifffile.TiffWriter(folder / "slide.svs") as tiff:
        for i, level in enumerate((pixels, pixels[::4, ::4].copy())):
            tiff.write(level, tile=(TILE, TILE), **jpeg)
            if i == 0:
                tiff.write(pixels[::8, ::8].copy(), rowsperstrip=SIDE // 8, **jpeg)
        for kind, subfile in (("label", 1), ("macro", 9)):
            text = f"Aperio Image Library v11.2.1\r\n{kind} 32x32"
            tiff.write(pixels[:32, :32].copy(), rowsperstrip=32, subfiletype=subfile, **{**jpeg, "description": text})


def _change_svs(folder: Path, rng: random.Random, sound: Any) -> Change:
    def stated(content: bytearray) -> Change:
        text, power = rng.choice(
            [("0.2500", None), ("0.4990", None), ("9.0000", None), ("0.0001", "20"), ("abcdef", "20"), ("-0.500", "20")]
        )
        at = content.index(b"MPP = 0.5000") + 6
        content[at : at + 6] = text.encode()
        if power is None:
            return Change(f"MPP = {text}", {**sound, "mpp": [float(text)] * 2})
        if text == "0.0001":
            return Change(f"MPP = {text}", Must.REFUSED)
        return Change(f"MPP = {text}", {**sound, "mpp": [0.5, 0.5], "source": "objective"})

    return _change_tiff(folder / "slide.svs", rng, sound, [stated])


def _make_tiff(folder: Path) -> None:
    import tifffile

    pixels = draw()
    with tifffile.TiffWriter(folder / "slide.tif") as tiff:
        for factor in (1, 4):
            own = {"photometric": "rgb", "compression": "deflate", "metadata": None, "subfiletype": int(factor > 1)}
            dots = 20000.0 / factor
            tiff.write(
                pixels[::factor, ::factor].copy(),
                tile=(TILE, TILE),
                resolution=(dots, dots),
                resolutionunit="centimeter",
                **own,
            )


def _change_tiff_file(folder: Path, rng: random.Random, sound: Any) -> Change:
    def resolution(content: bytearray) -> Change:
        tags = directories(bytes(content))[0][1]
        dots, axes = rng.choice([5000, 40000, 19900]), rng.choice([(282, 283), (282,), (283,)])
        for code in axes:
            struct.pack_into("<II", content, tags[code].values_at, dots, 1)
        mpp = [10000 / dots if code in axes else 0.5 for code in (282, 283)]
        return Change(f"tags {axes}: {dots} pixels a centimeter", {**sound, "mpp": mpp})

    def nonsense(content: bytearray) -> Change:
        tags = directories(bytes(content))[0][1]
        value = rng.choice([(0, 1), (72, 1), (1, 0), (2**32 - 1, 1)])
        for code in (282, 283):
            struct.pack_into("<II", content, tags[code].values_at, *value)
        return Change(f"resolution is {value}", Must.REFUSED)

    def inches(content: bytearray) -> Change:
        tags = directories(bytes(content))[0][1]
        unit = rng.choice([2, 1, 9])
        struct.pack_into("<H", content, tags[296].at + 8, unit)
        return Change(f"unit is {unit}", {**sound, "mpp": [1.27, 1.27]} if unit == 2 else Must.REFUSED)

    return _change_tiff(folder / "slide.tif", rng, sound, [resolution, nonsense, inches])


WARM = (
    "kras_reader_openslide.source",
    "kras_reader_tiff.source",
    "kras_plugins.slides.slide",
    "kras_plugins.host.parts",
)
KINDS = [
    Kind(
        name="svs",
        make=_make_svs,
        change=_change_svs,
        read=lambda f: seen(f, "slide.svs"),
        named=("slide.svs",),
        warm=WARM,
    ),
    Kind(
        name="tiff",
        make=_make_tiff,
        change=_change_tiff_file,
        read=lambda f: seen(f, "slide.tif"),
        named=("slide.tif",),
        warm=WARM,
    ),
]
