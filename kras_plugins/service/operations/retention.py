"""Results are kept as long as a rule says; the audit records what is removed, and by which rule."""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from kras_plugins.errors import ConfigError
from kras_plugins.service import audit
from kras_plugins.service.database.engine import clock, writing
from kras_plugins.service.database.tables import cases, outbox, slides, uploads
from kras_plugins.service.settings import ServiceSettings

ACTOR = "retention"
_MOST_AT_ONCE = 200
_ENDED = ("scored", "not_assessable", "failed", "canceled")
_log = logging.getLogger("kras.service.retention")


@dataclass(frozen=True, kw_only=True)
class Rule:
    """How many days things are kept; None keeps them for good. Raises ConfigError for a negative number.

    `results`: since they were made; `superseded`: results that a later version replaced, since then;
    `uploads`: slides that were sent but belong to no case.
    """

    results: float | None = None
    superseded: float | None = None
    uploads: float | None = 7.0

    def __post_init__(self) -> None:
        if any(days is not None and days < 0 for days in (self.results, self.superseded, self.uploads)):
            raise ConfigError("a retention rule has a negative number of days", "name 0 or more days")


def keep(db: Engine, settings: ServiceSettings, rule: Rule, now: datetime | None = None) -> int:
    """Remove what the rule no longer keeps; returns how much. The row of a case stays, so that it is not scored again.

    Its folder, score, call and cautions are removed. The patient behind a pseudonym stays until erased. `now`: in place
    of the database's clock. Several processes may do this at once. A killed process leaves only folders that nothing
    refers to; workers remove them.
    """
    removed = 0
    while expired := _expire(db, settings, rule, now):
        removed += expired
    return removed + _forget_uploads(db, settings, rule, now)


def _expire(db: Engine, settings: ServiceSettings, rule: Rule, now: datetime | None) -> int:
    with writing(db) as connection:
        at = now or clock(connection)
        found = [*_due(connection, rule, at)]
        for case_id, _, why in found:
            connection.execute(
                cases.update().where(cases.c.id == case_id).values(
                    result=None, score=None, call=None, qc=None, cautions="", reason=f"removed: {why}", updated=at
                )
            )  # fmt: skip
            connection.execute(outbox.delete().where(outbox.c.case_id == case_id))
            audit.append(connection, ACTOR, "expire", case_id, rule=why)
    for case_id, _, _ in found:
        shutil.rmtree(settings.results / case_id, ignore_errors=True)
    if found:
        _log.info("%d results were removed by the retention rule", len(found))
    return len(found)


def _due(connection: Connection, rule: Rule, at: datetime) -> list[tuple[str, str, str]]:
    """Id, folder and reason of results that are no longer kept, some at a time."""
    asked = sa.select(cases.c.id, cases.c.result).where(cases.c.result.is_not(None), cases.c.state.in_(_ENDED))
    asked = asked.order_by(cases.c.id).limit(_MOST_AT_ONCE).with_for_update(skip_locked=True)
    found: dict[str, tuple[str, str, str]] = {}
    later = cases.alias("later")
    if rule.superseded is not None:
        since = at - timedelta(days=rule.superseded)
        old = asked.join(later, later.c.id == cases.c.superseded_by).where(later.c.created <= since)
        for row in connection.execute(old):
            found[row.id] = row.id, row.result, f"superseded for {rule.superseded:g} days"
    if rule.results is not None:
        since = at - timedelta(days=rule.results)
        for row in connection.execute(asked.where(cases.c.scored_at <= since)):
            found.setdefault(row.id, (row.id, row.result, f"{rule.results:g} days old"))
    return [*found.values()]


def _forget_uploads(db: Engine, settings: ServiceSettings, rule: Rule, now: datetime | None) -> int:
    if rule.uploads is None:
        return 0
    with writing(db) as connection:
        since = (now or clock(connection)) - timedelta(days=rule.uploads)
        own = sa.select(uploads.c.id, uploads.c.file).where(uploads.c.created <= since)
        gone = [row.id for row in connection.execute(own) if not _is_used(connection, settings.uploads / row.id)]
        for upload in gone:
            connection.execute(uploads.delete().where(uploads.c.id == upload))
            audit.append(connection, ACTOR, "expire upload", upload, days=rule.uploads)
    for upload in gone:
        shutil.rmtree(settings.uploads / upload, ignore_errors=True)
    return len(gone)


def _is_used(connection: Connection, folder: Path) -> bool:
    """Whether a case has a slide there."""
    below = f"{folder.absolute()}/"
    return (
        connection.execute(sa.select(slides.c.id).where(slides.c.place.startswith(below, autoescape=True))).first()
        is not None
    )
