"""Slides that come in, wherever from: checked, named, and queued as cases for each bundle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import Engine

from kras_plugins.errors import UsageError
from kras_plugins.service.bundles import Bundles
from kras_plugins.service.cases import CaseRow, Grouping, NewCase, NewSlide, submit
from kras_plugins.service.intake.allowed import allowed_path, allowed_url
from kras_plugins.service.intake.fingerprints import fingerprint
from kras_plugins.service.intake.grouping import slide_name
from kras_plugins.service.naming import Naming
from kras_plugins.service.settings import ServiceSettings
from kras_plugins.urls import Url, place

_MOST_SLIDES = 1000


class Arrivals:
    """Takes slides for the bundles of a service."""

    def __init__(self, db: Engine, settings: ServiceSettings, bundles: Bundles) -> None:
        self._db, self._settings, self._bundles = db, settings, bundles
        self.naming = Naming(settings)

    def take(
        self,
        places: Sequence[str | Path],
        actor: str,
        *,
        patient_id: str | None = None,
        grouping: Grouping = "api",
        priority: int = 0,
    ) -> tuple[CaseRow, ...]:
        """Queue the slides of one patient: a case for each bundle, those whose results are shown first.

        `places`: absolute paths or addresses. Without `patient_id` there must be one slide, which is a case by itself.
        Cases of silent bundles come after all others of their priority.
        Raises NotAllowed for a place that may not be named, UsageError if none is named or one is named twice, and
        SlideError for one that cannot be read.
        """
        if not places or len(places) > _MOST_SLIDES:
            raise UsageError(f"{len(places)} slides: must be 1 to {_MOST_SLIDES}", "name the slides of one patient")
        if patient_id is None:
            if len(places) > 1:
                raise UsageError("several slides but no patient", "name the patient, or submit them one by one")
            grouping = "alone"
        found = [self._allowed(one) for one in places]
        if len({str(one) for one in found}) < len(found):
            raise UsageError("a slide is named twice", "name each slide once")
        names = _names([one.name for one in found])
        whose = (names[0] if patient_id is None else patient_id).strip()
        if not whose or not whose.isprintable() or len(whose) > 500:
            raise UsageError("the patient's id is empty, too long or not printable", "give the id as text")
        slides = tuple(map(self._slide, names, found))
        queued = []
        for digest in (*self._bundles.shown, *self._bundles.silent):
            silent = digest in self._bundles.silent
            new = NewCase(
                patient=self.naming.shown(whose), patient_id=whose, slides=slides, bundle_digest=digest, silent=silent,
                grouping=grouping, priority=priority - silent,
            )  # fmt: skip
            queued.append(submit(self._db, new, actor))
        return tuple(queued)

    def _allowed(self, named: str | Path) -> Path | Url:
        try:
            where = place(named)
        except ValueError:
            raise UsageError("a place is neither a path nor a supported address", "name a slide") from None
        if isinstance(where, Url):
            return allowed_url(where, self._settings.hosts)
        return allowed_path(where, self._settings.readable)

    def _slide(self, name: str, where: Path | Url) -> NewSlide:
        found = fingerprint(where)
        text = where.text if isinstance(where, Url) else str(where)
        return NewSlide(
            slide_id=self.naming.shown(name), name=name, place=text, fingerprint=found.text, bytes=found.bytes
        )


def _names(files: Sequence[str]) -> list[str]:
    """The names of slides: those of their files, numbered if several have the same name."""
    taken: list[str] = []
    for file in files:
        stem = name = slide_name(file) or file
        number = 1
        while name in taken:
            number += 1
            name = f"{stem}-{number}"
        taken.append(name)
    return taken
