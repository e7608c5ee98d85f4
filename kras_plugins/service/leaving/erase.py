"""One patient erased for good: from the database, results, pages, uploads and the store. The audit keeps a tombstone.

The audit never names the patient: its entries name cases. After an erasure they still say that there was a case, when
it was scored, and who erased it; nobody can find out any more whose it was.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from kras_plugins.errors import ConfigError, KrasError, StoreError
from kras_plugins.service import audit
from kras_plugins.service.database.engine import clock, writing
from kras_plugins.service.database.tables import cases, outbox, people, slides, uploads
from kras_plugins.service.settings import ServiceSettings
from kras_plugins.store import Store
from kras_plugins.study.outputs import MANIFEST, read_json
from kras_plugins.urls import Url, place

_log = logging.getLogger("kras.service.erase")


class UnknownPatient(KrasError):
    """Nothing is stored about a patient of this name."""


@dataclass(frozen=True, kw_only=True)
class Erased:
    """What was erased. `left`: slides that stay, as they lie in folders other than the service's own."""

    cases: tuple[str, ...]
    slides: int
    uploads: int
    artifacts: int
    left: int


@dataclass(frozen=True, kw_only=True)
class _Found:
    """All that is stored about a patient."""

    patient: str
    cases: tuple[str, ...]
    places: tuple[Path | Url, ...]
    fingerprints: frozenset[str]


def erase(db: Engine, settings: ServiceSettings, patient: str, actor: str) -> Erased:
    """Erase a patient, named as on pages or as in the hospital.

    First the cases are taken from their workers. Then the files are removed, then the rows, and last the free space of
    the database. If it is killed in between, the same call continues. Backups, and what has left the service, are up to
    the caller. Raises UnknownPatient, and ConfigError while slides of the patient lie in the watched folder: they would
    be queued again.
    """
    found = _stopped(db, settings, patient, actor)
    if found is None:
        scrub(db)  # an earlier erasure may have been killed before this step
        raise UnknownPatient("nothing is stored about this patient", "name the patient as on a page")
    results = [settings.results / case_id for case_id in found.cases]
    sources = found.fingerprints.union(*(_made(manifest) for one in results for manifest in one.glob(f"*/{MANIFEST}")))
    artifacts = Store(settings.study.cache).remove_made_from(sources)
    for folder in results:
        shutil.rmtree(folder, ignore_errors=True)
    for case_id in found.cases:
        for work in settings.work.glob(f"{case_id}-*"):
            shutil.rmtree(work, ignore_errors=True)
    sent = _uploads_of(settings, found.places)
    for upload in sent:
        shutil.rmtree(settings.uploads / upload, ignore_errors=True)
    _refuse_leftovers([*results, *(settings.uploads / upload for upload in sent)])
    with writing(db) as connection:
        _delete(connection, found, sent)
        for case_id in found.cases:
            audit.append(connection, actor, "erase", case_id, artifacts=artifacts, uploads=len(sent))
    scrub(db)
    _log.info("erased %d cases", len(found.cases))
    return Erased(
        cases=found.cases, slides=len(found.places), uploads=len(sent), artifacts=artifacts,
        left=len(found.places) - len(sent),
    )  # fmt: skip


def scrub(db: Engine) -> None:
    """Rewrite the database's files, so that none contains what was deleted. Raises StoreError while others read it.

    On PostgreSQL the tables are rewritten; removing its own log is up to the server.
    """
    if db.dialect.name == "postgresql":
        with db.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("SET lock_timeout = '60s'")
            for table in (cases, slides, people, outbox, uploads):
                connection.exec_driver_sql(f"VACUUM FULL {table.name}")
        return
    raw = db.raw_connection()
    try:
        cursor = raw.cursor()
        cursor.execute("VACUUM")
        busy = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        cursor.close()
    finally:
        raw.close()
    if busy:
        raise StoreError("the database is being read: traces of what was deleted may be in it", "run the same again")


def _stopped(db: Engine, settings: ServiceSettings, patient: str, actor: str) -> _Found | None:
    """Find a patient and end all that waits or runs for them, so that no worker continues; None if unknown."""
    with writing(db) as connection:
        named = sa.select(people.c.pseudonym).where(people.c.patient_id == patient)
        shown = connection.execute(named).scalar_one_or_none() or patient
        known = connection.execute(sa.select(people.c.pseudonym).where(people.c.pseudonym == shown)).first()
        rows = connection.execute(sa.select(cases.c.id, cases.c.state).where(cases.c.patient == shown)).all()
        if not rows and known is None:
            return None
        ids = tuple(sorted(row.id for row in rows))
        own = connection.execute(sa.select(slides.c.place, slides.c.fingerprint).where(slides.c.case_id.in_(ids))).all()
        places = {place(row.place) for row in own}
        _refuse_watched(settings, places)
        for row in rows:
            if row.state in ("queued", "running"):
                connection.execute(
                    cases.update().where(cases.c.id == row.id).values(
                        state="canceled", reason="erased", token=cases.c.token + 1, owner=None, lease_until=None,
                        updated=clock(connection),
                    )
                )  # fmt: skip
                audit.append(connection, actor, "cancel", row.id, state=row.state)
    return _Found(
        patient=shown,
        cases=ids,
        places=tuple(sorted(places, key=str)),
        fingerprints=frozenset(row.fingerprint for row in own),
    )


def _delete(connection: Connection, found: _Found, sent: Sequence[str]) -> None:
    # One statement: later versions refer to earlier ones. Slides and messages go with their case.
    connection.execute(cases.delete().where(cases.c.patient == found.patient))
    connection.execute(people.delete().where(people.c.pseudonym == found.patient))
    connection.execute(uploads.delete().where(uploads.c.id.in_(sent)))


def _made(manifest: Path) -> set[str]:
    """Fingerprints and artifacts of all slides of a result; none for a damaged result, which is removed anyway."""
    try:
        entries = [facts for call in read_json(manifest)["calls"] for facts in call["slides"].values()]
        return {str(one) for facts in entries for one in (facts["fingerprint"], *facts["artifacts"].values())}
    except (ConfigError, KeyError, TypeError, AttributeError):
        return set()


def _uploads_of(settings: ServiceSettings, places: Iterable[Path | Url]) -> list[str]:
    """The ids of uploads among places: each upload has a folder named by its id."""
    home = settings.uploads.absolute()
    own = [p.absolute() for p in places if isinstance(p, Path) and p.absolute().is_relative_to(home)]
    return sorted({p.relative_to(home).parts[0] for p in own if p != home})


def _refuse_watched(settings: ServiceSettings, places: Iterable[Path | Url]) -> None:
    if settings.watch is None:
        return
    watched = settings.watch.absolute()
    there = [p for p in places if isinstance(p, Path) and p.absolute().is_relative_to(watched) and p.exists()]
    if there:
        raise ConfigError(
            f"{len(there)} slides of the patient lie in the watched folder: they would be queued again",
            "move them away, then run the same again",
        )


def _refuse_leftovers(folders: Iterable[Path]) -> None:
    left = [folder for folder in folders if folder.exists()]
    if left:
        raise StoreError(f"{left[0]}: cannot be removed", "see who owns it, then run the same again")
