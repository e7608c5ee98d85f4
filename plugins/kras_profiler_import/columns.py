"""Tables of cells: what each column means, by HALO's, Visiopharm's, QuPath's and our own headers or the user's map."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely

from kras_plugins import CELL_COLUMNS, ConfigError, SlideError
from kras_plugins.cohort.number_columns import read_numbers
from kras_plugins.cohort.numbers import odd_cells, shown
from kras_profiler_import.chunk import Chunk
from kras_profiler_import.classes import UNCLASSIFIED
from kras_profiler_import.objects import is_cell
from kras_profiler_import.shapes import from_wkb

if TYPE_CHECKING:
    from kras_plugins.data import Float64

_PLACES: Mapping[str, tuple[str, ...]] = {
    place: (place, *(f"{word} {place}" for word in _WORDS), *(f"{place} {word}" for word in _WORDS))
    for _WORDS in [("centroid", "center", "centre", "position", "pos", "coord", "coordinate", "location", "nucleus")]
    for place in ("x", "y")
} | {
    side: (side, side[0] + " " + side[1:], side[1:] + " " + side[0], side[1:] + side[0])
    for side in ("xmin", "xmax", "ymin", "ymax")
}
_CLASS = (
    "class", "classification", "class name", "class label", "cell class", "cell type", "celltype", "nucleus class",
    "phenotype", "nuclei phenotype", "object class", "classname", "label", "type",
)  # fmt: skip
_MEASURED = {
    "prob": "prob", "probability": "prob", "type prob": "prob", "detection probability": "prob",
    "nucleus area": "area_um2", "nucleus perimeter": "perimeter_um", "nucleus length": "perimeter_um",
    "nucleus eccentricity": "eccentricity", "nucleus solidity": "solidity",
}  # fmt: skip
_IMAGE = ("image", "image location", "image name", "image tag", "slide", "slide id", "file", "filename")
_KIND = ("object type", "objecttype")
_UNIT = re.compile(r"[\s_(\[]+(µm|um|microns?|px|pixels?)(\^?2)?[)\]]?$")
_FIXED = {"x_um", "y_um", "x_px", "y_px", "class"}
MEASURABLE = tuple(name for name in CELL_COLUMNS if name not in _FIXED)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Headers by meaning. `places`: x and y, or xmin, xmax, ymin, ymax, or nothing where there is a geometry.

    `classes`: one column of names, or several of 0 and 1 named by class. `kind`: QuPath's type of each object. `units`:
    `px` or `um` where headers say so.
    """

    places: Mapping[str, str]
    classes: tuple[str, ...]
    flags: bool
    measured: Mapping[str, str]
    geometry: str | None
    image: str | None
    kind: str | None
    units: str | None

    @property
    def numbers(self) -> list[str]:
        """Headers of numeric columns."""
        return [*self.places.values(), *self.measured.values(), *(self.classes if self.flags else ())]

    @property
    def texts(self) -> list[str]:
        """Headers of text columns."""
        return [*(() if self.flags else self.classes), *(h for h in (self.image, self.kind) if h)]


def our_column(header: str) -> str | None:
    """The cell measurement of ours that a header names, or None; lengths and areas count only in µm."""
    if header in MEASURABLE:
        return header
    plain, unit = _split(header)
    name = _MEASURED.get(plain)
    return None if name in ("area_um2", "perimeter_um") and unit != "um" else name


def resolve(
    file: str, headers: Sequence[str], told: Mapping[str, str | tuple[str, ...]], geometry: str | None
) -> Layout:
    """The meaning of each header; `told` takes precedence.

    Raises ConfigError if a position or the class is missing, or a column that is used appears twice.
    """
    flat = [h for v in told.values() for h in ((v,) if isinstance(v, str) else v)]
    allowed = {*_PLACES, "class", *MEASURABLE}
    if wrong := sorted(set(told) - allowed):
        raise ConfigError(
            f"profiler.import.columns: {', '.join(wrong)} is not a kras column", f"known: {', '.join(sorted(allowed))}"
        )
    if missing := [h for h in flat if h not in headers]:
        raise ConfigError(f"{file} has no column {', '.join(missing)}", f"it has {shown(headers, 40)}")
    plain = {h: _split(h) for h in headers}
    found: dict[str, str] = {}
    for place, words in _PLACES.items():
        if place in told:
            found[place] = str(told[place])
            continue
        fits = [h for word in words for h in headers if plain[h][0] == word]
        fits.sort(key=lambda h: plain[h][1] != "px")  # prefer level-0 pixels if a file has both
        if fits:
            found[place] = fits[0]
    center, box = ("x", "y"), ("xmin", "xmax", "ymin", "ymax")
    whole = [names for names in (center, box) if all(n in found for n in names)]
    whole.sort(key=lambda names: not set(names) & set(told))
    if not whole and geometry is None:
        raise ConfigError(
            f"{file}: no columns give the positions of cells; it has {shown(headers, 40)}",
            'map them: -o profiler.import.columns={x = "…", y = "…", class = "…"}, or xmin, xmax, ymin and ymax',
        )
    places = {} if geometry else {name: found[name] for name in whole[0]}
    classes = told.get("class") or next((h for word in _CLASS for h in headers if plain[h][0] == word), None)
    if classes is None:
        raise ConfigError(
            f"{file}: no column gives the class of cells; it has {shown(headers, 40)}",
            'map it: -o profiler.import.columns={class = "Phenotype"}, or a list of 0/1 columns named by class',
        )
    measured = {our: h for h in headers if (our := our_column(h)) is not None and h not in places.values()}
    measured |= {name: str(h) for name, h in told.items() if name in MEASURABLE}
    units = {plain[h][1] for h in places.values()} - {""}
    layout = Layout(
        places=places,
        classes=(classes,) if isinstance(classes, str) else classes,
        flags=not isinstance(classes, str),
        measured=measured,
        geometry=geometry,
        image=next((h for h in headers if plain[h][0] in _IMAGE), None),
        kind=next((h for h in headers if plain[h][0] in _KIND), None),
        units=units.pop() if len(units) == 1 else None,
    )
    for header in (*layout.numbers, *layout.texts):
        if headers.count(header) > 1:
            raise ConfigError(f"{file}: column {header!r} appears twice", "keep one")
    return layout


def _split(header: str) -> tuple[str, str]:
    """A header in plain words, and `px`, `um` or nothing for its unit."""
    text = header.strip().lower().replace("μ", "µ").replace("²", "2").replace(":", "")
    hit = _UNIT.search(text)
    unit = "" if hit is None else "px" if hit[1].startswith("p") else "um"
    return re.sub(r"[\s_.]+", " ", text[: hit.start()] if hit else text).strip(), unit


FIRST_ROW = 2
"""The number of the row below the header, as spreadsheets count."""


class OneImage:
    """Refuses a table with rows of several images: their cells would lie on top of each other."""

    def __init__(self, file: str) -> None:
        self._file, self._seen = file, set[str]()

    def check(self, names: pa.Array) -> None:
        """Look at the image names of some rows."""
        self._seen |= {str(name) for name in pc.unique(names).to_pylist() if name is not None}
        if len(self._seen) > 1:
            raise SlideError(
                f"{self._file}: cells of several images: {', '.join(sorted(self._seen)[:3])}",
                "write one file per slide and give -o profiler.import.cells=FOLDER/{slide_id}.csv",
            )


def with_numbers(batch: pa.RecordBatch, layout: Layout, file: str, row: int, mark: str = ".") -> pa.RecordBatch:
    """Rows with numeric columns as float64 instead of text, NaN where missing; `row`: the number of the first row.

    Raises SlideError naming the cells that are neither numbers with this decimal mark nor missing.
    """
    odd: list[tuple[int, str, str]] = []
    for header in dict.fromkeys(layout.numbers):
        at = batch.schema.get_field_index(header)
        column = batch.column(at)
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            found = read_numbers(column, mark)
            odd += [(row + i, header, str(column[i])) for i in found.odd]
            batch = batch.set_column(at, header, pa.array(found.values))
    if odd:
        raise SlideError(*odd_cells(file, sorted(odd)))
    return batch


def chunk_of(batch: pa.RecordBatch, layout: Layout) -> Chunk:
    """The cells of some rows as a chunk, without annotations and tiles; NaN where a cell has no position."""
    if layout.kind is not None:
        kinds = pc.cast(batch.column(layout.kind), pa.string())
        cells = [kind for kind in pc.unique(kinds).to_pylist() if kind is None or is_cell(kind)]
        batch = batch.filter(pc.is_in(kinds, pa.array(cells, pa.string())))

    def numbers(header: str) -> Float64:
        column = batch.column(header)
        return np.asarray(pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False), np.float64)

    where = {name: numbers(header) for name, header in layout.places.items()}
    n = batch.num_rows
    outlines: Any = None
    if layout.geometry is not None:
        outlines = from_wkb(batch.column(layout.geometry).to_numpy(zero_copy_only=False))
        xy = np.full((n, 2), np.nan)
        points = shapely.get_type_id(outlines) == shapely.GeometryType.POINT
        placed = points & ~shapely.is_empty(outlines)
        xy[placed] = shapely.get_coordinates(outlines[placed])
        outlines[points] = None
    elif "x" in where:
        xy = np.stack([where["x"], where["y"]], 1)
    else:
        xy = np.stack([(where["xmin"] + where["xmax"]) / 2, (where["ymin"] + where["ymax"]) / 2], 1)
    return Chunk(
        names=_names(batch, layout),
        xy=xy,
        outlines=outlines,
        columns={name: numbers(header) for name, header in layout.measured.items()},
    )


def _names(batch: pa.RecordBatch, layout: Layout) -> list[str]:
    if not layout.flags:
        texts = pc.cast(batch.column(layout.classes[0]), pa.string()).to_pylist()
        return [text.strip() if text and text.strip() else UNCLASSIFIED for text in texts]
    flags = np.stack([np.nan_to_num(batch.column(h).to_numpy(zero_copy_only=False)) > 0 for h in layout.classes], 1)
    twice = flags.sum(1) > 1
    if twice.any():
        both = [h for h, flag in zip(layout.classes, flags[np.argmax(twice)], strict=True) if flag]
        raise SlideError(f"a cell is {' and '.join(both)} at once", "give class columns of which one is 1 in a row")
    names = np.array([*layout.classes, UNCLASSIFIED], dtype=object)
    return list(names[np.where(flags.any(1), flags.argmax(1), len(layout.classes))])
