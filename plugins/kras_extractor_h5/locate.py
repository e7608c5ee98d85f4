"""Which feature file is a slide's."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import h5py

from kras_plugins import SlideError, SlideRef, note
from kras_plugins.cohort.naming import Named, file_of, same_slide
from kras_plugins.files.regular import regular

SUFFIX = ".h5"


def locate(slide: SlideRef, folder: Path | None) -> Path:
    """The feature file of a slide: of those in `folder`, else its own path.

    Raises SlideError if no file fits, if two fit equally well, or if it is not a regular file.
    """
    if folder is None:
        if slide.path is None or slide.path.suffix != SUFFIX:
            raise SlideError(
                f"slide {slide.slide_id}: no feature file named",
                "give -o extractor.h5.folder=DIR, or .h5 files in the cohort's `path` column",
            )
        return _told(Named(_regular(slide.path), slide.path.stem, _stated(slide.path)), slide)
    if not folder.is_dir():
        raise SlideError(
            f"{folder}: no such folder, so no such feature file of slide {slide.slide_id}", "check extractor.h5.folder"
        )
    there = _files(folder, folder.stat().st_mtime_ns)
    found = file_of(slide.slide_id, there)
    if found is None:
        raise SlideError(
            f"{folder}: no such feature file: none is named {slide.slide_id}{SUFFIX} or states this slide_id; there "
            f"{_some(there)}",
            "check slide_id against the file names",
        )
    return _told(found, slide)


def _told(found: Named, slide: SlideRef) -> Path:
    """The file, after a note if it states another slide."""
    if found.stated is not None and not same_slide(found.stated, slide.slide_id):
        note(f"{found.path.name} states slide {found.stated}; by its name it is used for slide {slide.slide_id}")
    return _regular(found.path)


@lru_cache(maxsize=8)
def _files(folder: Path, _changed: int) -> tuple[Named, ...]:
    """Every feature file of a folder, read once for all slides; `_changed`: when a file was last added or removed."""
    files = sorted(p for p in folder.iterdir() if p.suffix == SUFFIX and not p.name.startswith("."))
    return tuple(Named(file, file.name.removesuffix(SUFFIX), _stated(file)) for file in files)


def _stated(file: Path) -> str | None:
    """The slide_id that a file states; None if it states none or cannot be read, an error when it is used."""
    if not file.is_file():
        return None
    try:
        with h5py.File(file, "r") as f:
            stated = f.attrs.get("slide_id")
    except (OSError, RuntimeError, ValueError, KeyError):
        return None
    return stated if isinstance(stated, str) and stated else None


def _regular(file: Path) -> Path:
    if not file.exists():
        raise SlideError(f"{file}: no such feature file", "check the cohort's `path` column")
    return regular(file, error=SlideError)


def _some(files: tuple[Named, ...]) -> str:
    if not files:
        return f"are no {SUFFIX} files"
    return f"are {', '.join(f.path.name for f in files[:3])}{' …' if len(files) > 3 else ''}"
