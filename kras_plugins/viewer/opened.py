"""The open slides: only those in use, however many a study has."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from kras_plugins.viewer.shown import Listed, ShownSlide

MOST_OPEN = 6
"""Slides that stay open while not being read: two side by side, and some to go back to."""


@dataclass
class _Place:
    """One slide that is open, or about to be; `users`: how many are reading it."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    slide: ShownSlide | None = None
    users: int = 0


class Opened:
    """Opens slides when first used and closes the least recently used. Thread-safe."""

    def __init__(self, listed: Mapping[str, Listed], most: int = MOST_OPEN) -> None:
        self._listed = listed
        self._most = most
        self._places: OrderedDict[str, _Place] = OrderedDict()
        self._lock = threading.Lock()

    def __contains__(self, name: str) -> bool:
        return name in self._listed

    @contextmanager
    def use(self, name: str) -> Iterator[ShownSlide]:
        """The open slide of this name, which stays open meanwhile. Raises KeyError, and what opening it raises."""
        listed = self._listed[name]
        with self._lock:
            place = self._places.setdefault(name, _Place())
            place.users += 1
            self._places.move_to_end(name)
        try:
            with place.lock:
                if place.slide is None:
                    place.slide = listed.open()
            yield place.slide
        finally:
            with self._lock:
                place.users -= 1
                out = self._overdue()
            for slide in out:
                slide.close()

    def close(self) -> None:
        """Close slides that are not being read; a read that continues while the server ends keeps its file open."""
        with self._lock:
            self._most = 0
            out = self._overdue()
        for slide in out:
            slide.close()

    def _overdue(self) -> list[ShownSlide]:
        """Drop the least recently used places beyond `most`, and those that failed to open; returns their slides."""
        unused = [name for name, place in self._places.items() if not place.users]
        out = [name for name in unused if self._places[name].slide is None]
        kept = [name for name in unused if self._places[name].slide is not None]
        out += kept[: max(0, len(self._places) - len(out) - self._most)]
        return [place.slide for place in map(self._places.pop, out) if place.slide is not None]
