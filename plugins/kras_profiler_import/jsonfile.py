"""JSON as tools write it: streamed, with a byte order mark, and with NaN, which JSON does not have."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import ijson
from ijson.common import ObjectBuilder

from kras_plugins import SlideError
from kras_profiler_import.tables import opened

_BOM, _WIDE = b"\xef\xbb\xbf", (b"\xff\xfe", b"\xfe\xff")
_HELD = 1 << 20
_STRING_OR_NAN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\Z)|-?\b(?:NaN|Infinity)\b', re.DOTALL)
_ESCAPE = re.compile(rb"\\.", re.DOTALL)


class Plain:
    """Bytes of a JSON file, read in pieces: no byte order mark, and null for NaN and infinities."""

    def __init__(self, file: IO[bytes], name: Path) -> None:
        self._file, self._name = file, name
        self._rest, self._begun, self._quoted = b"", False, False

    def read(self, size: int) -> bytes:
        """About `size` bytes, none at the end; SlideError if the text is not UTF-8 by its byte order mark."""
        if size == 0:
            return b""
        data, cut = self._rest, 0
        while not cut:
            more = self._file.read(size)
            data += more
            # No token and no escape continues beyond a comma.
            cut = data.rfind(b",") + 1 if more and len(data) < _HELD else len(data)
            if not more:
                break
        piece, self._rest = data[:cut], data[cut:]
        return self._cleaned(piece)

    def _cleaned(self, data: bytes) -> bytes:
        if not self._begun:
            self._begun = True
            if data.startswith(_WIDE):
                raise SlideError(f"{self._name}: is UTF-16 text", "save it as UTF-8")
            data = data.removeprefix(_BOM)
        quoted = self._quoted
        self._quoted ^= bool((_ESCAPE.sub(b"", data) if b"\\" in data else data).count(b'"') % 2)
        if b"NaN" not in data and b"Infinity" not in data:
            return data
        text = _STRING_OR_NAN.sub(lambda m: m[0] if m[0][:1] == b'"' else b"null", b'"' + data if quoted else data)
        return text[1:] if quoted else text


@contextmanager
def reading(file: Path) -> Iterator[Plain]:
    """A file open for parsing; SlideError naming it if it is not complete JSON, or compressed and damaged."""
    try:
        with opened(file) as f:
            yield Plain(f, file)
    except (ijson.JSONError, EOFError, gzip.BadGzipFile, zlib.error, UnicodeDecodeError, OverflowError) as e:
        text = (str(e).splitlines() or [type(e).__name__])[0]
        raise SlideError(f"{file}: damaged or incomplete JSON: {text}", "copy or export it again") from e


def head(file: Path, streamed: tuple[str, ...]) -> tuple[dict[str, Any], str | None]:
    """The members of the file's object before one of `streamed`, and its name: "" for a bare list, None for none."""
    members: dict[str, Any] = {}
    with reading(file) as f:
        events = ijson.basic_parse(f, use_float=True)
        event, _ = next(events, ("", None))
        if event == "start_array":
            return members, ""
        for event, key in events:
            if event == "end_map" or key in streamed:
                return members, None if event == "end_map" else str(key)
            builder, depth = ObjectBuilder(), 0
            for inner, value in events:
                builder.event(inner, value)
                depth += inner.startswith("start") - inner.startswith("end")
                if depth == 0:
                    break
            members[str(key)] = builder.value
    return members, None


def stream(file: Path, prefix: str, pairs: bool = False) -> Iterator[Any]:
    """The items below a prefix of ijson, one by one; for an object (`pairs`) its names with their values."""
    with reading(file) as f:
        yield from (ijson.kvitems if pairs else ijson.items)(f, prefix, use_float=True)


def each(file: Path) -> Iterator[Any]:
    """The values of a file that has one after the other, as GeoJSON text sequences have a feature on each line."""
    with reading(file) as f:
        yield from ijson.items(f, "", use_float=True, multiple_values=True)


def member(file: Path, name: str) -> Any:
    """One member of the file's object, wherever it is; None if it is absent. The file is read up to it."""
    return next(stream(file, name), None)
