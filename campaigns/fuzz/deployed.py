"""Bundles: changed, and sealed again as anybody can; and changed under their seal."""

from __future__ import annotations

import json
import random
import re
import shutil
from pathlib import Path
from typing import Any

from campaigns.fuzz.kind import Change, Kind, Must, pick

ODD: list[Any] = [
    None, True, -1, 0, 0.5, 1e308, -1e308, 10**18, 2**31, "", "\x1b[31m\n", "x" * 3000, [], {}, [[]], {"": 0},
]  # fmt: skip
RAW = [b"", b"\0", b"NaN", b"1e999", b"-1", b"99999999999", b"[" * 2000, b"\xff\xfe", b"..", b"{}"]


def _make(folder: Path) -> None:
    from cohorts import draw_tables, read_rows, write_rows
    from quick_study import quick

    from kras_plugins import study

    draw_tables(folder)
    write_rows(folder / "few.csv", read_rows(folder / "cohort.csv")[:4])
    settings = quick(folder, folder / "their-store", classifiers=("lgbm", "mlp", "rf"), folds=2, fusion="rank")
    few = settings.with_options("classifier.lgbm.rounds=3", "classifier.rf.trees=3", "classifier.mlp.seeds=1")
    made = study.train(folder / "cohort.csv", few, out=folder / "out")
    shutil.copytree(made.bundle, folder / "bundle")
    shutil.rmtree(folder / "out")
    shutil.rmtree(folder / "their-store")


def _read(folder: Path) -> Any:
    from quick_study import quick

    from kras_plugins import study

    settings = quick(folder, folder / "store")
    scored = study.score(folder / "bundle", folder / "few.csv", settings, out=folder / "new")
    study.validate(folder / "bundle", folder / "cohort.csv", settings, out=folder / "elsewhere")
    columns = ["patient_id", "lgbm", "mlp", "rf", "ensemble", "call"]
    return [{name: row.get(name) for name in columns} for row in scored.predictions.to_pylist()]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value within a JSON value."""
    inner = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [path, *(p for key in inner for p in places(value[key], (*path, key)))]


def of_json(text: bytes, rng: random.Random) -> bytes:
    """JSON with one value replaced, left out, or put in twice."""
    value = {"": json.loads(text)}
    *above, key = rng.choice([p for p in places(value) if p])
    holder: Any = value
    for step in above:
        holder = holder[step]
    how = rng.random()
    if how < 0.2 and above:
        del holder[key]
    elif how < 0.3 and isinstance(holder, list):
        holder.append(holder[key])
    else:
        holder[key] = rng.choice(ODD)
    return json.dumps(value[""]).encode()


def of_content(content: bytes, rng: random.Random) -> bytes:
    """Bytes with a bit turned, a piece lost, doubled or replaced, or a number exchanged."""
    at = rng.randrange(len(content))
    end = min(len(content), at + rng.choice([1, 8, 200]))
    numbers = [m.span() for m in re.finditer(rb"-?\d+(\.\d+)?", content)]
    match rng.randrange(6):
        case 0:
            return content[:at] + bytes([content[at] ^ (1 << rng.randrange(8))]) + content[at + 1 :]
        case 1:
            return content[:at]
        case 2:
            return content[:at] + content[end:]
        case 3:
            return content[:end] + content[at:]
        case 4 if numbers:
            at, end = rng.choice(numbers)
    return content[:at] + rng.choice(RAW) + content[end:]


def _change(folder: Path, rng: random.Random, _sound: Any) -> Change:
    from kras_plugins.learning.seal import seal

    bundle = folder / "bundle"
    files = sorted(f for f in bundle.rglob("*") if f.is_file() and f.name != "seal.json")
    file = rng.choice([*files, *[bundle / "bundle.json"] * (len(files) // 2)])
    name = str(file.relative_to(bundle))

    def anything() -> Change:
        change = of_json if file.suffix == ".json" and rng.random() < 0.8 else of_content
        file.write_bytes(change(file.read_bytes(), rng))
        seal(bundle)
        # A seal says that a folder is whole, not that what it says is true: a signature does.
        return Change(f"{name} changed, sealed again", Must.ANYTHING)

    def unsealed() -> Change:
        file.write_bytes(of_content(file.read_bytes(), rng))
        return Change(f"{name} changed under its seal", Must.SAME)

    def gone() -> Change:
        file.unlink()
        sealed = rng.random() < 0.5
        if sealed:
            seal(bundle)
        return Change(f"no {name}{', sealed again' if sealed else ''}", Must.SAME)

    def more() -> Change:
        (bundle / "note.txt").write_text("mine")
        return Change("a file more under the seal", Must.REFUSED)

    def spaced() -> Change:
        documents = [f for f in files if f.suffix == ".json"]
        one = rng.choice(documents)
        value = json.loads(one.read_text())
        one.write_text(json.dumps(value, indent=3))
        seal(bundle)
        return Change(f"{one.relative_to(bundle)} with other spaces, sealed again", Must.SAME)

    def of_seal() -> Change:
        one = bundle / "seal.json"
        one.write_bytes((of_json if rng.random() < 0.7 else of_content)(one.read_bytes(), rng))
        return Change("the seal changed", Must.SAME)

    def exchanged() -> Change:
        one, other = rng.sample([f for f in files if f.suffix == file.suffix] * 2, 2)
        first, second = one.read_bytes(), other.read_bytes()
        one.write_bytes(second)
        other.write_bytes(first)
        return Change(f"{one.relative_to(bundle)} and {other.relative_to(bundle)} exchanged under the seal", Must.SAME)

    return pick(rng, [(10, anything), (3, unsealed), (2, gone), (1, more), (1, spaced), (2, of_seal), (1, exchanged)])


KINDS = [
    Kind(
        name="bundle",
        make=_make,
        change=_change,
        read=_read,
        named=("bundle",),
        memory=2 << 30,
        few=2,
        warm=(
            "torch",
            "lightgbm",
            "sklearn.ensemble",
            "scipy.stats",
            "kras_plugins.study.score",
            "kras_plugins.study.apply",
            "kras_plugins.study.train",
            "kras_plugins.study.validate",
            "kras_plugins.learning.experiment",
            "kras_classifier_mlp.classifier",
            "kras_classifier_rf.classifier",
            "kras_classifier_lgbm.classifier",
            "quick_study",
            "cohorts",
        ),
    )
]
