"""Every labeled set for the model `cells`, the held-out parts, and the sources that are left out in turn."""

from __future__ import annotations

from pathlib import Path

from training.bbbc038 import read_dsb, read_stage1_test, split_dsb
from training.brca_m2c import read_brca
from training.fields import Field
from training.hgsc import read_hgsc, split_field


def load(folder: Path) -> tuple[list[Field], list[Field]]:
    """(training fields, held-out fields) of `folder`, which contains the sets as folders (see docs/models/cells.md)."""
    train, held_out = first_sets(folder)
    return [*train, *_later_sets(folder)], held_out


def first_sets(folder: Path) -> tuple[list[Field], list[Field]]:
    """(training side, held-out side) of the two sets that are split."""
    train, held_out = split_dsb(read_dsb(folder / "dsb2018"))
    for whole, axis in ((read_hgsc(folder / "hgsc", "nest"), 0), (read_hgsc(folder / "hgsc", "stromal"), 1)):
        part, rest = split_field(whole, axis=axis)
        train.append(part)
        held_out.append(rest)
    return train, held_out


def whole(folder: Path) -> list[Field]:
    """All fields, uncut, from which sources are left out in turn. The test split of BRCA-M2C is not among them."""
    hgsc = [read_hgsc(folder / "hgsc", which) for which in ("nest", "stromal")]
    return [*read_dsb(folder / "dsb2018"), *hgsc, *_later_sets(folder)]


def _later_sets(folder: Path) -> list[Field]:
    return [*read_stage1_test(folder / "bbbc038_stage1_test"), *read_brca(folder / "brca_m2c", "training")]
