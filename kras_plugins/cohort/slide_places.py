"""Where the slides of a cohort table are."""

from __future__ import annotations

import os
from pathlib import Path

from kras_plugins.errors import ConfigError
from kras_plugins.urls import Url, place


def slide_place(table: Path, text: str) -> Path | Url:
    """What a cell `path` of a table names: a URL, or an absolute path; ConfigError for an unreadable address."""
    try:
        found = place(text)
    except ValueError as e:
        raise ConfigError(f"{table}: {e}", "name a file, or an address such as s3://bucket/slide.svs") from e
    return found if isinstance(found, Url) else Path(os.path.abspath(table.parent / found))
