"""Features in plain words: each of them, distinct, and without symbols."""

from __future__ import annotations

import re

from kras_plugins.learning.tabular import ONE_HOT
from kras_plugins.semantics.features.plain import plain, unit_of
from kras_plugins.semantics.features.table import FEATURES

COLUMNS = [*(f.name for f in FEATURES), *ONE_HOT]


def test_every_column_that_a_classifier_learns_from_has_a_name_of_its_own_and_one_sentence() -> None:
    told = {column: plain(column) for column in COLUMNS}
    assert len({p.name for p in told.values()}) == len(COLUMNS)
    for column, p in told.items():
        assert p.name != column
        assert len(p.name) <= 65, p.name
        assert re.fullmatch(r"[^.]+(?:\.\d[^.]*)*\.", p.sentence), (column, p.sentence)
        assert not re.search(r"\b(?:CE|CS|TA|T|L|F)\b|_", p.name + p.sentence), column


def test_a_feature_made_elsewhere_keeps_its_name_and_has_no_unit() -> None:
    assert plain("DENSITY [CELLS]").name == "DENSITY [CELLS]"
    assert plain("DENSITY [CELLS]").sentence == unit_of("DENSITY [CELLS]") == unit_of("tsr") == ""
    assert (unit_of("itil"), unit_of("d_tl_p90")) == ("per mm²", "µm")


def test_bands_along_the_margin_are_on_the_side_that_the_feature_table_says() -> None:
    assert plain("til_m150_m100").name == "Lymphocytes 100 to 150 µm inside the nests"
    assert plain("til_m50_0").name == "Lymphocytes 0 to 50 µm inside the nests"
    assert plain("til_300_500").name == "Lymphocytes 300 to 500 µm outside the nests"
