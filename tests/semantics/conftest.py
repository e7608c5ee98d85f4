"""Maps made by hand."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from kras_plugins.data import CELL_CLASSES, CELL_COLUMNS, TISSUE_CLASSES, SemanticMap

EVERYTHING = frozenset(CELL_CLASSES) | frozenset(TISSUE_CLASSES) | frozenset(CELL_COLUMNS)


def cell_table(xy_um, classes, mpp=0.5, **columns):
    from kras_plugins.semantics.cells import CELL_SCHEMA

    xy = np.asarray(xy_um, np.float32).reshape(-1, 2)
    values = {"x_um": xy[:, 0], "y_um": xy[:, 1], "x_px": xy[:, 0] / mpp, "y_px": xy[:, 1] / mpp, **columns}
    arrays = [
        pa.array(list(classes), pa.string())
        if field.name == "class"
        else pa.array(np.asarray(values[field.name], np.float32), from_pandas=True)
        if field.name in values
        else pa.nulls(len(xy), pa.float32())
        for field in CELL_SCHEMA
    ]
    return pa.table(arrays, schema=CELL_SCHEMA)


@pytest.fixture
def make_map():
    def make(
        xy_um=(), classes=(), *, regions=(), shape=(500, 500), mpp=4.0, provides=EVERYTHING, origin=(0.0, 0.0), **kw
    ):
        """`regions`: (tissue class, x0, y0, x1, y1) in µm, painted in order."""
        tissue = np.zeros(shape, np.uint8)
        for name, *box in regions:
            x0, y0, x1, y1 = (round(v / mpp) for v in box)
            tissue[y0:y1, x0:x1] = TISSUE_CLASSES.index(name)
        analysed = kw.pop("analysed", np.ones(shape, bool))
        return SemanticMap(
            slide_id="s",
            cells=cell_table(xy_um, classes, **kw),
            tissue=tissue,
            analysed=analysed,
            origin_um=origin,
            tissue_mpp=mpp,
            provides=provides,
            source="test",
            ce_source="model",
        )

    return make


@pytest.fixture
def values():
    def of(profile):
        return dict(zip(profile.names, profile.values.tolist(), strict=True))

    return of


@pytest.fixture
def nest():
    """Positions and classes: a square nest of tumor cells in a ring of stroma with lymphocytes, 1.2 mm wide."""
    rng = np.random.default_rng(0)
    tumor = rng.uniform(400, 1200, (2000, 2))
    lymphocyte = rng.uniform(200, 1400, (900, 2))
    fibroblast = rng.uniform(200, 1400, (300, 2))
    xy = np.concatenate([tumor, lymphocyte, fibroblast])
    classes = ["tumor"] * 2000 + ["lymphocyte"] * 900 + ["fibroblast"] * 300
    regions = (("cancer_stroma", 200, 200, 1400, 1400), ("cancer_epithelium", 400, 400, 1200, 1200))
    return xy, classes, regions
