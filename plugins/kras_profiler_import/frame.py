"""A table in memory: texts as they are written, numbers where a column contains nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from kras_plugins import ConfigError, SlideError
from kras_plugins.cohort.delimited import naming_damage
from kras_plugins.cohort.number_columns import Marks, NumberColumn, count_marks, read_numbers
from kras_plugins.cohort.numbers import odd_cells
from kras_plugins.files.regular import TABLE, regular
from kras_plugins.files.spreadsheet import plain
from kras_profiler_import.columns import FIRST_ROW
from kras_profiler_import.tables import check_quotes, find_dialect, opened

if TYPE_CHECKING:
    from kras_plugins.data import Float64


class Frame:
    """One file. `headers`: in their order; `plain`: each header without its suffix, if it has one.

    Columns with the same plain name (a merged table of two strata) are one feature: a row may have a value in one.
    """

    def __init__(self, file: Path, table: pa.Table, suffixes: Sequence[str], delimiter: str = ",") -> None:
        self.file, self._table, self._delimiter = file, table, delimiter
        self.headers: list[str] = table.column_names
        self.plain = {h: _strip(h, suffixes) for h in self.headers}
        twice = sorted({h for h in self.headers if self.headers.count(h) > 1})
        if twice:
            raise ConfigError(f"{file}: column {twice[0]!r} appears twice", "keep one")

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def texts(self, header: str) -> list[str]:
        """The column as text, stripped."""
        return [str(t or "").strip() for t in pc.cast(self._table[header], pa.string()).to_pylist()]

    @cached_property
    def _columns(self) -> dict[str, NumberColumn | None]:
        return {header: self._number(header) for header in self.headers}

    @cached_property
    def _mark(self) -> str:
        """The decimal mark of numbers stored as text."""
        texts = [column.combine_chunks() for column in self._table.columns if _is_text(column.type)]
        return sum(map(count_marks, texts), Marks()).decimal(self._delimiter)

    def _number(self, header: str) -> NumberColumn | None:
        column = self._table[header].combine_chunks()
        if pa.types.is_boolean(column.type) or pa.types.is_temporal(column.type):
            return None
        if _is_text(column.type):
            return read_numbers(column, self._mark)
        try:
            values = pc.cast(column, pa.float64())
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return None
        found = np.array(values.to_numpy(zero_copy_only=False), np.float64)
        return NumberColumn(values=found, odd=tuple(np.flatnonzero(np.isinf(found)).tolist()), numeric=True)

    def is_number(self, header: str) -> bool:
        """Whether most of the column's values, except missing ones, are meant as numbers."""
        found = self._columns[header]
        return found is not None and found.numeric

    def check_numbers(self, headers: Sequence[str]) -> None:
        """Raise ConfigError naming the cells of these columns that are neither finite numbers nor missing."""
        odd = sorted(
            (FIRST_ROW + i, header, str(self._table[header][i]))
            for header in headers
            if (found := self._columns[header]) is not None
            for i in found.odd
        )
        if odd:
            what, hint = odd_cells(self.file, odd)
            raise ConfigError(what, f"{hint}; or name the columns that are features: -o 'profiler.import.features=…*'")

    def numbers(self, plain: str) -> Float64:
        """float64[row] of a feature, NaN where missing; ConfigError where a row states it twice."""
        result = np.full(len(self), np.nan)
        for header in (h for h in self.headers if self.plain[h] == plain):
            found = self._columns[header]
            assert found is not None
            values, known = found.values, ~np.isnan(found.values)
            if (known & ~np.isnan(result)).any():
                raise ConfigError(
                    f"{self.file}: {plain!r} occurs twice in a row, once as {header!r}",
                    "keep one, or give other suffixes: -o profiler.import.suffixes=…",
                )
            result[known] = values[known]
        return result


def read_frame(file: Path, suffixes: Sequence[str]) -> Frame:
    """Read a CSV (any delimiter, .gz) or Parquet table; ConfigError naming the file where it cannot be read."""
    try:
        regular(file, None if file.suffix == ".parquet" else TABLE)
        if file.suffix == ".parquet":
            return Frame(file, pq.read_table(file), suffixes)
        dialect = find_dialect(file)
        check_quotes(file)
        with naming_damage(file), opened(file, TABLE) as f:
            table = pyarrow.csv.read_csv(
                f,
                read_options=dialect.read_options(),
                parse_options=pyarrow.csv.ParseOptions(delimiter=dialect.delimiter, newlines_in_values=True),
                # As text first: an id such as 0071 is not a number.
                convert_options=pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(dialect.headers, pa.string())),
            )
        return Frame(file, plain(table), suffixes, dialect.delimiter)
    except SlideError as e:
        raise ConfigError(e.message, e.hint) from e
    except (OSError, pa.ArrowException) as e:
        raise ConfigError(f"{file}: cannot be read as a table: {e}", "copy or export it again") from e


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _strip(header: str, suffixes: Sequence[str]) -> str:
    for suffix in suffixes:
        if header.endswith(suffix) and len(header) > len(suffix):
            return header.removesuffix(suffix)
    return header
