"""The folders of results: one for each claim; only the committed one stays."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from kras_plugins.service.database.engine import reading
from kras_plugins.service.database.tables import cases
from kras_plugins.service.leases import Claim
from kras_plugins.service.settings import ServiceSettings

_YOUNG_S = 3600.0
"""What was changed more recently is left: its writer may not know yet that its claim is lost."""


def result_of(held: Claim) -> str:
    """Where the result of a claim goes, below the folder of all results."""
    return f"{held.case.id}/{held.token}"


def discard(results: Path, held: Claim) -> None:
    """Remove what a claim wrote that was not committed."""
    shutil.rmtree(results / result_of(held), ignore_errors=True)


def sweep(db: Engine, settings: ServiceSettings, young_s: float = _YOUNG_S) -> int:
    """Remove results that were never committed or that a retry gave up, and lost workers' files; returns how many."""
    removed = 0
    with reading(db) as connection:
        asked = sa.select(cases.c.id, cases.c.result, cases.c.state, cases.c.token)
        for folder in settings.results.iterdir() if settings.results.is_dir() else ():
            row = connection.execute(asked.where(cases.c.id == folder.name)).one_or_none()
            running = f"{row.id}/{row.token}" if row is not None and row.state == "running" else None
            kept = set() if row is None else {row.result, running}
            stale = [one for one in folder.iterdir() if f"{folder.name}/{one.name}" not in kept and _old(one, young_s)]
            removed += _remove(stale)
        removed += _remove(_lost_work(connection, settings.work, young_s))
    return removed


def _lost_work(connection: Connection, folder: Path, young_s: float) -> list[Path]:
    """Working folders of claims that have ended, and output of processes that are long gone."""
    lost = []
    for work in folder.iterdir() if folder.is_dir() else ():
        case_id, _, token = work.name.partition("-")
        held = sa.select(cases.c.id).where(
            cases.c.id == case_id, cases.c.state == "running", sa.cast(cases.c.token, sa.Text) == token
        )
        if _old(work, young_s) and connection.execute(held).first() is None:
            lost.append(work)
    return lost


def _remove(stale: list[Path]) -> int:
    for one in stale:
        if one.is_dir():
            shutil.rmtree(one, ignore_errors=True)
        else:
            one.unlink(missing_ok=True)
    return len(stale)


def _old(path: Path, young_s: float) -> bool:
    try:
        return time.time() - path.stat().st_mtime >= young_s
    except FileNotFoundError:  # removed meanwhile
        return False
