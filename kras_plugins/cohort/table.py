"""The cohort table: which slides belong to which patient, and what is known about the patient."""

from __future__ import annotations

import csv
import difflib
import io
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from kras_plugins.cohort.histology import WordMap, as_word
from kras_plugins.cohort.numbers import UNKNOWN, number, shown
from kras_plugins.cohort.slide_places import slide_place
from kras_plugins.cohort.targets import CLASSES
from kras_plugins.data import SlideRef
from kras_plugins.errors import ConfigError
from kras_plugins.files.regular import TABLE, read_text
from kras_plugins.files.spreadsheet import unguarded
from kras_plugins.urls import Url

COLUMNS = (
    "patient_id", "slide_id", "path", "mpp", "cohort", "site", "histology", "specimen", "kras_test", "kras_hgvsp",
    *CLASSES, "kras_driver", "split",
)  # fmt: skip
"""Columns with a fixed meaning; any other is a free covariate."""

_BLANK = {
    "site": UNKNOWN - {"na", "ns"},  # both are codes of TCGA's tissue source sites
    "histology": UNKNOWN,
    "specimen": UNKNOWN,
    "kras_test": UNKNOWN,
}
OUTCOME = "kras_"
"""Prefixes of columns that state the outcome, or what decided it: never a covariate or a feature."""

_SHOWN = 5  # rows named in a message before it is cut short


@dataclass(frozen=True, kw_only=True)
class Patient:
    """One patient: slides in order of their id, label, and strata.

    `label` is 1, 0, or None if it is unknown or was not requested. Texts are empty if the table has none; `specimen`,
    `kras_test` and `covariates` that differ between a patient's slides are joined by `+`. `covariates` has every column
    except the ids, path, mpp, the target and the fields here.
    """

    patient_id: str
    slides: tuple[SlideRef, ...]
    label: int | None = None
    site: str = ""
    histology: str = ""
    specimen: str = ""
    kras_test: str = ""
    covariates: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class CohortTable:
    """Patients in order of their id.

    `path`: the CSV (the first slide's folder for bare slides). `flow`: how many rows, slides and patients were read
    and what became of them, in order. `warnings`: what the user should know, one sentence each.
    """

    path: Path
    target: str
    patients: tuple[Patient, ...]
    flow: Mapping[str, int]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """One line of a cohort table: cells by column.

    `said`: the histology as written, if a user's map replaced it by its meaning; else "".
    """

    line: int
    values: Mapping[str, str]
    said: str = ""

    def get(self, column: str) -> str:
        """The cell of a column, "" if the table has no such column."""
        return self.values.get(column, "")


def read_cohort(
    path: Path,
    target: str = "g12c",
    *,
    labelled: bool = True,
    needs_paths: bool = True,
    histologies: WordMap | None = None,
) -> CohortTable:
    """Read a cohort CSV (UTF-8, commas, one row per slide; `path` is a URL, or relative to the CSV).

    `target`: the column of labels, 0 or 1; a patient whose label is unknown is not negative but set aside and
    counted in `flow`. With `labelled` false the target is ignored. `needs_paths`: every row must state the path of its
    slide; whether the file exists is checked when it is opened. A slide's `extra` has its row's free columns: nothing
    that states the outcome reaches a reader or an extractor. `histologies`: what a user's words for a histology mean;
    patients then have that meaning.

    Raises ConfigError that names the file, the rows and the cause.
    """
    rows = read_rows(path, ["patient_id", "slide_id", *["path"] * needs_paths, *[target] * labelled], histologies)
    columns = list(rows[0].values)
    _check_ids(path, rows)
    slides = _slides(path, rows, target, needs_paths)
    by_patient: dict[str, list[Row]] = {}
    for row in rows:
        by_patient.setdefault(row.get("patient_id"), []).append(row)
    labels = _labels(path, by_patient, target) if labelled else dict.fromkeys(by_patient)
    for column in ("site", "histology"):
        _check_agreement(path, by_patient, column)

    patients = []
    fixed = {"patient_id", "slide_id", "path", "mpp", "site", "histology", "specimen", "kras_test", target}
    for patient_id, own in sorted(by_patient.items()):
        joined = {column: _joined(row.get(column) for row in own) for column in columns}
        patient = Patient(
            patient_id=patient_id,
            slides=tuple(sorted((slides[row.line] for row in own), key=lambda slide: slide.slide_id)),
            label=labels[patient_id],
            site=joined.get("site", ""),
            histology=joined.get("histology", ""),
            specimen=joined.get("specimen", ""),
            kras_test=joined.get("kras_test", ""),
            covariates={column: text for column, text in joined.items() if column not in fixed},
        )
        patients.append(patient)

    used = tuple(patient for patient in patients if patient.label is not None or not labelled)
    flow = {"rows": len(rows), "slides": len(slides), "patients": len(patients)}
    warnings = []
    if labelled:
        positive = sum(patient.label == 1 for patient in used)
        flow |= {"label_unknown": len(patients) - len(used), "labelled": len(used)}
        flow |= {"positive": positive, "negative": len(used) - positive}
        if not 0 < positive < len(used):
            raise ConfigError(
                f"{path}: {_only_class(len(used), positive)} in column {target!r}",
                "a cohort needs patients of both classes (1 and 0); an empty label counts as unknown",
            )
        if flow["label_unknown"]:
            warnings.append(f"{flow['label_unknown']} patients without a known {target} are set aside, not negative")
    warnings += _said(by_patient[patient.patient_id] for patient in used)
    without = sum(not patient.histology for patient in used)
    if without:
        warnings.append(
            f"{without} of {len(used)} patients have no histology: the histology-only baseline and LUAD-only "
            "results exclude them"
        )
    warnings += [
        f"slide {slide.slide_id}: mpp {slide.mpp:g} is not a plausible pixel size in µm (a magnification?)"
        for patient in used
        for slide in patient.slides
        if slide.mpp is not None and not 0.05 <= slide.mpp <= 5
    ]
    return CohortTable(path=path, target=target, patients=used, flow=flow, warnings=tuple(warnings))


def bare_slides(paths: Sequence[Path], patient: str | None = None) -> CohortTable:
    """Make a cohort without labels from slide files: each its own patient, or all of `patient`.

    Ids are the files' stems; equal stems are numbered in order of their paths (`a`, `a-2`). Raises ConfigError if there
    is no file, or one is given twice.
    """
    if not paths:
        raise ConfigError("no slides were given", "name slide files or a cohort CSV")
    absolute = Counter(os.path.abspath(path) for path in paths)
    twice = [path for path, count in absolute.items() if count > 1]
    if twice:
        raise ConfigError(f"{twice[0]} is given {absolute[twice[0]]} times", "name each slide once")
    stems = {path.stem for path in paths}
    taken: set[str] = set()
    slides = []
    for path in sorted(paths, key=os.path.abspath):
        name, number = path.stem, 1
        while name in taken or (number > 1 and name in stems):
            number += 1
            name = f"{path.stem}-{number}"
        taken.add(name)
        slides.append(SlideRef(patient_id=patient or name, slide_id=name, path=path))
    slides.sort(key=lambda slide: slide.slide_id)
    if patient:
        patients: tuple[Patient, ...] = (Patient(patient_id=patient, slides=tuple(slides)),)
    else:
        patients = tuple(Patient(patient_id=slide.patient_id, slides=(slide,)) for slide in slides)
    flow = {"slides": len(slides), "patients": len(patients)}
    return CohortTable(path=paths[0].parent, target="", patients=patients, flow=flow)


def check_folds(table: CohortTable, folds: int) -> None:
    """Raise ConfigError unless each of `folds` folds can have a positive and a negative patient."""
    for name in ("positive", "negative"):
        if table.flow[name] < folds:
            raise ConfigError(
                f"{table.path}: {table.flow[name]} {name} patients are fewer than {folds} folds",
                f"use --folds {table.flow[name]} or more patients" if table.flow[name] > 1 else "add patients",
            )


def problems(path: Path, target: str, histologies: WordMap | None = None) -> list[ConfigError]:
    """All that `read_cohort` would refuse about ids, paths, labels, sites and histologies, not only the first problem.

    Raises ConfigError if the file is not a cohort table at all.
    """
    rows = read_rows(path, ["patient_id", "slide_id", target], histologies)
    by_patient: dict[str, list[Row]] = {}
    for row in rows:
        by_patient.setdefault(row.get("patient_id"), []).append(row)
    checks: list[Callable[[], object]] = [
        lambda: _check_ids(path, rows),
        lambda: _slides(path, rows, target, needs_paths=False),
        lambda: _labels(path, by_patient, target),
        *(partial(_check_agreement, path, by_patient, column) for column in ("site", "histology")),
    ]
    found = []
    for check in checks:
        try:
            check()
        except ConfigError as e:
            found.append(e)
    return found


def read_rows(path: Path, needed: Sequence[str], histologies: WordMap | None = None) -> list[Row]:
    """The non-blank rows, with stripped cells and the columns checked; `histologies` as for `read_cohort`."""
    try:
        text = read_text(path, TABLE, "utf-8-sig")
    except UnicodeDecodeError as e:
        if e.object[:2] == b"\x1f\x8b":
            raise ConfigError(f"{path} is gzipped, not UTF-8 text", "unpack it: a cohort table is read as it is") from e
        raise ConfigError(f"{path} is not UTF-8 text (byte {e.start})", "save it as CSV UTF-8") from e
    except OSError as e:
        raise ConfigError(f"{path} cannot be read: {e.strerror}", "name a cohort CSV; `kras demo` draws one") from e
    if "\0" in text:
        raise ConfigError(f"{path} contains NUL bytes, so it is not UTF-8 text", "save it as CSV UTF-8")
    if not text.strip():
        raise ConfigError(f"{path} is empty", f"it needs a header with {', '.join(needed)} and one row per slide")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        lines = [(reader.line_num, [unguarded(cell.strip()).strip() for cell in cells]) for cells in reader]
    except csv.Error as e:
        raise ConfigError(f"{path}, line {reader.line_num}: {e}", "correct the quotes in that line") from e
    (_, header), *body = [(line, cells) for line, cells in lines if any(cells)]
    _check_header(path, header, needed)
    if not body:
        raise ConfigError(f"{path} has a header but no rows", "give one row per slide")
    _refuse(
        path,
        [(line, f"{len(cells)} cells") for line, cells in body if len(cells) != len(header)],
        f"rows without the header's {len(header)} cells",
        "put cells that contain a comma in quotes",
    )
    return [_row(line, dict(zip(header, cells, strict=True)), histologies or {}) for line, cells in body]


def _row(line: int, cells: Mapping[str, str], histologies: WordMap) -> Row:
    """A row without words for unknown; the user's meaning of a word overrides ours."""
    said = cells.get("histology", "")
    meant = histologies.get(as_word(said), "")
    cells = {**cells, "histology": meant} if meant else cells
    known = {c: "" if text.lower() in _BLANK.get(c, ()) else text for c, text in cells.items()}
    return Row(line, known, said if meant else "")


def _check_header(path: Path, header: list[str], needed: Sequence[str]) -> None:
    for delimiter, name in ((";", "semicolons"), ("\t", "tabs")):
        if len(header) == 1 and delimiter in header[0]:
            raise ConfigError(f"{path} is separated by {name}", "save it with commas")
    twice = [column for column, count in Counter(header).items() if count > 1]
    if twice:
        raise ConfigError(f"{path}: column {twice[0]!r} appears twice", "keep one")
    missing = [column for column in needed if column not in header]
    if not missing:
        return
    lower = {column.lower(): column for column in header if column not in COLUMNS}  # g12c is not a misspelled g12d
    guesses = []
    for column in missing:
        close = difflib.get_close_matches(column, lower, n=1, cutoff=0.7)
        guesses += [f"{lower[close[0]]!r} for {column!r}"] if close else []
    if not set(header) & set(COLUMNS) and not guesses:
        hint = "the first line must name the columns; it seems to be data"
    else:
        hint = f"did you mean {', '.join(guesses)}? rename it" if guesses else "add it to the table"
    raise ConfigError(f"{path} lacks {', '.join(missing)}; it has {shown(header)}", hint)


def _refuse(path: Path, bad: Sequence[tuple[int, str]], cause: str, hint: str) -> None:
    """Raise ConfigError naming the first of the bad lines, each with its text."""
    if bad:
        listed = "; ".join(f"line {line}: {text}" for line, text in bad[:_SHOWN])
        more = f"; and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
        raise ConfigError(f"{path}: {cause} ({listed}{more})", hint)


def _check_ids(path: Path, rows: Sequence[Row]) -> None:
    for column in ("patient_id", "slide_id"):
        _refuse(path, [(row.line, "empty") for row in rows if not row.get(column)], f"no {column}", "fill it in")
        unusable = [(row.line, repr(row.get(column))) for row in rows if not _names_a_file(row.get(column))]
        _refuse(path, unusable, f"{column} cannot be part of a file name", "use no slashes and no control characters")
    twice = _repeated((row.line, row.get("slide_id")) for row in rows)
    _refuse(path, twice, "a slide_id occurs twice", "give each slide one row")


def _names_a_file(text: str) -> bool:
    return text not in {".", ".."} and text.isprintable() and not set(text) & set("/\\")


def _repeated(items: Iterable[tuple[int, str]]) -> list[tuple[int, str]]:
    """The lines that repeat an earlier text, with the earlier line."""
    first: dict[str, int] = {}
    return [(n, f"{text!r} as in line {first[text]}") for n, text in items if first.setdefault(text, n) != n]


def _slides(path: Path, rows: Sequence[Row], target: str, needs_paths: bool) -> dict[int, SlideRef]:
    """The slides by line, after a check of their paths and mpp."""
    if needs_paths:
        nowhere = [(row.line, "empty") for row in rows if not row.get("path")]
        _refuse(path, nowhere, "no path", "name the slide's file, relative to the CSV")
    files = {row.line: slide_place(path, row.get("path")) for row in rows if row.get("path")}
    repeated = _repeated((line, str(file)) for line, file in files.items())
    _refuse(path, repeated, "two slides have the same file", "keep one of the rows")
    stated = {row.line: row.get("mpp") for row in rows if row.get("mpp").lower() not in UNKNOWN}
    mpp = {line: number(text) for line, text in stated.items()}
    _refuse(
        path,
        [(line, repr(stated[line])) for line, value in mpp.items() if value is None or value <= 0],
        "mpp is not a positive number",
        "give µm per pixel, for example 0.5, or leave it empty",
    )
    hidden = {*COLUMNS, target}
    return {
        row.line: SlideRef(
            patient_id=row.get("patient_id"),
            slide_id=row.get("slide_id"),
            path=None if isinstance(file := files.get(row.line), Url) else file,
            url=file if isinstance(file, Url) else None,
            mpp=mpp.get(row.line),
            extra={c: text for c, text in row.values.items() if c not in hidden and not c.startswith(OUTCOME)},
        )
        for row in rows
    }


def _labels(path: Path, by_patient: Mapping[str, Sequence[Row]], target: str) -> dict[str, int | None]:
    """Each patient's label: 1 or 0, None if no slide of the patient has one."""
    rows = [row for own in by_patient.values() for row in own if row.get(target).lower() not in UNKNOWN]
    wrong = sorted((row.line, repr(row.get(target))) for row in rows if number(row.get(target)) not in (0, 1))
    _refuse(path, wrong, f"{target} is neither 0 nor 1", "write 1, 0, or nothing if it is unknown")
    found: dict[str, dict[int, int]] = {}
    for row in rows:
        found.setdefault(row.get("patient_id"), {}).setdefault(int(float(row.get(target))), row.line)
    both = sorted((max(lines.values()), f"patient {name}") for name, lines in found.items() if len(lines) > 1)
    _refuse(path, both, f"patients with two values of {target}", "a patient has one label: correct the rows")
    return {name: next(iter(found.get(name, {})), None) for name in by_patient}


def _check_agreement(path: Path, by_patient: Mapping[str, Sequence[Row]], column: str) -> None:
    bad = []
    for name, own in by_patient.items():
        values = {row.get(column) for row in own} - {""}
        if len(values) > 1:
            bad.append((own[-1].line, f"patient {name} has {' and '.join(sorted(values))}"))
    _refuse(path, sorted(bad), f"patients with two values of {column}", f"a patient has one {column}: correct the rows")


def _said(patients: Iterable[Sequence[Row]]) -> list[str]:
    """How many patients have each histology whose meaning the user gave; `patients`: the rows of each."""
    pairs = ({(row.said, row.get("histology") or "unknown") for row in own if row.said} for own in patients)
    found = sorted(Counter(pair for own in pairs for pair in own).items())
    return [f"{n} patients: histology {said!r} is {meant}, by your settings" for (said, meant), n in found]


def _joined(values: Iterable[str]) -> str:
    return "+".join(sorted({value for value in values if value}))


def _only_class(n: int, positive: int) -> str:
    if n == 0:
        return "no patient has a label"
    return f"all {n} labeled patients are {'positive' if positive else 'negative'}"
