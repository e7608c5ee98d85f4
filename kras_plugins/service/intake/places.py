"""Where an incoming slide lies, and what a reader opens there."""

from __future__ import annotations

from pathlib import Path

from kras_plugins.urls import Url, place


def file_of(where: str) -> Path | Url:
    """What a reader opens of a slide's place: any file of a folder of DICOM files, else the place itself."""
    found = place(where)
    if isinstance(found, Url) or not found.is_dir():
        return found
    return min((file for file in found.iterdir() if file.is_file()), default=found)
