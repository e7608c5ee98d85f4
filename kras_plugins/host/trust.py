"""Which settings files found in a folder this user trusts: by absolute path and content, in the user's own records.

A settings file can name code, servers and places to write. A file that is named (`--config`) is trusted by
being named; one that is merely found in the current folder may have come with somebody else's data.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from kras_plugins.errors import ConfigError
from kras_plugins.files.atomic import write_atomic
from kras_plugins.store import user_config

VARIABLE = "KRAS_TRUST"
"""With the value 1, all settings files that are found are trusted: for containers and batch jobs."""


def is_trusted(file: Path, content: bytes) -> bool:
    """Whether a file with exactly this content was trusted at this place."""
    return os.environ.get(VARIABLE) == "1" or _recorded().get(_place(file)) == _digest(content)


def was_trusted(file: Path) -> bool:
    """Whether a file at this place was trusted with any content."""
    return _place(file) in _recorded()


def trust(file: Path, content: bytes) -> Path:
    """Record a file with its content as trusted; returns the file of records. ConfigError if it cannot be written."""
    return _record(lambda known: {**known, _place(file): _digest(content)})


def forget(file: Path) -> Path:
    """Stop trusting a file; returns the file of records."""
    return _record(lambda known: {place: digest for place, digest in known.items() if place != _place(file)})


def _place(file: Path) -> str:
    """The path with folder links resolved; a link to a file stays, since it may point elsewhere later."""
    return str(Path(os.path.realpath(file.parent)) / file.name)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _records() -> Path:
    return user_config() / "trusted.json"


def _recorded() -> dict[str, str]:
    file = _records()
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as e:
        raise ConfigError(
            f"{file} cannot be read: {e}", "delete it, then run `kras trust` on your settings files again"
        ) from e
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}


def _record(change: Callable[[dict[str, str]], dict[str, str]]) -> Path:
    file = _records()
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with FileLock(file.with_suffix(".lock")):
            write_atomic(file, json.dumps(change(_recorded()), indent=1, sort_keys=True) + "\n")
    except OSError as e:
        raise ConfigError(f"{file} cannot be written: {e.strerror}", "check the permissions of that folder") from e
    return file
