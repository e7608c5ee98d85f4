"""scikit-learn models as skops files: no pickle, no code is run, and the same model gives the same bytes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile, ZipInfo

from kras_plugins.errors import StoreError


def dump_skops(model: Any, file: Path) -> None:
    """Write a fitted model. skops must be installed.

    What skops itself writes holds the time and addresses in memory; here objects are numbered in the order in which
    they appear, and no time is written.
    """
    import skops.io

    with ZipFile(BytesIO(skops.io.dumps(model))) as given, ZipFile(file, "w") as out:
        schema = given.read("schema.json").decode()
        number = {address: str(i) for i, address in enumerate(dict.fromkeys(re.findall(r'"__id__": (\d+)', schema)))}
        out.writestr(ZipInfo("schema.json"), _renumbered(schema, number))
        for name in given.namelist():
            if name != "schema.json":
                out.writestr(ZipInfo(_renumbered(name, number)), given.read(name))


def load_skops(file: Path, trusted: Sequence[str] = ()) -> Any:
    """The model of a skops file; of types that skops does not trust by itself only those in `trusted` are made.

    Raises StoreError for any other, and for a damaged file.
    """
    import skops.io

    try:
        return skops.io.load(file, trusted=list(trusted))
    except Exception as e:  # skops and zipfile have several of their own, and all say that the file is no good
        raise StoreError(f"{file}: not a skops file that can be used: {e}", "train the model again") from e


def _renumbered(text: str, number: dict[str, str]) -> str:
    return re.sub(r"\d+", lambda found: number.get(found[0], found[0]), text)
