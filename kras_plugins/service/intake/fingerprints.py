"""What identifies the content of an incoming slide, without opening it: so a damaged slide becomes a case, too."""

from __future__ import annotations

import hashlib
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from kras_plugins.errors import SlideError
from kras_plugins.slides.elsewhere import Elsewhere, fingerprint_of
from kras_plugins.urls import Url


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """`text` identifies the content; `bytes` is its size, 0 if it is not known before the slide is read."""

    text: str
    bytes: int


def fingerprint(place: Path | Url) -> Fingerprint:
    """The fingerprint of a file, a folder of DICOM files, a MIRAX file with its folder, or what an address names.

    A file's is made from its size and the SHA-256 of its first and last MiB. That of a slide on a DICOMweb server, or
    on a server that does not serve ranges, is its address. Raises SlideError for what cannot be read.
    """
    if isinstance(place, Url):
        return _elsewhere(place)
    try:
        if place.is_dir():
            return _of_many(sorted(file for file in place.iterdir() if file.is_file()), place)
        beside = companion(place)
        if beside is not None and beside.is_dir():
            return _of_many([place, *sorted(file for file in beside.rglob("*") if file.is_file())], place.parent)
        return Fingerprint(text=fingerprint_of(place, None), bytes=place.stat().st_size)
    except OSError as e:
        raise SlideError(f"{place}: {e.strerror}", "check that it exists and may be read") from e


def companion(place: Path) -> Path | None:
    """The folder that belongs to a MIRAX file; None for any other."""
    return place.with_suffix("") if place.suffix.lower() == ".mrxs" else None


def _of_many(files: list[Path], top: Path) -> Fingerprint:
    digest, size = hashlib.sha256(), 0
    for file in files:
        digest.update(f"{file.relative_to(top)}\0{fingerprint_of(file, None)}\n".encode(errors="surrogateescape"))
        size += file.stat().st_size
    return Fingerprint(text=f"sha256:{digest.hexdigest()}:{size}", bytes=size)


def _elsewhere(url: Url) -> Fingerprint:
    if "/studies/" not in url.key:
        with closing(Elsewhere(url)) as one:
            if (file := one.ranges()) is not None:
                return Fingerprint(text=one.fingerprint(None), bytes=file.size)
    return Fingerprint(text=f"address:{hashlib.sha256(str(url).encode()).hexdigest()}", bytes=0)
