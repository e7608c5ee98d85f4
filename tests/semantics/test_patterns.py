"""Growth patterns, and the immune phenotype with thresholds fitted on training patients."""

from __future__ import annotations

from dataclasses import astuple, replace

import numpy as np
import pytest

from kras_plugins.data import GROWTH_PATTERNS, Squares
from kras_plugins.errors import ConfigError
from kras_plugins.semantics.features.patterns import patterns
from kras_plugins.semantics.features.phenotype import (
    LUNIT_JCO2022,
    Thresholds,
    calls,
    fit_thresholds,
    phenotype,
    pooled,
    shares,
    squares,
    with_thresholds,
)
from kras_plugins.semantics.map import read_map, write_map
from kras_plugins.semantics.patient import combine
from kras_plugins.semantics.profile import from_json, profile, to_json
from kras_plugins.semantics.view import View


def growth(shape=(500, 500), **columns):
    """`columns`: pattern -> (first, last) column of the raster."""
    raster = np.zeros(shape, np.uint8)
    for name, (first, last) in columns.items():
        raster[:, first:last] = GROWTH_PATTERNS.index(name)
    return raster


def test_patterns_are_shares_of_the_tumor_area_that_has_one(make_map):
    regions = (("other", 0, 0, 2000, 2000), ("cancer_stroma", 0, 0, 1000, 1000), ("cancer_epithelium", 0, 0, 600, 1000))
    given = growth(solid=(0, 100), lepidic=(100, 150), papillary=(150, 200), mucinous=(250, 500))
    v = patterns(View(replace(make_map(regions=regions), pattern=given)))
    assert v["mucinous_share"] == 0  # beyond the tumor area
    assert v["solid_share"] == pytest.approx(0.5) and v["lepidic_papillary_share"] == pytest.approx(0.5)
    assert v["pattern_entropy"] == pytest.approx(1.5)


def test_patterns_are_kept_on_disk_and_a_map_without_any_has_none(make_map, tmp_path):
    given = growth(solid=(0, 100), acinar=(300, 400))
    for name, pattern in (("with", given), ("without", None)):
        (tmp_path / name).mkdir()
        write_map(tmp_path / name, replace(make_map([[5, 5]], ["tumor"]), pattern=pattern))
    np.testing.assert_array_equal(read_map(tmp_path / "with").pattern, given)
    assert read_map(tmp_path / "without").pattern is None


def test_without_growth_patterns_they_are_missing_and_atypia_is_not(make_map, nest, values):
    xy, classes, regions = nest
    area = np.where(np.array(classes) == "tumor", 90.0, 30.0)
    area[:500] = 130.0  # a quarter of the tumor nuclei are more than four times a lymphocyte
    semantic = make_map(xy, classes, regions=(*regions, ("necrosis", 0, 1600, 400, 1960)), area_um2=area)
    p = profile(semantic)
    v = values(p)
    names = ("p_luad", "solid_share", "mucinous_share", "lepidic_papillary_share", "pattern_entropy")
    assert p.valid["N"] and np.isnan([v[n] for n in names]).all()
    assert v["necrosis_atypia"] == pytest.approx((0.144 / (1.44 + 0.144) + 0.25) / 2)
    given = values(profile(replace(semantic, pattern=growth(solid=(0, 500)))))
    assert given["solid_share"] == 1 and given["pattern_entropy"] == 0
    assert np.isnan(given["p_luad"])
    few = replace(make_map(regions=regions), pattern=growth(solid=(0, 60)))
    assert np.isnan(patterns(View(few))["solid_share"])  # 0.03 mm²


def cohort(n, seed=0, scale=1.0):
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n):
        m = rng.integers(12, 240)
        ce, cs = rng.uniform(0, 0.6, m), rng.uniform(0, 0.4, m)
        level = scale * rng.lognormal(4.5, 1, 2)
        found.append(Squares(ce, cs, rng.poisson(level[0] * ce) * 1.0, rng.poisson(4 * level[1] * cs) * 1.0))
    return found


def classes_of(patients, thresholds):
    return np.bincount([int(shares(grid, thresholds)["ip_class"]) for grid in patients], minlength=3) / len(patients)


@pytest.mark.parametrize("scale", [0.2, 1.0, 5.0])
def test_fitted_thresholds_give_the_published_shares_whatever_the_detector_counts(scale):
    patients = cohort(400, scale=scale)
    fitted = fit_thresholds(patients)
    desert, excluded, inflamed = classes_of(patients, fitted)
    assert inflamed == pytest.approx(0.440, abs=0.004)
    assert excluded == pytest.approx(0.371, abs=0.004) and desert == pytest.approx(0.189, abs=0.008)
    assert fitted.preset == "quantile"
    new = classes_of(cohort(400, seed=1, scale=scale), fitted)  # patients that were not seen come close, not equal
    assert new[2] == pytest.approx(0.44, abs=0.09)


def test_thresholds_follow_the_scale_and_ignore_order_and_small_slides():
    patients = cohort(60)
    one = fit_thresholds(patients)
    double = [Squares(g.ce, g.cs, 2 * g.in_ce, 2 * g.in_cs) for g in patients]
    two = fit_thresholds(double[::-1])
    assert two.ce == pytest.approx(2 * one.ce) and two.cs == pytest.approx(2 * one.cs)
    small = Squares(*np.full((4, 2), 50.0))
    assert fit_thresholds([*patients, small]) == one


def test_too_few_patients_are_refused():
    with pytest.raises(ConfigError, match="19 training patients"):
        fit_thresholds(cohort(19))


def test_other_thresholds_change_only_what_depends_on_them(make_map, values):
    rng = np.random.default_rng(0)
    xy = rng.uniform(0, 2000, (4000, 2))
    regions = (("cancer_stroma", 0, 0, 2000, 2000), ("cancer_epithelium", 0, 0, 1000, 2000))
    semantic = make_map(xy, ["lymphocyte"] * 1000 + ["tumor"] * 3000, regions=regions)
    before = profile(semantic)
    same = with_thresholds(before, LUNIT_JCO2022)
    np.testing.assert_array_equal(same.values, before.values)
    high = values(with_thresholds(before, Thresholds(ce=1e9, cs=1e9, preset="quantile")))
    changed = {k for k, v in values(before).items() if not (v == high[k] or np.isnan(v))}
    usual = {"is", "ids", "ip_class", "iip_frac", "iip_pos"}
    assert usual <= changed <= {*usual, "ies", "ip_entropy"}
    assert (high["is"], high["ids"], high["ip_class"]) == (0, 1, 0)
    empty = profile(make_map())
    assert with_thresholds(empty, LUNIT_JCO2022) is empty


def test_features_made_elsewhere_have_no_phenotype_by_other_thresholds(make_map):
    made_elsewhere = replace(profile(make_map()), id="s7", squares=None)
    with pytest.raises(ConfigError, match="s7: features made elsewhere have no squares") as caught:
        with_thresholds(made_elsewhere, LUNIT_JCO2022)
    assert "lunit_jco2022" in caught.value.hint


def test_a_profile_brings_its_squares_and_keeps_them_as_text(make_map):
    rng = np.random.default_rng(3)
    regions = (("cancer_stroma", 0, 0, 2000, 2000), ("cancer_epithelium", 0, 0, 700, 2000))
    semantic = make_map(rng.uniform(0, 2000, (500, 2)), ["lymphocyte"] * 500, regions=regions)
    made = profile(semantic)
    again = from_json(to_json(made), "renamed")
    assert again.id == "renamed" and again.names == made.names and again.valid == made.valid
    np.testing.assert_array_equal(again.values, made.values)
    for one, other, direct in zip(*map(astuple, (made.squares, again.squares, squares(View(semantic)))), strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(one, direct)
    # the columns of half squares have 0.25 mm² of epithelium, 0.1, and none
    columns = np.array([0.25, 0.35, 0.1, 0, 0])
    rows = np.array([1, 2, 2, 2, 1])
    assert made.squares.ce.tolist() == pytest.approx(np.outer(rows, columns).ravel())
    assert from_json(to_json(replace(made, squares=None)), "s").squares is None


def test_the_squares_of_all_slides_of_a_patient_count(make_map):
    slides = [replace(profile(make_map()), squares=grid, valid={"D": True}) for grid in cohort(3, seed=4)]
    patient = combine(slides, "p")
    assert len(patient.squares.ce) == sum(len(s.squares.ce) for s in slides)
    expected = shares(pooled([s.squares for s in slides]), LUNIT_JCO2022)
    found = with_thresholds(patient, LUNIT_JCO2022)
    assert {name: found.values[found.names.index(name)] for name in expected} == expected
    assert combine([slides[0], replace(slides[1], squares=None)], "p").squares is None


def test_slides_of_a_patient_are_pooled_square_by_square(make_map):
    a, b = cohort(2)
    both = pooled([a, b])
    assert len(both.ce) == len(a.ce) + len(b.ce) and both.in_cs.sum() == a.in_cs.sum() + b.in_cs.sum()
    n = [len(g.ce) for g in (a, b)]
    expected = np.average([shares(g, LUNIT_JCO2022)["is"] for g in (a, b)], weights=n)
    assert shares(both, LUNIT_JCO2022)["is"] == pytest.approx(expected)


def test_the_presets_agree_with_the_features(make_map):
    rng = np.random.default_rng(1)
    xy = rng.uniform(0, 2000, (900, 2))
    view = View(make_map(xy, ["lymphocyte"] * 900, regions=(("cancer_epithelium", 0, 0, 2000, 2000),)))
    v = phenotype(view, Thresholds(ce=1e6, cs=1e6, preset="quantile"))
    assert v["ids"] == 1 and calls(v)["ip_class"] == 0 and phenotype(view)["is"] == 1
