"""Checks of live profilers only: cells in the tile's frame, decoded in the host's worker processes, each found once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins.contracts.profiler import Tile, TileCells
from kras_plugins.data import CELL_CLASSES, CELL_COLUMNS, TISSUE_CLASSES, TileGrid
from kras_plugins.processing.decoding import decode_tile, place
from kras_plugins.processing.placement import Placements, taken
from kras_plugins.processing.seams import SAME_UM, Seams, rim_of
from kras_plugins.processing.workers import Workers
from kras_plugins.semantics.raster import raster_over
from kras_plugins.testing.checks import scenes
from kras_plugins.testing.checks.candidate import Candidate, loose_file
from kras_plugins.testing.checks.outcome import NotApplicable
from kras_plugins.testing.checks.rule import check, require, shown
from kras_plugins.testing.checks.tiles import run, spec_of, tiles, usual

if TYPE_CHECKING:
    from kras_plugins.contracts.profiler import Outputs
    from kras_plugins.data import Float64, TileSpec, UInt8

FOUND_AGAIN = 0.9
"""Smallest share of the cells at a seam that the same network must find when the seam lies elsewhere."""

BESIDE_SEAM_UM = 20.0

PROVIDES = "the cell classes, tissue classes and cell columns it can give"


def _outputs(candidate: Candidate) -> list[Outputs]:
    results = usual(candidate)
    return [{name: array[i] for name, array in results.items()} for i in range(len(tiles(candidate)))]


def _decode_all(candidate: Candidate) -> list[TileCells]:
    mpp = spec_of(candidate).mpp
    pairs = zip(_outputs(candidate), tiles(candidate), strict=True)
    return [candidate.made.decode(outputs, Tile(pixels=pixels, mpp=mpp)) for outputs, pixels in pairs]


def _cells(candidate: Candidate) -> list[TileCells]:
    return candidate.need("cells", lambda: _decode_all(candidate), "decoded")


def _grid(spec: TileSpec, xy: list[tuple[int, int]]) -> TileGrid:
    at = np.array(xy, np.int32)
    return TileGrid(spec=spec, xy=at, size=(spec.px, spec.px), tissue=np.ones(len(at), np.float32))


@check("live profiler", file="contracts/profiler.py", words=PROVIDES)
def provides_known(candidate: Candidate) -> None:
    """`provides` names classes and columns that the host knows; what it does not name is unknown, not zero."""
    provided = candidate.record.provides(candidate.options)
    require(isinstance(provided, frozenset) and bool(provided), "a frozenset of words", repr(provided))
    unknown = sorted(provided - {*CELL_CLASSES, *TISSUE_CLASSES, *CELL_COLUMNS})
    require(not unknown, "words of CELL_CLASSES, TISSUE_CLASSES and CELL_COLUMNS", ", ".join(unknown))


@check(
    "live profiler",
    file="contracts/profiler.py",
    words="turns one tile's outputs (no batch axis) into cells",
)
def decoded(candidate: Candidate) -> None:
    """`decode` returns TileCells whose arrays have the same length and whose classes and columns are known."""
    for cells in candidate.once("cells", lambda: _decode_all(candidate)):
        require(isinstance(cells, TileCells), "TileCells", type(cells).__name__)
        n = len(cells.x)
        lengths = {"y": cells.y, "classes": cells.classes, **cells.columns}
        lengths |= {"outlines": cells.outlines} if len(cells.outlines) else {}
        wrong = [f"{len(value)} {name}" for name, value in lengths.items() if len(value) != n]
        require(not wrong, f"{n} of everything, one a cell", ", ".join(wrong))
        strange = sorted(set(cells.classes) - set(CELL_CLASSES)) + sorted(set(cells.columns) - set(CELL_COLUMNS))
        require(not strange, "CELL_CLASSES and CELL_COLUMNS", ", ".join(strange))
        for name, values in {"x": cells.x, "y": cells.y, **cells.columns}.items():
            require(np.asarray(values).dtype == np.float32, f"float32 {name}", shown(np.asarray(values)))


@check("live profiler", file="contracts/profiler.py", words=PROVIDES)
def cells_provided(candidate: Candidate) -> None:
    """Cells have only classes and columns that `provides` names."""
    given = candidate.record.provides(candidate.options)
    for cells in _cells(candidate):
        more = sorted({*cells.classes, *cells.columns} - given)
        require(not more, f"at most {', '.join(sorted(given))}", ", ".join(more))
        if cells.tissue is not None:
            classes = sorted({TISSUE_CLASSES[i] for i in np.unique(cells.tissue)} - given - {"background"})
            require(not classes, f"at most {', '.join(sorted(given))}", ", ".join(classes))


@check("live profiler", file="contracts/profiler.py", words="in the tile's own pixels (halo included)")
def cells_in_tile(candidate: Candidate) -> None:
    """Cells, outlines and tissue lie in the tile's own pixels, halo included, the first pixel's center at 0."""
    for cells, pixels in zip(_cells(candidate), tiles(candidate), strict=True):
        height, width = pixels.shape[:2]
        for name, values, end in (("x", cells.x, width), ("y", cells.y, height)):
            outside = [f"{v:g}" for v in values if not -0.5 <= v <= end - 0.5]
            require(not outside, f"{name} from -0.5 to {end - 0.5}", ", ".join(outside[:3]))
        for i, outline in enumerate(cells.outlines):
            around = np.min(outline, axis=0) - 1, np.max(outline, axis=0) + 1
            center = np.array([cells.x[i], cells.y[i]])
            holds = bool(np.all((center >= around[0]) & (center <= around[1])))
            require(holds, "outlines (x, y) about their cell's centroid", f"{center} outside of {around}")
        if cells.tissue is not None:
            require(cells.tissue.shape == (height, width), f"tissue uint8[{height} {width}]", shown(cells.tissue))


@check("live profiler", file="contracts/profiler.py", words="Picklable, imports no torch")
def decoded_in_workers(candidate: Candidate) -> None:
    """`decode` can be sent to the host's worker processes, does not import torch there, and gives the same cells."""

    spec, file = spec_of(candidate), loose_file(candidate.module)
    where = Placements(_grid(spec, [(0, 0)]), (spec.mpp, spec.mpp))[0]
    raster = raster_over(spec.um, spec.um)
    tile = Tile(pixels=tiles(candidate)[0], mpp=spec.mpp)
    job = (candidate.made.decode, _outputs(candidate)[0], tile, where, raster)
    with Workers(1, [file] if file else []) as workers:
        cells, _ = workers.run(candidate.id, decode_tile, *job)
        # A worker that ran code of this check would import all that this check imports.
        torch = workers.run(candidate.id, eval, "'torch' in __import__('sys').modules")
    require(not torch, "no torch in a worker", "import of torch")
    require(cells.equals(decode_tile(*job)[0]), "the same cells as in this process", f"{cells.num_rows} others")


@check("live profiler", file="contracts/profiler.py", words="a decoder may save itself the work of measuring them")
def wanted_kept(candidate: Candidate) -> None:
    """When the host names the rectangle that it wants, no cell inside it is lost."""
    spec = spec_of(candidate)
    side = spec.px + 2 * spec.halo_px
    for outputs, pixels, cells in zip(_outputs(candidate), tiles(candidate), _cells(candidate), strict=True):
        low, high = (side * 0.2, side * 0.1), (side * 0.9, side * 0.7)
        some = candidate.made.decode(outputs, Tile(pixels=pixels, mpp=spec.mpp, wanted=(low, high)))
        counts = [_within(c, low, high) for c in (cells, some)]
        require(counts[0] == counts[1], f"{counts[0]} cells in the rectangle {low} to {high}", str(counts[1]))


def _within(cells: TileCells, low: tuple[float, float], high: tuple[float, float]) -> int:
    x, y = np.asarray(cells.x), np.asarray(cells.y)
    return int(np.sum((x >= low[0]) & (x < high[0]) & (y >= low[1]) & (y < high[1])))


@check("live profiler", file="processing/placement.py", words="counts each nucleus once")
def seams(candidate: Candidate) -> None:
    """Where tiles meet, the same cells are found, each once, as when the middle of a tile lies there."""
    spec = spec_of(candidate)
    side = spec.px + 2 * spec.halo_px
    image = scenes.scene(side + spec.px, side + spec.px, spec.mpp)
    corners = [(x, y) for y in (0, spec.px) for x in (0, spec.px)]
    four = _slide_cells(candidate, image, spec, corners)
    one = _slide_cells(candidate, image, spec, [(spec.px // 2, spec.px // 2)])
    reach = min(BESIDE_SEAM_UM / spec.mpp, spec.px / 4)
    four, one = (_beside_seams(xy - (spec.px + spec.halo_px), reach, spec.px // 2) for xy in (four, one))
    if len(one) < 5:
        raise NotApplicable(f"it finds {len(one)} cells in drawn tissue, too few to look at seams")
    both = _matched(one, four, SAME_UM / spec.mpp)
    most = max(len(one), len(four))
    require(
        both >= FOUND_AGAIN * most,
        f"at least {FOUND_AGAIN:.0%} of the {most} cells beside a seam found again without it",
        f"{both} ({len(four)} cells with the seam, {len(one)} without)",
    )


@check(
    "live profiler", file="processing/profiling.py", words="PluginError when the profiler fails or breaks its contract"
)
def blank_tiles(candidate: Candidate) -> None:
    """Tiles without tissue (white, black, gray) do not raise an error."""
    spec, pixels = spec_of(candidate), tiles(candidate)[:3]
    pixels[0], pixels[1], pixels[2] = 255, 0, 200
    results = run(candidate, pixels)
    for i, tile in enumerate(pixels):
        cells = candidate.made.decode({k: v[i] for k, v in results.items()}, Tile(pixels=tile, mpp=spec.mpp))
        require(isinstance(cells, TileCells), "TileCells", type(cells).__name__)


def _beside_seams(xy: Float64, reach: float, half: float) -> Float64:
    """The cells near a seam within the middle tile; the origin is the point where four tiles meet."""
    away = np.abs(xy)
    kept: Float64 = xy[(away.min(axis=1) < reach) & (away.max(axis=1) < half)]
    return kept


def _slide_cells(candidate: Candidate, image: UInt8, spec: TileSpec, corners: list[tuple[int, int]]) -> Float64:
    """Cells of tiles with these corners as the host would keep them, float64[cell 2] in pixels of the image."""
    side = spec.px + 2 * spec.halo_px
    grid = _grid(spec, [(x + spec.halo_px, y + spec.halo_px) for x, y in corners])
    placements, seen = Placements(grid, (spec.mpp, spec.mpp)), Seams()
    pixels = np.stack([image[y : y + side, x : x + side] for x, y in corners])
    results: Any = run(candidate, pixels)
    found = []
    for i, tile in enumerate(pixels):
        where = placements[i]
        given = Tile(pixels=tile, mpp=spec.mpp, wanted=taken(where))
        cells = place(candidate.made.decode({k: v[i] for k, v in results.items()}, given), where)
        xy = np.stack([cells["x_px"].to_numpy(), cells["y_px"].to_numpy()], axis=1)
        found.append(np.delete(xy, seen.again(rim_of(cells, where)), axis=0))
    return np.concatenate(found).astype(np.float64)


def _matched(a: Float64, b: Float64, within: float) -> int:
    """How many of `a` can be matched one-to-one with `b`, no farther than `within`."""
    from scipy.optimize import linear_sum_assignment

    if not len(a) or not len(b):
        return 0
    apart = np.linalg.norm(a[:, None] - b[None], axis=2)
    rows, columns = linear_sum_assignment(np.minimum(apart, 2 * within))
    return int(np.sum(apart[rows, columns] <= within))
