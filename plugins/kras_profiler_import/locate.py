"""Which file is a slide's."""

from __future__ import annotations

import glob
import json
from functools import lru_cache
from pathlib import Path

from kras_plugins import ConfigError, SlideError, SlideRef, note
from kras_plugins.cohort.naming import Named, file_of, same_slide, without_uuid
from kras_plugins.files.regular import regular
from kras_plugins.semantics.map import CELLS, FACTS
from kras_plugins.store import safe_name

SUFFIXES = (
    ".parquet", ".geoparquet", ".geojson", ".geojson.gz", ".json", ".json.gz", ".csv", ".csv.gz", ".tsv", ".tsv.gz",
    ".txt", ".txt.gz",
)  # fmt: skip
_UUID = ".????????-????-????-????-????????????"


def locate(slide: SlideRef, where: str | None, option: str) -> Path:
    """The file (or the folder of `kras profile`) of a slide, by a pattern, a folder, or the slide's own path.

    Raises SlideError when there is none or two match equally well, ConfigError when one file without the slide's name
    would be used for every slide.
    """
    if where is None:
        if slide.path is not None and slide.path.name.lower().endswith(SUFFIXES):
            return _there(slide.path, slide)
        raise SlideError(
            f"slide {slide.slide_id}: no file of {option} named",
            f"give -o profiler.import.{option}=FOLDER, or such files in the cohort's `path` column",
        )
    if "{" in where:
        return _by_pattern(slide, where, option)
    path = Path(where)
    if path.is_dir():
        one = (path / FACTS).is_file() and (path / CELLS).is_file()
        there = (Named(path, path.name, _stated(path)),) if one else _made_of_slides(path, path.stat().st_mtime_ns)
        found = file_of(slide.slide_id, there)
        if found is None:
            raise SlideError(
                f"{path}: no file of slide {slide.slide_id}",
                f"name it {slide.slide_id} with one of {' '.join(SUFFIXES)}, or give a pattern with {{slide_id}}",
            )
        if found.stated is not None and not same_slide(found.stated, slide.slide_id):
            note(f"{found.path.name} states slide {found.stated}; by its name it is used for slide {slide.slide_id}")
        return _there(found.path, slide)
    if path.name.split(".")[0] != slide.slide_id.split(".")[0]:
        raise ConfigError(
            f"profiler.import.{option}={where}: one file, but not named after slide {slide.slide_id}",
            "give a folder, or a pattern with {slide_id}",
        )
    return _there(path, slide)


def _by_pattern(slide: SlideRef, where: str, option: str) -> Path:
    """The file at a pattern filled in with the slide's id, as `kras` writes ids into names, with or without a UUID."""

    def filled(slide_id: str, patient_id: str = slide.patient_id) -> str:
        try:
            return where.format(slide_id=slide_id, patient_id=patient_id)
        except (KeyError, IndexError, ValueError, AttributeError) as e:
            raise ConfigError(f"profiler.import.{option}={where}: bad pattern", "use {slide_id} or {patient_id}") from e

    short = without_uuid(slide.slide_id)
    for name in dict.fromkeys((slide.slide_id, safe_name(slide.slide_id), short)):
        if (exact := Path(filled(name))).exists():
            return _there(exact, slide)
    if short.startswith("TCGA-") and "{slide_id}" in where:
        pattern = glob.escape(where)
        pattern = glob.escape(where).replace("[{]", "{")
        found = sorted(glob.glob(pattern.format(slide_id=short + _UUID, patient_id=glob.escape(slide.patient_id))))
        if len(found) > 1:
            raise SlideError(f"{' and '.join(found)} both belong to slide {slide.slide_id}", "keep one of them")
        if found:
            return _there(Path(found[0]), slide)
    return _there(Path(filled(slide.slide_id)), slide)


@lru_cache(maxsize=8)
def _made_of_slides(folder: Path, _changed: int) -> tuple[Named, ...]:
    """A folder's files of all slides, read once; `_changed`: when a file was last added or removed."""
    found = []
    for path in sorted(folder.iterdir()):
        name = path.name.lower()
        end = max((suffix for suffix in SUFFIXES if name.endswith(suffix)), key=len, default="")
        if end and not path.is_dir():
            found.append(Named(path, path.name[: -len(end)]))
        elif path.is_dir():
            found.append(Named(path, path.name, _stated(path)))
    return tuple(found)


def _stated(folder: Path) -> str | None:
    """The slide_id that a folder of `kras profile` states; None if it states none, an error when it is read."""
    try:
        stated = json.loads((folder / FACTS).read_text(encoding="utf-8"))["slide_id"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return stated if isinstance(stated, str) else None


def _there(path: Path, slide: SlideRef) -> Path:
    if not path.exists():
        raise SlideError(f"{path}: no such file for slide {slide.slide_id}", "check slide_id against the file names")
    if (path / FACTS).is_file():
        return path
    return regular(path, error=SlideError)
