"""What breaks a study and can be seen by opening its slides: missing, unreadable, duplicated, without a resolution."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kras_plugins.cohort.findings import Finding
from kras_plugins.cohort.numbers import number
from kras_plugins.cohort.slide_places import slide_place
from kras_plugins.cohort.table import Row, read_rows
from kras_plugins.data import SlideRef
from kras_plugins.errors import KrasError
from kras_plugins.store import file_sha256
from kras_plugins.urls import Url

MPP_SPREAD = 1.5
"""Slides whose resolutions differ by more than this factor come from different magnifications."""


@dataclass(frozen=True, kw_only=True)
class Opened:
    """What a reader reports of a slide: fingerprint of its content, µm per pixel, who stated it, and its warnings."""

    fingerprint: str
    mpp: float
    mpp_source: str
    warnings: tuple[str, ...] = ()


Open = Callable[[SlideRef], Opened]
"""Opens a slide with the readers; raises KrasError if it cannot be used."""


def check_slides(
    paths: Sequence[Path],
    open_one: Open,
    *,
    whole: bool = False,
    step: Callable[[int, int], None] = lambda _done, _total: None,
) -> list[Finding]:
    """Findings from opening each slide of some cohort tables once.

    `whole`: also compare files of equal size by the sha256 of all their bytes; this finds copies that a reader
    fingerprints differently, but reads every such file. `step` is called after each slide with how many are done, and
    of how many.
    """
    files = [
        (row, slide_place(path, row.get("path")))
        for path in paths
        for row in read_rows(path, ["patient_id", "slide_id"])
        if row.get("path")
    ]
    found: list[Finding] = []
    opened: list[tuple[Row, Opened]] = []
    for i, (row, file) in enumerate(files):
        try:
            opened.append((row, open_one(_ref(row, file))))
        except KrasError as e:
            what = "missing" if isinstance(file, Path) and not file.exists() else "cannot be used"
            found.append(
                Finding(severity="error", what=f"slide {what}: {e.message}", who=(row.get("slide_id"),), do=e.hint)
            )
        step(i + 1, len(files))
    content = [(row, one.fingerprint) for row, one in opened]
    found += _same([*content, *_hashes(files)] if whole else content)
    found += _resolutions(opened)
    return found


def _ref(row: Row, file: Path | Url) -> SlideRef:
    mpp = number(row.get("mpp"))
    return SlideRef(
        patient_id=row.get("patient_id"),
        slide_id=row.get("slide_id"),
        path=None if isinstance(file, Url) else file,
        url=file if isinstance(file, Url) else None,
        mpp=mpp if mpp is not None and mpp > 0 else None,
    )


def _hashes(files: Sequence[tuple[Row, Path | Url]]) -> list[tuple[Row, str]]:
    """sha256 of the local files that share their size with another: others cannot be copies."""
    by_size: dict[int, list[tuple[Row, Path]]] = {}
    for row, file in files:
        if isinstance(file, Path) and file.is_file():
            by_size.setdefault(file.stat().st_size, []).append((row, file))
    return [(row, file_sha256(file)) for some in by_size.values() if len(some) > 1 for row, file in some]


def _same(content: Sequence[tuple[Row, str]]) -> Iterator[Finding]:
    """Slides with the same content, each group once even if fingerprint and bytes both match."""
    by_content: dict[str, list[Row]] = {}
    for row, digest in content:
        by_content.setdefault(digest, []).append(row)
    for own in {tuple(map(id, some)): some for some in by_content.values() if len(some) > 1}.values():
        who = tuple(f"{row.get('slide_id')} of {row.get('patient_id')}" for row in own)
        if len({row.get("patient_id") for row in own}) > 1:
            yield Finding(
                severity="error",
                what="the same slide, by its content, belongs to several patients: trained on and tested",
                who=who,
                do="find out whose it is and leave the other rows out",
            )
        else:
            yield Finding(
                severity="warning",
                what=f"the same slide, by its content, appears {len(own)} times and would count as often",
                who=who,
                do="keep one row",
            )


def _resolutions(opened: Sequence[tuple[Row, Opened]]) -> Iterator[Finding]:
    guessed = tuple(row.get("slide_id") for row, one in opened if one.mpp_source == "objective")
    if guessed:
        yield Finding(
            severity="warning",
            what="no mpp in the file: it is derived from the objective power",
            who=guessed,
            do="fill the column mpp",
        )
    for row, one in opened:
        others = [text for text in one.warnings if "objective power" not in text]
        if others:
            yield Finding(
                severity="warning", what="; ".join(others), who=(row.get("slide_id"),), do="look at the slide"
            )
    if opened:
        low, high = min(one.mpp for _, one in opened), max(one.mpp for _, one in opened)
        mixed = high / low > MPP_SPREAD
        yield Finding(
            severity="note",
            what=f"{len(opened)} slides open; level 0 has {low:.3g} to {high:.3g} µm per pixel"
            + (": several magnifications" if mixed else ""),
            do="check in the confounder table whether resolution is associated with the label" if mixed else "",
        )
