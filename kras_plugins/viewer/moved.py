"""Slides that are not where they were: found again by their content."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from kras_plugins.errors import KrasError, SlideError
from kras_plugins.slides.slide import open_slide

if TYPE_CHECKING:
    from kras_plugins.data import SlideRef
    from kras_plugins.host.parts import UsableReader
    from kras_plugins.slides.slide import Slide
    from kras_plugins.viewer.results import Recorded


class Finder:
    """Opens slides of a result, where they were or among `candidates`; safe to use from many threads."""

    def __init__(self, candidates: Sequence[SlideRef], readers: Sequence[UsableReader], reader: str | None) -> None:
        self._candidates = candidates
        self._readers = readers
        self._reader = reader
        self._lock = threading.Lock()
        self._known: dict[str, Path] = {}
        self._looked: set[Path] = set()

    def open(self, slide: Recorded) -> Slide:
        """The slide of this fingerprint, open. Raises SlideError where it is not found, or was changed since."""
        there = slide.path is not None and slide.path.exists()
        path = slide.path if there else self._find(slide)
        if path is None:
            raise SlideError(
                f"slide {slide.slide_id} is not where it was"
                if slide.path is not None
                else f"slide {slide.slide_id}: the result does not say where it lies",
                "name the folder or the cohort of the slides with --slides",
            )
        opened = open_slide(replace(slide.ref, path=path), self._readers, self._reader)
        if slide.fingerprint and opened.fingerprint != slide.fingerprint:
            opened.close()
            raise SlideError(
                f"{path}: another slide than the one that the result is of",
                "name the folder or the cohort of the slides with --slides",
            )
        return opened

    def _find(self, slide: Recorded) -> Path | None:
        """The candidate with the same content: those of the same name are opened first, each one once."""
        with self._lock:
            name = slide.path.name if slide.path is not None else ""
            order = sorted(self._candidates, key=lambda ref: ref.path is None or ref.path.name != name)
            for ref in order:
                if slide.fingerprint in self._known:
                    break
                if ref.path is not None and ref.path not in self._looked:
                    self._looked.add(ref.path)
                    self._note(replace(ref, mpp=slide.mpp or ref.mpp))
            return self._known.get(slide.fingerprint)

    def _note(self, ref: SlideRef) -> None:
        assert ref.path is not None
        try:
            with open_slide(ref, self._readers, self._reader) as slide:
                self._known[slide.fingerprint] = ref.path
        except KrasError:
            return  # one that cannot be read is not the one that was
