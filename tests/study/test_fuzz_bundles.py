"""Bundles with one file changed at random and resealed: a one-line error or a result. `make fuzz` tries more."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cohorts import read_rows, write_rows
from quick_study import quick

from kras_plugins import KrasError, study
from kras_plugins.learning.seal import seal
from kras_plugins.study.results import Training

SEEDS = range(int(os.environ["KRAS_FUZZ"])) if "KRAS_FUZZ" in os.environ else (6, 12)

ODD: list[Any] = [
    None,
    True,
    -1,
    0,
    0.5,
    1e308,
    -1e308,
    10**18,
    2**31,
    "",
    "\x1b[31m\n",
    "x" * 3000,
    [],
    {},
    [[]],
    {"": 0},
]
RAW = [b"", b"\0", b"NaN", b"1e999", b"-1", b"99999999999", b"[" * 2000, b"\xff\xfe", b"..", b"{}"]


@pytest.fixture(scope="module")
def theirs(tables: Path, tmp_path_factory: pytest.TempPathFactory) -> Training:
    folder = tmp_path_factory.mktemp("theirs")
    settings = quick(tables, folder / "store", classifiers=("lgbm", "mlp", "rf"), folds=2, fusion="rank")
    few = settings.with_options("classifier.lgbm.rounds=3", "classifier.rf.trees=3", "classifier.mlp.seeds=1")
    return study.train(tables / "cohort.csv", few, out=folder / "out")


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from places(value[key], (*path, key))


def of_json(text: bytes, rng: random.Random) -> bytes:
    """JSON with one value replaced, left out, or duplicated."""
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


def of_bytes(content: bytes, rng: random.Random) -> bytes:
    """Bytes with a bit flipped, a piece lost, duplicated or replaced, or a number exchanged."""
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


def mutant(bundle: Path, rng: random.Random) -> str:
    """Change one file and reseal the bundle; returns the file's name."""
    files = sorted(f for f in bundle.rglob("*") if f.is_file() and f.name != "seal.json")
    file = rng.choice([*files, *[bundle / "bundle.json"] * (len(files) // 2)])
    change = of_json if file.suffix == ".json" and rng.random() < 0.8 else of_bytes
    file.write_bytes(change(file.read_bytes(), rng))
    seal(bundle)
    return str(file.relative_to(bundle))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_changed_bundle_gives_a_result_or_one_line(theirs: Training, tables: Path, tmp_path: Path, seed: int) -> None:
    shutil.copytree(theirs.bundle, tmp_path / "bundle")
    write_rows(tmp_path / "few.csv", read_rows(tables / "cohort.csv")[:4])
    name = mutant(tmp_path / "bundle", random.Random(seed))
    settings, told = quick(tables, tmp_path / "store"), ""
    try:
        scored = study.score(tmp_path / "bundle", tmp_path / "few.csv", settings, out=tmp_path / "new")
        assert scored.predictions.num_rows == 4
        study.validate(tmp_path / "bundle", tables / "cohort.csv", settings, out=tmp_path / "ext")
    except KrasError as e:
        told = e.message
    assert len(told) < 1500 and (told.isprintable() or not told), f"{name}: {told}"
