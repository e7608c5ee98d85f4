"""Tables of cells whose numbers are written otherwise, or are none: all read, or the cell named."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cell_files import NAMES, XY, load

from kras_plugins import SlideError

COLUMNS = ("x", "y", "class", "Nucleus: Area µm^2")


def text_of(delimiter: str = ";", say: Callable[[float], str] = str, **odd: str) -> str:
    """A table of cells; `odd`: what is in row 7 instead, by column."""
    rows = [(say(x), say(y), name, say(50.0)) for (x, y), name in zip(XY, NAMES, strict=True)]
    rows[5] = tuple(odd.get(name.split(":")[0], text) for name, text in zip(COLUMNS, rows[5], strict=True))  # type: ignore[assignment]
    return "\n".join(delimiter.join(row) for row in [COLUMNS, *rows]) + "\n"


def comma(value: float) -> str:
    return f"{value:g}" if value < 260 else f"{value + 0.25:.2f}".replace(".", ",")  # the first rows have whole numbers


def test_the_case_of_a_first_row_of_whole_numbers(shared_data: Path) -> None:
    file = shared_data.parent / "cases" / "cells" / "semi_firstint.csv"
    if not file.is_file():
        pytest.skip(f"no {file}")
    cells = load(file, slide_id="semi_firstint", width=15000, height=15000).cells
    assert cells.num_rows == 400
    assert (cells["x_px"][0].as_py(), cells["y_px"][0].as_py()) == (6232, 1915)
    np.testing.assert_allclose((cells["x_px"][1].as_py(), cells["y_px"][1].as_py()), (2928.08, 7065.34), rtol=1e-6)


@pytest.mark.parametrize("delimiter", [";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_decimal_commas_are_told_by_all_rows_whatever_ends_them(tmp_path: Path, delimiter: str, end: str) -> None:
    (tmp_path / "s.csv").write_bytes(text_of(delimiter, comma).replace("\n", end).encode())
    cells = load(tmp_path).cells
    wanted = np.where(XY < 260, XY, XY + 0.25)
    np.testing.assert_allclose(np.stack([cells["x_px"], cells["y_px"]], 1), wanted, atol=0.01)


def test_missing_measurements_are_missing(tmp_path: Path) -> None:
    for word in ("", "NA", "NaN", "n/a", "unknown"):
        (tmp_path / "s.csv").write_text(text_of(**{"Nucleus": word}), encoding="utf-8")
        area = load(tmp_path).cells["area_um2"].to_numpy()
        assert np.flatnonzero(np.isnan(area)).tolist() == [5]


@pytest.mark.parametrize("column", ["x", "Nucleus"])
@pytest.mark.parametrize("odd", ["#DIV/0!", "1,304.5", "12%", "inf", "1_000", "²", "１２", "1e999", ".", "1,25"])
def test_an_odd_cell_is_named(tmp_path: Path, column: str, odd: str) -> None:
    (tmp_path / "s.csv").write_text(text_of(**{column: odd}), encoding="utf-8")
    with pytest.raises(SlideError) as e:
        load(tmp_path)
    name = next(name for name in COLUMNS if name.startswith(column))
    assert f"s.csv: a cell is not a number (row 7, column {name!r}: {odd!r})" in e.value.message


def test_texts_of_parquet_are_numbers_or_named(tmp_path: Path) -> None:
    x, y = ([str(v) for v in some] for some in XY.T)
    pq.write_table(pa.table({"x": x, "y": y, "class": NAMES}), tmp_path / "s.parquet")
    assert load(tmp_path).cells.num_rows == len(XY)
    pq.write_table(pa.table({"x": ["?", *x[1:]], "y": y, "class": NAMES}), tmp_path / "s.parquet")
    with pytest.raises(SlideError, match=r"row 2, column 'x': '\?'"):
        load(tmp_path)


@pytest.mark.parametrize("width", ["2_400", "inf", "²", "9" * 5000, "-1", "0", "2,400"])
def test_a_slide_as_wide_as_no_number_is_told(tmp_path: Path, width: str) -> None:
    (tmp_path / "s.csv").write_text(text_of(), encoding="utf-8")
    assert load(tmp_path, width="NA", height="").cells.num_rows == len(XY)
    with pytest.raises(SlideError, match="slide s: width is not a number of pixels") as e:
        load(tmp_path, width=width, height="2400")
    assert len(e.value.message) < 100


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(text_of().encode(), mtime=0)[:200], "damaged"),
        (gzip.compress(text_of().encode(), mtime=0)[:-8] + bytes(8), "damaged"),
        (text_of().encode("utf-16"), "UTF-16"),
        (text_of(**{"class": '"Tumor'}).encode(), "a quotation mark is not closed"),
    ],
)
def test_a_damaged_table_of_cells_is_named_as_such(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "s.csv").write_bytes(content)
    with pytest.raises(SlideError, match=rf"s\.csv.*{message}"):
        load(tmp_path)
