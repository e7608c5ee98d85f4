"""Finished features: tables with one row per slide or patient, of which only columns shared by all strata count."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kras_plugins import ConfigError, SemanticProfile, SlideError, SlideRef, note
from kras_plugins.cohort.numbers import shown
from kras_plugins.cohort.table import COLUMNS
from kras_plugins.semantics.features.table import BY_NAME
from kras_profiler_import.frame import Frame, read_frame

if TYPE_CHECKING:
    from kras_plugins.data import Float64
    from kras_profiler_import import ImportOptions

_ID = {
    "id", "barcode", "case", "patient", "slide", "sample", "image", "file", "filename", "uuid", "subject", "name",
    "participant", "submitter", "specimen",
}  # fmt: skip
_CLINICAL = {
    "os", "dss", "dfi", "pfi", "pfs", "dfs", "rfs", "efs", "age", "stage", "grade", "gender", "sex", "race",
    "ethnicity", "smoking", "smoker", "pack", "year", "years", "days", "date", "time", "status", "vital", "death",
    "outcome", "response", "treatment", "therapy", "event", "margin", "tmb", "msi", "kras", "egfr", "tp53", "stk11",
    "keap1", "alk", "g12c", "g12d", "g12v", "g13", "q61", "label", "target", "fold", "split", "site", "cohort",
    "center", "hospital", "scanner", "batch", "menopause", "residual", "redaction", "histology", "histological",
}  # fmt: skip
_CLINICAL_STEMS = ("surviv", "mutat", "recur", "relaps", "metasta", "progress", "diagnos", "patholog")
_TCGA = re.compile(r"TCGA-\w\w-\w{4}")
_reading = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class Features:
    """All rows of all files. `values`: float64[row feature]; `rows`: by id column, the rows of each id.

    `notes`: for every study that uses them.
    """

    label: str
    names: tuple[str, ...]
    values: Float64
    rows: Mapping[str, Mapping[str, Sequence[int]]]
    notes: tuple[str, ...]


def load_row(slide: SlideRef, options: ImportOptions) -> SemanticProfile:
    """The features of a slide: its own row, else the mean of its patient's rows; SlideError where there is none."""
    try:
        stamps = tuple((file, file.stat().st_mtime_ns, file.stat().st_size) for file in options.table)
    except OSError as e:
        raise ConfigError(f"{e.filename}: no such table of features", "check the path given to --profile-table") from e
    with _reading:  # slides are loaded by several threads; the table is read, and its columns listed, once
        table = _read(stamps, options.features, options.suffixes, options.key)
    for text in table.notes:  # each time: the table may have been read for another study of this process
        note(text)
    rows, whose = _find(slide, table)
    return SemanticProfile(
        id=whose, names=table.names, values=_mean(table.values[rows]), valid={}, source=f"import/{table.label}"
    )


@lru_cache(maxsize=4)
def _read(
    stamps: tuple[tuple[Path, int, int], ...], globs: tuple[str, ...], suffixes: tuple[str, ...], key: str | None
) -> Features:
    frames = [read_frame(file, suffixes) for file, *_ in stamps]
    label = ", ".join(f.file.name for f in frames)
    chosen = [_choose(frame, globs) for frame in frames]
    shared = [name for name in chosen[0] if all(name in other for other in chosen[1:])]
    values = {name: np.concatenate([frame.numbers(name) for frame in frames]) for name in shared}
    names = [name for name in shared if not np.isnan(values[name]).all()]
    if not names:
        raise ConfigError(f"{label}: no feature columns are shared by all files", _suffix_hint(frames))
    ignored = {
        header: _why(frame, header, one, shared)
        for frame, one in zip(frames, chosen, strict=True)
        for header in frame.headers
        if frame.plain[header] not in names
    }
    n = sum(len(frame) for frame in frames)
    notes = [f"{label}: {n} rows with {len(names)} feature columns"]
    if ignored:
        notes.append(f"{label}: {len(ignored)} columns are ignored: {_listed(ignored)}")
    return Features(
        label=label,
        names=tuple(names),
        values=np.stack([values[name] for name in names], 1),
        rows=_index(frames, key, set(names)),
        notes=tuple(notes),
    )


def _choose(frame: Frame, globs: tuple[str, ...]) -> list[str]:
    """Feature names of one file, in its order; ConfigError if one of their cells is not a number."""
    chosen = _chosen(frame, globs)
    frame.check_numbers(chosen)
    return list(dict.fromkeys(frame.plain[h] for h in chosen))


def _chosen(frame: Frame, globs: tuple[str, ...]) -> list[str]:
    """Headers of features of one file, in its order.

    Those named by a glob; else, if numeric columns have a known suffix, those alone (nobody marks a date of birth with
    the stain); else numeric columns that look neither like an id nor like clinical data.
    """
    if globs:
        hit = [h for h in frame.headers if any(fnmatchcase(n, g) for g in globs for n in (h, frame.plain[h]))]
        texts = [h for h in hit if not frame.is_number(h)]
        if texts:
            raise ConfigError(
                f"{frame.file}: {shown(texts)} named by features={','.join(globs)} contain text",
                "narrow the glob, or correct the column",
            )
        if not hit:
            raise ConfigError(
                f"{frame.file}: no column is named by features={','.join(globs)}", f"it has {shown(frame.headers)}"
            )
        return hit
    numbers = [h for h in frame.headers if frame.is_number(h)]
    marked = [h for h in numbers if frame.plain[h] != h]
    return marked or [h for h in numbers if h in BY_NAME or not (is_id(h) or is_clinical(h) or h in COLUMNS)]


def _why(frame: Frame, header: str, chosen: Sequence[str], shared: Sequence[str]) -> str:
    """Why a column is not a feature."""
    if not frame.is_number(header):
        return "text"
    if frame.plain[header] not in chosen:
        return "not a feature by its name"
    return "no value" if frame.plain[header] in shared else "not in every file"


def is_id(header: str) -> bool:
    """Whether a column's name is that of an identifier."""
    return bool(_words(header) & _ID)


def is_clinical(header: str) -> bool:
    """Whether a column's name is that of clinical data, an outcome or a label: never a feature unless named so."""
    words = _words(header)
    return bool(words & _CLINICAL) or any(word.startswith(_CLINICAL_STEMS) for word in words)


def _words(header: str) -> set[str]:
    return set(re.split(r"[^a-z0-9]+", header.lower()))


def _index(frames: Sequence[Frame], key: str | None, names: set[str]) -> dict[str, dict[str, list[int]]]:
    """Rows by id for every id column; the same id may occur in many rows."""
    result: dict[str, dict[str, list[int]]] = {}
    start = 0
    for frame in frames:
        if key is not None and key not in frame.headers:
            raise ConfigError(f"{frame.file} has no column {key}", f"it has {shown(frame.headers)}")
        wanted = [key] if key else [h for h in frame.headers if frame.plain[h] not in names and is_id(h)]
        for header in wanted:
            rows = result.setdefault(header, {})
            for i, text in enumerate(frame.texts(header)):
                if text:
                    rows.setdefault(text, []).append(start + i)
        start += len(frame)
    if not result:
        raise ConfigError(
            f"{frames[0].file}: no column of slide or patient ids found; it has {shown(frames[0].headers)}",
            "name it: -o profiler.import.key=COLUMN",
        )
    return result


def _find(slide: SlideRef, table: Features) -> tuple[list[int], str]:
    """Rows of a slide, else of its patient (by TCGA barcode too), and whose they are; all id columns must agree."""
    patient = _TCGA.match(slide.patient_id) or _TCGA.match(slide.slide_id)
    tries = [(slide.slide_id, slide.slide_id), (slide.slide_id.split(".")[0], slide.slide_id)]
    tries.append((slide.patient_id, slide.patient_id))
    if patient is not None:
        tries.append((patient[0], slide.patient_id))
    for wanted, whose in tries:
        found = {header: rows[wanted] for header, rows in table.rows.items() if wanted in rows}
        if len({tuple(rows) for rows in found.values()}) > 1:
            raise ConfigError(
                f"{table.label}: {wanted} is in different rows of {' and '.join(found)}",
                "say which column contains the ids: -o profiler.import.key=COLUMN",
            )
        if found:
            return list(next(iter(found.values()))), whose
    if patient is not None:  # a table keyed by longer barcodes: slides, samples or aliquots of the patient
        starts = [i for rows in table.rows.values() for text, i in rows.items() if text.startswith(f"{patient[0]}-")]
        if starts:
            return sorted({row for rows in starts for row in rows}), slide.patient_id
    ids = "; ".join(f"{h} has {', '.join(list(rows)[:2])} …" for h, rows in list(table.rows.items())[:4])
    raise SlideError(
        f"{table.label}: no row for slide {slide.slide_id} or patient {slide.patient_id}",
        f"ids must be those of the cohort, or TCGA barcodes; {ids}",
    )


def _mean(rows: Float64) -> Float64:
    """Mean over the known values of rows, NaN if none is known."""
    known = ~np.isnan(rows)
    total, n = np.where(known, rows, 0.0).sum(0), known.sum(0)
    return np.asarray(np.divide(total, n, out=np.full(rows.shape[1], np.nan), where=n > 0))


def _suffix_hint(frames: Sequence[Frame]) -> str:
    ends = []
    for frame in frames:
        tails = Counter(h[h.rfind("_") :] for h in frame.headers if "_" in h and frame.is_number(h))
        if tails and tails.most_common(1)[0][1] > len(frame.headers) / 4:
            ends.append(tails.most_common(1)[0][0])
    if len(set(ends)) > 1:
        return f"their names differ by an ending: -o profiler.import.suffixes={','.join(ends)}"
    return "give files with the same columns, or name the columns: -o 'profiler.import.features=…*'"


def _listed(ignored: Mapping[str, str]) -> str:
    reasons: dict[str, list[str]] = {}
    for header, reason in ignored.items():
        reasons.setdefault(reason, []).append(header)
    return "; ".join(f"{shown(headers, len(headers))} ({reason})" for reason, headers in reasons.items())
