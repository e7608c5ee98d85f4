"""Slides of one patient, for all groups of features."""

from __future__ import annotations

import numpy as np
import pytest

from kras_plugins.semantics.features.table import FEATURES
from kras_plugins.semantics.patient import combine
from kras_plugins.semantics.profile import profile


@pytest.fixture
def two(make_map):
    """Two slides that differ in size and content."""

    def slide(seed, ce_um):
        rng = np.random.default_rng(seed)
        xy = np.concatenate([rng.uniform(100, ce_um, (2500, 2)), rng.uniform(0, 2000, (1200, 2))])
        regions = (("cancer_stroma", 0, 0, 2000, 2000), ("cancer_epithelium", 100, 100, ce_um, ce_um))
        kinds = ["tumor"] * 2500 + ["lymphocyte"] * 1200
        return profile(make_map(xy, kinds, regions=regions, area_um2=rng.uniform(20, 90, 3700)))

    return slide(0, 900), slide(1, 1700)


def test_every_feature_of_a_patient_lies_between_those_of_its_slides_or_is_their_sum(two, values):
    a, b = map(values, two)
    both = values(combine(list(two), "p"))
    for f in FEATURES:
        x, y, found = a[f.name], b[f.name], both[f.name]
        if np.isnan([x, y]).all():
            assert np.isnan(found), f.name
        elif f.weight == "sum":
            assert found == pytest.approx(np.nansum([x, y])), f.name
        elif f.weight != "call":
            assert np.nanmin([x, y]) - 1e-9 <= found <= np.nanmax([x, y]) + 1e-9, f.name


def test_rates_are_those_of_the_pooled_slides(two, values):
    a, b = map(values, two)
    both = values(combine(list(two), "p"))
    ce, ta = a["area_ce"] + b["area_ce"], a["area_ta"] + b["area_ta"]
    assert both["interface_density"] == pytest.approx((a["interface_len"] + b["interface_len"]) / ce)
    assert both["tfi"] == pytest.approx((a["n_ce_components"] + b["n_ce_components"]) / ta)
    assert both["tls_density"] == pytest.approx((a["tls_count"] + b["tls_count"]) / ta)


def test_fragmentation_of_a_patient_is_called_anew(two, values):
    from dataclasses import replace

    def with_tfi(p, tfi):
        v = p.values.copy()
        v[p.names.index("tfi")], v[p.names.index("tfi_high")] = tfi, float(tfi >= 35)
        return replace(p, values=v)

    small, large = two
    high = values(combine([with_tfi(small, 60.0), with_tfi(large, 20.0)], "p"))
    assert high["tfi"] == pytest.approx(40) and high["tfi_high"] == 1
