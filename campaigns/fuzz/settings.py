"""kras.toml."""

from __future__ import annotations

import random
import tomllib
from pathlib import Path
from typing import Any

from campaigns.fuzz.kind import Change, Kind, Must, cut, damage, pick

RUN: dict[str, Any] = {
    "classifiers": ["rf", "lgbm"],
    "target": "g12c",
    "folds": 4,
    "repeats": 2,
    "splits": "site",
    "seed": 7,
    "permutations": 199,
    "target_sensitivity": 0.9,
    "backend": "local",
    "mpp": 0.5,
}
TREES = {"trees": 50}
GOOD: dict[str, list[Any]] = {
    "classifiers": [["rf"], ["mlp", "rf"], ["he"]],
    "target": ["g12d", "other"],
    "folds": [2, 3, 1000],
    "repeats": [1, 5],
    "splits": ["random"],
    "seed": [0, 1, 2**62],
    "permutations": [19, 9999],
    "target_sensitivity": [0.8, 0.95],
    "backend": ["triton"],
    "mpp": [0.25, 1.0],
}
"""Other values that mean what they say."""
BAD: dict[str, list[Any]] = {
    "classifiers": [3, [1], {"a": 1}],
    "target": [1, ["g12c"], True],
    "folds": [1, 0, -3, 1001, 2.5, "four", True],
    "repeats": [0, 1001, "2.x", [1]],
    "splits": ["sites", "", 1],
    "seed": [-1, 2**63, 0.5, "x"],
    "permutations": [18, 10_000, False],
    "target_sensitivity": [-0.1, 1.5, "high", "nan"],
    "backend": [1, ["local"]],
    "mpp": [0, -1, "0.5 um", float("inf")],
}


def _text(run: dict[str, Any], trees: dict[str, Any]) -> str:
    lines = ["[run]", *(f"{k} = {_value(v)}" for k, v in run.items()), "", "[classifier.rf]"]
    return "\n".join([*lines, *(f"{k} = {_value(v)}" for k, v in trees.items())]) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{k} = {_value(v)}" for k, v in value.items()) + " }"
    return repr(value)


def _make(folder: Path) -> None:
    (folder / "kras.toml").write_text(_text(RUN, TREES))


def _read(folder: Path) -> Any:
    from kras_plugins.study.settings import StudySettings

    made = StudySettings.load(folder / "kras.toml")
    stated = {name: getattr(made, name) for name in RUN}
    return {
        **stated,
        "classifiers": list(made.classifiers),
        "rf": dict(made.options.get("classifier", {}).get("rf", {})),
    }


def meaning(run: dict[str, Any], trees: dict[str, Any]) -> Any:
    """What settings say, where what is left out has its default."""
    defaults = {
        "classifiers": ["he", "mlp", "rf"],
        "target": "g12c",
        "folds": 5,
        "repeats": 1,
        "splits": "random",
        "seed": 0,
    }
    defaults |= {"permutations": 99, "target_sensitivity": 0.9, "backend": "local", "mpp": None}
    return {**defaults, **run, "rf": trees}


def _change(folder: Path, rng: random.Random, _sound: Any) -> Change:
    file, run, name = folder / "kras.toml", dict(RUN), rng.choice(list(RUN))

    def say(what: str, must: Any, text: str | None = None) -> Change:
        file.write_text(_text(run, TREES) if text is None else text)
        return Change(what, must)

    def another() -> Change:
        run[name] = rng.choice(GOOD[name])
        return say(f"{name} = {run[name]!r}", meaning(run, TREES))

    def wrong() -> Change:
        run[name] = rng.choice(BAD[name])
        return say(f"{name} = {run[name]!r}", Must.REFUSED)

    def left_out() -> Change:
        del run[name]
        return say(f"{name} left out", meaning(run, TREES))

    def unknown() -> Change:
        word = rng.choice([f"{name}s", name.upper(), "fold", "note"])
        run[word] = run.pop(name)
        return say(f"{name} renamed {word}", meaning(run, TREES) if word in RUN else Must.REFUSED)

    def moved() -> Change:
        keys = rng.sample(list(run), len(run))
        return say("settings in another order", Must.SAME, _text({k: run[k] for k in keys}, TREES))

    def styled() -> Change:
        text = _text(run, TREES)
        what, text = rng.choice([
            ("comments", "# mine\n" + text.replace("\n", "  # so\n", 3)),
            ("spaces", text.replace(" = ", "=")),
            ("a table twice", text + "\n[run]\nfolds = 3\n"),
            ("a setting twice", text.replace("folds = 4\n", "folds = 4\nfolds = 3\n")),
            ("an unknown table", text + "\n[runs]\nfolds = 3\n"),
            ("an unknown kind", text + "\n[models.rf]\ntrees = 3\n"),
            ("a plug-in's table is a number", text.replace("[classifier.rf]", "[classifier]\nrf = 3\n[reader.tiff]")),
            ("nested too deep", text + "x = " + "[" * 4000 + "]" * 4000),
        ])  # fmt: skip
        return say(what, Must.SAME if what in ("comments", "spaces") else Must.REFUSED, text)

    def torn() -> Change:
        change = cut(file, rng)
        try:
            left = tomllib.loads(file.read_text())
        except ValueError:
            return Change(change.what, Must.REFUSED)
        said = left.get("run", {})
        right = all(k in RUN and (v == RUN[k] or v in GOOD[k]) for k, v in said.items())
        trees = left.get("classifier", {}).get("rf", {})
        # A number that lost digits is another number: nothing in a file of settings says how long it was.
        return Change(change.what, meaning(said, trees) if right else Must.ANYTHING)

    return pick(
        rng,
        [
            (4, another),
            (5, wrong),
            (2, left_out),
            (2, unknown),
            (1, moved),
            (3, styled),
            (2, torn),
            (3, lambda: damage(file, rng)),
        ],
    )


KINDS = [
    Kind(
        name="kras.toml",
        make=_make,
        change=_change,
        read=_read,
        named=("kras.toml",),
        warm=("kras_plugins.study.settings",),
    )
]
