"""Features against arithmetic, brute force and what must not matter."""

from __future__ import annotations

import time
from dataclasses import astuple, replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from kras_plugins.data import CELL_CLASSES, CELL_COLUMNS, TISSUE_CLASSES, Squares
from kras_plugins.semantics.features.areas import areas
from kras_plugins.semantics.features.graph import graph
from kras_plugins.semantics.features.neighbors import neighbor_statistics, neighbors
from kras_plugins.semantics.features.nuclei import coherence
from kras_plugins.semantics.features.phenotype import LUNIT_JCO2022, calls, n_grids, shares, squares
from kras_plugins.semantics.features.second_order import second_order
from kras_plugins.semantics.features.table import FEATURES, GROUPS
from kras_plugins.semantics.profile import profile
from kras_plugins.semantics.view import View

EVERYTHING = frozenset(CELL_CLASSES) | frozenset(TISSUE_CLASSES) | frozenset(CELL_COLUMNS)


def test_areas_of_rectangles(make_map):
    regions = (
        ("other", 0, 0, 2000, 1000),
        ("cancer_stroma", 0, 0, 800, 800),
        ("cancer_epithelium", 100, 100, 500, 600),
        ("necrosis", 200, 200, 300, 400),
        ("mucin", 1000, 0, 1100, 100),
        ("other", 0, 1500, 400, 1600),
    )
    a = areas(View(make_map(regions=regions)))
    assert a["area_tissue"] == pytest.approx(2.0 + 0.04)
    assert a["area_ce"] == pytest.approx(0.2 - 0.02)
    assert a["area_cs"] == pytest.approx(0.64 - 0.2)
    assert a["tsr"] == pytest.approx(0.44 / 0.62) and a["frac_ce"] == pytest.approx(0.18 / 0.62)
    assert a["log_ce_cs"] == pytest.approx(np.log(0.181 / 0.441))
    assert a["frac_necrosis"] == pytest.approx(0.02 / 0.64)
    assert a["frac_mucin"] == pytest.approx(0.01 / 0.63)
    assert a["n_tissue_fragments"] == 1  # the other piece is 0.04 mm²


def test_what_was_not_analysed_does_not_count(make_map, nest, values):
    xy, classes, regions = nest
    analysed = np.ones((500, 500), bool)
    analysed[:, 200:] = False  # right of 800 µm
    v = values(profile(make_map(xy, classes, regions=regions, analysed=analysed)))
    kept = xy[np.array(classes) == "lymphocyte"]
    inside = (kept[:, 0] >= 400) & (kept[:, 0] < 800) & (kept[:, 1] >= 400) & (kept[:, 1] < 1200)
    assert v["area_ce"] == pytest.approx(0.32)
    assert v["itil"] == pytest.approx(inside.sum() / 0.32)


def test_densities_and_ratios_are_counts_over_areas(make_map, nest, values):
    xy, classes, regions = nest
    v = values(profile(make_map(xy, classes, regions=regions)))
    kind = np.array(classes)
    ce = np.all((xy >= 400) & (xy < 1200), axis=1)
    count = {name: ((kind == name).sum(), ((kind == name) & ce).sum()) for name in set(classes)}
    lymphocytes, inner = count["lymphocyte"]
    assert v["itil"] == pytest.approx(inner / 0.64)
    assert v["stil"] == pytest.approx((lymphocytes - inner) / 0.8)
    assert v["til_ta"] == pytest.approx(lymphocytes / 1.44) == pytest.approx(v["til_tissue"])
    assert v["tc_cs"] == 0 and v["tc_ce"] == pytest.approx(2000 / 0.64)
    assert v["purity"] == pytest.approx(2000 / 3200)
    assert v["lt_ratio"] == pytest.approx(0.45)
    assert v["il_share"] == pytest.approx(inner / 900)
    assert v["log_itil_stil"] == pytest.approx(np.log((inner / 0.64 + 1) / ((lymphocytes - inner) / 0.8 + 1)))
    assert v["fib_tum"] == pytest.approx(0.15) and v["mac_lym"] == 0
    # the ring of stroma is 200 µm wide; its corners reach beyond 200 µm from the interface
    assert v["til_peri"] == pytest.approx(v["stil"], rel=0.1)
    assert v["itlr"] + v["atlr"] + v["dtlr"] == pytest.approx(0.45)
    assert v["itlr"] * 2000 <= inner


def test_lymphocytes_split_by_tumor_density_follow_where_they_lie(make_map, values):
    """Three sharp zones: amid dense tumor, beside it, far away."""
    rng = np.random.default_rng(1)
    tumor = rng.uniform(400, 1000, (2500, 2))
    groups = [rng.uniform((500, 500), (900, 900), (150, 2)), rng.uniform((1020, 500), (1050, 900), (100, 2)),
              rng.uniform((1500, 300), (1900, 1200), (200, 2))]  # fmt: skip
    xy = np.concatenate([tumor, *groups])
    classes = ["tumor"] * 2500 + ["lymphocyte"] * 450
    regions = (("cancer_stroma", 0, 0, 2000, 2000), ("cancer_epithelium", 400, 400, 1000, 1000))
    v = values(profile(make_map(xy, classes, regions=regions)))
    assert v["itlr"] == pytest.approx(150 / 2500, rel=0.15)
    assert v["atlr"] == pytest.approx(100 / 2500, rel=0.3)
    assert v["dtlr"] == pytest.approx(200 / 2500, rel=0.05)


def test_a_class_the_source_cannot_give_is_nan_and_one_it_did_not_find_is_zero(make_map, nest, values):
    xy, classes, regions = nest
    full = values(profile(make_map(xy, classes, regions=regions)))
    part = values(profile(make_map(xy, classes, regions=regions, provides=EVERYTHING - {"macrophage", "area_um2"})))
    assert full["mac_cs"] == 0 and np.isnan(part["mac_cs"]) and np.isnan(part["mac_lym"])
    assert np.isnan(part["nuc_area_mean"])
    assert part["itil"] == full["itil"]


def test_too_small_a_specimen_is_nan_with_a_flag(make_map, values):
    rng = np.random.default_rng(0)
    xy = rng.uniform(100, 300, (150, 2))
    p = profile(make_map(xy, ["tumor"] * 150, regions=(("cancer_epithelium", 100, 100, 300, 300),)))
    assert p.valid == {group: group == "A" for group in GROUPS}
    v = values(p)
    assert v["area_ce"] == pytest.approx(0.04)
    assert all(np.isnan(v[f.name]) for f in FEATURES if f.group != "A")


def test_a_slide_without_any_cell_or_tissue_is_nan(make_map, values):
    p = profile(make_map())
    assert not any(p.valid.values()) and np.isnan(p.values).all()


def bad_maps(make_map):
    """Maps on which a careless formula divides by nothing: what they are, and which groups they cannot have."""
    rng = np.random.default_rng(0)
    ring = (("cancer_stroma", 0, 0, 2000, 2000), ("cancer_epithelium", 400, 400, 1400, 1400))
    tumor, loose = rng.uniform(400, 1400, (1500, 2)), rng.uniform(0, 2000, (900, 2))
    both, kinds = np.concatenate([tumor, loose]), ["tumor"] * 1500 + ["lymphocyte"] * 900
    biopsy = (("cancer_stroma", 0, 0, 400, 750), ("cancer_epithelium", 0, 100, 400, 500))  # 0.3 mm²
    core = np.concatenate([rng.uniform((0, 100), (400, 500), (700, 2)), rng.uniform((0, 0), (400, 750), (120, 2))])
    return {
        "no tumor cells": (make_map(loose, ["lymphocyte"] * 900, regions=ring), "CEFGHIM"),
        "no lymphocytes": (make_map(tumor, ["tumor"] * 1500, regions=ring), "FI"),
        "no cells": (make_map(regions=ring), "CEFGHIM"),
        "no epithelium": (make_map(both, kinds, regions=ring[:1]), "BCEFGHIJKLMN"),
        "no stroma": (make_map(both, kinds, regions=(("cancer_epithelium", 0, 0, 2000, 2000),)), "J"),
        "no tissue": (make_map(both, kinds), "ABCDEFGHIJKLMN"),
        "nothing analysed": (
            make_map(both, kinds, regions=ring, analysed=np.zeros((500, 500), bool)),
            "ABCDEFGHIJKLMN",
        ),
        "a biopsy": (make_map(core, ["tumor"] * 700 + ["lymphocyte"] * 120, regions=biopsy), "DH"),
        "cells at one place": (make_map(np.full((2400, 2), 500.0), kinds, regions=ring), ""),
        "cells on a line": (make_map(np.repeat(np.linspace(450, 1300, 2400)[:, None], 2, 1), kinds, regions=ring), ""),
        "few cells": (make_map(both[::100], kinds[::100], regions=ring), "CEFGHIM"),
    }


def test_bad_input_is_nan_with_a_flag_and_never_infinite_or_a_warning(make_map):
    for what, (semantic, invalid) in bad_maps(make_map).items():
        p = profile(semantic)
        assert {g for g, ok in p.valid.items() if not ok} == set(invalid), what
        assert not np.isinf(p.values).any(), what
        for f, value in zip(FEATURES, p.values, strict=True):
            assert p.valid[f.group] or np.isnan(value), (what, f.name)


def test_what_was_not_found_is_zero_and_what_cannot_be_known_is_missing(make_map, values):
    none = values(profile(bad_maps(make_map)["no lymphocytes"][0]))
    assert none["itil"] == 0 == none["til_m50_0"] == none["tls_count"] == none["n_grids"] - 6.25
    for name in (
        "mh_100",
        "moran_l",
        "lee_tl",
        "immune_hs_frac",
        "til_depth",
        "til_c_index",
        "lym_area_median",
    ):
        assert np.isnan(none[name]), name
    assert not np.isnan(none["moran_t"])


def test_neighbors_on_a_lattice_are_exact():
    """Tumor cells 20 µm apart, a lymphocyte 5 µm to the right of each."""
    x, y = np.meshgrid(np.arange(30) * 20.0, np.arange(30) * 20.0)
    tumor = np.stack([x.ravel(), y.ravel()], 1)
    v = neighbor_statistics(tumor, tumor + np.array([5, 0]), 0.36)
    assert v["d_tl_p50"] == v["d_tl_p10"] == v["d_tl_p90"] == v["d_lt_p50"] == 5
    assert v["d_tt_p50"] == v["d_ll_p50"] == 20
    assert v["t_near_l_20"] == 1
    assert v["g_tl_auc"] == pytest.approx(0.95)
    assert v["nn_ratio"] == pytest.approx(5 * 2 * np.sqrt(900 / 0.36e6))


def test_neighbors_agree_with_brute_force():
    rng = np.random.default_rng(2)
    t, lym = rng.uniform(0, 500, (300, 2)), rng.uniform(0, 500, (80, 2))
    v, d = neighbor_statistics(t, lym, 0.25), cdist(t, lym)
    nearest = d.min(1)
    assert v["d_tl_p10"] == pytest.approx(np.percentile(nearest, 10))
    assert v["d_lt_p90"] == pytest.approx(np.percentile(d.min(0), 90))
    assert v["t_near_l_20"] == np.mean(nearest <= 20) and v["t_near_l_50"] == np.mean(nearest <= 50)
    assert v["l_within_50_of_t"] == pytest.approx((d <= 50).sum(1).mean())
    assert v["t_within_30_of_l"] == pytest.approx((d <= 30).sum(0).mean())
    r = np.linspace(0, 100, 20_001)
    assert v["g_tl_auc"] == pytest.approx(np.mean([(nearest <= x).mean() for x in r]), abs=1e-3)


def test_complete_spatial_randomness_has_a_ratio_of_one():
    rng = np.random.default_rng(3)
    t, lym = rng.uniform(100, 2900, (5000, 2)), rng.uniform(0, 3000, (3000, 2))  # a margin keeps the edge out
    assert neighbor_statistics(t, lym, 9.0)["nn_ratio"] == pytest.approx(1, abs=0.03)


def test_neighbors_of_nobody_are_nan():
    v = neighbor_statistics(np.zeros((5, 2)) + np.arange(5)[:, None], np.zeros((0, 2)), 1.0)
    assert v["d_tt_p50"] == pytest.approx(np.sqrt(2)) and np.isnan(v["d_tl_p50"]) and np.isnan(v["t_near_l_20"])


@pytest.mark.parametrize(
    ("in_ce", "in_cs", "expected"),
    [(54, 0, "is"), (54, 250, "is"), (53, 178, "ids"), (53, 179, "ies"), (0, 179, "ies"), (0, 0, "ids")],
)
def test_the_published_thresholds_decide_a_square(in_ce, in_cs, expected):
    """JCO 2022: inflamed above 106 per mm² of epithelium, else excluded above 357 per mm² of stroma.

    Four squares of 0.5 mm² each: 53 cells are not above 106.
    """
    v = shares(Squares(*(np.full(4, float(value)) for value in (0.5, 0.5, in_ce, in_cs))), LUNIT_JCO2022)
    assert v[expected] == 1
    assert v["is"] + v["ies"] + v["ids"] == 1 and v["ip_entropy"] == 0


def test_squares_are_those_of_four_grids_about_the_centroid(make_map):
    """Each counted separately: overlaps of pixels with squares, and cells between their sides."""
    rng = np.random.default_rng(4)
    far = np.add.outer(np.linspace(-1, 1, 300) ** 2, np.linspace(-1.2, 0.9, 300) ** 2)
    semantic = make_map(rng.uniform(0, 3000, (3000, 2)), ["lymphocyte"] * 3000, shape=(300, 300), mpp=10.0)
    semantic.tissue[far < 0.9] = TISSUE_CLASSES.index("cancer_stroma")
    semantic.tissue[(far < 0.6) & (rng.uniform(size=far.shape) < 0.5)] = TISSUE_CLASSES.index("cancer_epithelium")
    view = View(semantic)
    at = np.arange(300) * 10.0 + 5
    middle = [np.average(at, weights=view.ta_pixels.sum(axis)) for axis in (0, 1)]
    expected = []
    for dx in (0, 500):
        for dy in (0, 500):
            for left in middle[0] + dx + 1000.0 * np.arange(-3, 3):
                for top in middle[1] + dy + 1000.0 * np.arange(-3, 3):
                    along, down = (
                        np.clip(np.minimum(at + 5, low + 1000) - np.maximum(at - 5, low), 0, None)
                        for low in (left, top)
                    )
                    part = np.outer(down, along) / 1e6
                    ce, cs = (part[view.pixels(name)].sum() for name in ("cancer_epithelium", "cancer_stroma"))
                    x, y = view.xy.T
                    inside = (x >= left) & (x < left + 1000) & (y >= top) & (y < top + 1000)
                    if ce + cs >= 0.05:
                        expected.append((ce, cs, (inside & view.in_ce).sum(), (inside & view.in_cs).sum()))
    found = np.stack(astuple(squares(view)), 1)
    order = [np.lexsort(np.round(values, 4).T) for values in (found, np.array(expected))]
    np.testing.assert_allclose(found[order[0]], np.array(expected)[order[1]], atol=3e-6)
    assert n_grids(squares(view)) == len(expected) / 4


def test_phenotype_calls():
    nan = float("nan")
    assert calls({"is": 0.34, "ies": 0.6, "iip_frac": 0.34}) == {"ip_class": 2, "iip_pos": 1}
    assert calls({"is": 1 / 3, "ies": 0.5, "iip_frac": 0.2}) == {"ip_class": 1, "iip_pos": 1}
    assert calls({"is": 0.1, "ies": 0.3, "iip_frac": 0.1}) == {"ip_class": 0, "iip_pos": 0}
    assert all(np.isnan(list(calls({"is": nan, "ies": nan, "iip_frac": nan}).values())))


def test_coherence_is_one_for_parallel_and_small_for_random_nuclei():
    rng = np.random.default_rng(0)
    xy = rng.uniform(0, 2000, (8000, 2))
    assert coherence(xy, np.full(8000, 0.7)) == pytest.approx(1)
    assert coherence(xy, rng.choice([-np.pi / 2, np.pi / 2], 8000)) == pytest.approx(1)  # one direction, two names
    # |mean| of n random unit vectors has the expectation sqrt(pi / n) / 2, n = 63 neighbors here
    assert coherence(xy, rng.uniform(-np.pi / 2, np.pi / 2, 8000)) == pytest.approx(np.sqrt(np.pi / 63) / 2, rel=0.1)


def test_morphometry_is_of_tumor_nuclei_in_epithelium(make_map, values):
    rng = np.random.default_rng(0)
    xy = np.concatenate(
        [rng.uniform(400, 800, (600, 2)), rng.uniform(1000, 1400, (400, 2)), rng.uniform(400, 800, (100, 2))]
    )
    classes = ["tumor"] * 1000 + ["lymphocyte"] * 100
    area = np.concatenate([rng.normal(80, 10, 600), np.full(400, 500.0), np.full(100, 25.0)])
    regions = (("cancer_stroma", 200, 200, 1600, 1600), ("cancer_epithelium", 400, 400, 800, 800))
    v = values(profile(make_map(xy, classes, regions=regions, area_um2=area)))
    chosen = area[:600].astype(np.float32).astype(float)
    assert v["nuc_area_mean"] == pytest.approx(chosen.mean())
    assert v["nuc_area_cv"] == pytest.approx(chosen.std(ddof=1) / chosen.mean())
    assert v["tl_area_ratio"] == pytest.approx(np.median(chosen) / 25)
    assert np.isnan(v["nuc_solidity"])  # nobody measured it


LOOSE = {"itlr", "atlr", "dtlr", "nuc_orient_coherence"}


@pytest.mark.parametrize("change", ["order", "translation", "origin", "rotation"])
def test_order_translation_and_rotation_do_not_matter(make_map, nest, values, change):
    xy, classes, regions = nest
    rng = np.random.default_rng(5)
    orientation, area = rng.uniform(-1.5, 1.5, len(xy)), rng.uniform(20, 90, len(xy))
    before_map = make_map(xy, classes, regions=regions, orientation=orientation, area_um2=area)
    before = values(profile(before_map))
    if change == "order":
        order = rng.permutation(len(xy))
        kw = {"orientation": orientation[order], "area_um2": area[order]}
        after = make_map(xy[order], [classes[i] for i in order], regions=regions, **kw)
    elif change == "translation":
        after = make_map(
            xy + 4000.0, classes, regions=regions, origin=(4000.0, 4000.0), orientation=orientation, area_um2=area
        )
    elif change == "origin":  # more glass above and to the left, by no whole number of squares
        wide, dx, dy = np.pad(before_map.tissue, ((37, 0), (53, 0))), 53 * 4, 37 * 4
        moved = make_map(xy + np.array([dx, dy]), classes, orientation=orientation, area_um2=area, analysed=wide >= 0)
        after = replace(moved, tissue=wide)
    else:  # 90 degrees; the regions are squares about the center of 1600 µm, where the raster is 2000 µm wide
        turned = np.stack([1600 - xy[:, 1], xy[:, 0]], 1)
        after = make_map(turned, classes, regions=regions, orientation=orientation + np.pi / 2, area_um2=area)
    after = values(profile(after))
    for name in before:
        tolerance = 0.02 if name in LOOSE else 1e-3
        assert after[name] == pytest.approx(before[name], rel=tolerance, abs=1e-6, nan_ok=True), name


@settings(deadline=None, derandomize=True, max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(0, 360), st.integers(0, 1000))
def test_any_rotation_of_a_round_tumor_leaves_distances_and_graphs_alone(make_map, degrees, seed):
    rng = np.random.default_rng(seed)
    radius, angle = 680 * np.sqrt(rng.uniform(0, 1, 1500)), rng.uniform(0, 2 * np.pi, 1500)
    y, x = np.mgrid[:500, :500] * 4.0 + 2
    far = np.hypot(x - 1000, y - 1000)
    found = []
    for turn in (0.0, np.deg2rad(degrees)):
        xy = 1000 + radius[:, None] * np.stack([np.cos(angle + turn), np.sin(angle + turn)], 1)
        semantic = make_map(xy, ["tumor"] * 1000 + ["lymphocyte"] * 500)
        semantic.tissue[far < 700] = TISSUE_CLASSES.index("cancer_stroma")
        semantic.tissue[far < 400] = TISSUE_CLASSES.index("cancer_epithelium")
        view = View(semantic)
        found.append(neighbors(view) | graph(view) | second_order(view))
    for name, value in found[0].items():
        # areas that reach beyond the pixelated rim come and go
        tolerance = 0.03 if name == "voronoi_cv_t" else 2e-3
        assert found[1][name] == pytest.approx(value, rel=tolerance, abs=0.02), name


@pytest.mark.parametrize("name", ["mpp", "px"])
def test_the_resolution_of_raster_and_slide_hardly_matters(make_map, nest, values, name):
    """The same tissue on pixels of 4 and 8 µm; the same cells at other level-0 pixels."""
    xy, classes, regions = nest
    before = values(profile(make_map(xy, classes, regions=regions, shape=(400, 400))))
    if name == "px":
        after = values(profile(make_map(xy, classes, regions=regions, shape=(400, 400), x_px=xy[:, 0], y_px=xy[:, 1])))
    else:
        after = values(profile(make_map(xy, classes, regions=regions, shape=(200, 200), mpp=8.0)))
    rough = {"til_slope", "til_in_out", "til_depth", "gi_max", "cold_l_frac", "interface_fractal", "stroma_width",
             "ce_circularity", "til_margin_stroma", "co_hs_all"}  # fmt: skip
    for f in FEATURES:
        tolerance = 1e-9 if name == "px" else 0.25 if f.name in rough or f.name.startswith("til_") else 0.05
        assert after[f.name] == pytest.approx(before[f.name], rel=tolerance, abs=0.02, nan_ok=True), f.name


def test_blocks_of_rows_do_not_show(make_map, nest, values, monkeypatch):
    xy, classes, regions = nest
    semantic = make_map(xy, classes, regions=regions)
    whole = values(profile(semantic))
    monkeypatch.setattr("kras_plugins.semantics.raster.BLOCK_ROWS", 37)
    for name, value in values(profile(semantic)).items():
        assert value == pytest.approx(whole[name], rel=1e-5, nan_ok=True), name


def test_40_000_cells_take_seconds(make_map):
    """benchmarks/semantics.py measures 800,000 and 2,000,000."""
    rng = np.random.default_rng(0)
    side = 3000
    xy = rng.uniform(0, side, (40_000, 2))
    classes = ["tumor"] * 30_000 + ["lymphocyte"] * 10_000
    regions = [
        ("cancer_stroma", 0, 0, side, side),
        *(("cancer_epithelium", x, 0, x + 600, side) for x in range(0, side, 1000)),
    ]
    semantic = make_map(xy, classes, regions=regions, shape=(750, 750), area_um2=np.full(40_000, 50.0))
    began = time.process_time()
    p = profile(semantic)
    took = time.process_time() - began
    assert all(p.valid.values()) and took < 10
