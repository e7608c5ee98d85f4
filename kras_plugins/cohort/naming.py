"""Which of many files is a slide's: by the id that it states, by its name, by either without a TCGA slide's UUID."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kras_plugins.cohort.barcodes import parse_slide_name
from kras_plugins.errors import SlideError
from kras_plugins.store import safe_name

_UUID = ".00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True)
class Named:
    """A file or folder made of a slide: its `name` without endings, and the slide_id that it `stated`, if any."""

    path: Path
    name: str
    stated: str | None = None


def file_of(slide_id: str, files: Sequence[Named]) -> Named | None:
    """The file of a slide; None if no file fits.

    In order: what states this id, or states none and is named so (as it is, or as `kras` writes ids into names); the
    same with TCGA's UUID left out on one side; what states another id, but is named so. Raises SlideError naming
    both where two are equally good, and naming what differs in upper and lower case alone: `a` and `A` may be two
    slides.
    """
    names = {slide_id, safe_name(slide_id)}
    tests: tuple[Callable[[Named], bool], ...] = (
        lambda f: f.stated == slide_id or (f.stated is None and f.name in names),
        lambda f: same_slide(f.name if f.stated is None else f.stated, slide_id),
        lambda f: f.name in names or same_slide(f.name, slide_id),
    )
    for fits in tests:
        found = [f for f in files if fits(f)]
        if len(found) > 1:
            both = " and ".join(_shown(f) for f in found[:4]) + (" …" if len(found) > 4 else "")
            raise SlideError(
                f"{found[0].path.parent}: {both} are both of slide {slide_id}", "keep one of them in the folder"
            )
        if found:
            return found[0]
    for f in files:
        told = (f.name, f.stated or f.name)
        if any(same_slide(word.upper(), name.upper()) for word in told for name in names):
            raise SlideError(
                f"{f.path}: differs from slide {slide_id} in upper and lower case",
                "write both alike; two slides may differ in that alone",
            )
    return None


def without_uuid(name: str) -> str:
    """A TCGA slide's name without its UUID and endings, as `kras cohort labels` names slides; others as they are."""
    return name.partition(".")[0] if parse_slide_name(name) else name


def same_slide(one: str, other: str) -> bool:
    """Whether two names are one slide's: alike, or alike but for a UUID that one of them lacks."""
    short = without_uuid(one)
    tails = {name.removeprefix(short)[: len(_UUID)].lower() for name in (one, other)}
    return short == without_uuid(other) and len({tail for tail in tails if len(tail) == len(_UUID)}) < 2


def _shown(file: Named) -> str:
    return file.path.name + ("" if file.stated in (None, file.name) else f" (which states {file.stated})")
