"""The tables of `profile`: features.csv with a row per slide, patients.csv with one per patient with several slides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kras_plugins.data import SemanticProfile
from kras_plugins.semantics.features.validity import OF_FIELDS
from kras_plugins.semantics.patient import combine
from kras_plugins.study.identity import FEATURES, PATIENTS
from kras_plugins.study.outputs import damaged, write_table

if TYPE_CHECKING:
    import pyarrow as pa

    from kras_plugins.processing.pipeline import SlideResult


def gather_tables(folder: Path, results: Sequence[SlideResult]) -> pa.Table:
    """Add rows to features.csv and, if a patient has several slides, to patients.csv; they replace earlier rows of the
    same slides and patients. Returns the whole table of slides; unknown is null."""
    profiles = [r.profile for r in results if r.profile is not None]
    _patients(folder, results)
    return _merged(folder / FEATURES, [_row({"slide_id": p.id}, p) for p in profiles])


def fields_note(results: Sequence[SlideResult]) -> str:
    """What fields of view lack because it needs more tissue or cells, in one sentence; "" without fields."""
    fields = [r.profile for r in results if r.qc is not None and r.qc.field and r.profile is not None]
    lacking = Counter(group for p in fields for group, valid in p.valid.items() if not valid and group not in OF_FIELDS)
    if not lacking:
        return ""
    groups = ", ".join(f"{group} ({n})" for group, n in sorted(lacking.items()))
    return (
        f"{len(fields)} fields of view have areas, densities and ratios whatever their size; groups of features that "
        f"need more tissue or cells than a field has are missing: {groups}"
    )


def _patients(folder: Path, results: Sequence[SlideResult]) -> None:
    """Rows for all patients of a call that names several slides of one."""
    of: dict[str, list[SlideResult]] = {}
    for r in results:
        if r.profile is not None:
            of.setdefault(r.ref.patient_id, []).append(r)
    if all(len(own) < 2 for own in of.values()):
        return
    rows = []
    for patient_id, own in of.items():
        unique = {r.profile.id: r.profile for r in own if r.profile is not None}  # a finished row of a patient is one
        told = {"patient_id": patient_id, "slides": " ".join(r.ref.slide_id for r in own)}
        rows.append(_row(told, combine(list(unique.values()), patient_id)))
    _merged(folder / PATIENTS, rows)


def _row(told: Mapping[str, str], profile: SemanticProfile) -> dict[str, Any]:
    values = zip(profile.names, profile.values, strict=True)
    return {**told, **{name: None if value != value else float(value) for name, value in values}}


def _merged(file: Path, now: Sequence[Mapping[str, Any]]) -> pa.Table:
    """A table with these rows added; they replace rows with the same name in the first column."""
    import pyarrow as pa
    import pyarrow.csv as pv

    from kras_plugins.files.spreadsheet import plain

    texts = {"slide_id", "patient_id", "slides"}
    types = {name: pa.string() if name in texts else pa.float64() for row in now for name in row}
    types |= {name: pa.string() for name in texts}
    try:
        options = pv.ConvertOptions(column_types=types)
        found = plain(pv.read_csv(file, convert_options=options)) if file.is_file() else None
    except ValueError as e:  # Arrow's errors are ValueErrors
        raise damaged(file, e) from e
    if found is not None and now and found.column_names != list(now[0]):
        raise damaged(file, "its columns are not those of this profiler")
    earlier = [] if found is None else found.to_pylist()
    rows = list({next(iter(row.values())): row for row in [*earlier, *now]}.values())
    if now:
        write_table(file, rows)
    schema = pa.schema([(name, pa.string() if name in texts else pa.float64()) for name in (rows[0] if rows else ())])
    return pa.Table.from_pylist(rows, schema)
