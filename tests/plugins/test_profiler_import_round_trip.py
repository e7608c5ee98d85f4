"""import(export(x)) = x: cells within a pixel, classes, counts and tissue exactly."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kras_plugins.data import CELL_CLASSES, GROWTH_PATTERNS, TISSUE_CLASSES, SemanticMap, SlideRef
from kras_plugins.host.notes import noted
from kras_plugins.semantics import wkb
from kras_plugins.semantics.cells import CellWriter, cell_batch
from kras_plugins.semantics.geojson import write_cells_geojson, write_tissue_geojson
from kras_plugins.semantics.map import read_map, write_map
from kras_profiler_import import kras_profilers

(IMPORT,) = kras_profilers()
MPP = 0.3


def draw(folder: Path, seed: int, n: int) -> SemanticMap:
    """A map of our own with cells of every class, ragged tissue with holes, and star-shaped outlines."""
    rng = np.random.default_rng(seed)
    um = 4 * 90.0
    spots = np.stack(np.meshgrid(np.arange(14), np.arange(14)), -1).reshape(-1, 2)
    xy = (rng.permutation(spots)[:n] * 25 + 12 + rng.uniform(-4, 4, (n, 2))) / MPP
    angle = np.arange(32) * 2 * np.pi / 32
    radius = rng.uniform(12, 20, (n, 1)) * (1 + 0.2 * rng.uniform(-1, 1, (n, 32)))
    rings = np.round((xy[:, None] + np.stack([np.cos(angle), np.sin(angle)], 1) * radius[..., None]) * 4) / 4
    classes = rng.choice(CELL_CLASSES, n).tolist()
    x, y = xy.T
    columns = {"x_px": x, "y_px": y, "x_um": x * MPP, "y_um": y * MPP, "prob": rng.uniform(0, 1, n)}
    coarse = rng.integers(0, 3, (18, 18))
    tissue = np.kron(coarse, np.ones((5, 5))).astype(np.uint8)
    tissue[rng.random(tissue.shape) < 0.02] = TISSUE_CLASSES.index("necrosis")
    tissue[0, :3] = (1, 2, TISSUE_CLASSES.index("necrosis"))
    pattern = np.kron(rng.integers(0, len(GROWTH_PATTERNS), (18, 18)), np.ones((5, 5))).astype(np.uint8)
    pattern[0, 0] = 1  # one there must be
    made = SemanticMap(
        slide_id="s",
        cells=cell_table(classes, columns),
        tissue=tissue,
        analysed=np.ones(tissue.shape, bool),
        origin_um=(0.0, 0.0),
        tissue_mpp=4.0,
        provides=frozenset({*CELL_CLASSES, *TISSUE_CLASSES}),
        source="test",
        ce_source="model",
        pattern=pattern,
    )
    assert tissue.shape == (um / 4, um / 4)
    write_map(folder, made)
    with CellWriter(folder / "cells.parquet") as writer:
        writer.write(cell_batch(classes, columns, wkb.encode(rings)))
    return read_map(folder)


def cell_table(classes: list[str], columns: dict[str, np.ndarray]):  # type: ignore[no-untyped-def, type-arg]
    import pyarrow as pa

    return pa.Table.from_batches([cell_batch(classes, columns, None)]).drop_columns(["geometry"])


def again(**options: object) -> SemanticMap:
    assert IMPORT.load is not None
    found = IMPORT.load(SlideRef(patient_id="p", slide_id="s"), IMPORT.options.model_validate(options))
    assert isinstance(found, SemanticMap)
    return found


@settings(deadline=None, max_examples=8)
@given(st.integers(0, 2**32 - 1), st.integers(1, 190), st.sampled_from(["", ".gz"]), st.booleans())
@example(736161, 3, "", False)  # epithelial cells and lymphocytes: other tools mean something else by the former
def test_geojson_comes_back(seed: int, n: int, zipped: str, outlined: bool) -> None:
    """The files alone suffice: they state resolution, size and what the profiler can give."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first = draw(folder, seed, n)
        given_map = first if outlined else replace(first, outlines=None)
        write_cells_geojson(given_map, folder / f"s.geojson{zipped}", (MPP, MPP))
        (folder / "t").mkdir()
        write_tissue_geojson(given_map, folder / "t" / f"s.geojson{zipped}", (MPP, MPP))
        second = again(cells=str(folder / f"s.geojson{zipped}"), tissue=str(folder / "t"))
        assert second.cells["class"].equals(first.cells["class"])
        for axis in ("x_px", "y_px"):
            assert np.abs(np.asarray(second.cells[axis]) - np.asarray(first.cells[axis])).max() < 1 + 2.5 * outlined
        np.testing.assert_allclose(second.cells["prob"], first.cells["prob"], atol=1e-4)
        np.testing.assert_array_equal(second.tissue, first.tissue)
        assert first.pattern is not None and second.pattern is not None
        np.testing.assert_array_equal(second.pattern, first.pattern)
        assert second.ce_source == "import"
        assert second.provides & {*CELL_CLASSES} == {*CELL_CLASSES}
        assert (second.outlines is not None) == outlined
        if outlined:
            # what was imported goes out and comes in unchanged
            (folder / "u").mkdir()
            write_cells_geojson(second, folder / "u" / "s.geojson", (MPP, MPP))
            third = again(cells=str(folder / "u"))
            for column in ("x_px", "y_px", "area_um2"):
                np.testing.assert_allclose(third.cells[column], second.cells[column], rtol=0.02)


def test_our_own_parquet_comes_back(tmp_path: Path) -> None:
    first = draw(tmp_path, 5, 150)
    (tmp_path / "cells.parquet").rename(tmp_path / "s.parquet")
    second = again(cells=str(tmp_path))
    assert second.cells["class"].equals(first.cells["class"])
    for column in ("x_px", "x_um", "y_um", "prob"):
        np.testing.assert_allclose(second.cells[column], first.cells[column], rtol=1e-5)


def test_the_folder_of_a_profiled_slide_is_taken_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    folder.mkdir()
    first = draw(folder, 5, 150)
    for where in (tmp_path, folder, tmp_path / "{slide_id}"):
        second = again(cells=str(where))
        assert second.cells.equals(first.cells) and second.provides == first.provides
        np.testing.assert_array_equal(second.tissue, first.tissue)


def test_a_folder_with_coarser_tissue_is_taken_and_noted(tmp_path: Path) -> None:
    """As earlier versions wrote of slides above 256 mm²."""
    folder = tmp_path / "s"
    folder.mkdir()
    first = draw(folder, 5, 50)
    with noted(lambda _: None) as told:
        again(cells=str(folder))
    assert not told
    write_map(folder, replace(first, tissue_mpp=8.0))
    with noted(lambda _: None) as told:
        assert again(cells=str(folder)).tissue_mpp == 8.0
    (text,) = told
    assert "8 µm, those of other slides 4 µm" in text
