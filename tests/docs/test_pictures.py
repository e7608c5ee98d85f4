"""Pictures of the pages are those that `make pictures` makes: small, of one width, without metadata, each shown."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image, ImageDraw

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs/pictures"
FILES = sorted(FOLDER.glob("*.png"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.fixture(scope="module")
def make() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("make_pictures", FOLDER / "make.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where its dataclasses look for their annotations
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_every_picture_is_made_by_the_script(make: ModuleType) -> None:
    assert [file.stem for file in FILES] == sorted(make.PICTURES)


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_a_picture_is_small_and_has_nothing_but_pixels(file: Path, make: ModuleType) -> None:
    assert file.stat().st_size <= make.MOST_BYTES
    with Image.open(file) as picture:
        picture.load()
        assert picture.width == 1280 and picture.height < 1280
        assert picture.info == {} and not picture.getexif()


def test_every_picture_is_shown_with_a_text_for_who_cannot_see_it() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    shown = re.findall(r"!\[([^]]*)\]\((?:\.\./|docs/)pictures/([\w-]+)\.png\)", text)
    assert {name for _, name in shown} == {file.stem for file in FILES}
    assert [name for alternative, name in shown if len(alternative.split()) < 4] == []


def test_a_large_picture_is_written_in_as_many_colors_as_there_is_room_for(make: ModuleType, tmp_path: Path) -> None:
    noise = Image.effect_noise((1280, 760), 90).convert("RGB")
    make.write(tmp_path / "noise.png", noise)
    make.write(tmp_path / "flat.png", Image.new("RGB", (1280, 760), "white"))
    with Image.open(tmp_path / "noise.png") as noisy, Image.open(tmp_path / "flat.png") as flat:
        assert len(noisy.getcolors() or []) <= 32 and flat.size == (1280, 760)


def test_a_rare_color_stays_what_it_is(make: ModuleType, tmp_path: Path) -> None:
    """Two classes of cells must not become one color."""
    pink = [Image.effect_noise((640, 380), 20).point(lambda v, at=at: v // 2 + at) for at in (150, 60, 120)]
    image, colors = Image.merge("RGB", pink), ((0, 210, 255), (110, 230, 80))
    for x, color in zip((100, 400), colors, strict=True):
        ImageDraw.Draw(image).ellipse((x, 100, x + 9, 109), outline=color)
    make.write(tmp_path / "cells.png", image)
    with Image.open(tmp_path / "cells.png") as written:
        for x, wanted in zip((100, 400), colors, strict=True):
            got = written.convert("RGB").getpixel((x + 4, 100))
            assert max(abs(a - b) for a, b in zip(got, wanted, strict=True)) < 10
