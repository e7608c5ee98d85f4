"""Cells made elsewhere in tables: HALO's CSV and Parquet."""

from __future__ import annotations

import math
import random
from collections import Counter
from pathlib import Path
from typing import Any

from campaigns.fuzz.cells import CELLS, WARM, WORDS, Cell, reads, told
from campaigns.fuzz.grids import Grid, change_grid, written
from campaigns.fuzz.kind import Change, Kind, Must, cut, damage, pick

# --- HALO


def _make_halo(folder: Path) -> None:
    header = ("Image Location", "Object Id", "XMin", "XMax", "YMin", "YMax", "Phenotype", "Nucleus Area (µm²)")
    rows = [
        ("C:\\a.svs", str(i), f"{x - 16:.1f}", f"{x + 16:.1f}", f"{y - 16:.1f}", f"{y + 16:.1f}", w, "50.5")
        for i, (x, y, w) in enumerate(CELLS)
    ]
    (folder / "s.csv").write_text(written(Grid(header, tuple(rows)), ","), encoding="utf-8")


UNUSED = ("Object Id", "note")
"""Columns that nobody reads: twice they do no harm."""


def halo_meaning(grid: Grid) -> Any:
    """The cells of boxes: their middles, and the class in the column `Phenotype`."""
    counts = Counter(grid.header)
    needed = ("XMin", "XMax", "YMin", "YMax", "Phenotype")
    if not set(needed) <= set(counts) or not grid.rows:
        return Must.REFUSED
    if any(n > 1 for name, n in counts.items() if name not in UNUSED):
        return Must.REFUSED
    if "Image Location" in counts and len({t.strip() for t in grid.column("Image Location")}) > 1:
        return Must.REFUSED
    if "Nucleus Area (µm²)" in counts and any(
        _halo_number(t) is None for t in grid.column("Nucleus Area (µm²)") if t.strip()
    ):
        return Must.REFUSED
    cells: list[Cell] = []
    for row in grid.records():
        sides = [_halo_number(row[name]) for name in needed[:4]]
        if any(side is None and row[name] for side, name in zip(sides, needed, strict=False)):
            return Must.REFUSED
        if None in sides or not row["Phenotype"]:
            continue  # one cell without a place, or a class, is left out and counted
        if row["Phenotype"] not in WORDS:
            return Must.REFUSED
        x0, x1, y0, y1 = (float(side or 0) for side in sides)
        cells.append(((x0 + x1) / 2, (y0 + y1) / 2, row["Phenotype"]))
    return told(cells) if 2 * len(cells) >= len(grid.rows) else Must.REFUSED


def _halo_number(text: str) -> float | None:
    try:
        return float(text) if "_" not in text and text.isascii() and abs(float(text)) < 1e300 else None
    except ValueError:
        return None


def _change_halo(folder: Path, rng: random.Random, _sound: Any) -> Change:
    odd = ("", "x", "Tumor", "Lymphocyte", "Widget", "210.5", "-5", "1e999", "1_000", "é", "40%", "D:\\b.svs")
    return change_grid(folder / "s.csv", rng, halo_meaning, odd=odd, zipped=True, unused=UNUSED)


# --- Parquet


def _make_parquet(folder: Path) -> None:
    _write_parquet(
        folder / "s.parquet",
        {
            "x_px": [c[0] for c in CELLS],
            "y_px": [c[1] for c in CELLS],
            "class": [c[2] for c in CELLS],
            "area_um2": [49.0] * len(CELLS),
        },
    )


def _write_parquet(file: Path, columns: dict[str, Any], **how: Any) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns), file, **{"write_page_checksum": False, **how})


def _change_parquet(folder: Path, rng: random.Random, _sound: Any) -> Change:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = folder / "s.parquet"
    columns: dict[str, Any] = {name: list(values) for name, values in pq.read_table(file).to_pydict().items()}
    i, name = rng.randrange(len(CELLS)), rng.choice(list(columns))

    def say(what: str, must: Any = None, **how: Any) -> Change:
        _write_parquet(file, columns, **how)
        if must is None:
            cells = list(zip(columns["x_px"], columns["y_px"], columns["class"], strict=True))
            must = told(cells, [float(v) for v in columns["area_um2"] if v])
        return Change(what, must)

    def shuffled() -> Change:
        order = rng.sample(range(len(CELLS)), len(CELLS))
        for key, values in columns.items():
            columns[key] = [values[k] for k in order]
        return say("rows shuffled")

    def permuted() -> Change:
        for key in rng.sample(list(columns), len(columns)):
            columns[key] = columns.pop(key)
        return say("columns permuted")

    def twice() -> Change:
        for values in columns.values():
            values.append(values[i])
        return say(f"row {i} twice")

    def moved() -> Change:
        columns["x_px"][i] += 6.0
        return say(f"cell {i} moved")

    def left_out() -> Change:
        del columns[name]
        must = Must.REFUSED if name != "area_um2" else told(CELLS, [])
        return say(f"column {name} left out", must)

    def nowhere() -> Change:
        columns["x_px"][i] = rng.choice([None, math.nan, math.inf])
        at = columns["x_px"][i]
        must = told([c for k, c in enumerate(CELLS) if k != i], [49.0])
        return say(f"cell {i} at {at}", must)

    def widget() -> Change:
        columns["class"][i] = rng.choice(["Widget", "", None])
        # One cell in 144 without a class is left out and counted; a word without a meaning is refused.
        must = Must.REFUSED if columns["class"][i] else told([c for k, c in enumerate(CELLS) if k != i], [49.0])
        return say(f"cell {i} is {columns['class'][i]!r}", must)

    def typed() -> Change:
        kind = rng.choice([pa.float32(), pa.int64(), pa.string(), pa.bool_()])
        columns["x_px"] = pa.array(columns["x_px"]).cast(kind)
        return say(f"x_px as {kind}", Must.REFUSED if kind == pa.bool_() else Must.SAME)

    def named() -> Change:
        kind = rng.choice(["dictionary", "large", "numbers"])
        texts = pa.array(columns["class"])
        columns["class"] = {
            "dictionary": texts.dictionary_encode(),
            "large": texts.cast(pa.large_string()),
            "numbers": pa.array(range(len(CELLS))),
        }[kind]
        return say(f"class as {kind}", Must.REFUSED if kind == "numbers" else Must.SAME)

    def styled() -> Change:
        how = rng.choice(
            [{"compression": "gzip"}, {"compression": "none"}, {"row_group_size": 20}, {"use_dictionary": False}]
        )
        return say(f"written with {how}", Must.SAME, **how)

    ways = [shuffled, permuted, twice, moved, left_out, nowhere, widget, typed, named, styled]
    return pick(
        rng,
        [*((1, way) for way in ways), (2, lambda: cut(file, rng, Must.REFUSED)), (3, lambda: damage(file, rng))],
    )


KINDS = [
    Kind(name=name, make=make, change=change, read=reads(file), named=(file, "profiler.import"), warm=WARM, few=2)
    for name, file, make, change in (
        ("halo", "s.csv", _make_halo, _change_halo),
        ("parquet", "s.parquet", _make_parquet, _change_parquet),
    )
]
