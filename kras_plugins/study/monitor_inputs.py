"""The inputs of `monitor`: a bundle's facts without its models, folders of `predict`, and labels as they arrive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kras_plugins.cohort.delimited import read_rows_of
from kras_plugins.cohort.numbers import UNKNOWN, number
from kras_plugins.errors import ConfigError, UsageError
from kras_plugins.files.regular import TABLE
from kras_plugins.learning.content import CONTENT, read_content
from kras_plugins.learning.seal import sealed
from kras_plugins.study.arrivals import Row, read_rows
from kras_plugins.study.bundle_facts import check_facts
from kras_plugins.study.outputs import MANIFEST, MONITOR, PREDICTIONS, read_json, read_predictions

if TYPE_CHECKING:
    from kras_plugins.evaluation.arrivals import Arrival


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What monitoring needs from a bundle. `thresholds`: logits by model and rule."""

    digest: str
    facts: Mapping[str, Any]
    thresholds: Mapping[str, Mapping[str, float | None]]
    provenance: Mapping[str, Any]


def read_reference(folder: Path) -> Reference:
    """A bundle's facts, after checking every byte of it against its seal; no model is loaded.

    Raises UsageError if it is not a bundle, StoreError if it is not whole.
    """
    if not (folder / CONTENT).is_file():
        raise UsageError(f"{folder}: not a bundle", "give the `bundle` folder that `kras run` wrote")
    whole = sealed(folder)
    content = read_content(folder, whole.files)
    check_facts(folder, content)
    return Reference(
        digest=whole.digest, facts=content.facts, thresholds=content.thresholds, provenance=content.provenance
    )


def read_predictions_of(folders: Sequence[Path], digest: str) -> tuple[list[Row], int]:
    """The rows of all folders of `predict`, and how many patients have predictions but no row.

    An earlier kras scored the latter and did not write what is compared.
    Raises UsageError for a folder without results, ConfigError for one of another bundle or of an earlier kras.
    """
    found: list[Row] = []
    lacking = 0
    for folder in folders:
        if not (folder / MANIFEST).is_file():
            raise UsageError(f"{folder}: not a folder of results", "give folders that `kras predict` wrote")
        made_by = read_json(folder / MANIFEST).get("bundle_digest")
        if made_by != digest:
            other = str(made_by)[:12] if made_by else "unnamed"
            raise ConfigError(
                f"{folder} was scored with another bundle: {other}, not {digest[:12]}",
                "compare with the bundle that scored it",
            )
        if not (folder / MONITOR).is_file():
            raise ConfigError(
                f"{folder} has no {MONITOR}: an earlier kras scored it without writing what is compared",
                "score the slides again with `kras predict`, into another folder",
            )
        rows = read_rows(folder / MONITOR)
        found += rows
        known = {row.arrival.patient_id for row in rows}
        lacking += len({*_patients(folder)} - known)
    return found, lacking


def _patients(folder: Path) -> list[str]:
    file = folder / PREDICTIONS
    return read_predictions(file).column("patient_id").to_pylist() if file.is_file() else []


def with_labels(arrivals: Sequence[Arrival], file: Path, target: str) -> list[Arrival]:
    """Patients with the labels of a table, matched by `patient_id`; a label that is missing or blank stays unknown.

    Its columns: `patient_id`, the target and, if known, `date`, when the label arrived, and `histology`.
    Raises ConfigError for a table without the first two, with an invalid label, or with two labels for one patient.
    """
    rows = read_rows_of(file, most=TABLE)
    header = [cell.strip() for cell in next(rows)[1]]
    for name in ("patient_id", target):
        if name not in header:
            raise ConfigError(f"{file} has no column {name}", f"it needs patient_id and {target}, and may have date")
    known: dict[str, tuple[bool, str, str]] = {}
    for line, cells in rows:
        row = dict(zip(header, (cell.strip() for cell in cells), strict=True))
        label = _label(row[target], f"{file}, line {line}", target)
        if label is None:
            continue
        one = (label, _day(row.get("date", ""), f"{file}, line {line}"), row.get("histology", ""))
        if known.setdefault(row["patient_id"], one)[0] != label:
            raise ConfigError(f"{file}, line {line}: patient {row['patient_id']} has two labels", "keep one")
    found = []
    for a in arrivals:
        label, day, histology = known.get(a.patient_id, (None, "", ""))
        found.append(replace(a, label=label, labeled=day or a.when, histology=a.histology or histology))
    return found


def _label(cell: str, where: str, target: str) -> bool | None:
    if cell.lower() in UNKNOWN:
        return None
    if number(cell) not in (0, 1):
        raise ConfigError(f"{where}: {target} is {cell[:40]!r}", "write 1, 0, or nothing if it is unknown")
    return number(cell) == 1


def _day(cell: str, where: str) -> str:
    if not cell:
        return ""
    try:
        return date.fromisoformat(cell[:10]).isoformat()
    except ValueError as e:
        raise ConfigError(f"{where}: date is {cell[:40]!r}", "write it as 2026-03-31") from e
