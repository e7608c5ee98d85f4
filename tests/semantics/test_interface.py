"""The border of epithelium and stroma, and what lies at which distance from it, against geometry."""

from __future__ import annotations

import numpy as np
import pytest

from kras_plugins.data import TISSUE_CLASSES, SemanticMap
from kras_plugins.semantics.features.interface import BANDS, depth, interface
from kras_plugins.semantics.view import View

CE, CS = TISSUE_CLASSES.index("cancer_epithelium"), TISSUE_CLASSES.index("cancer_stroma")
SQUARE = (("cancer_stroma", 0, 0, 2000, 2000), ("cancer_epithelium", 600, 600, 1400, 1200))


def test_a_rectangle_in_stroma_has_its_perimeter_as_interface(make_map):
    v = interface(View(make_map(regions=SQUARE)))
    assert v["interface_len"] == pytest.approx(2.8, rel=0.015)
    assert v["interface_density"] == pytest.approx(2.8 / 0.48, rel=0.015)


def _length(view):
    return interface(view)["interface_len"]


@pytest.mark.parametrize("degrees", [0, 10, 22.5, 45, 70])
def test_the_length_of_an_edge_does_not_depend_on_its_direction(degrees):
    y, x = np.mgrid[:300, :300] - 149.5
    a = np.deg2rad(degrees)
    u, v = x * np.cos(a) + y * np.sin(a), y * np.cos(a) - x * np.sin(a)
    tissue = np.where((np.abs(u) < 80) & (np.abs(v) < 60), CE, CS).astype(np.uint8)
    assert _length(_view(tissue)) == pytest.approx(560 * 0.004, rel=0.015)


def _view(tissue, mpp=4.0):
    import pyarrow as pa

    from kras_plugins.semantics.cells import CELL_SCHEMA

    return View(
        SemanticMap(
            slide_id="s", cells=pa.Table.from_batches([], CELL_SCHEMA), tissue=tissue,
            analysed=np.ones(tissue.shape, bool), origin_um=(0.0, 0.0), tissue_mpp=mpp, provides=frozenset(),
            source="t", ce_source="model",
        )
    )  # fmt: skip


def test_a_disk_has_its_circumference():
    y, x = np.mgrid[:400, :400] - 199.5
    tissue = np.where(np.hypot(x, y) < 120, CE, CS).astype(np.uint8)
    assert _length(_view(tissue)) == pytest.approx(2 * np.pi * 0.48, rel=0.01)
    assert _length(_view(tissue, mpp=8.0)) == pytest.approx(2 * np.pi * 0.96, rel=0.01)


@pytest.mark.parametrize("degrees", [0, 20, 45])
def test_the_depth_of_lymphocytes_is_read_between_pixels(make_map, degrees):
    """To a quarter of a pixel, at an edge of any direction."""
    y, x = np.mgrid[:400, :400] * 4.0 + 2 - 800
    a, xy = np.deg2rad(degrees), np.random.default_rng(0).uniform(300, 1300, (4000, 2)).astype(np.float32)
    semantic = make_map(xy, ["lymphocyte"] * 4000, shape=(400, 400))
    semantic.tissue[:] = np.where(x * np.cos(a) + y * np.sin(a) < 0, CE, CS)
    s = (xy[:, 0] - 800) * np.cos(a) + (xy[:, 1] - 800) * np.sin(a)
    assert depth(View(semantic)) == pytest.approx(-np.median(s[s < 0]), abs=1.2)


def test_epithelium_beside_glass_necrosis_or_the_end_of_the_slide_is_no_interface(make_map):
    """A square of 400 µm: stroma on one side, necrosis on one, glass on one, the slide's end on one."""
    regions = (
        ("cancer_epithelium", 0, 400, 400, 800),
        ("cancer_stroma", 400, 400, 800, 800),
        ("necrosis", 0, 800, 400, 1000),
    )
    assert interface(View(make_map(regions=regions)))["interface_len"] == pytest.approx(0.4, rel=0.03)


def test_densities_by_distance_are_counts_over_area(make_map):
    """Stroma beside a straight edge of epithelium at x = 1000: bands are strips of 2 mm."""
    rng = np.random.default_rng(0)
    xy = rng.uniform(0, 2000, (20_000, 2))
    regions = (
        ("other", 1200, 0, 2000, 2000),
        ("cancer_stroma", 1000, 0, 1200, 2000),
        ("cancer_epithelium", 0, 0, 1000, 2000),
    )
    v = interface(View(make_map(xy, ["lymphocyte"] * len(xy), regions=regions)))
    s = xy[:, 0].astype(np.float32) - 1000
    for name, (low, high) in BANDS.items():
        count = np.count_nonzero((s > low) & (s <= high))
        assert v[name] == pytest.approx(count / (2 * (high - low) / 1000), rel=0.08), name
    assert v["til_depth"] == pytest.approx(-np.median(s[s < 0]), abs=4)
    assert v["til_slope"] == pytest.approx(0, abs=7e-4)
    assert v["til_in_out"] == pytest.approx(1, abs=0.1) and v["til_margin_stroma"] == pytest.approx(0.5, abs=0.03)
    assert v["interface_len"] == pytest.approx(2, rel=0.015)


def test_a_gradient_has_its_slope(make_map):
    rng = np.random.default_rng(1)
    xy = rng.uniform((700, 0), (1300, 2000), (300_000, 2))
    s = xy[:, 0] - 1000
    kept = xy[rng.uniform(size=len(xy)) < np.exp(0.01 * (s - 300))]
    regions = (("cancer_stroma", 1000, 0, 2000, 2000), ("cancer_epithelium", 0, 0, 1000, 2000))
    v = interface(View(make_map(kept, ["lymphocyte"] * len(kept), regions=regions)))
    assert v["til_slope"] == pytest.approx(0.01, rel=0.03)
    assert v["til_in_out"] == pytest.approx(np.exp(-1), rel=0.06)
    assert v["til_0_50"] < v["til_50_100"] < v["til_100_200"]


def test_a_band_that_is_not_there_is_nan_and_an_empty_one_zero(make_map):
    """Nests of 88 µm have no inside deeper than 50 µm."""
    regions = (
        ("cancer_stroma", 0, 0, 2000, 2000),
        *(("cancer_epithelium", x, 0, x + 88, 2000) for x in range(200, 2000, 300)),
    )
    v = interface(View(make_map([[1, 1]], ["lymphocyte"], regions=regions)))
    assert np.isnan([v["til_m150_m100"], v["til_m100_m50"], v["til_300_500"], v["til_depth"]]).all()
    assert v["til_m50_0"] == 0 == v["til_0_50"] and v["til_slope"] == 0 and np.isnan(v["til_in_out"])
