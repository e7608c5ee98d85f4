"""Which slides are one case: a table beside them or their names say it; else each is a case by itself, marked so."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kras_plugins.errors import ConfigError, KrasError
from kras_plugins.files.regular import SETTINGS, read_text
from kras_plugins.service.cases import Grouping

_NAMES = ("path", "filename", "slide_id")
"""Columns of a table that say which slide is meant."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Whose a slide is, and what says so."""

    patient_id: str
    grouping: Grouping


def group_of(name: str, beside: Mapping[str, str], pattern: str | None) -> Group:
    """The group of a slide file or folder of this name: from `tables_beside`, else from the name itself."""
    stem = slide_name(name)
    for key in (name, stem):
        if key in beside:
            return Group(patient_id=beside[key], grouping="csv")
    found = re.search(pattern, name) if pattern is not None else None
    if found is not None and found["patient"]:
        return Group(patient_id=found["patient"], grouping="pattern")
    return Group(patient_id=stem, grouping="alone")


def slide_name(name: str) -> str:
    """The name of a slide, made from its file name as `kras predict` does."""
    return Path(name).stem


def tables_beside(folder: Path) -> dict[str, str]:
    """Patients by slide, from all CSVs in a folder that have `patient_id` and one of `path`, `filename`, `slide_id`.

    A table that is still being written, or has other columns, is ignored. Raises ConfigError if two lines name
    different patients for one slide.
    """
    found: dict[str, str] = {}
    for file in sorted(folder.glob("*.csv")):
        try:
            rows = list(csv.DictReader(read_text(file, SETTINGS, encoding="utf-8-sig").splitlines()))
        except (KrasError, OSError, ValueError, csv.Error):
            continue
        for row in rows:
            patient = (row.get("patient_id") or "").strip()
            names = {Path(name).name for column in _NAMES if (name := (row.get(column) or "").strip())}
            for name in names if patient else ():
                if found.setdefault(name, patient) != patient:
                    raise ConfigError("tables in the folder name two patients for one slide", "correct one of them")
    return found
