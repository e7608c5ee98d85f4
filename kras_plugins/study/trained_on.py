"""Which stored bags a bundle was trained on: recorded only in the store, as ids of patients are private."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from kras_plugins.data import split_extractor
from kras_plugins.errors import StoreError
from kras_plugins.store import Store, make_key

_FILE = "slides.json"


def remember(store: Store, bundle: str, slides: Mapping[str, Mapping[str, Any]]) -> None:
    """Record the slides that the bundle of this digest was trained on; `slides`: their facts in the manifest."""
    kept = {
        name: {"patient_id": facts["patient_id"], **bags}
        for name, facts in slides.items()
        if (bags := {key: at for key, at in facts["artifacts"].items() if split_extractor(key)[0] == "bag"})
    }

    def write(folder: Path) -> None:
        (folder / _FILE).write_text(json.dumps(kept), encoding="utf-8", newline="\n")

    with suppress(StoreError):  # a store that cannot be written still works; its bags are then not found again
        store.here.make(make_key("trained-on", bundle=bundle), write)


def remembered(store: Store, bundle: str) -> dict[str, dict[str, str]]:
    """What `remember` recorded, by slide id: `patient_id` and `bag`, a digest in the store, or `bag@vit` of several.

    Empty if the record is gone.
    """
    folder = store.here.find(make_key("trained-on", bundle=bundle))
    if folder is None:
        return {}
    found: dict[str, dict[str, str]] = json.loads((folder / _FILE).read_text(encoding="utf-8"))
    return found
