"""The tiles that an encoder takes for most alike, as one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from kras_plugins.data import Bag, SlideRef
from kras_plugins.report.gallery import Picture, tile_gallery
from kras_plugins.report.heatmap import write_png
from kras_plugins.slides.slide import open_slide

if TYPE_CHECKING:
    from kras_plugins.host.parts import UsableReader
    from kras_plugins.probing.retrieval import Hit
    from kras_plugins.slides.slide import Slide


def draw_hits(
    out: Path,
    hits: Sequence[Hit],
    bags: Mapping[str, Bag],
    slides: Mapping[str, SlideRef],
    readers: Sequence[UsableReader],
    reader: str | None,
) -> None:
    """Write the chosen tile, framed, and the nearest ones after it as PNG.

    `bags` and `slides` by slide id; a tile whose slide is not among them is drawn as a gray square. Raises SlideError
    where a slide cannot be read.
    """
    opened: dict[str, Slide] = {}
    tiles = []
    with ExitStack() as stack:
        for i, hit in enumerate(hits):
            if hit.slide_id in slides and hit.slide_id not in opened:
                opened[hit.slide_id] = stack.enter_context(open_slide(slides[hit.slide_id], readers, reader))
            slide, spec = opened.get(hit.slide_id), bags[hit.slide_id].tile_spec
            corner = (float(hit.xy[0]), float(hit.xy[1]))
            pixels = None if slide is None else slide.read(corner, (spec.px, spec.px), spec.mpp)
            what = "chosen" if i == 0 else f"{i}.  cosine {hit.cosine:.3f}"
            caption = (what, f"{hit.xy[0]}, {hit.xy[1]}", hit.slide_id)
            tiles.append(Picture(pixels=pixels, caption=caption, framed=i == 0))
    spec = bags[hits[0].slide_id].tile_spec
    total = sum(len(bag.xy) for bag in bags.values())
    title = f"nearest of {total} tiles, {spec.um / 1000:.3g} mm wide, by the cosine of their features"
    out.parent.mkdir(parents=True, exist_ok=True)
    write_png(out, tile_gallery(tiles, title))
