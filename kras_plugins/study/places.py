"""Where on this machine a slide lies: noted in the store alone, as results name only files that lie near them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from kras_plugins.errors import StoreError
from kras_plugins.store import Store, make_key

if TYPE_CHECKING:
    from kras_plugins.processing.pipeline import SlideResult

_FILE = "path.txt"


def remember_places(store: Store, results: Iterable[SlideResult]) -> None:
    """Note the files of slides that were opened, by their content; not of those under pseudonyms."""
    store = store.here  # of this machine alone
    with suppress(StoreError):  # a store that cannot be written still serves; slides are then named again
        for result in results:
            if result.qc is not None and result.ref.path is not None and result.ref.source is None:
                _remember(store, result.fingerprint, os.path.abspath(result.ref.path))


def _remember(store: Store, fingerprint: str, path: str) -> None:
    def write(folder: Path) -> None:
        (folder / _FILE).write_text(path, encoding="utf-8")

    key = make_key("place", slide=fingerprint)
    if (store.make(key, write) / _FILE).read_text(encoding="utf-8") != path:  # it was moved since
        store.renew(key, write)


def place_of(store: Store, fingerprint: str) -> Path | None:
    """The file that had this content when it was opened last, None where nobody noted it."""
    folder = store.here.find(make_key("place", slide=fingerprint))
    return None if folder is None else Path((folder / _FILE).read_text(encoding="utf-8"))
