"""The folder that a scanner writes into: a slide counts once it has stopped growing."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kras_plugins.errors import KrasError, StoreError
from kras_plugins.service.cases import CaseRow
from kras_plugins.service.intake.arrivals import Arrivals
from kras_plugins.service.intake.fingerprints import companion
from kras_plugins.service.intake.grouping import Group, group_of, slide_name, tables_beside

ACTOR = "watch"
_DICOM = (".dcm", ".dicom")
_EVERY_S = 5.0
_log = logging.getLogger("kras.service.watch")

_Size = tuple[int, int, int]
"""Files of a slide, their bytes, and when the last one changed, in ns."""


@dataclass(frozen=True)
class _Seen:
    size: _Size
    since: float
    taken: bool = False


class Watch:
    """Finds slides in a folder and the folders below it, except those whose names begin with a dot.

    `suffixes`: file name extensions of slides. `settle_s`: for how long nothing of a slide may have changed. A MIRAX
    file and its folder are one slide. All DICOM files of a folder are one slide, which goes by the folder.
    """

    def __init__(self, folder: Path, suffixes: Sequence[str], settle_s: float = 30.0) -> None:
        self._folder, self._suffixes, self._settle_s = folder, tuple(suffixes), settle_s
        self._seen: dict[Path, _Seen] = {}

    def settled(self, now: float) -> list[Path]:
        """Slides that stopped growing and were not taken yet, in order of their paths. `now`: seconds, by any clock."""
        found = {}
        for slide in self._slides():
            size = _size(slide)
            if size is None:
                continue
            before = self._seen.get(slide)
            found[slide] = before if before is not None and before.size == size else _Seen(size, now)
        self._seen = found
        return sorted(p for p, one in found.items() if not one.taken and now - one.since >= self._settle_s)

    def take(self, slides: Sequence[Path]) -> None:
        """Mark slides as taken: they count again only if they change."""
        for slide in slides:
            if slide in self._seen:
                self._seen[slide] = _Seen(self._seen[slide].size, self._seen[slide].since, taken=True)

    def _slides(self) -> Iterator[Path]:
        for at, folders, files in os.walk(self._folder):
            here = Path(at)
            of_mirax = {name.rpartition(".")[0] for name in files if name.lower().endswith(".mrxs")}
            as_slides = [n for n in folders if n.lower().endswith(self._suffixes)]  # a reader may take a folder for one
            folders[:] = [n for n in folders if not n.startswith(".") and n not in of_mirax and n not in as_slides]
            named = [n for n in files if n.lower().endswith(self._suffixes) and not n.startswith(".")]
            yield from (here / n for n in as_slides if not n.startswith("."))
            yield from (here / n for n in named if not n.lower().endswith(_DICOM))
            if any(n.lower().endswith(_DICOM) for n in named):
                yield here


def watching(arrivals: Arrivals, watch: Watch, pattern: str | None, stop: threading.Event) -> None:
    """Queue what settles in a folder until `stop`. What cannot be taken is logged under pseudonyms and left there."""
    while not stop.is_set():
        try:
            take_settled(arrivals, watch, pattern, time.monotonic())
        except StoreError as e:
            _log.warning("%s", e)
        stop.wait(_EVERY_S)


def take_settled(arrivals: Arrivals, watch: Watch, pattern: str | None, now: float) -> list[CaseRow]:
    """Queue all slides that have settled, those of one patient together. Raises StoreError.

    After a StoreError, the next call tries the slides again. A slide that cannot be taken for another reason is left
    until it changes.
    """
    groups: dict[Group, list[Path]] = {}
    for slide in watch.settled(now):
        try:
            group = group_of(slide.name, tables_beside(slide.parent), pattern)
        except KrasError as e:
            _refuse(arrivals, watch, [slide], e)
            continue
        groups.setdefault(group, []).append(slide)
    queued: list[CaseRow] = []
    for group, slides in groups.items():
        patient = None if group.grouping == "alone" else group.patient_id
        for some in [slides] if patient is not None else [[one] for one in slides]:
            try:
                queued += arrivals.take(some, ACTOR, patient_id=patient, grouping=group.grouping)
            except StoreError:
                raise
            except KrasError as e:
                _refuse(arrivals, watch, some, e)
            else:
                watch.take(some)
    return queued


def _refuse(arrivals: Arrivals, watch: Watch, slides: Sequence[Path], error: KrasError) -> None:
    watch.take(slides)
    told = ", ".join(arrivals.naming.shown(slide_name(slide.name)) for slide in slides)
    _log.warning("slide %s is left where it is: %s", told, type(error).__name__)


def _size(slide: Path) -> _Size | None:
    """How large a slide is; None if part of it is not there yet or was removed."""
    try:
        if slide.is_dir():
            files = [file for file in slide.rglob("*") if file.is_file()]
        else:
            beside = companion(slide)
            if beside is not None and not (beside / "Slidedat.ini").is_file():
                return None
            files = [slide, *(file for file in (beside.rglob("*") if beside else ()) if file.is_file())]
        stats = [file.stat() for file in files]
    except OSError:
        return None
    return len(stats), sum(s.st_size for s in stats), max((s.st_mtime_ns for s in stats), default=0)
