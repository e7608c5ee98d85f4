"""Overlay: outlines at the right place, fields where cells are densest, a legend that counts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from kras_plugins.data import TISSUE_CLASSES, SemanticMap
from kras_plugins.report.overlay import FIELD_PX, Field, densest, draw_overlay
from kras_plugins.semantics import wkb
from kras_plugins.semantics.cells import CellWriter, cell_batch
from kras_plugins.semantics.geojson import COLORS, TISSUE_COLORS

MPP = 0.5
GAP = 16


def make(xy, classes, tissue=None, **columns):
    xy = np.asarray(xy, np.float64).reshape(-1, 2)
    values = {"x_px": xy[:, 0], "y_px": xy[:, 1], "x_um": xy[:, 0] * MPP, "y_um": xy[:, 1] * MPP, **columns}
    raster = np.zeros((250, 250), np.uint8) if tissue is None else tissue
    return SemanticMap(
        slide_id="NAME-OF-A-PATIENT",
        cells=pa.Table.from_batches([cell_batch(classes, values, None)]).drop_columns(["geometry"]),
        tissue=raster,
        analysed=np.ones(raster.shape, bool),
        origin_um=(0.0, 0.0),
        tissue_mpp=4.0,
        provides=frozenset(),
        source="test",
        ce_source="density",
    )


def with_outlines(semantic, rings, file):
    values = {name: semantic.cells[name].to_numpy() for name in ("x_px", "y_px", "x_um", "y_um")}
    with CellWriter(file) as writer:
        writer.write(cell_batch(semantic.cells["class"].to_pylist(), values, wkb.encode(rings)))
    return replace(semantic, outlines=file)


def test_fields_lie_where_cells_are_densest_and_do_not_overlap():
    rng = np.random.default_rng(0)
    crowd = rng.uniform(1400, 1500, (400, 2))
    semantic = make(np.concatenate([crowd, rng.uniform(0, 2000, (200, 2))]), ["tumor"] * 600)
    found = densest(semantic, 100.0)
    assert len(found) == 4
    x, y = found[0]
    assert x <= 725 <= x + 100 and y <= 725 <= y + 100
    for i, a in enumerate(found):
        assert all(max(abs(a[0] - b[0]), abs(a[1] - b[1])) >= 100 for b in found[:i])
    assert densest(make([], []), 100.0) == []
    assert len(densest(make([[10, 10]], ["tumor"]), 100.0)) == 1


def test_an_outline_is_drawn_where_the_nucleus_lies(tmp_path):
    square = np.array([[300, 300], [340, 300], [340, 340], [300, 340]], float)
    semantic = with_outlines(make([[320, 320]], ["lymphocyte"]), [square], tmp_path / "c.parquet")
    field = Field(pixels=np.full((FIELD_PX, FIELD_PX, 3), 90, np.uint8), xy=(100.0, 50.0), mpp=MPP)
    page = draw_overlay(semantic, np.full((100, 100, 3), 200, np.uint8), (10.0, 10.0), (MPP, MPP), [field])
    pane = np.asarray(page)[GAP : GAP + FIELD_PX, 100 + 2 * GAP : 100 + 2 * GAP + FIELD_PX].astype(int)
    drawn = np.abs(pane - COLORS["lymphocyte"]).sum(2) < 60
    drawn[:40, :40] = False  # the field's number
    y, x = np.nonzero(drawn)
    assert (x.min(), x.max()) == (pytest.approx(200, abs=1.5), pytest.approx(240, abs=1.5))
    assert (y.min(), y.max()) == (pytest.approx(250, abs=1.5), pytest.approx(290, abs=1.5))
    assert not drawn[260:280, 210:230].any()  # an outline, not a blot


def test_the_overview_tints_epithelium_and_dots_many_cells():
    tissue = np.zeros((250, 250), np.uint8)
    tissue[:, 125:] = TISSUE_CLASSES.index("cancer_epithelium")
    rng = np.random.default_rng(0)
    semantic = make(rng.uniform(0, 900, (25_000, 2)), ["tumor"] * 25_000, tissue)
    overview = np.full((250, 250, 3), 200, np.uint8)
    page = np.asarray(draw_overlay(semantic, overview, (4.0, 4.0), (MPP, MPP), []))[GAP : GAP + 250, GAP : GAP + 250]
    assert (page[:100, :100] == COLORS["tumor"]).all(2).mean() > 0.5
    assert (page[200:, :100] == 200).all()
    right = page[20:230, 140:240].astype(float)
    expected = 0.78 * 200 + 0.22 * np.array(TISSUE_COLORS["cancer_epithelium"])
    assert np.abs(right - expected).max() < 1


def test_no_cells_and_no_tissue_still_make_a_picture_that_names_nobody():
    page = draw_overlay(make([], []), np.full((80, 120, 3), 255, np.uint8), (8.0, 8.0), (MPP, MPP), [])
    assert page.size[0] >= 760
    assert page.info == {}
