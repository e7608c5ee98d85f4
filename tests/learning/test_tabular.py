from __future__ import annotations

import importlib
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kras_plugins import Cohort, ConfigError, Sample, SemanticProfile
from kras_plugins.data import Squares
from kras_plugins.learning.tabular import ONE_HOT, Preprocessor
from kras_plugins.semantics.features.phenotype import fit_thresholds, shares
from kras_plugins.semantics.features.table import BY_NAME, CORE, FEATURES


def patients(values, names=None, valid=()):
    values = np.asarray(values, dtype=np.float64)
    names = names or tuple("abcdefgh"[: values.shape[1]])
    valid = valid or [{}] * len(values)
    return [
        Sample(
            patient_id=f"p{i}",
            profile=SemanticProfile(id=f"p{i}", names=tuple(names), values=row, valid=flags, source="s"),
        )
        for i, (row, flags) in enumerate(zip(values, valid, strict=True))
    ]


def noise(n, columns, seed=0):
    return np.random.default_rng(seed).normal(size=(n, columns))


def test_missing_values_get_the_training_median_and_nothing_of_the_new_patients():
    fitted = Preprocessor.fit(patients([[1, 5], [2, 9], [3, np.nan], [10, 7]]))
    table = fitted.table(patients([[np.nan, np.nan], [1000, 1000]]))
    np.testing.assert_array_equal(table, [[2.5, 7], [1000, 1000]])


def test_scaling_is_robust_and_clipped():
    fitted = Preprocessor.fit(patients(np.arange(101.0)[:, None]))
    spread = 50 / 1.349
    np.testing.assert_allclose(fitted.scaled(patients([[50], [50 + spread], [1e9], [-1e9]]))[:, 0], [0, 1, 5, -5])


def test_scaled_normal_noise_has_unit_standard_deviation():
    values = noise(4000, 3) * (1, 100, 1e-4) + (0, 7, -3)
    scaled = Preprocessor.fit(patients(values)).scaled(patients(values))
    np.testing.assert_allclose(scaled.std(axis=0), 1, rtol=0.05)


def test_a_feature_that_is_mostly_zero_is_scaled_by_its_standard_deviation():
    values = np.c_[noise(20, 1), np.r_[np.zeros(18), 1, 1]]
    fitted = Preprocessor.fit(patients(values))
    assert fitted.spread[1] == pytest.approx(0.3)


def test_absent_and_constant_features_are_dropped():
    values = noise(20, 4)
    values[:, 1] = np.nan
    values[:, 2] = 0.1 * 3 + np.arange(20) * 1e-17  # constant except for rounding
    values[:19, 3] = np.nan  # once observed: constant after imputation
    assert Preprocessor.fit(patients(values)).columns == ("a",)


def test_a_repeated_feature_is_dropped_even_when_the_relation_is_not_linear():
    x = noise(50, 2)
    values = np.c_[x[:, 0], np.exp(3 * x[:, 0]), -x[:, 0], x[:, 1]]
    assert Preprocessor.fit(patients(values)).columns == ("a", "d")


def test_weaker_correlation_is_kept():
    x = noise(200, 2)
    values = np.c_[x[:, 0], x[:, 0] + 0.6 * x[:, 1]]
    assert Preprocessor.fit(patients(values)).columns == ("a", "b")


def test_validity_becomes_a_column_but_missingness_never_does():
    values = noise(20, 2)
    values[::2, 0] = np.nan
    valid = [{"grid": i % 5 != 0, "always": True} for i in range(20)]
    fitted = Preprocessor.fit(patients(values, valid=valid))
    assert fitted.columns == ("a", "b", "invalid:grid")
    expected = np.arange(20) % 5 == 0
    np.testing.assert_array_equal(fitted.table(patients(values, valid=valid))[:, 2], expected)
    np.testing.assert_array_equal(fitted.scaled(patients(values, valid=valid))[:, 2], expected)


def test_features_are_matched_by_name():
    values = noise(30, 4)
    order = [2, 0, 3, 1]
    shuffled = patients(values[:, order], names=[("abcd")[i] for i in order])
    fitted = Preprocessor.fit(patients(values))
    assert Preprocessor.fit(shuffled) == fitted
    np.testing.assert_array_equal(fitted.table(shuffled), fitted.table(patients(values)))


def test_further_features_are_ignored_and_an_absent_one_is_named():
    fitted = Preprocessor.fit(patients(noise(20, 2)))
    np.testing.assert_array_equal(fitted.table(patients([[1, 2, 3]])), [[1, 2]])
    with pytest.raises(ConfigError, match="'p0' lacks the feature 'b'"):
        fitted.table(patients([[1]]))


def test_an_absent_validity_flag_is_named():
    valid = [{"grid": i % 3 != 0} for i in range(20)]
    fitted = Preprocessor.fit(patients(noise(20, 2), valid=valid))
    with pytest.raises(ConfigError, match="'grid"):
        fitted.table(patients([[1, 2]]))


def test_training_patients_with_different_features_are_refused():
    with pytest.raises(ConfigError, match="'b'"):
        Preprocessor.fit([*patients(noise(5, 2)), *patients(noise(1, 1))])


def test_an_infinite_value_is_refused():
    with pytest.raises(ConfigError, match="'p1' has an infinite value"):
        Preprocessor.fit(patients([[1, 2], [3, np.inf]]))


def test_no_usable_feature_is_an_error():
    with pytest.raises(ConfigError, match="no feature varies"):
        Preprocessor.fit(patients(np.full((5, 2), np.nan)))


@settings(deadline=None, max_examples=40)
@given(
    arrays(
        np.float64,
        (12, 4),
        elements=st.one_of(st.floats(-1e6, 1e6), st.just(np.nan), st.sampled_from([0.0, 1.0])),
    )
)
def test_whatever_the_values_the_table_is_finite_and_survives_json(values):
    samples = patients(np.c_[values, np.arange(12)])
    fitted = Preprocessor.fit(samples)
    again = Preprocessor.from_dict(json.loads(json.dumps(fitted.to_dict())))
    assert again == fitted
    assert np.isfinite(again.scaled(samples)).all()
    assert np.abs(again.scaled(samples)).max() <= 5


OURS = tuple(f.name for f in FEATURES)
GROUPS = tuple(dict.fromkeys(f.group for f in FEATURES))


def our_patients(n=40, seed=0, **given):
    """Profiles with all features of ours, all of them noise except those given."""
    values = np.abs(noise(n, len(OURS), seed)) * 100
    values[:, OURS.index("ip_class")] = np.arange(n) % 3
    for name, column in given.items():
        values[:, OURS.index(name)] = column
    return patients(values, OURS, [{g: (i + k) % 7 > 0 for k, g in enumerate(GROUPS)} for i in range(n)])


def test_the_preset_has_its_features_and_nothing_else():
    fitted = Preprocessor.fit(our_patients(), "core")
    assert set(fitted.columns) <= set(CORE) and len(fitted.features) > 45


def test_all_leaves_out_what_tells_how_much_tissue_there_is():
    fitted = Preprocessor.fit(our_patients())
    assert {"ip_class", *(f.name for f in FEATURES if not f.learned)} == set(OURS) - set(fitted.features)
    assert {"area_ta", "n_tissue_fragments", "n_grids", "gi_max"} < set(OURS) - set(fitted.features)
    assert set(ONE_HOT) == set(fitted.columns) - set(OURS)  # and no flag, although some groups are not valid


def test_cells_per_area_are_logged_and_other_features_are_not():
    samples = our_patients()
    fitted = Preprocessor.fit(samples)
    table = dict(zip(fitted.columns, fitted.table(samples).T, strict=True))
    raw = dict(zip(OURS, np.stack([s.profile.values for s in samples]).T, strict=True))
    assert {f.name for f in FEATURES if f.unit == "1/mm²"} == set(fitted.logged)
    for name in set(fitted.features) & set(OURS):
        expected = np.log(1 + raw[name]) if BY_NAME[name].unit == "1/mm²" else raw[name]
        np.testing.assert_allclose(table[name], expected, err_msg=name)


def test_a_missing_density_gets_the_median_of_logs():
    itil = np.r_[np.nan, np.tile([1.0, 10.0, 1000.0], 13)]
    samples = our_patients(itil=itil)
    fitted = Preprocessor.fit(samples)
    assert fitted.table(samples)[0, fitted.columns.index("itil")] == pytest.approx(np.log(11))


def test_the_immune_phenotype_is_three_columns_and_has_no_order():
    kinds = np.r_[np.nan, np.tile([0.0, 1, 1, 2, 2, 2], 8)]
    samples = our_patients(49, ip_class=kinds)
    fitted = Preprocessor.fit(samples)
    table = dict(zip(fitted.columns, fitted.table(samples).T, strict=True))
    for k, name in enumerate(("ip_class:desert", "ip_class:excluded", "ip_class:inflamed")):
        np.testing.assert_array_equal(table[name][1:], kinds[1:] == k)
    known = np.stack([table[name] for name in ONE_HOT])[:, 0]
    np.testing.assert_array_equal(known, [0, 0, 0.5])  # the medians: half of the patients are inflamed
    assert np.isfinite(fitted.scaled(samples)).all()


def test_features_made_elsewhere_are_taken_as_they_are_and_it_is_noted(caplog):
    """Even if they have names of ours: their units and meaning are not known."""
    values = noise(30, 4) * 100
    samples = patients(values, ("itil", "n_grids", "ip_class", "HIF1"))
    with caplog.at_level("INFO", logger="kras"):
        fitted = Preprocessor.fit(samples, "core")
    assert fitted == Preprocessor.fit(samples)
    assert fitted.columns == ("HIF1", "ip_class", "itil", "n_grids") and not fitted.logged
    np.testing.assert_array_equal(fitted.table(samples), values[:, [3, 2, 0, 1]])
    assert [r.getMessage() for r in caplog.records] == [
        "features made elsewhere have no preset `core`: all 4 are considered"
    ]


def with_squares(samples, seed=0, level=1.0):
    """Each patient has 4 to 30 squares per grid, with the same density of lymphocytes in all of them."""
    rng = np.random.default_rng(seed)
    found = []
    for sample in samples:
        n = rng.integers(16, 120)
        area = rng.uniform(0.05, 0.5, (2, n))
        counts = rng.poisson(area * level * rng.lognormal(4.5, 1, 2)[:, None]).astype(float)
        found.append(replace(sample, profile=replace(sample.profile, squares=Squares(*area, *counts))))
    return found


def test_quantile_thresholds_are_those_of_the_training_patients_and_no_test_patient_moves_them():
    everybody = with_squares(our_patients(60))
    train, test = everybody[:40], everybody[40:]
    other = with_squares(test, seed=9, level=1e3)
    expected = fit_thresholds([s.profile.squares for s in train])
    assert expected != fit_thresholds([s.profile.squares for s in everybody])
    stored = []
    for scored in (test, other):
        fitted = Preprocessor.fit(train, "core", "quantile")
        fitted.table(scored)
        assert fitted.thresholds == expected
        stored.append(json.dumps(fitted.to_dict()))
    assert stored[0] == stored[1]


def test_quantile_thresholds_are_frozen_and_applied_to_new_patients():
    train, new = with_squares(our_patients(40)), with_squares(our_patients(10, 2), seed=3)
    fitted = Preprocessor.from_dict(json.loads(json.dumps(Preprocessor.fit(train, "all", "quantile").to_dict())))
    table = dict(zip(fitted.columns, fitted.table(new).T, strict=True))
    valid = [s.profile.valid["D"] for s in new]
    assert 0 < sum(valid) < len(new)  # if group D is not valid, nothing is called again
    shown = [name for name in ("is", "ies", "ids", "ip_entropy") if name in table]
    assert len(shown) >= 3
    for sample, use, row in zip(new, valid, range(10), strict=True):
        anew = shares(sample.profile.squares, fitted.thresholds)
        for name in shown:
            old = sample.profile.values[OURS.index(name)]
            assert table[name][row] == pytest.approx(anew[name] if use else old), name
        if use:
            assert table["ip_class:inflamed"][row] == (anew["ip_class"] == 2)


def test_the_published_thresholds_leave_profiles_alone_whether_they_have_squares_or_not():
    plain = our_patients(30)
    assert Preprocessor.fit(with_squares(plain)) == Preprocessor.fit(plain)
    assert Preprocessor.fit(plain).thresholds is None


@pytest.mark.parametrize("choice", ["all", "core"])
def test_features_made_elsewhere_have_no_quantile_thresholds(choice):
    with pytest.raises(ConfigError, match="p0: features made elsewhere have no squares"):
        Preprocessor.fit(patients(noise(30, 4)), choice, "quantile")
    fitted = Preprocessor.fit(with_squares(our_patients()), choice, "quantile")
    with pytest.raises(ConfigError, match="p0: features made elsewhere have no squares"):
        fitted.table(our_patients(3))


@pytest.mark.parametrize("name", ["mlp", "rf", "lgbm"])
def test_every_tabular_classifier_has_the_option_and_stores_its_thresholds(name, tmp_path):
    (record,) = importlib.import_module(f"kras_classifier_{name}").kras_classifiers()
    small = {"mlp": {"seeds": 1, "epochs": 2}, "rf": {"trees": 5}, "lgbm": {"rounds": 2}}[name]
    samples = with_squares(our_patients(60))
    labels = np.arange(60) % 3 == 0
    train, valid = (
        Cohort(
            samples=samples[part], labels=labels[part].astype(np.int8), groups=tuple(str(i) for i in range(60))[part]
        )
        for part in (slice(0, 45), slice(45, 60))
    )
    assert record.options().ip_preset == "lunit_jco2022"
    made = record.create(record.options(ip_preset="quantile", **small), 0)
    made.fit(train, valid)
    made.save(tmp_path)
    facts = json.loads((tmp_path / "classifier.json").read_text())
    seen = samples if name == "rf" else samples[:45]  # rf grows on both parts, which are both training data
    expected = fit_thresholds([s.profile.squares for s in seen])
    assert facts["preprocessor"]["thresholds"] == {"ce": expected.ce, "cs": expected.cs, "preset": "quantile"}
    np.testing.assert_array_equal(record.load(tmp_path).predict(samples), made.predict(samples))


@pytest.mark.parametrize("choice", ["all", "core"])
def test_nothing_of_a_patient_outside_the_training_part_is_learned(choice):
    """What was fitted does not depend on those scored, and a stored one gives the same table."""
    fitted = Preprocessor.fit(our_patients(30, 1), choice)
    before = fitted.to_dict()
    new = our_patients(10, 2, itil=1e6, ip_class=np.nan)
    again = Preprocessor.from_dict(json.loads(json.dumps(before)))
    np.testing.assert_array_equal(again.scaled(new), fitted.scaled(new))
    one_by_one = np.concatenate([fitted.scaled([s]) for s in new])
    np.testing.assert_array_equal(one_by_one, fitted.scaled(new))
    assert fitted.to_dict() == before


def test_a_preprocessor_of_an_older_bundle_is_read():
    stored = Preprocessor.fit(patients(noise(20, 2))).to_dict()
    del stored["logged"], stored["thresholds"]
    old = Preprocessor.from_dict(stored)
    assert old.logged == () and old.thresholds is None


@pytest.mark.parametrize(
    ("part", "value", "said"),
    [
        ("features", [3], "name of a column"),
        ("flags", [None], "name of a column"),
        ("median", [""], "not a number"),
        ("spread", [float("nan")], "not a number"),
        ("median", [0.0] * 99, "one median and one spread"),
        ("thresholds", {"ce": "106", "cs": 357.0, "preset": "quantile"}, "not a number"),
    ],
)
def test_a_preprocessor_with_other_values_than_it_writes_is_refused(part, value, said):
    stored = Preprocessor.fit(patients(noise(20, 2))).to_dict()
    if len(value) == 1:
        value = [*value, *stored[part][1:]]
    with pytest.raises(ValueError, match=said):
        Preprocessor.from_dict({**stored, part: value})
