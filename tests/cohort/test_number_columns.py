"""Texts as numbers: the whole grammar, compared with what Python reads, and the decimal mark of a column."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kras_plugins.cohort.number_columns import Marks, floats
from kras_plugins.cohort.numbers import number, odd_cells, whole


@settings(deadline=None)  # the first call imports
@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(".,"))
def test_every_finite_number_comes_back_from_its_text(value: float, mark: str) -> None:
    assert number(repr(value).replace(".", mark), mark) == value
    assert floats([repr(value)]).values.tolist() == [value]


@settings(deadline=None)  # the first call imports
@given(st.text(alphabet="0123456789+-.,eE_ ²１naif%", max_size=6))
def test_a_column_reads_what_one_cell_reads_and_less_than_python(text: str) -> None:
    one, column = number(text), floats([text, "1.5", "1.5", "1.5"])
    assert one is None or (math.isfinite(one) and one == float(text))
    assert column.values[0] == one if one is not None else math.isnan(column.values[0])


@pytest.mark.parametrize("text", ["²", "１", "1_0", "", "-1", "+1", "1.0", " 1", "9" * 19, "9" * 5000])
def test_what_is_no_plain_whole_number_is_none(text: str) -> None:
    assert whole(text) is None


def test_whole_numbers_are_read() -> None:
    assert [whole(text) for text in ("0", "007", "9" * 18)] == [0, 7, 10**18 - 1]


@pytest.mark.parametrize(
    ("texts", "values", "odd"),
    [
        (["1,5", "2"], [1.5, 2], ()),
        (["1,304", "2"], [math.nan, 2], (0,)),
        (["1,304", "0,5"], [1.304, 0.5], ()),
        (["1.304", "0,5", "0,6"], [math.nan, 0.5, 0.6], (0,)),
        (["1.304", "0.5", "0,6"], [1.304, 0.5, math.nan], (2,)),
        (["", "NA", "[Not Available]", "n/a", "5"], [math.nan] * 4 + [5], ()),
        ([".", "-", "5"], [math.nan, math.nan, 5], (0, 1)),
    ],
)
def test_the_decimal_mark_of_a_column(texts: list[str], values: list[float], odd: tuple[int, ...]) -> None:
    found = floats(texts)
    np.testing.assert_array_equal(found.values, values)
    assert found.odd == odd


def test_counts_of_marks_add_up() -> None:
    assert (Marks(1, 2, 1) + Marks(2, 3, 3)) == Marks(3, 5, 4)
    assert [Marks(0, 2, 0).decimal(mark) for mark in "\t,;"] == [".", ".", ","]


def test_a_message_stays_short() -> None:
    message, _ = odd_cells("t.csv", [(i, "f", text) for i, text in enumerate(["x" * 10**6] * 10**4)])
    assert len(message) < 400 and "row 4" in message and "row 5" not in message
