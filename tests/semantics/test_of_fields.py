"""Fields of view: what they have whatever their size, and what the fields of a patient are together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kras_plugins.semantics.epithelium import BACKGROUND, EPITHELIUM, density_tissue
from kras_plugins.semantics.features.table import FEATURES
from kras_plugins.semantics.map import read_map, write_map
from kras_plugins.semantics.patient import combine
from kras_plugins.semantics.profile import profile
from kras_plugins.semantics.raster import Raster

SIDE, HALF = 640, 320
ADDS_UP = [f.name for f in FEATURES if f.group in "ABC" and f.name not in {"itlr", "atlr", "dtlr", "til_peri"}]
"""Features of which a cut through the tissue takes nothing: sums, and ratios of sums."""
NOT_CUT = {"n_tissue_fragments", "frac_mucin"}


@pytest.fixture
def scene(make_map):
    """A piece of tumor, as a function of the part of it that is seen: (x0, x1) in µm."""
    rng = np.random.default_rng(3)
    kinds = np.array(["tumor", "lymphocyte", "fibroblast", "macrophage", "neutrophil"])
    xy = rng.uniform(0, SIDE, (1400, 2))
    kind = kinds[rng.choice(5, 1400, p=[0.5, 0.25, 0.15, 0.06, 0.04])]
    kind[(xy[:, 0] > HALF) & (kind == "tumor") & (rng.random(1400) < 0.7)] = "lymphocyte"  # the halves differ

    def seen(x0, x1, field=True):
        regions = (
            ("cancer_stroma", 0, 0, SIDE, SIDE), ("cancer_epithelium", 40, 40, 560, 280),
            ("necrosis", 400, 500, 600, 620), ("normal_lung", 0, 560, 200, SIDE),
        )  # fmt: skip
        inside = (xy[:, 0] >= x0) & (xy[:, 0] < x1)
        whole = make_map(
            xy[inside], kind[inside], regions=regions, shape=(160, 160), area_um2=np.full(inside.sum(), 40)
        )
        analysed = np.zeros((160, 160), bool)
        analysed[:, x0 // 4 : x1 // 4] = True
        return replace(whole, analysed=analysed, field=field)

    return seen


def test_a_patients_fields_together_are_the_piece_they_were_cut_from(scene, values):
    whole = values(profile(scene(0, SIDE)))
    both = combine([profile(scene(0, HALF)), profile(scene(HALF, SIDE))], "p")
    found = values(both)
    assert both.valid["B"] and both.valid["C"]
    for name in ADDS_UP:
        if name not in NOT_CUT:
            assert found[name] == pytest.approx(whole[name], rel=1e-6, nan_ok=True), name
    assert sum(not np.isnan(whole[name]) for name in ADDS_UP) > 30


def test_their_ratios_are_no_means_of_ratios(scene, values):
    parts = [values(profile(scene(*ends))) for ends in ((0, HALF), (HALF, SIDE))]
    found = values(combine([profile(scene(0, HALF)), profile(scene(HALF, SIDE))], "p"))
    mean = np.average([p["lt_ratio"] for p in parts], weights=[p["area_ta"] for p in parts])
    assert abs(mean / found["lt_ratio"] - 1) > 0.1


def test_a_small_field_has_densities_per_area_and_nothing_that_needs_more(scene, values):
    small = scene(40, 200)  # 0.04 mm² of epithelium
    field, slide = profile(small), profile(replace(small, field=False))
    found, before = values(field), values(slide)
    tumor_in_ce = sum(
        40 <= x < 200 and 40 <= y < 280
        for x, y, k in zip(*(small.cells[n].to_pylist() for n in ("x_um", "y_um", "class")), strict=True)
        if k == "tumor"
    )
    assert found["area_ce"] == pytest.approx(0.16 * 0.24)
    assert found["tc_ce"] == pytest.approx(tumor_in_ce / 0.0384, rel=0.02)
    assert 0 < found["purity"] < 1 and np.isnan(found["itlr"])
    assert np.isnan(before["tc_ce"]) and np.isnan(before["purity"])
    for f in FEATURES:
        if f.group not in "ABC":
            assert np.isnan(found[f.name]), f.name
    assert not field.valid["B"] and not field.valid["C"]


def test_a_patient_of_too_little_tissue_in_all_has_no_densities_as_one_of_a_slide(scene, values):
    fields = [profile(scene(x, x + 80)) for x in (40, 120)]
    assert np.isnan(values(combine(fields, "p"))["tc_ce"]) and np.isnan(values(combine(fields, "p"))["purity"])
    enough = combine([*fields, *(profile(scene(x, x + 80)) for x in (200, 280, 360, 440))], "p")
    assert enough.valid["B"] and not np.isnan(values(enough)["tc_ce"])
    assert values(enough)["area_ce"] == pytest.approx(0.48 * 0.24)


def test_one_profile_stays_what_it_is(scene):
    one = profile(scene(0, SIDE))
    np.testing.assert_allclose(combine([one], "p").values, one.values, rtol=1e-12)


def test_a_bit_of_tissue_is_no_piece_of_it(scene, values):
    assert np.isnan(values(profile(scene(0, 64)))["n_tissue_fragments"])
    assert values(profile(scene(0, 64, field=False)))["n_tissue_fragments"] == 0
    assert values(profile(scene(0, HALF)))["n_tissue_fragments"] == 1


def test_a_map_that_was_written_is_still_that_of_a_field(scene, tmp_path):
    write_map(tmp_path, scene(0, HALF))
    again = read_map(tmp_path)
    assert again.field
    np.testing.assert_array_equal(profile(again).values, profile(scene(0, HALF)).values)


@pytest.mark.parametrize("um", [64, 256])
def test_epithelium_reaches_the_edge_of_a_field_that_it_fills(um):
    raster = Raster(shape=(um // 4, um // 4), mpp=4.0)
    x, y = (axis.ravel() for axis in np.meshgrid(np.arange(5, um, 10.0), np.arange(5, um, 10.0)))
    tissue = np.ones(raster.shape, bool)
    cut = density_tissue(x, y, tissue, raster, cut=True)
    assert (cut == EPITHELIUM).all()
    assert not (density_tissue(x, y, tissue, raster) == EPITHELIUM).all()  # as on a slide with glass beyond
    tissue[:, : um // 8] = False
    assert ((density_tissue(x, y, tissue, raster, cut=True) == BACKGROUND) == ~tissue).all()
