"""Tile features alone, as bags that TRIDENT and CLAM read too, for use in other tools."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kras_plugins.study.notify import SILENT, Notify
from kras_plugins.study.results import SlideOutput, SlideOutputs
from kras_plugins.study.settings import StudySettings

if TYPE_CHECKING:
    from kras_plugins.host.parts import Parts
    from kras_plugins.processing.pipeline import SlideResult


def embed(
    slides: Sequence[Path | str] | Path | str,
    settings: StudySettings | None = None,
    *,
    out: Path | str,
    overwrite: bool = False,
    notify: Notify = SILENT,
) -> SlideOutputs:
    """Write the tile features of slides as .h5 bags, one per slide, into a folder that may have others of this kind.

    Parameters:
        slides: slide files, folders of them, or one cohort CSV.
        settings: extractor and its options, backend, reader, workers, store.
        out: folder to add to.
        overwrite: replace what another extractor, or the same with other options, left in that folder.
        notify: receives progress, notes and warnings.

    Returns:
        The file of each slide, with its tiles and the length of their features.

    Raises:
        UsageError: a path that does not exist.
        ConfigError: a folder with bags of another kind; no slide could be used.

    Example:
        >>> from kras_plugins import study
        >>> settings = study.StudySettings().with_options("extractor.vit.model=vit-mini")
        >>> done = study.embed("slides", settings, out="bags")
        >>> done.slides[0].path.name, done.slides[0].dim
        ('one.h5', 192)
    """
    from kras_plugins.bags import write_bag
    from kras_plugins.store import safe_name
    from kras_plugins.study.stages import stage

    def write(result: SlideResult, _parts: Parts, folder: Path) -> SlideOutput:
        (bag,) = result.bags
        file = folder / f"{safe_name(result.ref.slide_id)}.h5"
        part = file.with_name(f".{file.name}.part")
        write_bag(part, bag)
        part.replace(file)
        tiles, dim = bag.features.shape
        return SlideOutput(slide_id=result.ref.slide_id, path=file, count=tiles, dim=dim, seconds=result.seconds)

    settings = settings or StudySettings()
    return stage("extractor", slides, settings, Path(out), write, lambda *_: None, overwrite=overwrite, notify=notify)
