"""skops: models of scikit-learn, as authors of classifiers keep them."""

from __future__ import annotations

import io
import json
import random
import zipfile
from pathlib import Path
from typing import Any

from campaigns.fuzz.kind import Change, Kind, Must, cut, damage, pick


def _table() -> Any:
    import numpy as np

    return np.random.default_rng(4).normal(size=(60, 4))


def _make_skops(folder: Path) -> None:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from kras_plugins.learning.skops_files import dump_skops

    table = _table()
    labels = (table[:, 0] + table[:, 1] > 0).astype(int)
    line = make_pipeline(StandardScaler(), LogisticRegression()).fit(table, labels)
    forest = RandomForestClassifier(4, max_depth=3, random_state=0).fit(table, labels)
    dump_skops({"line": line, "forest": forest}, folder / "own.skops")


TRUSTED = ("sklearn.tree._tree.Tree",)
"""As `examples/kras-classifier-sklearn` trusts trees."""


def _read_skops(folder: Path) -> Any:
    from kras_plugins.learning.skops_files import load_skops

    models = load_skops(folder / "own.skops", TRUSTED)
    try:
        return {name: models[name].predict_proba(_table()[:8])[:, 1].round(6).tolist() for name in ("line", "forest")}
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as e:
        # What a model of the author's own choice is, only the author's classifier can tell: its errors are its own.
        from kras_plugins.errors import StoreError

        raise StoreError(f"own.skops: {type(e).__name__}", "train the model again") from e


def _zip(parts: dict[str, bytes], how: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", how) as f:
        for name, content in parts.items():
            f.writestr(zipfile.ZipInfo(name), content, how)
    return out.getvalue()


_ODD: list[Any] = [None, True, -1, 0, 0.5, 10**18, "", "x" * 300, [], {}, [[]], {"": 0}]


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [path, *(p for key in inner for p in _places(value[key], (*path, key)))]


def _change_skops(folder: Path, rng: random.Random, _sound: Any) -> Change:
    file = folder / "own.skops"
    with zipfile.ZipFile(file) as f:
        parts = {name: f.read(name) for name in f.namelist()}
    schema = json.loads(parts["schema.json"])

    def say(what: str, must: Any, how: int = zipfile.ZIP_STORED) -> Change:
        file.write_bytes(_zip(parts, how))
        return Change(what, must)

    def packed() -> Change:
        return say("packed", Must.SAME, zipfile.ZIP_DEFLATED)

    def order() -> Change:
        names = rng.sample(list(parts), len(parts))
        moved = {name: parts[name] for name in names}
        parts.clear()
        parts.update(moved)
        return say("members in another order", Must.SAME)

    def dropped() -> Change:
        name = rng.choice(list(parts))
        del parts[name]
        return say(f"no {name}", Must.REFUSED)

    def more() -> Change:
        parts[rng.choice(["note.txt", "../../note.txt", "/etc/note"])] = b"mine"
        return say("a member more", Must.SAME)

    def code() -> Change:
        nodes = [_at(schema, p[:-1]) for p in _places(schema) if p and p[-1] == "__class__"]
        node = rng.choice(nodes)
        must = Must.SAME if node["__loader__"] == "JsonNode" else Must.REFUSED
        module, name = rng.choice(
            [("os", "system"), ("builtins", "eval"), ("sklearn.svm", "Nothing"), ("subprocess", "Popen")]
        )
        for one in nodes:  # of an object that is there several times, skops makes the one that it meets first
            if one["__id__"] == node["__id__"]:
                one["__module__"], one["__class__"] = module, name
        parts["schema.json"] = json.dumps(schema).encode()
        # Of a JSON value, skops reads the text alone (`JsonNode._construct`): the class is not looked up.
        return say(f"{node['__loader__']} of {module}.{name}", must)

    def value() -> Change:
        *above, key = rng.choice([p for p in _places(schema) if p])
        holder, new = _at(schema, above), rng.choice(_ODD)
        holder[key] = new
        parts["schema.json"] = json.dumps(schema).encode()
        return say(f"{'.'.join(map(str, (*above, key)))} is {str(new)[:40]!r}", Must.ANYTHING)

    def spaced() -> Change:
        parts["schema.json"] = json.dumps(schema, indent=2).encode()
        return say("the schema indented", Must.SAME)

    def array() -> Change:
        import numpy as np

        name = rng.choice([n for n in parts if n.endswith(".npy")])
        out = io.BytesIO()
        np.save(out, np.atleast_1d(np.load(io.BytesIO(parts[name]), allow_pickle=False))[..., :-1])
        parts[name] = out.getvalue()
        return say(f"{name} is shorter", Must.ANYTHING)

    def column() -> Change:
        import numpy as np

        trees = {
            name: np.load(io.BytesIO(content), allow_pickle=False)
            for name, content in parts.items()
            if name.endswith(".npy")
        }
        name, nodes = rng.choice([(n, t) for n, t in trees.items() if t.dtype.names and "feature" in t.dtype.names])
        field, value = rng.choice(
            [("feature", 4), ("feature", 10**6), ("left_child", 10**6), ("right_child", 0), ("feature", -3)]
        )
        nodes[field][0] = value
        out = io.BytesIO()
        np.save(out, nodes)
        parts[name] = out.getvalue()
        return say(f"{name}: {field} of the first node is {value}", Must.REFUSED)

    ways = [packed, order, dropped, more, code, spaced, column]
    return pick(
        rng,
        [
            *((2, way) for way in ways),
            (6, value),
            (2, array),
            (2, lambda: cut(file, rng, Must.REFUSED)),
            (5, lambda: damage(file, rng)),
        ],
    )


def _at(value: Any, path: Any) -> Any:
    for key in path:
        value = value[key]
    return value


KINDS = [
    Kind(
        name="skops",
        make=_make_skops,
        change=_change_skops,
        read=_read_skops,
        named=("own.skops",),
        warm=("skops.io", "sklearn.ensemble", "sklearn.linear_model", "sklearn.pipeline"),
    ),
]
