"""Text tables as they occur in practice: compressed, damaged, in other encodings, with odd ends of lines and rows."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from kras_plugins import ConfigError
from kras_plugins.cohort.delimited import read_lines, read_rows_of, read_table

ROWS = "a\tb\n1\t2\n"


def cells(path: Path) -> list[list[str]]:
    return [row for _, row in read_rows_of(path)]


@pytest.mark.parametrize(
    "content",
    [
        ROWS.encode(),
        ROWS.replace("\n", "\r\n").encode(),
        ROWS.replace("\n", "\r").encode(),
        ROWS.encode("utf-8-sig"),
        gzip.compress(ROWS.encode("utf-8-sig"), mtime=0),
        ROWS.replace("\t", ";").encode(),
        b"# told by somebody\n\na,b\n\n1,2\n\n",
        b"a\tb\t\t\n1\t2\t\n",
        b"a\tb\n1\t2\t \t\n",
        b'"a";"b"\n"1";"2"\n',
        b"#version 2.4\na\tb\n1\t2\n#version 2.4\na\tb\n\t\n",
    ],
)
def test_one_table_however_it_is_written(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    assert cells(tmp_path / "x") == [["a", "b"], ["1", "2"]]


def test_a_row_whose_first_cell_begins_with_a_hash_is_a_row(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("#told by somebody\na,b\n#1,2\n")
    assert cells(tmp_path / "x") == [["a", "b"], ["#1", "2"]]


def test_a_text_in_quotes_may_hold_lines_and_the_delimiter(tmp_path: Path) -> None:
    (tmp_path / "x").write_text('a,b\n"1,5","two\nlines"\n3,4\n')
    assert list(read_rows_of(tmp_path / "x")) == [(1, ["a", "b"]), (3, ["1,5", "two\nlines"]), (4, ["3", "4"])]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (ROWS.encode("utf-16"), "is UTF-16 text"),
        (ROWS.encode("utf-16-be"), "line 1: contains a NUL byte"),
        (b"a\tb\n1\t\0\n", "line 2: contains a NUL byte"),
        ("a\tb\n1\tµ\n".encode("latin-1"), "is not UTF-8 text"),
        (b'a,b\n1,"2\n3,4\n', "line 3: unexpected end of data"),
        (b'a,b\n1,"2"x\n', "line 2: "),
        (b"a,b\n1," + b"x" * 10**6 + b"\n", "line 2: field larger than field limit"),
        (b"a,b\n1\n", "line 2: 1 cells under a header of 2"),
        (b"a,b\n1,2,,3\n", "line 2: 4 cells under a header of 2"),
        (b"\x1f\x8b" + b"nothing", "ends too early or is damaged"),
        (gzip.compress(ROWS.encode() * 999, mtime=0)[:40], "ends too early or is damaged"),
        (gzip.compress(ROWS.encode(), mtime=0) + b"more", "ends too early or is damaged"),
    ],
)
def test_what_is_no_table_is_told_with_the_file_and_the_cause(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(ConfigError) as e:
        cells(tmp_path / "x")
    assert e.value.message.startswith(str(tmp_path / "x")) and message in e.value.message
    assert e.value.hint


def test_bytes_that_do_not_unpack_are_damage_wherever_they_lie(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(b"".join(b"%d\n" % (i * i) for i in range(200_000)), mtime=0))
    packed[len(packed) // 2 :][:64] = bytes(64)
    packed[len(packed) // 2] ^= 255
    (tmp_path / "x.gz").write_bytes(packed)
    with pytest.raises(ConfigError, match=r"x\.gz cannot be read: it ends too early or is damaged"):
        list(read_lines(tmp_path / "x.gz"))


def test_a_column_may_be_there_twice_where_both_say_the_same(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("Sample ID\tSAMPLE_ID\tother\tother\ns\ts\t1\t2\nt\t\t1\t2\n")
    columns, rows = read_table(tmp_path / "x", {"sample": ("Sample_ID",)})
    assert [columns.get(row, "sample") for _, row in rows] == ["s", "t"]
    (tmp_path / "x").write_text("Sample ID\tSAMPLE_ID\ns\ts\nt\tu\n")
    with pytest.raises(ConfigError, match="line 3: column 'Sample ID' appears twice, as 't' and 'u'"):
        list(read_table(tmp_path / "x", {"sample": ("Sample_ID",)})[1])
