"""Which file is a slide's."""

from __future__ import annotations

from pathlib import Path

from kras_plugins import ConfigError, SlideError, SlideRef
from kras_plugins.files.regular import regular
from kras_plugins.semantics.map import FACTS

SUFFIXES = (
    ".parquet", ".geoparquet", ".geojson", ".geojson.gz", ".json", ".json.gz", ".csv", ".csv.gz", ".tsv", ".tsv.gz",
    ".txt", ".txt.gz",
)  # fmt: skip


def locate(slide: SlideRef, where: str | None, option: str) -> Path:
    """The file (or the folder of `kras profile`) of a slide, by a pattern, a folder, or the slide's own path.

    Raises SlideError when there is none, ConfigError when one file without the slide's name would serve every slide.
    """
    if where is None:
        if slide.path is not None and slide.path.name.lower().endswith(SUFFIXES):
            return _there(slide.path, slide)
        raise SlideError(
            f"slide {slide.slide_id}: no file of {option} named",
            f"give -o profiler.import.{option}=FOLDER, or such files in the cohort's `path` column",
        )
    if "{" in where:
        try:
            return _there(Path(where.format(slide_id=slide.slide_id, patient_id=slide.patient_id)), slide)
        except (KeyError, IndexError, ValueError) as e:
            raise ConfigError(f"profiler.import.{option}={where}: bad pattern", "use {slide_id} or {patient_id}") from e
    path = Path(where)
    if path.is_dir():
        if (path / FACTS).is_file() and path.name == slide.slide_id:
            return path
        found = [f for f in (path / f"{slide.slide_id}{suffix}" for suffix in ("", *SUFFIXES)) if f.exists()]
        if not found:
            raise SlideError(
                f"{path}: no file of slide {slide.slide_id}",
                f"name it {slide.slide_id} with one of {' '.join(SUFFIXES)}, or give a pattern with {{slide_id}}",
            )
        if len(found) > 1:
            raise SlideError(
                f"{path}: {' and '.join(f.name for f in found)} are both of slide {slide.slide_id}",
                "keep one, or give a pattern with {slide_id}",
            )
        return _there(found[0], slide)
    if path.name.split(".")[0] != slide.slide_id.split(".")[0]:
        raise ConfigError(
            f"profiler.import.{option}={where}: one file, but not named after slide {slide.slide_id}",
            "give a folder, or a pattern with {slide_id}",
        )
    return _there(path, slide)


def _there(path: Path, slide: SlideRef) -> Path:
    if not path.exists():
        raise SlideError(f"{path}: no such file for slide {slide.slide_id}", "check slide_id against the file names")
    return path if path.is_dir() else regular(path, error=SlideError)
