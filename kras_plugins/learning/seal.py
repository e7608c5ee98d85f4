"""A folder sealed by the sha256 of every file in it: changed, missing or added bytes are found and named."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from kras_plugins.errors import StoreError
from kras_plugins.store import file_sha256

SEAL = "seal.json"

_EARLIER = "manifest.json"
"""The seal's name in bundles made before 0.1.0, which 0.1 still reads. 0.2 need not: drop this and `_seal_of` then."""


def seal(folder: Path) -> str:
    """Write `seal.json`, the digests of all files in `folder`; returns its own, which names the whole content."""
    text, digest = _render({name: file_sha256(folder / name) for name in _files(folder, SEAL)})
    (folder / SEAL).write_text(text, encoding="utf-8")
    return digest


def check_seal(folder: Path) -> str:
    """The digest that `seal` returned; raises StoreError naming the first file that is not as it was sealed."""
    path = _seal_of(folder)
    try:
        text = path.read_text(encoding="utf-8")
        files = json.loads(text)["files"]
        sealed, digest = _render(files)
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise StoreError(
            f"{path} is missing or damaged: {e}", "name the folder of a bundle that `kras run` wrote"
        ) from e
    if text != sealed:
        raise _broken(path, "was changed")
    there = _files(folder, path.name)
    for name in sorted(set(there) | set(files)):
        if name not in there:
            raise _broken(folder / name, "is missing")
        if name not in files:
            raise _broken(folder / name, "was added")
        if file_sha256(folder / name) != files[name]:
            raise _broken(folder / name, "was changed")
    return digest


def _seal_of(folder: Path) -> Path:
    earlier = folder / _EARLIER
    return earlier if earlier.is_file() and not (folder / SEAL).exists() else folder / SEAL


def _files(folder: Path, seal: str) -> list[str]:
    """Every file and link below `folder` but its seal, as sorted relative names with forward slashes."""
    found = (p for p in folder.rglob("*") if p.is_file() or p.is_symlink())
    return sorted(n for n in (p.relative_to(folder).as_posix() for p in found) if n != seal)


def _render(files: dict[str, str]) -> tuple[str, str]:
    digest = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
    return json.dumps({"files": files, "sha256": digest}, indent=1, sort_keys=True) + "\n", digest


def _broken(path: Path, what: str) -> StoreError:
    return StoreError(
        f"bundle refused: {path} {what} since it was written", "copy the bundle again from where it was made"
    )
