"""Which of many files belongs to a slide: by the id it states, by its name, or by either without a TCGA UUID."""

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
    """A file or folder made from a slide: its `name` without endings, and the slide_id that it `stated`, if any."""

    path: Path
    name: str
    stated: str | None = None


def file_of(slide_id: str, files: Sequence[Named]) -> Named | None:
    """The file of a slide; None if no file fits.

    In order of preference: a file that states this id, or states none and has it as its name (as is, or as `kras`
    writes ids into names); the same with TCGA's UUID left out on one side; a file that has the id as its name but
    states another. Raises SlideError naming both if two are equally good, or naming a file that differs only in case:
    `a` and `A` may be two slides.
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
                f"{found[0].path.parent}: {both} both belong to slide {slide_id}", "keep one of them in the folder"
            )
        if found:
            return found[0]
    for f in files:
        told = (f.name, f.stated or f.name)
        if any(same_slide(word.upper(), name.upper()) for word in told for name in names):
            raise SlideError(
                f"{f.path}: differs from slide {slide_id} only in upper and lower case",
                "write both the same way; two slides may differ only in case",
            )
    return None


def without_uuid(name: str) -> str:
    """A TCGA slide's name without its UUID and endings, as `kras cohort labels` names slides; others as they are."""
    return name.partition(".")[0] if parse_slide_name(name) else name


def same_slide(one: str, other: str) -> bool:
    """Whether two names belong to one slide: equal, or equal except for a UUID that one of them lacks."""
    short = without_uuid(one)
    tails = {name.removeprefix(short)[: len(_UUID)].lower() for name in (one, other)}
    return short == without_uuid(other) and len({tail for tail in tails if len(tail) == len(_UUID)}) < 2


def _shown(file: Named) -> str:
    return file.path.name + ("" if file.stated in (None, file.name) else f" (which states {file.stated})")
