"""Slides as given by the user: files, folders of them, or a cohort CSV. A mistyped path is caught before any work."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kras_plugins.cohort.histology import WordMap
from kras_plugins.cohort.pairing import find_slides
from kras_plugins.cohort.table import CohortTable, bare_slides, read_cohort
from kras_plugins.contracts.reader import ReaderPlugin
from kras_plugins.errors import ConfigError, UsageError
from kras_plugins.files.regular import regular

if TYPE_CHECKING:
    from kras_plugins.host.manager import Registry

_DICOM = (".dcm", ".dicom")
"""A DICOM slide is a folder of files; a reader needs any one of them."""


def slides_of(
    paths: Sequence[Path | str],
    registry: Registry,
    *,
    patient: str | None = None,
    target: str = "",
    made_elsewhere: bool = False,
    learn: Callable[[Sequence[Path]], None] = lambda slides: None,
    histologies: WordMap | None = None,
) -> CohortTable:
    """A cohort without labels: from one CSV, or from slide files and folders, each slide as its own patient.

    `patient`: the patient of all slides. `target`: a column of the CSV with the outcome, which is not looked at.
    `made_elsewhere`: the files may be results of slides, such as cells in a CSV without patient_id and slide_id.
    `learn`: called with the slide files that were found, before any error can name one. `histologies`: the user's
    meanings of words for a histology.
    Raises UsageError for a path that does not exist or has no slide.
    """
    for path in paths:
        if re.match(r"[a-z][a-z0-9]*:/", str(path)):
            raise UsageError(f"{path}: is an address", "list addresses of slides in a cohort CSV, column `path`")
    given = [Path(p) for p in paths]
    missing = [str(p) for p in given if not p.exists()]
    if missing:
        raise UsageError(f"{', '.join(missing)}: no such file or folder", "check the spelling; nothing was done yet")
    for path in given:
        if not path.is_dir():
            regular(path, error=UsageError)
    tables = [p for p in given if p.suffix.lower() == ".csv" and not (made_elsewhere and not _is_cohort(p))]
    if not tables:
        suffixes = slide_suffixes(registry)
        slides = [slide for p in given for slide in _slides(p, suffixes)]
        for slide in slides:
            if not _is_text(slide.name):  # the error leaves the name out: it may be a person's
                raise UsageError(f"{slide.parent}: contains a slide whose name is not UTF-8", "rename the file")
        learn(slides)
        return bare_slides(slides, patient)
    if len(given) > 1 or patient is not None:
        raise ConfigError(
            f"{tables[0]}: a cohort cannot be combined with slides or --patient", "give one CSV, or slides only"
        )
    return read_cohort(tables[0], target, labelled=False, needs_paths=False, histologies=histologies)


def slide_suffixes(registry: Registry) -> tuple[str, ...]:
    """File name extensions of slides that some reader knows."""
    records = [registry.record("reader", name, ReaderPlugin) for name in registry.names("reader")]
    return tuple(sorted({suffix for record in records for suffix in record.suffixes}))


def _is_cohort(path: Path) -> bool:
    with path.open(encoding="utf-8-sig", errors="replace") as f:
        return {"patient_id", "slide_id"} <= {cell.strip(' "\n') for cell in f.readline().split(",")}


def _slides(path: Path, suffixes: Sequence[str]) -> list[Path]:
    if path.is_file() or path.name.lower().endswith(tuple(suffixes)):  # a reader may take a folder for a slide
        return [path]
    try:
        found = [one.path for one in find_slides(path, suffixes)]
    except ConfigError as e:
        raise UsageError(e.message, e.hint) from e
    of_dicom = {file.parent: file for file in reversed(found) if file.name.lower().endswith(_DICOM)}
    return [*(f for f in found if not f.name.lower().endswith(_DICOM)), *of_dicom.values()]


def _is_text(name: str) -> bool:
    """Whether the bytes of a file name are UTF-8, so that it can be an id and be written."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
