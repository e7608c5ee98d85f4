"""Slides are opened when they are looked at; few stay open, and none is closed while it is read."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from kras_plugins import SlideError
from kras_plugins.viewer.encoded import Cache
from kras_plugins.viewer.opened import Opened
from kras_plugins.viewer.shown import Listed


class Shelf:
    """Slides by name that count how often they were opened and which are open."""

    def __init__(self, names: list[str]) -> None:
        self.opened: list[str] = []
        self.open: set[str] = set()
        self.lock = threading.Lock()
        self.listed = {
            name: Listed(name=name, slide_id=name, patient_id="", open=lambda name=name: self._opened(name))
            for name in names
        }

    def _opened(self, name: str) -> SimpleNamespace:
        with self.lock:
            self.opened.append(name)
            self.open.add(name)
        return SimpleNamespace(name=name, close=lambda: self.open.discard(name))


def test_of_a_thousand_slides_a_few_stay_open_the_last_ones_used() -> None:
    shelf = Shelf([str(i) for i in range(1000)])
    slides = Opened(shelf.listed, most=4)
    assert shelf.open == set()
    for i in range(1000):
        with slides.use(str(i)), slides.use("0"):
            assert len(shelf.open) <= 5
    assert shelf.open == {"0", "997", "998", "999"}
    assert len(shelf.opened) == 1000
    slides.close()
    assert shelf.open == set()


def test_a_slide_that_is_read_stays_open_whatever_else_is_opened() -> None:
    shelf = Shelf(list("abcdef"))
    slides = Opened(shelf.listed, most=1)
    with slides.use("a"):
        for name in "bcdef":
            with slides.use(name):
                assert {"a", name} <= shelf.open
    assert len(shelf.open) == 1


def test_what_is_read_while_the_server_ends_is_closed_by_its_reader() -> None:
    shelf = Shelf(["a", "b"])
    slides = Opened(shelf.listed)
    with slides.use("a"):
        with slides.use("b"):
            pass
        slides.close()
        assert shelf.open == {"a"}
    assert shelf.open == set()


def test_threads_that_ask_at_once_open_a_slide_once() -> None:
    shelf = Shelf(["a"])
    slides = Opened(shelf.listed)
    together = threading.Barrier(8)

    def used(_: int) -> object:
        together.wait()
        with slides.use("a") as one:
            return one

    with ThreadPoolExecutor(8) as pool:
        assert len(set(map(id, pool.map(used, range(8))))) == 1
    assert shelf.opened == ["a"]


def test_a_slide_that_could_not_be_opened_is_tried_again() -> None:
    causes = [SlideError("away"), None]

    def opened() -> SimpleNamespace:
        if (cause := causes.pop(0)) is not None:
            raise cause
        return SimpleNamespace(close=lambda: None)

    slides = Opened({"a": Listed(name="a", slide_id="a", patient_id="", open=opened)})
    with pytest.raises(SlideError), slides.use("a"):
        pass
    with slides.use("a") as one:
        assert one is not None
    with pytest.raises(KeyError), slides.use("b"):
        pass


def test_the_cache_forgets_what_was_unused_longest_and_never_exceeds_its_bytes() -> None:
    cache, made = Cache(most=100), []

    def make(key: str) -> bytes:
        made.append(key)
        return key.encode() * 30

    for key in "abcabda":
        assert cache.get(key, lambda key=key: make(key)) == key.encode() * 30
    assert made == list("abcd")  # d displaced c
    assert cache.get("c", lambda: make("c")) == b"c" * 30
    assert made[-1] == "c"
    assert cache.get("large", lambda: bytes(1000)) == bytes(1000)
    assert cache.get("large", lambda: bytes(999)) == bytes(999)  # larger than the whole cache
