"""Where on this machine a slide lies: recorded only in the store, as results name only files that lie near them."""

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
    """Record the files of opened slides by their content; not those of slides under pseudonyms."""
    store = store.here  # for this machine alone
    with suppress(StoreError):  # a store that cannot be written still works; slides must then be named again
        for result in results:
            if result.qc is not None and result.ref.path is not None and result.ref.source is None:
                _remember(store, result.fingerprint, os.path.abspath(result.ref.path))


def _remember(store: Store, fingerprint: str, path: str) -> None:
    def write(folder: Path) -> None:
        (folder / _FILE).write_text(path, encoding="utf-8", newline="\n")

    key = make_key("place", slide=fingerprint)
    if (store.make(key, write) / _FILE).read_text(encoding="utf-8") != path:  # the slide was moved since
        store.renew(key, write)


def place_of(store: Store, fingerprint: str) -> Path | None:
    """The file that had this content when it was last opened, None if none was recorded."""
    folder = store.here.find(make_key("place", slide=fingerprint))
    return None if folder is None else Path((folder / _FILE).read_text(encoding="utf-8"))
