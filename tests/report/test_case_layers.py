"""Layers over a slide's picture: where they lie, and what their colors say."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from kras_plugins.data import TISSUE_CLASSES, SemanticMap
from kras_plugins.report.case_layers import attention_layer, cells_layer, contribution_layer
from kras_plugins.report.strips import bar, strip
from kras_plugins.semantics.geojson import COLORS, TISSUE_COLORS

XY = np.array([(0, 0), (40, 0), (0, 20), (40, 20)], np.int32)
SIZE, SHAPE, SCALE = (40.0, 20.0), (10, 10), (8.0, 4.0)
RAISES, LOWERS = (179, 88, 6), (33, 102, 172)


def test_a_tile_is_drawn_where_it_lies_on_an_anisotropic_slide_and_nothing_beside() -> None:
    values = np.array([0.2, -0.1, np.nan, 0.0])
    rgba = np.asarray(contribution_layer(SHAPE, XY, SIZE, values, SCALE))
    assert rgba.shape == (10, 10, 4)
    assert {tuple(p) for p in rgba[:5, :5, :3].reshape(-1, 3)} == {RAISES}
    assert {tuple(p) for p in rgba[:5, 5:, :3].reshape(-1, 3)} == {LOWERS}
    assert not rgba[5:, :5, 3].any(), "a tile that was not looked at has no color"
    faint, strong = rgba[9, 9, 3], rgba[0, 0, 3]
    assert 0 < faint < rgba[0, 9, 3] < strong < 255


def test_one_sign_has_one_strength_whatever_its_color() -> None:
    rgba = np.asarray(contribution_layer(SHAPE, XY, SIZE, np.array([0.3, -0.3, 0.1, -0.1]), SCALE))
    assert rgba[0, 0, 3] == rgba[0, 9, 3]
    assert rgba[9, 0, 3] == rgba[9, 9, 3]


def test_attention_is_drawn_by_rank() -> None:
    a = np.asarray(attention_layer(SHAPE, XY, SIZE, np.array([0.1, 0.2, 0.3, 0.4]), SCALE))
    b = np.asarray(attention_layer(SHAPE, XY, SIZE, np.array([1e-9, 1e-3, 0.3, 0.9]), SCALE))
    assert (a == b).all()
    assert a[0, 0, 2] > a[0, 0, 0], "the least attended is blue"
    assert a[9, 9, 0] > a[9, 9, 2], "the most attended is yellow"


def semantic(xy: list[tuple[float, float]], classes: list[str]) -> SemanticMap:
    """A slide of 100 x 60 µm with these cells, its left half cancer epithelium, the lower rows not analyzed."""
    tissue = np.zeros((6, 10), np.uint8)
    tissue[:, :5] = TISSUE_CLASSES.index("cancer_epithelium")
    analysed = np.ones((6, 10), bool)
    analysed[4:] = False
    x, y = (np.array([p[i] for p in xy], np.float32) for i in (0, 1))
    cells = pa.table({"x_um": x, "y_um": y, "class": pa.array(classes, pa.string())})
    return SemanticMap(
        slide_id="s", cells=cells, tissue=tissue, analysed=analysed, origin_um=(0.0, 0.0), tissue_mpp=10.0,
        provides=frozenset(), source="x", ce_source="model",
    )  # fmt: skip


def test_cells_are_dots_of_the_commonest_class_and_tissue_a_tint() -> None:
    cells = [(85.0, 15.0), (86.0, 15.0), (87.0, 15.0), (5.0, 35.0)]
    rgba = np.asarray(
        cells_layer((6, 10), semantic(cells, ["tumor", "lymphocyte", "lymphocyte", "tumor"]), (10.0, 10.0))
    )
    assert tuple(rgba[1, 8]) == (*COLORS["lymphocyte"], 255)
    assert tuple(rgba[3, 0]) == (*COLORS["tumor"], 255)
    assert tuple(rgba[0, 0, :3]) == TISSUE_COLORS["cancer_epithelium"]
    assert 0 < rgba[0, 0, 3] < 128
    assert not rgba[:4, 5:, 3].sum() - 255, "background is clear"
    assert not rgba[4:, :, 3].any(), "what was not analyzed is clear"


@pytest.mark.parametrize("side", [(6, 10), (1, 1)])
def test_a_slide_without_cells_has_its_tissue_alone(side: tuple[int, int]) -> None:
    rgba = np.asarray(cells_layer(side, semantic([], []), (100.0 / side[1], 60.0 / side[0])))
    assert rgba.shape == (*side, 4)
    assert not (rgba[..., 3] == 255).any()


def test_a_strip_reaches_to_the_patient_and_marks_the_place() -> None:
    q = [float(i) for i in range(5, 100, 5)]
    inside, beyond = strip(50.0, q), strip(200.0, q)
    assert "M75.0 2l" in inside, "the middle of what is shown"
    assert "M144.0 2l" in beyond, "at the right end"
    assert strip(3.0, []) == ""
    assert "<path" not in strip(None, q)
    assert "nan" not in strip(7.0, [7.0] * 19)


def test_a_bar_goes_right_where_it_raises_and_left_where_it_lowers() -> None:
    assert 'x="75.0"' in bar(0.2, 0.4) and 'width="34.5"' in bar(0.2, 0.4) and "#B35806" in bar(0.2, 0.4)
    assert 'x="6.0"' in bar(-0.4, 0.4) and 'width="69.0"' in bar(-0.4, 0.4) and "#2166AC" in bar(-0.4, 0.4)
    assert "nan" not in bar(0.0, 0.0)
