"""What a study writes: tables, JSON, report and documents, and the facts that a manifest states."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kras_plugins.contracts.reader import FACTS
from kras_plugins.errors import KINDS, ConfigError
from kras_plugins.files.atomic import write_atomic
from kras_plugins.files.leftovers import clear_parts
from kras_plugins.files.portable import portable
from kras_plugins.files.regular import TABLE, read_text
from kras_plugins.files.spreadsheet import csv_text, plain, unguarded

if TYPE_CHECKING:
    import pyarrow as pa

    from kras_plugins.contracts.model import Weights
    from kras_plugins.data import SlideRef
    from kras_plugins.host.parts import Parts, UsableReader
    from kras_plugins.processing.execution import Failure
    from kras_plugins.processing.pipeline import SlideResult

Row = Mapping[str, str | int | float | None]

PREDICTIONS, METRICS, FAILURES, MANIFEST = "predictions.csv", "metrics.json", "failures.csv", "manifest.json"
MONITOR = "monitor.csv"


@dataclass(frozen=True, kw_only=True)
class SetAside:
    """A slide that could not be used: the kind of error, its cause, and what to do."""

    slide_id: str
    patient_id: str
    path: str
    kind: str
    reason: str
    hint: str


def set_aside(failures: Iterable[Failure]) -> tuple[SetAside, ...]:
    """The rows of failures.csv."""
    return tuple(
        SetAside(
            slide_id=f.ref.slide_id,
            patient_id=f.ref.patient_id,
            path=str(f.ref.place or ""),
            kind=next(kind.__name__ for kind in KINDS if isinstance(f.error, kind)),
            reason=f.error.message,
            hint=f.error.hint,
        )
        for f in failures
    )


def write_failures(file: Path, failures: Iterable[SetAside]) -> None:
    """Write failures.csv, with paths relative to it; only the header if there are no failures."""
    rows = portable([asdict(f) for f in failures], file.parent)
    write_table(file, rows, [f.name for f in fields(SetAside)])


def failures_with(file: Path, tried: Container[str], aside: Iterable[SetAside]) -> list[SetAside]:
    """Rows of a gathering failures.csv: earlier rows except of slides `tried` again, then those set aside now."""
    return [*(f for f in read_failures(file) if f.slide_id not in tried), *aside]


def read_failures(file: Path) -> tuple[SetAside, ...]:
    """What `write_failures` wrote; empty if the file is missing. Raises ConfigError if it is damaged."""
    if not file.is_file():
        return ()
    try:
        with file.open(encoding="utf-8", newline="") as f:
            rows = csv.DictReader(f)
            if rows.fieldnames != [f.name for f in fields(SetAside)]:
                raise damaged(file, "its columns are not those of slides set aside")
            return tuple(SetAside(**{name: unguarded(cell) for name, cell in row.items()}) for row in rows)
    except (TypeError, ValueError, csv.Error) as e:
        raise damaged(file, e) from e


def make_folder(out: Path) -> Path:
    """The output folder, made if it is missing; half-written files of killed processes are removed.

    Raises ConfigError if it is a file or may not be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        clear_parts(out, deep=False)
    except OSError as e:
        raise ConfigError(f"cannot make the folder {out}: {e.strerror}", "choose another with --out") from e
    return out


def write_table(file: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> None:
    """Write rows as CSV that no spreadsheet executes (`spreadsheet.csv_text`); replaces the file atomically."""
    write_atomic(file, csv_text(rows, columns))


def write_json(file: Path, value: Any) -> None:
    """Write JSON with a final newline; replaces the file atomically."""
    write_atomic(file, json.dumps(value, indent=1, default=str) + "\n")


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object from a file. Raises ConfigError if it is not one."""
    try:
        found = json.loads(read_text(file, TABLE))
    except (OSError, ValueError) as e:
        raise damaged(file, e) from e
    if not isinstance(found, dict):
        raise damaged(file, "not a JSON object")
    return found


def damaged(file: Path, why: object) -> ConfigError:
    """The error for an output that is not as a study wrote it."""
    text = " ".join(str(why).split()) or "it is empty"
    return ConfigError(
        f"{file} is missing or damaged: {text}", "name a folder that a study wrote; --overwrite replaces its content"
    )


def predictions_table(rows: Sequence[Row]) -> pa.Table:
    """Rows of predictions.csv as a table: texts, integers, float64; what is unknown is null."""
    import pyarrow as pa

    from kras_plugins.evaluation.rows import predictions_schema

    return pa.Table.from_pylist([dict(row) for row in rows], predictions_schema(list(rows[0]) if rows else []))


def read_predictions(file: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """predictions.csv as the table it was written from. Raises ConfigError if it is damaged or has other `columns`."""
    import pyarrow.csv as pv

    from kras_plugins.evaluation.rows import predictions_schema

    try:
        with file.open(encoding="utf-8", newline="") as f:
            schema = predictions_schema(next(csv.reader(f)))
        if columns is not None and schema.names != list(columns):
            raise damaged(file, f"its columns are not {', '.join(columns)}")
        types = {field.name: field.type for field in schema}
        options = pv.ConvertOptions(column_types=types, strings_can_be_null=False)
        return plain(pv.read_csv(file, parse_options=pv.ParseOptions(newlines_in_values=True), convert_options=options))
    except (OSError, ValueError, StopIteration) as e:  # Arrow's errors are ValueErrors
        raise damaged(file, e) from e


def part_facts(parts: Parts) -> dict[str, Any]:
    """What made the inputs, as JSON values for manifest and bundle."""
    facts: dict[str, Any] = {"precision": parts.precision, "engine": parts.engine}
    facts["readers"] = reader_facts(parts.readers)
    for key, part in parts.named().items():
        facts[key] = {
            "name": part.provided.record.name,
            "version": part.provided.version,
            "distribution": part.provided.distribution,
            **part.facts,
            "weights": [
                {
                    "model": s.name,
                    "source": _source(s.weights),
                    "licence": s.weights.licence,
                    "tcga": s.weights.tcga,
                    "caution": s.weights.caution,
                }
                for s in part.specs
            ],
        }
    return facts


def reader_facts(readers: Iterable[UsableReader]) -> dict[str, Any]:
    """The options of each reader that change pixels, as JSON values; resolution and kind are facts of each slide."""
    return {r.plugin.name: {k: v for k, v in r.options.result_affecting().items() if k not in FACTS} for r in readers}


def _source(weights: Weights) -> str:
    """The source of weights; for a file only its name, as its digest is given and its location is private."""
    return Path(weights.source).name if Path(weights.source).expanduser().is_absolute() else weights.source


def slide_facts(results: Sequence[SlideResult]) -> dict[str, dict[str, Any]]:
    """Patient, file, fingerprint, quality and stored artifacts of every slide used, as JSON values for the manifest.

    Under pseudonyms the file is left out, as its name is the slide's.
    """
    return {
        r.ref.slide_id: {
            "patient_id": r.ref.patient_id,
            "path": None if r.ref.source is not None else stated_place(r.ref),
            "fingerprint": r.fingerprint,
            "artifacts": dict(r.artifacts),
            "qc": None if r.qc is None else {"verdict": r.qc.verdict, "reasons": list(r.qc.reasons)},
            "mpp": None if r.qc is None else r.qc.mpp,
            "mpp_source": None if r.qc is None else r.qc.mpp_source,
            "field": None if r.qc is None else r.qc.field,
            **({} if r.transfer is None else {"transfer": dict(r.transfer)}),
        }
        for r in results
    }


def stated_place(ref: SlideRef) -> str | None:
    """Where a slide lies, as stated in a manifest: a URL without credentials, or an absolute path."""
    if ref.url is not None:
        return str(ref.url)
    return None if ref.path is None else os.path.abspath(ref.path)
