"""Profiler `import`: cells and tissue, or finished features, made by another program; never opens pixels.

Cells: QuPath GeoJSON, CellViT or HoVer-Net JSON, HALO- or Visiopharm-style CSV, Parquet. Features: CSV or Parquet
tables with one row per slide or patient.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PositiveFloat, field_validator

from kras_plugins import (
    CELL_CLASSES,
    TISSUE_CLASSES,
    Options,
    ProfilerPlugin,
    SemanticMap,
    SemanticProfile,
    SlideRef,
    hookimpl,
    tuning,
)
from kras_plugins.data import GROWTH_PATTERNS

IGNORE = "ignore"
"""The target of a class whose objects are left out."""


def _listed(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


Words = Annotated[tuple[str, ...], BeforeValidator(_listed)]
Files = Annotated[tuple[Path, ...], BeforeValidator(_listed)]


class ImportOptions(Options):
    """Options of profiler `import`."""

    # The place of files does not affect the result; their content does.
    cells: str | None = tuning(
        None,
        description="cell files: a path with {slide_id} in it, or a folder of SLIDE_ID.geojson, .json, .csv (.gz) or "
        ".parquet; without it the cohort's `path` column names them",
    )
    tissue: str | None = tuning(
        None,
        description="tissue polygons (GeoJSON or Parquet), named like `cells`, where they are in files of their own",
    )
    table: Files = tuning(
        (), description="finished features, one row per slide or patient: CSV or Parquet files, separated by commas"
    )
    mpp: float | None = Field(
        None, gt=0, description="µm per level-0 pixel, where neither cohort nor file states it (the cohort wins)"
    )
    width: int | None = Field(
        None, gt=0, description="width of every slide in level-0 pixels (else the cohort's `width`)"
    )
    height: int | None = Field(
        None, gt=0, description="height of every slide in level-0 pixels (else the cohort's `height`)"
    )
    units: Literal["px", "um"] | PositiveFloat | None = Field(
        None,
        description="unit of coordinates: `px` of level 0, `um`, or pixels of so many µm; if left out, level-0 pixels "
        "are assumed and checked by their extent",
    )
    vocabulary: str | None = Field(
        None, description="whose class names these are (pannuke, monusac, conic); needed where classes are numbers"
    )
    classes: dict[str, str] = Field(
        default_factory=dict, description="cell class of the file -> ours, or `ignore`; precedes the built-in names"
    )
    tissue_classes: dict[str, str] = Field(
        default_factory=dict, description="annotation class -> tissue class of ours, or `ignore` for no tissue"
    )
    pattern_classes: dict[str, str] = Field(
        default_factory=dict,
        description="annotation class -> growth pattern (lepidic, acinar, papillary, micropapillary, solid, mucinous); "
        "these names are known",
    )
    provides: Words = Field(
        (),
        description="classes of ours that the source can give, where the files do not state it; without it those of "
        "its vocabulary, else those met on the slide: what is not given is unknown, not zero",
    )
    columns: dict[str, str | tuple[str, ...]] = Field(
        default_factory=dict,
        description="for CSV and Parquet, ours -> the file's column: x, y, or xmin, xmax, ymin, ymax; class (or a list "
        "of 0/1 columns named by class); any cell measurement such as area_um2",
    )
    features: Words = Field(
        (), description="of `table`: globs of the columns that are features; else numeric columns shared by all files"
    )
    suffixes: Words = Field(
        ("_HE", "_FFPE"), description="of `table`: endings stripped from column names, so that strata share them"
    )
    key: str | None = Field(
        None, description="of `table`: the column of slide or patient ids; found by its name and values where left out"
    )

    @field_validator("classes")
    @classmethod
    def _known_cells(cls, value: dict[str, str]) -> dict[str, str]:
        return _known(value, CELL_CLASSES)

    @field_validator("tissue_classes")
    @classmethod
    def _known_tissue(cls, value: dict[str, str]) -> dict[str, str]:
        return _known(value, TISSUE_CLASSES)

    @field_validator("pattern_classes")
    @classmethod
    def _known_patterns(cls, value: dict[str, str]) -> dict[str, str]:
        wrong = sorted(set(value.values()) - set(GROWTH_PATTERNS[1:]))
        if wrong:
            raise ValueError(f"{', '.join(wrong)}: not among {', '.join(GROWTH_PATTERNS[1:])}")
        return value

    @field_validator("provides")
    @classmethod
    def _known_provided(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        _known(dict.fromkeys(value), (*CELL_CLASSES, *TISSUE_CLASSES), value)
        return value


def _known(value: dict[str, Any], words: tuple[str, ...], told: tuple[str, ...] | None = None) -> dict[str, Any]:
    wrong = sorted(set(told if told is not None else value.values()) - {*words, IGNORE})
    if wrong:
        raise ValueError(f"{', '.join(wrong)}: not among {', '.join(words)}, {IGNORE}")
    return value


def _load(slide: SlideRef, options: ImportOptions) -> SemanticMap | SemanticProfile:
    if options.table:
        from kras_profiler_import.features import load_row

        return load_row(slide, options)
    from kras_profiler_import.cells import load_map

    return load_map(slide, options)


@hookimpl
def kras_profilers() -> Iterable[ProfilerPlugin]:
    """Provide the profiler `import`."""
    yield ProfilerPlugin(
        name="import",
        summary="cells and tissue, or tables of features, made elsewhere: QuPath, CellViT, HoVer-Net, HALO, Parquet",
        options=ImportOptions,
        load=_load,
    )
