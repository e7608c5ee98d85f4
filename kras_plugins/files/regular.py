"""Files from outside: checked before they are opened, since opening a pipe or a device may block forever.

The bounds are generous (the largest public table of mutations unpacks to 3 GB); they keep a wrong or
malicious file from filling the memory.
"""

from __future__ import annotations

import gzip
import io
import os
import stat
import tomllib
from pathlib import Path
from typing import IO, Any

from kras_plugins.errors import ConfigError, KrasError

SETTINGS, TABLE, STREAMED = 16 << 20, 1 << 30, 32 << 30
"""Most bytes of settings and lists (TOML, JSON), of a table that is read into memory, and of one read by rows."""

_DEEPEST = 32
"""How deeply tables and lists of settings may nest."""

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe (FIFO)"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def regular(path: Path, most: int | None = None, error: type[KrasError] = ConfigError) -> Path:
    """The path itself, if it is a regular file, or a link to one, of at most `most` bytes; it is not opened.

    Raises `error` that names the file and what it is, or its size and the bound; OSError if there is no such file, as
    opening it would.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        what = next((what for is_one, what in _KINDS if is_one(found.st_mode)), "no regular file")
        raise error(f"{path}: is {what}, not a file", "name a regular file on a disk")
    if most is not None and found.st_size > most:
        raise _too_large(path, f"{found.st_size:,} bytes", most, error)
    return path


def read_text(path: Path, most: int = SETTINGS, encoding: str = "utf-8", error: type[KrasError] = ConfigError) -> str:
    """The text of a regular file of at most `most` bytes; raises what `regular` does, and UnicodeDecodeError."""
    return regular(path, most, error).read_text(encoding=encoding)


def private(path: Path, error: type[KrasError] = ConfigError) -> Path:
    """The path itself, if only its owner can read the file; else `error`. OSError if there is no such file.

    Permissions are checked on systems that have them (POSIX).
    """
    if os.name == "posix" and path.stat().st_mode & 0o077:
        raise error(f"{path}: others can read it, and it contains a secret", f"chmod 600 {path}")
    return path


def parse_toml(text: str) -> dict[str, Any]:
    """The tables of a TOML text; ValueError if it is not TOML, has a number that is too long, or nests too deeply.

    A text with a NUL character is refused as well: no path may have one, and no name does.
    """
    try:
        found = tomllib.loads(text)
    except RecursionError as e:
        raise ValueError("tables and lists nest too deeply") from e
    level: list[Any] = [found]
    for _ in range(_DEEPEST):  # level by level: a recursive walk would hit Python's recursion limit
        if any(isinstance(value, str) and "\0" in value for value in level):
            raise ValueError("a text contains a NUL character")
        level = [
            part
            for value in level
            if isinstance(value, dict | list)
            for part in (value.values() if isinstance(value, dict) else value)
        ]
    if level:
        raise ValueError(f"tables and lists nest more than {_DEEPEST} deep")
    return found


def open_unpacked(path: Path, most: int = STREAMED, error: type[KrasError] = ConfigError) -> IO[bytes]:
    """A regular file for reading, unpacked if its first bytes are gzip's, whatever its name.

    Raises what `regular` does; while it is read, `error` if more than `most` bytes were unpacked, and gzip's errors.
    """
    with regular(path, most, error).open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return io.BufferedReader(_Unpacked(path, most, error), 1 << 16) if packed else path.open("rb")


class _Unpacked(io.RawIOBase):
    """The content of a gzip file, up to a bound."""

    def __init__(self, path: Path, most: int, error: type[KrasError]) -> None:
        self._path, self._most, self._error = path, most, error
        self._file, self._read = gzip.open(path, "rb"), 0  # noqa: SIM115 - closed with this

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        n = self._file.readinto(buffer)
        self._read += n
        if self._read > self._most:
            raise _too_large(self._path, "more unpacked", self._most, self._error)
        return n

    def close(self) -> None:
        self._file.close()
        super().close()


def _too_large(path: Path, size: str, most: int, error: type[KrasError]) -> KrasError:
    return error(f"{path}: contains {size}; at most {most:,} bytes are read", "is it another kind of file?")
