"""The table of features, its preset and the page made of it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from kras_plugins.data import CELL_CLASSES, CELL_COLUMNS, TISSUE_CLASSES
from kras_plugins.semantics.features.page import features_page
from kras_plugins.semantics.features.table import BY_NAME, CORE, FEATURES, GROUPS
from kras_plugins.semantics.features.validity import RULES
from kras_plugins.semantics.profile import COMPUTE, profile
from kras_plugins.semantics.view import View

COUNTS = {"A": 15, "B": 20, "C": 12, "D": 16, "E": 14, "F": 14, "G": 12, "H": 8, "I": 14, "J": 14, "K": 12, "L": 9,
          "M": 26, "N": 6}  # fmt: skip


def test_there_are_192_features_as_science_md_counts_them():
    assert Counter(f.group for f in FEATURES) == COUNTS and len(FEATURES) == 192 == len(BY_NAME)
    assert list(COUNTS) == list(GROUPS) == list(RULES) == list(COMPUTE)
    for group, n in COUNTS.items():
        assert [f.number for f in FEATURES if f.group == group] == list(range(1, n + 1))


def test_every_feature_says_what_it_is_and_needs():
    known = {*CELL_CLASSES, *TISSUE_CLASSES, *CELL_COLUMNS, "growth_patterns", "histology_model"}
    for f in FEATURES:
        assert f.formula and f.source and f.unit and RULES[f.group] and f.needs <= known
        assert f.weight in {"sum", "call"} or BY_NAME[f.weight].unit == "mm²"


def test_core_is_53_features_of_every_group_but_the_priors():
    assert len(CORE) == 53 and {BY_NAME[name].group for name in CORE} == set(GROUPS) - {"N"}
    some = {"tsr", "purity", "itlr", "is", "nn_ratio", "ripley_ll_50", "mh_100", "lee_tl", "co_hs_immune",
            "mixing", "til_slope", "interface_density", "tfi", "lumen_share", "tls_density", "nuc_area_cv",
            "tl_area_ratio"}  # fmt: skip
    assert some <= set(CORE) and "p_luad" not in CORE and all(BY_NAME[name].learned for name in CORE)


def test_every_group_gives_what_it_lists(make_map, nest):
    view = View(make_map(*nest[:2], regions=nest[2]))
    for group, compute in COMPUTE.items():
        assert set(compute(view)) == {f.name for f in FEATURES if f.group == group}


def test_the_source_says_where_the_epithelium_comes_from(make_map):
    assert profile(make_map()).source == "test; cancer epithelium: model"


def test_the_page_is_made_of_the_table():
    page = Path(__file__).resolve().parents[2] / "docs" / "features.md"
    if not page.exists():
        pytest.skip("no docs beside these tests")
    assert page.read_text(encoding="utf-8") == features_page(), "run python -m kras_plugins.semantics.features.page"
