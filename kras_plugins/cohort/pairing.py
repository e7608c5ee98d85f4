"""Slides joined to labels: a folder of slides, or a table of them, becomes the cohort table that `kras run` reads."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kras_plugins.cohort.barcodes import DIAGNOSTIC, PRIMARY, SAMPLE_TYPES, parse_slide_name
from kras_plugins.cohort.delimited import header_of, read_table
from kras_plugins.cohort.labels import Label
from kras_plugins.cohort.naming import without_uuid
from kras_plugins.errors import ConfigError

_MEANINGS = {
    "path": ("path", "filename", "file_name", "file name", "file"),
    "folder": ("id", "file_id", "file id"),
    "slide_id": ("slide_id", "slide"),
    "patient_id": ("patient_id", "patient", "case_submitter_id", "case id"),
}
_KEPT = ("mpp", "cohort", "specimen", "kras_test")
_FROZEN = {"TS": "frozen section", "BS": "frozen section", "MS": "frozen section"}


@dataclass(frozen=True, kw_only=True)
class SlideFile:
    """One slide to be labeled: `patient_id` is "" if no table names it; `known`: what else a table states."""

    path: Path
    slide_id: str
    patient_id: str = ""
    known: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """`rows`: the cohort table. `dropped`: reason to slides, in the order in which reasons are looked for."""

    rows: Sequence[Mapping[str, Any]]
    dropped: Mapping[str, int]
    flow: Sequence[Mapping[str, Any]]


def find_slides(where: Path, suffixes: Sequence[str]) -> list[SlideFile]:
    """Slides below a folder, by their endings, or of a table (also a GDC manifest: id, filename).

    Paths in a table are relative to it. Raises ConfigError if there are no slides.
    """
    if where.is_dir():
        files = sorted(p for p in where.rglob("*") if p.is_file() and p.name.lower().endswith(tuple(suffixes)))
        if not files:
            raise ConfigError(f"{where} contains no slides", f"slides have the endings {' '.join(sorted(suffixes))}")
        return [SlideFile(path=path, slide_id=_stem(path)) for path in files]
    meanings = {**_MEANINGS, **{name: (name,) for name in _KEPT}}
    columns, rows = read_table(where, meanings)
    if "path" not in columns:
        raise ConfigError(
            f"{where} lacks path (or filename); it has {', '.join(header_of(where))}",
            "give a table with path and patient_id, a GDC manifest, or a folder of slides",
        )
    slides = []
    for line, cells in rows:
        name = columns.get(cells, "path")
        if not name:
            raise ConfigError(f"{where}, line {line}: no path", "name the slide's file")
        path, below = where.parent / name, where.parent / columns.get(cells, "folder") / name
        if below != path and below.exists():
            path = below  # where the GDC's client stores it
        slides.append(
            SlideFile(
                path=path,
                slide_id=columns.get(cells, "slide_id") or _stem(path),
                patient_id=columns.get(cells, "patient_id"),
                known={column: columns.get(cells, column) for column in _KEPT if column in columns},
            )
        )
    if not slides:
        raise ConfigError(f"{where} has a header but no rows", "give one row per slide")
    return slides


def pair(
    slides: Sequence[SlideFile], labels: Sequence[Label], folder: Path, kinds: Sequence[str] = (DIAGNOSTIC,)
) -> Pairing:
    """Join slides to labels; `folder`: where the table will be stored; paths are relative to it.

    Of TCGA slides, only primary tumors (01) of the named `kinds` are kept; other slides need a patient in their table,
    or a name that begins with a patient's id. A patient without any known label is dropped. Raises ConfigError if no
    slide is left.
    """
    known = {label.patient_id: label for label in labels}
    dropped: Counter[str] = Counter()
    kept: dict[str, tuple[SlideFile, Label]] = {}
    lost: dict[str, set[str]] = {}
    for slide in slides:
        reason, patient = _whose(slide, known, kinds)
        label = known.get(patient)
        if not reason and label is None:
            reason = "patient in no source: no proof of sequencing"
        if not reason and label is not None and not label.is_known:
            reason = f"label unknown: {label.unknown}"
        if not reason and slide.slide_id in kept:
            reason = "another slide has the same name"
        if reason:
            dropped[reason] += 1
            if patient:
                lost.setdefault(reason, set()).add(patient)
        elif label is not None:
            kept[slide.slide_id] = (slide, label)
    if not kept:
        why = "; ".join(f"{n} {reason}" for reason, n in dropped.items())
        raise ConfigError(f"none of {len(slides)} slides can be used: {why}", "check names, patients and sources")
    rows = [_row(slide, label, folder) for slide, label in sorted(kept.values(), key=_order)]
    used = {label.patient_id: label for _, label in kept.values()}
    flow: list[dict[str, Any]] = [{"step": "slides found", "slides": len(slides)}]
    flow += [
        {"step": f"dropped: {reason}", "slides": n, "patients": len(lost.get(reason, set()) - set(used))}
        for reason, n in dropped.items()
    ]
    flow.append({"step": "slides in the cohort", "slides": len(rows), "patients": len(used)})
    labelled = [label for label in known.values() if label.g12c is not None]
    flow.append(
        {"step": "labeled patients without a slide", "patients": sum(x.patient_id not in used for x in labelled)}
    )
    for name, value in (("G12C", 1), ("not G12C", 0), ("G12C unknown, another label known", None)):
        of = [label.patient_id for label in used.values() if label.g12c == value]
        n_slides = sum(label.g12c == value for _, label in kept.values())
        flow.append({"step": name, "slides": n_slides, "patients": len(of)})
    return Pairing(rows=rows, dropped=dict(dropped), flow=flow)


def without_slides(labels: Sequence[Label]) -> list[dict[str, Any]]:
    """A cohort table for finished features: one row per patient with a known label, named by the patient's id."""
    known = [label for label in labels if label.is_known]
    return [_facts(label, label.patient_id, {}) for label in sorted(known, key=lambda one: one.patient_id)]


def _order(pair: tuple[SlideFile, Label]) -> tuple[str, str]:
    return pair[1].patient_id, pair[0].slide_id


def _whose(slide: SlideFile, known: Mapping[str, Label], kinds: Sequence[str]) -> tuple[str, str]:
    """Why a slide is dropped according to its name ("" if it is not), and its patient ("" if not stated)."""
    name = parse_slide_name(slide.path.name)
    if name is None:
        patient = slide.patient_id or _by_prefix(slide.path.name, known)
        return ("" if patient else "name states no patient"), patient
    if slide.patient_id and slide.patient_id != name.patient:
        raise ConfigError(
            f"{slide.path.name} is a slide of {name.patient}, not of {slide.patient_id} as its row states",
            "correct the row",
        )
    if name.sample_type != PRIMARY:
        return (
            f"not a primary tumor: {SAMPLE_TYPES.get(name.sample_type, 'sample type ' + name.sample_type)}",
            name.patient,
        )
    if name.kind not in kinds:
        return f"not {' or '.join(kinds)}: {_FROZEN.get(name.kind, 'diagnostic slide')}", name.patient
    return "", name.patient


def _by_prefix(name: str, known: Mapping[str, Label]) -> str:
    """The patient whose id a file's name begins with, up to a `-`, `_` or `.`: the longest."""
    ends = [i for i, mark in enumerate(name) if mark in "-_."]
    return next((name[:i] for i in reversed(ends) if name[:i] in known), "")


def _stem(path: Path) -> str:
    """A slide's id: the file's name without its ending and without a TCGA slide's UUID."""
    return without_uuid(path.name) if parse_slide_name(path.name) else path.stem


def _row(slide: SlideFile, label: Label, folder: Path) -> dict[str, Any]:
    path, base = Path(os.path.abspath(slide.path)), Path(os.path.abspath(folder))
    shown = path.relative_to(base).as_posix() if path.is_relative_to(base) else str(path)
    return _facts(label, slide.slide_id, {"path": shown, "mpp": slide.known.get("mpp", "")}, slide.known)


def _facts(
    label: Label, slide_id: str, place: Mapping[str, str], known: Mapping[str, str] | None = None
) -> dict[str, Any]:
    known = known or {}
    return {
        "patient_id": label.patient_id,
        "slide_id": slide_id,
        **place,
        "cohort": known.get("cohort", "") or ("TCGA" if label.site else ""),
        "site": label.site,
        "histology": label.histology,
        "specimen": known.get("specimen", ""),
        "kras_test": known.get("kras_test", ""),
        "kras_hgvsp": "+".join(label.changes),
        **label.classes,
        "kras_driver": label.driver,
        "kras_any_nonsilent": label.nonsilent,
        "kras_category": label.category,
    }
