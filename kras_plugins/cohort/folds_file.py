"""Folds in a file: written once, inspected, and used by every study of the same patients."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins.cohort.delimited import Columns, header_of, read_table
from kras_plugins.cohort.numbers import short, shown, whole
from kras_plugins.errors import ConfigError

if TYPE_CHECKING:
    import numpy.typing as npt

    Labels = npt.NDArray[np.int8]
    FoldCube = npt.NDArray[np.int64]

FOLD_COLUMNS = ("repeat", "fold", "patient_id")
"""One row for each patient and repeat; repeats and folds count from 1."""


def fold_rows(fold: FoldCube, patient_ids: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of a folds file from int64[repeat patient] of folds counted from 0."""
    return [
        {"repeat": r + 1, "fold": int(k) + 1, "patient_id": patient}
        for r, row in enumerate(fold)
        for k, patient in zip(row, patient_ids, strict=True)
    ]


def read_folds(path: Path, patient_ids: Sequence[str], labels: Labels) -> FoldCube:
    """The folds of these patients: int64[repeat patient], counted from 0; other patients of the file
    are ignored.

    Raises ConfigError if a patient is in two folds of a repeat (on both sides of a split) or in none, if
    repeats or folds are not numbered 1, 2, 3 …, if repeats differ in their number of folds, or if a fold lacks a
    positive or a negative of `labels` (int8[patient]).
    """
    columns, rows = read_table(path, {name: (name,) for name in FOLD_COLUMNS})
    lacking = [name for name in FOLD_COLUMNS if name not in columns]
    if lacking:
        raise ConfigError(
            f"{path} lacks {', '.join(lacking)}; it has {shown(header_of(path))}", "`kras cohort split` writes one"
        )
    at: dict[tuple[int, str], int] = {}
    for line, cells in rows:
        repeat, fold = (_counted(columns, cells, line, name) for name in ("repeat", "fold"))
        patient = columns.get(cells, "patient_id")
        if at.setdefault((repeat, patient), fold) != fold:
            raise ConfigError(
                f"{path}, line {line}: patient {patient} is in folds {at[repeat, patient]} and {fold} of repeat "
                f"{repeat}: on both sides of a split",
                "a patient has one fold in each repeat",
            )
    n_repeats = max((repeat for repeat, _ in at), default=0)
    if not n_repeats:
        raise ConfigError(f"{path} has a header but no rows", "`kras cohort split` writes one")
    if n_repeats > len(at):
        raise ConfigError(f"{path}: repeat {n_repeats}, but only {len(at)} rows", "number repeats 1, 2, 3 …")
    cube = np.array([[at.get((r + 1, patient), 0) for patient in patient_ids] for r in range(n_repeats)], np.int64) - 1
    for r, row in enumerate(cube):
        missing = [patient_ids[i] for i in np.flatnonzero(row < 0).tolist()]
        if missing:
            raise ConfigError(
                f"{path}: {len(missing)} patients of the cohort have no fold in repeat {r + 1} ({missing[0]} …)",
                "split the cohort again: `kras cohort split`",
            )
        _check(path, r, row, np.asarray(labels), int(cube[0].max()) + 1)
    return cube


def _counted(columns: Columns, cells: Sequence[str], line: int, name: str) -> int:
    text = columns.get(cells, name)
    found = whole(text)
    if not found:
        raise ConfigError(
            f"{columns.path}, line {line}: repeat and fold must be 1, 2, 3 …, {name} is {short(text)}",
            "correct the line",
        )
    return found


def _check(path: Path, r: int, row: FoldCube, labels: Labels, n_folds: int) -> None:
    if n_folds < 2 or int(row.max()) + 1 != n_folds:
        raise ConfigError(
            f"{path}: repeat {r + 1} has {int(row.max()) + 1} folds, repeat 1 has {n_folds}",
            "every repeat needs the same number of folds, at least two",
        )
    for k in range(n_folds):
        for value, name in ((1, "positive"), (0, "negative")):
            if not ((row == k) & (labels == value)).any():
                raise ConfigError(
                    f"{path}: fold {k + 1} of repeat {r + 1} has no {name} patient",
                    "use fewer folds or another assignment",
                )


def keeps_sites(fold: FoldCube, sites: Sequence[str]) -> bool:
    """Whether every site is known and lies in one fold of each repeat, so that inner splits should keep sites too."""
    of = np.asarray(sites)
    return bool((of != "").all()) and all(
        len(set(row[of == site].tolist())) == 1 for row in fold for site in set(sites)
    )


def describe_folds(fold: FoldCube, labels: Labels, strata: Sequence[str], sites: Sequence[str]) -> list[dict[str, Any]]:
    """What each fold contains: patients, positives, patients and positives of each stratum, and how many sites.

    `sites_shared`: those with patients in other folds of the same repeat as well.
    """
    kinds, of = np.asarray(strata), np.asarray(sites)
    described = []
    for r, row in enumerate(fold):
        for k in range(int(row.max()) + 1):
            inside = row == k
            held, rest = set(of[inside]) - {""}, set(of[~inside])
            described.append(
                {
                    "repeat": r + 1,
                    "fold": k + 1,
                    "n": int(inside.sum()),
                    "n_positive": int(labels[inside].sum()),
                    "strata": {
                        str(name): {
                            "n": int((inside & (kinds == name)).sum()),
                            "n_positive": int(labels[inside & (kinds == name)].sum()),
                        }
                        for name in sorted(set(strata))
                    },
                    "sites": len(held),
                    "sites_shared": len(held & rest),
                }
            )
    return described
