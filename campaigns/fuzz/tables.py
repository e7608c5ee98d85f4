"""Cohort tables, folds, mutation tables and tables of measurements."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from campaigns.fuzz.grids import Grid, change_grid, written
from campaigns.fuzz.kind import Change, Kind, Must

UNKNOWN = {"", "na", "nan", "null"}
"""Of the words for unknown those that changes bring in."""
PATIENTS = [f"P{i:02d}" for i in range(12)]


# --- cohort.csv


def _make_cohort(folder: Path) -> None:
    header = ("patient_id", "slide_id", "path", "mpp", "site", "histology", "specimen", "g12c", "age")
    rows = []
    for i, patient in enumerate(PATIENTS):
        for slide in range(1 + i % 2):
            name = f"{patient}-{slide}"
            histology, specimen = ("LUAD", "LUSC")[i % 2], ("resection", "biopsy")[slide]
            label, age = str(int(i % 3 == 0)), str(50 + i)
            rows.append((patient, name, f"slides/{name}.svs", "0.25", f"S{i % 4}", histology, specimen, label, age))
    (folder / "cohort.csv").write_text(written(Grid(header, tuple(rows)), ","))


def _read_cohort(folder: Path) -> Any:
    from kras_plugins.cohort.table import read_cohort

    table = read_cohort(folder / "cohort.csv")
    return {
        patient.patient_id: {
            "label": patient.label,
            "site": patient.site,
            "histology": patient.histology,
            "specimen": patient.specimen,
            "covariates": dict(patient.covariates),
            "slides": [[s.slide_id, s.path and s.path.relative_to(folder).as_posix(), s.mpp] for s in patient.slides],
        }
        for patient in table.patients
    }


def cohort_meaning(grid: Grid) -> Any:
    """What a cohort says, by the description in docs/reference/cohort.md alone."""
    names, rows = [name.strip() for name in grid.header], grid.records()
    needed = ("patient_id", "slide_id", "path", "g12c")
    if len(set(names)) < len(names) or not set(needed) <= set(names):
        return Must.REFUSED
    rows = [row for row in rows if any(row.values())]
    if any(not row[name] for row in rows for name in needed[:3]):
        return Must.REFUSED
    if any("/" in row[name] for row in rows for name in needed[:2]):
        return Must.REFUSED
    if any(len({row[name] for row in rows}) < len(rows) for name in ("slide_id", "path")):
        return Must.REFUSED
    mpps = [_number(row.get("mpp", "")) for row in rows]
    if any(mpp is Must.REFUSED or (mpp is not None and mpp <= 0) for mpp in mpps):
        return Must.REFUSED
    by: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        by.setdefault(row["patient_id"], []).append(row)
    found = {}
    for patient, own in sorted(by.items()):
        labels = {_label(row["g12c"]) for row in own} - {None}
        if Must.REFUSED in labels or len(labels) > 1:
            return Must.REFUSED
        agreed = {}
        for name in ("site", "histology"):
            words = {row.get(name, "") for row in own}
            agreed[name] = {
                word for word in words if word.lower() not in UNKNOWN - ({"na"} if name == "site" else set())
            }
            if len(agreed[name]) > 1:
                return Must.REFUSED
        if not labels:
            continue  # unknown is not negative: the patient is set aside
        fixed = {"patient_id", "slide_id", "path", "mpp", "site", "histology", "specimen", "g12c"}
        found[patient] = {
            "label": next(iter(labels)),
            **{name: next(iter(words), "") for name, words in agreed.items()},
            "specimen": _joined(
                row.get("specimen", "") for row in own if row.get("specimen", "").lower() not in UNKNOWN
            ),
            "covariates": {n: _joined(row[n] for row in own) for n in names if n not in fixed},
            "slides": sorted([row["slide_id"], row["path"], _number(row.get("mpp", ""))] for row in own),
        }
    return found if {f["label"] for f in found.values()} == {0, 1} else Must.REFUSED


def _joined(words: Iterable[str]) -> str:
    return "+".join(sorted({*words} - {""}))


def _label(text: str) -> Any:
    if text.lower() in UNKNOWN:
        return None
    value = _number(text)
    return int(value) if value in (0, 1) else Must.REFUSED


def _number(text: str) -> Any:
    """A number of ODD, None for unknown, else refused."""
    if text.lower() in UNKNOWN:
        return None
    try:
        value = float(text)
    except ValueError:
        return Must.REFUSED
    return value if "_" not in text and text.isascii() and value < 1e300 else Must.REFUSED


def _change_cohort(folder: Path, rng: random.Random, _sound: Any) -> Change:
    return change_grid(folder / "cohort.csv", rng, cohort_meaning)


# --- folds.csv


def _make_folds(folder: Path) -> None:
    rows = [(str(r + 1), str((i + r) % 3 + 1), p) for r in range(2) for i, p in enumerate(PATIENTS)]
    (folder / "folds.csv").write_text(written(Grid(("repeat", "fold", "patient_id"), tuple(rows)), ","))


LABELS = [int(i // 3 % 2 == 0) for i in range(12)]
"""Of PATIENTS: each fold has both classes."""


def _read_folds(folder: Path) -> Any:
    import numpy as np

    from kras_plugins.cohort.folds_file import read_folds

    return read_folds(folder / "folds.csv", PATIENTS, np.array(LABELS, np.int8)).tolist()


def folds_meaning(grid: Grid) -> Any:
    """The fold of each patient in each repeat."""
    names = [name.strip().lower() for name in grid.header]
    if not {"repeat", "fold", "patient_id"} <= set(names):
        return Must.REFUSED
    at: dict[tuple[int, str], int] = {}
    for row in (dict(zip(names, cells, strict=True)) for cells in grid.rows):
        repeat, fold = row["repeat"].strip(), row["fold"].strip()
        if not (repeat.isdecimal() and fold.isdecimal() and int(repeat) and int(fold)):
            return Must.REFUSED
        if at.setdefault((int(repeat), row["patient_id"].strip()), int(fold)) != int(fold):
            return Must.REFUSED
    repeats = max((repeat for repeat, _ in at), default=0)
    cube = [[at.get((r + 1, p), 0) - 1 for p in PATIENTS] for r in range(repeats)]
    n = max(cube[0]) + 1 if cube else 0
    every = {(fold, label) for fold in range(n) for label in (0, 1)}
    if n < 2 or any(set(zip(row, LABELS, strict=True)) != every for row in cube):
        return Must.REFUSED
    return cube


def _change_folds(folder: Path, rng: random.Random, _sound: Any) -> Change:
    return change_grid(folder / "folds.csv", rng, folds_meaning, zipped=True, comments=True)


# --- mutations.maf


_CHANGES = ("p.G12C", "p.G12D", "p.Q61H", "p.G12V", "p.A146T")


def _make_maf(folder: Path) -> None:
    header = ("Hugo_Symbol", "Tumor_Sample_Barcode", "Variant_Classification", "HGVSp_Short", "t_depth", "t_alt_count")
    rows = []
    for i in range(12):
        sample = f"TCGA-05-{4200 + i}-01A-01D-1105-08"
        rows.append(("TP53", sample, "Missense_Mutation", "p.R175H", "80", "20"))
        if i < 8:
            rows.append(("KRAS", sample, "Missense_Mutation", _CHANGES[i % 5], "100", str(20 + i)))
    (folder / "calls.maf").write_text(written(Grid(header, tuple(rows)), "\t"))


def _read_maf(folder: Path) -> Any:
    from kras_plugins.cohort.labels import label_patients
    from kras_plugins.cohort.mutations import read_mutations

    return {
        one.patient_id: [one.g12c, list(one.changes)]
        for one in label_patients(read_mutations([str(folder / "calls.maf")]))
    }


def maf_meaning(grid: Grid) -> Any:
    """G12C and the changes of each patient who has a row of any gene."""
    needed = {"Hugo_Symbol", "Tumor_Sample_Barcode", "HGVSp_Short"}
    if not needed <= set(grid.header) or not grid.rows:
        return Must.REFUSED
    by: dict[str, set[str]] = {}
    undecided = set()
    for row in grid.records():
        if not any(row.values()):
            continue
        sample, symbol, text = row["Tumor_Sample_Barcode"], row["Hugo_Symbol"], row["HGVSp_Short"]
        if not sample or sample.lower() in {"nan", "null"}:
            return Must.REFUSED
        patient = sample[:12] if sample.startswith("TCGA-") else sample
        own = by.setdefault(patient, set())
        if symbol != "KRAS":
            continue
        if any(
            _number(row.get(name, "")) is Must.REFUSED or (_number(row.get(name, "")) or 0) < 0
            for name in ("t_depth", "t_alt_count")
        ):
            return Must.REFUSED
        if text in _CHANGES:
            own.add(text)
        else:
            undecided.add(patient)  # another gene's change, or none that is understood
            if text == "p.R175H":
                own.add(text)
    return {p: _answer(changes, p in undecided) for p, changes in sorted(by.items())}


def _answer(changes: set[str], undecided: bool) -> list[Any]:
    twelve = {c for c in changes if c.startswith("p.G12")}
    order = sorted(changes, key=lambda c: (int("".join(d for d in c[3:-1] if d.isdigit())), c[2:]))
    if len(twelve) > 1:
        return [None, order]  # two calls at codon 12 may be one change
    if "p.G12C" in changes:
        return [1, order]
    return [None if undecided else 0, order]


def _change_maf(folder: Path, rng: random.Random, _sound: Any) -> Change:
    return change_grid(
        folder / "calls.maf",
        rng,
        maf_meaning,
        delimiter="\t",
        zipped=True,
        comments=True,
        odd=("", "NaN", "KRAS", "EGFR", "p.G12C", "p.G12D", "p.?", "TCGA-05-4200-01A-01D-1105-08", "-1", "1e999", "x"),
    )


# --- a table of measurements


FEATURES = tuple(f"DENSITY {k}_HE" for k in range(5))


def _make_measurements(folder: Path) -> None:
    rng = random.Random(1)
    rows = [(f"P{i:02d}", f"P{i:02d}-0", str(40 + i), *(f"{rng.gauss(0, 1):.4f}" for _ in FEATURES)) for i in range(12)]
    (folder / "features.csv").write_text(written(Grid(("patient_id", "slide_id", "age", *FEATURES), tuple(rows)), ","))


def _read_measurements(folder: Path) -> Any:
    from kras_plugins.data import SlideRef
    from kras_profiler_import import kras_profilers

    (plugin,) = kras_profilers()
    options = plugin.options.model_validate({"table": [str(folder / "features.csv")]})
    assert plugin.load is not None
    found = {}
    for i in range(12):
        profile = plugin.load(SlideRef(patient_id=f"P{i:02d}", slide_id=f"P{i:02d}-0"), options)
        found[f"P{i:02d}"] = dict(zip(profile.names, map(float, profile.values), strict=True))  # type: ignore[union-attr]
    return found


def measurements_meaning(grid: Grid) -> Any:
    """The features of each patient: the mean of the rows that name the slide, else the patient."""
    names = list(grid.header)
    marked = [name for name in names if name.endswith("_HE")]
    if len(set(names)) < len(names) or not marked:
        return Must.REFUSED
    values: dict[str, list[float]] = {}
    for name in marked:
        cells = [_number(text) for text in (c.strip() for c in grid.column(name))]
        if Must.REFUSED in cells:
            return Must.REFUSED
        values[name.removesuffix("_HE")] = [float("nan") if c is None else c for c in cells]
    ids = [grid.column(name) for name in names if "patient" in name or "slide" in name]
    found = {}
    for i in range(12):
        for wanted in (f"P{i:02d}-0", f"P{i:02d}"):  # of the slide, else of the patient
            places = [[r for r, text in enumerate(column) if text.strip() == wanted] for column in ids]
            if places := [some for some in places if some]:
                break
        if not places or any(some != places[0] for some in places):
            return Must.REFUSED
        found[f"P{i:02d}"] = {n: _mean([column[r] for r in places[0]]) for n, column in values.items()}
    empty = {n for n in values if all(v != v for v in values[n])}
    return {p: {n: v for n, v in own.items() if n not in empty} for p, own in found.items()}


def _mean(values: list[float]) -> float:
    known = [v for v in values if v == v]
    return sum(known) / len(known) if known else float("nan")


def _change_measurements(folder: Path, rng: random.Random, _sound: Any) -> Change:
    return change_grid(folder / "features.csv", rng, measurements_meaning)


_ALL: Mapping[str, tuple[str, Any, Any, Any, tuple[str, ...]]] = {
    "cohort": ("cohort.csv", _make_cohort, _change_cohort, _read_cohort, ("kras_plugins.cohort.table",)),
    "folds": ("folds.csv", _make_folds, _change_folds, _read_folds, ("kras_plugins.cohort.folds_file",)),
    "maf": ("calls.maf", _make_maf, _change_maf, _read_maf, ("kras_plugins.cohort.mutations",)),
    "measurements": (
        "features.csv",
        _make_measurements,
        _change_measurements,
        _read_measurements,
        ("kras_profiler_import.features",),
    ),
}
KINDS = [
    Kind(
        name=name, make=make, change=change, read=read, named=(file,), warm=warm, few=2 if name == "measurements" else 6
    )
    for name, (file, make, change, read, warm) in _ALL.items()
]
