"""A slide without small levels is read as a whole once, and looks as if it had them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from marked_slides import centers, due, marked, mosaic
from tiff_files import opened

from kras_plugins.viewer.geometry import Box, Pyramid
from kras_plugins.viewer.pixels import Pixels


@pytest.mark.parametrize("mpp", [(0.5, 0.5), (0.25, 0.5)], ids=["even", "oblong"])
def test_marks_of_a_slide_of_one_level_lie_in_their_places_and_it_is_read_once(
    tmp_path: Path, mpp: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(marked(tmp_path / "a.tif", mpp, 1), mpp=None) as slide:
        pyramid, pixels, read = Pyramid(slide.size, slide.mpp), Pixels(slide, 300), []
        box = slide.box
        monkeypatch.setattr(slide, "box", lambda *asked: read.append(asked) or box(*asked))
        levels = range(pyramid.top - 5, pyramid.top - 3)
        with ThreadPoolExecutor(4) as pool:
            wholes = list(pool.map(lambda level: mosaic(pyramid, level, pixels.box), [*levels, *levels]))
        assert len(read) == 1
        for level, whole in zip(levels, wholes, strict=False):
            assert centers(255.0 - whole[..., 0], pyramid, level) == pytest.approx(due(pyramid, level), abs=0.3)
            direct = mosaic(pyramid, level, lambda b, size: box((b.x, b.y), (b.width, b.height), size))
            assert np.abs(whole.astype(int) - direct).max() <= 2
        assert (pixels.box(Box(-6400, -6400, 6400, 6400), (64, 64)) == 255).all()


def test_a_near_view_and_a_slide_with_small_levels_are_read_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for levels, box in ((1, Box(0, 0, 400, 400)), (3, Box(0, 0, 6400, 6400))):
        with opened(marked(tmp_path / f"{levels}.tif", (0.5, 0.5), levels), mpp=None) as slide:
            pixels = Pixels(slide, 300)
            monkeypatch.setattr(pixels, "_overview", lambda: pytest.fail("the whole slide was read"))
            assert pixels.box(box, (100, 100)).shape == (100, 100, 3)
