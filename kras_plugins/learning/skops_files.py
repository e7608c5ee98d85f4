"""scikit-learn models as skops files: no pickle, no code execution, and the same model gives the same bytes."""

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

    Files that skops itself writes contain the time and memory addresses; here objects are numbered in order of
    appearance, and no time is written.
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
    """The model of a skops file; of types that skops does not trust by default, only those in `trusted` are created.

    Raises StoreError for any other type, for a damaged file, and for trees whose traversal would not end, or that use
    columns that do not exist.
    """
    import skops.io

    try:
        model = skops.io.load(file, trusted=list(trusted))
        _check_trees(model)
        return model
    except Exception as e:  # skops and zipfile raise several of their own, all of which mean a bad file
        raise StoreError(f"{file}: not a usable skops file: {e}", "train the model again") from e


def _check_trees(model: Any) -> None:
    """Raise ValueError for a tree of scikit-learn, anywhere in a model, in which a child is not behind its parent, or a
    node asks for a column that is not there."""
    import numpy as np

    seen: set[int] = set()
    left = [model]
    while left:
        item = left.pop()
        if id(item) in seen or isinstance(item, str | bytes | int | float | type(None)):
            continue
        seen.add(id(item))
        if isinstance(item, np.ndarray):
            if item.dtype == object:
                left += item.ravel().tolist()
        elif isinstance(item, dict):
            left += item.values()
        elif isinstance(item, list | tuple | set | frozenset):
            left += item
        else:
            left += getattr(item, "__dict__", {}).values()
            _check_order(item)
            for nodes in getattr(item, "_predictors", None) or ():  # of gradient boosting on histograms
                for one in nodes:
                    inner = one.nodes["is_leaf"] == 0
                    _check_columns(one.nodes["feature_idx"][inner], item.n_features_in_)


def _check_order(item: Any) -> None:
    import numpy as np

    if hasattr(item, "children_left"):  # sklearn.tree: -1 stands for no child
        children = np.stack([item.children_left, item.children_right]).astype(np.int64)
        inner = (children >= 0).any(axis=0)
        _check_columns(item.feature[inner], item.n_features)
    elif getattr(getattr(item, "nodes", None), "dtype", None) is not None and item.nodes.dtype.names:
        children = np.stack([item.nodes["left"], item.nodes["right"]]).astype(np.int64)
        inner = item.nodes["is_leaf"] == 0
    else:
        return
    own = np.arange(children.shape[1])
    if ((children <= own) | (children >= len(own)))[:, inner].any():
        raise ValueError("a tree in which a child does not come after its parent")


def _check_columns(asked: Any, count: int) -> None:
    """Raise ValueError if nodes ask for other columns than 0 to `count` - 1. `asked`: integers[node]."""
    beyond = asked[(asked < 0) | (asked >= count)]
    if beyond.size:
        raise ValueError(f"a tree asks for column {beyond[0]} of {count}")


def _renumbered(text: str, number: dict[str, str]) -> str:
    return re.sub(r"\d+", lambda found: number.get(found[0], found[0]), text)
