"""A slide as a task for another process: its row and its result are JSON values, everything else is in the store."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from kras_plugins.data import SlideQC, SlideRef
from kras_plugins.errors import MORE_MEMORY, NO_MEMORY, KrasError, SlideError
from kras_plugins.host.parts import Parts
from kras_plugins.processing.pipeline import Made, SlideResult, Work, make_slide, process_slide
from kras_plugins.urls import Url


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What slides are processed with: plug-ins, processes and store. `tell(slide, stage, done, total)` counts tiles."""

    parts: Parts
    work: Work
    tell: Callable[[str, str, int, int], None]


def processed(bench: Bench, ref: SlideRef) -> SlideResult:
    """Everything about a slide, in this process; SlideError for a slide that does not fit in memory."""
    try:
        return process_slide(ref, bench.parts, bench.work, partial(bench.tell, ref.slide_id))
    except MemoryError as e:  # one slide may be too large where the others are not
        raise _too_large(ref) from e


def made(bench: Bench, item: Mapping[str, Any]) -> dict[str, Any]:
    """What is computed from the pixels of a row's slide, made in the store; raises as `make_slide` does."""
    ref = ref_of(item)
    try:
        found = make_slide(ref, bench.parts, bench.work, partial(bench.tell, ref.slide_id))
        bench.work.store.release(found.artifacts.values())
        return asdict(found)
    except MemoryError as e:
        raise _too_large(ref) from e


def item_of(ref: SlideRef) -> dict[str, Any]:
    """What another process must know of a slide to process its pixels."""
    url = "" if ref.url is None else ref.url.text
    return {"slide_id": ref.slide_id, "path": _place(ref), "url": url, "mpp": ref.mpp}


def ref_of(item: Mapping[str, Any]) -> SlideRef:
    """The slide that `item_of` described; only the client knows its patient."""
    path, url = (Path(item["path"]), None) if item["path"] else (None, Url(item["url"]))
    return SlideRef(patient_id="", slide_id=item["slide_id"], path=path, url=url, mpp=item["mpp"])


def made_from(facts: Mapping[str, Any]) -> Made:
    """The result of `made` as a value again."""
    qc = facts["qc"]
    stain = None if qc["stain_od"] is None else tuple(qc["stain_od"])
    return Made(
        qc=SlideQC(**{**qc, "reasons": tuple(qc["reasons"]), "stain_od": stain}),
        fingerprint=facts["fingerprint"],
        artifacts=facts["artifacts"],
        transfer=facts["transfer"],
    )


def as_named(error: KrasError, ref: SlideRef) -> KrasError:
    """An error of another process, with the slide's path as the cohort has it."""
    if ref.path is not None:
        error.message = error.message.replace(_place(ref), str(ref.path))
    return error


def costs_of(slides: Sequence[SlideRef]) -> list[float]:
    """The relative cost of slides: the size of their files, 0 where that is not known."""
    return [float(_size(ref.path)) for ref in slides]


def _size(path: Path | None) -> int:
    try:
        return 0 if path is None else path.stat().st_size
    except OSError:
        return 0


def _place(ref: SlideRef) -> str:
    return os.path.abspath(ref.path) if ref.path is not None else ""


def _too_large(ref: SlideRef) -> SlideError:
    return SlideError(f"slide {ref.slide_id}: {NO_MEMORY}", MORE_MEMORY)
