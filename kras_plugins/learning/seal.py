"""A folder sealed by the sha256 of every file in it: changed, missing or added bytes are found and named.

A seal is a checksum. It proves that a folder is complete and unchanged, not who made it: anybody who changes a file can
seal the folder again. A signature proves the maker (`signature.py`).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from kras_plugins.errors import StoreError
from kras_plugins.learning.strict_json import read_strict_json
from kras_plugins.store import file_sha256

SEAL = "seal.json"
SIGNATURE = "signature.json"
"""Stored beside the seal, not covered by it: signing changes no digest."""

_EARLIER = "manifest.json"
"""The seal's name in bundles made before 0.1.0, which 0.1 still reads; 0.2 may drop this and `_seal_of`."""

_MOST_FILES, _MOST_BYTES, _DEEPEST = 20_000, 64 << 30, 12
_ORIGINAL = "name the folder of a bundle as `kras run` wrote it"
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Sealed:
    """What a seal covers: `files`, their sha256 by relative name; `digest` names the whole content."""

    digest: str
    files: Mapping[str, str]


def seal(folder: Path) -> str:
    """Write `seal.json`, the digests of all files in `folder`; returns its digest, which identifies the content."""
    _refuse_empty(folder)
    text, digest = _render({name: file_sha256(folder / name) for name in _files(folder, SEAL)})
    (folder / SEAL).write_text(text, encoding="utf-8", newline="\n")
    return digest


def check_seal(folder: Path) -> str:
    """The digest that `seal` returned; raises what `sealed` does."""
    return sealed(folder).digest


def sealed(folder: Path) -> Sealed:
    """What the seal of a folder covers, with every byte checked.

    Raises StoreError naming the first file that differs from its sealed state, or anything that is neither a regular
    file nor a non-empty folder: links, pipes and devices are refused before anything is opened.
    """
    path = _seal_of(folder)
    there = _files(folder, path.name)
    value = read_strict_json(path)
    files = value.get("files") if isinstance(value, dict) else None
    if not isinstance(files, dict) or not all(isinstance(d, str) and _DIGEST.fullmatch(d) for d in files.values()):
        raise StoreError(f"{path} is missing or damaged: it lists no files", _ORIGINAL)
    text, digest = _render(files)
    if path.read_text(encoding="utf-8") != text:
        raise _broken(path, "was changed")
    for name in sorted({*there, *files}):
        if name not in there:
            raise _broken(folder / name, "is missing")
        if name not in files:
            raise _broken(folder / name, "was added", "remove it (file browsers add such files), or ")
        if file_sha256(folder / name) != files[name]:
            raise _broken(folder / name, "was changed")
    _refuse_empty(folder)
    return Sealed(digest=digest, files=files)


def _seal_of(folder: Path) -> Path:
    earlier = folder / _EARLIER
    return earlier if earlier.is_file() and not os.path.lexists(folder / SEAL) else folder / SEAL


def _files(folder: Path, seal: str) -> list[str]:
    """Every file below `folder` but its seal and signature, as sorted relative names with forward slashes."""
    found, size = [], 0
    for entry in _regular(folder, _DEEPEST):
        found.append(Path(entry.path).relative_to(folder).as_posix())
        size += entry.stat(follow_symlinks=False).st_size
        if len(found) > _MOST_FILES or size > _MOST_BYTES:
            raise StoreError(f"bundle refused: {folder} contains more than a bundle ever does", _ORIGINAL)
    return sorted(name for name in found if name not in (seal, SIGNATURE))


def _regular(folder: Path, deepest: int) -> Iterator[os.DirEntry[str]]:
    """The regular files below a folder; StoreError for anything else, and for a folder that is nested too deep."""
    try:
        with os.scandir(folder) as entries:
            inner = sorted(entries, key=lambda e: e.name)
    except OSError as e:
        raise StoreError(f"{folder} is missing or damaged: {e.strerror}", _ORIGINAL) from e
    for entry in inner:
        if entry.is_dir(follow_symlinks=False) and deepest:
            yield from _regular(Path(entry.path), deepest - 1)
        elif entry.is_file(follow_symlinks=False):
            yield entry
        else:
            kind = "a link" if entry.is_symlink() else "too deep a folder" if deepest == 0 else "not a regular file"
            raise StoreError(f"bundle refused: {_shown(Path(entry.path))} is {kind}", _ORIGINAL)


def _refuse_empty(folder: Path) -> None:
    """Refuse an empty folder, since no seal covers it."""
    for place, folders, files in os.walk(folder):
        if not folders and not files:
            raise StoreError(f"bundle refused: {_shown(Path(place))} is an empty folder", _ORIGINAL)


def _render(files: Mapping[str, str]) -> tuple[str, str]:
    digest = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
    return json.dumps({"files": files, "sha256": digest}, indent=1, sort_keys=True) + "\n", digest


def _broken(path: Path, what: str, first: str = "") -> StoreError:
    return StoreError(
        f"bundle refused: {_shown(path)} {what} since it was written",
        f"{first}copy the bundle again from where it was made",
    )


def _shown(path: Path) -> str:
    """A name from a foreign folder, on one line and without terminal control characters."""
    return str(path) if str(path).isprintable() else ascii(str(path))
