"""The bags of a slide, from the store or made: extractors that want the same tiles share one pass over its pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import h5py

from kras_plugins.data import of_extractor
from kras_plugins.processing.embedding import BAG, embed_slide
from kras_plugins.store import Key, Store

if TYPE_CHECKING:
    from kras_plugins.data import Bool
    from kras_plugins.host.parts import Part
    from kras_plugins.processing.reading import Tiles
    from kras_plugins.slides.slide import Slide
    from kras_plugins.slides.stream import OnTiles
    from kras_plugins.slides.tissue import TissueMask

FOCUS = "tiles.h5"


def stored_bags(
    slide: Slide,
    tissue: TissueMask,
    parts: Mapping[str, Part],
    keys: Mapping[str, Key],
    store: Store,
    tiles: Tiles,
    on_tiles: OnTiles,
) -> dict[str, Path]:
    """The folder of each extractor's bag and focus flags, which are made if absent.

    `parts` and `keys` by the extractor's name, "" where there is only one; raises as `embed_slide` does, StoreError on
    a full disk.
    """

    def build(names: Sequence[str], folders: Sequence[Path]) -> None:
        def told(stage: str, done: int, total: int) -> None:
            for name in names:
                on_tiles(of_extractor(stage, name), done, total)

        into = {folder: parts[name] for name, folder in zip(names, folders, strict=True)}
        flags = embed_slide(slide, tissue, into, tiles, told)
        for folder in folders:
            write_flags(folder, flags)

    def together(names: Sequence[str], before: Sequence[Path], folder: Path) -> None:
        """Fill `folder`, that of `names[len(before)]`, together with the folders before and after it."""
        folders = [*before, folder]
        if len(folders) < len(names):
            store.make(keys[names[len(folders)]], partial(together, names, folders))
        else:
            build(names, folders)
        if not (folder / BAG).is_file():  # the next one's came from another process meanwhile
            build([names[len(before)]], [folder])

    missing = [name for name in parts if store.find(keys[name]) is None]
    for group in _passes(missing, parts):
        store.make(keys[group[0]], partial(together, group, []))
    return {name: store.make(keys[name], partial(together, [name], [])) for name in parts}


def _passes(names: Sequence[str], parts: Mapping[str, Part]) -> list[list[str]]:
    """Which extractors share a pass: those with equal tiles whose batches all divide the largest."""
    groups: list[list[str]] = []
    for name in names:
        group = next((g for g in groups if _fits(parts[name], [parts[other] for other in g])), None)
        if group is None:
            groups.append([name])
        else:
            group.append(name)
    return groups


def _fits(part: Part, others: Sequence[Part]) -> bool:
    if part.tile != others[0].tile:
        return False
    batches = [part.batch, *(other.batch for other in others)]
    return all(max(batches) % batch == 0 for batch in batches)


def write_flags(folder: Path, flags: Bool) -> None:
    """Store the focus flags bool[tile] of the tiles that an artifact was made from."""
    with h5py.File(folder / FOCUS, "w") as f:
        f.create_dataset("blurred", data=flags)


def read_flags(folder: Path) -> Bool:
    """The focus flags bool[tile] stored while an artifact's tiles were read."""
    with h5py.File(folder / FOCUS, "r") as f:
        flags: Bool = f["blurred"][:]
        return flags
