"""Slides that were moved: found again by their content."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from kras_plugins.errors import KrasError, SlideError
from kras_plugins.slides.slide import open_slide
from kras_plugins.study.places import place_of
from kras_plugins.urls import Url

if TYPE_CHECKING:
    from kras_plugins.data import SlideRef
    from kras_plugins.host.parts import UsableReader
    from kras_plugins.slides.slide import Slide
    from kras_plugins.store import Store
    from kras_plugins.viewer.results import Recorded


class Finder:
    """Opens slides of a result: where the result says, where the store recorded them, or among `candidates`.

    Thread-safe.
    """

    def __init__(
        self, store: Store, candidates: Sequence[SlideRef], readers: Sequence[UsableReader], reader: str | None
    ) -> None:
        self._store = store
        self._candidates = candidates
        self._readers = readers
        self._reader = reader
        self._lock = threading.Lock()
        self._known: dict[str, Path] = {}
        self._looked: set[Path] = set()

    def open(self, slide: Recorded) -> Slide:
        """The slide of this fingerprint, open. Raises SlideError if it is not found or was changed since."""
        changed: Path | Url | None = None
        if slide.url is not None:
            opened = self._opened(slide, slide.url)
            if opened is not None:
                return opened
            changed = slide.url
        for path in (slide.path, place_of(self._store, slide.fingerprint)):
            if path is not None and path.exists():
                opened = self._opened(slide, path)
                if opened is not None:
                    return opened
                changed = path
        moved = self._find(slide)
        opened = None if moved is None else self._opened(slide, moved)
        if opened is not None:
            return opened
        if changed is not None:
            why = f"{changed}: not the slide of the result"
        elif slide.path is not None:
            why = f"slide {slide.slide_id} is no longer where it was"
        else:
            why = f"slide {slide.slide_id}: the result does not say where it lies"
        raise SlideError(why, "name the folder or the cohort of the slides with --slides")

    def _opened(self, slide: Recorded, place: Path | Url) -> Slide | None:
        """The slide, open; None if another slide is in its place now."""
        ref = replace(slide.ref, **({"url": place} if isinstance(place, Url) else {"path": place, "url": None}))
        opened = open_slide(ref, self._readers, self._reader)
        if not slide.fingerprint or opened.fingerprint == slide.fingerprint:
            return opened
        opened.close()
        return None

    def _find(self, slide: Recorded) -> Path | None:
        """The candidate with the same content: those of the same name are opened first, each only once."""
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
            return  # an unreadable candidate is not the slide
