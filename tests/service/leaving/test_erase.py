"""A patient is erased: no byte is left, and the audit says that there was one."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from left_results import left
from made_cases import fake_case
from service_cases import case, scored
from sqlalchemy import Engine

from kras_plugins.errors import ConfigError
from kras_plugins.service import audit, cases, leases
from kras_plugins.service.database.engine import open_database, reading, writing
from kras_plugins.service.database.migrate import upgrade
from kras_plugins.service.database.tables import metadata, uploads
from kras_plugins.service.leaving.erase import UnknownPatient, erase
from kras_plugins.service.leaving.outbox import put
from kras_plugins.service.settings import ServiceSettings
from kras_plugins.store import Store, make_key
from kras_plugins.study import StudySettings

NAME, SLIDE, SHOWN = "Zwetschgenbaum", "Zwetschgenbaum-H1", "id-Zwetschgenbaum"
TRACE = NAME.encode()


@pytest.fixture
def settings(tmp_path: Path) -> ServiceSettings:
    """A service whose data and store lie in a folder of the test."""
    study = StudySettings(cache=tmp_path / "data" / "store")
    return ServiceSettings(data=tmp_path / "data", watch=tmp_path / "watched", study=study)


@pytest.fixture
def own(settings: ServiceSettings) -> Iterator[Engine]:
    """The service's own database of SQLite."""
    db = open_database(settings.database_url)
    upgrade(db)
    yield db
    db.dispose()


def scored_case(db: Engine, settings: ServiceSettings, name: str = NAME, **given: Any) -> str:
    """A patient with an upload, two versions, the second one scored, its result and what the store has of its slide."""
    made = f"{len(name):032x}"
    file = settings.uploads / made / f"{name}-H1.svs"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"slide of " + name.encode())
    began = datetime(2026, 1, 1, tzinfo=UTC)
    with writing(db) as connection:
        connection.execute(
            uploads.insert().values(id=made, file=file.name, size=9, received=9, owner="ann", created=began)
        )
    one = cases.NewSlide(slide_id=f"id-{name}-1", name=f"{name}-H1", place=str(file), fingerprint=f"f-{name}", bytes=9)
    cases.submit(db, replace(case(name, one), **given), "scanner")
    late = replace(
        one, slide_id=f"id-{name}-2", name=f"{name}-H2", fingerprint=f"g-{name}", place=f"/archive/{name}.svs"
    )
    last = cases.submit(db, replace(case(name, late), **given), "scanner")
    held = leases.claim(db, "worker", 60.0)
    assert held is not None and held.case.id == last.id
    where = f"{last.id}/{held.token}"
    shown = fake_case(last.patient)
    shown = replace(shown, prediction=replace(shown.prediction, reason=f"result of {name}"))
    left(settings.results / where, shown)
    store = Store(settings.study.cache)
    tissue = make_key("tissue", slide=f"f-{name}", at=8.0)
    for key in (tissue, make_key("map", tissue=tissue.digest), make_key("place", slide=f"f-{name}")):
        store.make(key, lambda folder: (folder / "value.txt").write_text(name) and None)
    outcome = replace(scored(where), reason=f"result of {name}")
    assert leases.commit(db, held, outcome, partial(put, url="https://good.example/"))
    return last.id


def traces(folder: Path) -> list[str]:
    """Files below a folder that name the patient, in their name or their bytes."""
    files = [f for f in folder.rglob("*") if f.is_file()]
    return [str(f) for f in files if TRACE in f.read_bytes() + str(f.relative_to(folder)).encode()]


@pytest.mark.parametrize("said", [NAME, SHOWN])
def test_no_byte_of_patient_or_result_is_left_and_others_are_whole(
    own: Engine, settings: ServiceSettings, said: str
) -> None:
    case_id = scored_case(own, settings)
    other = scored_case(own, settings, "bob")
    assert len(traces(settings.data)) > 5
    done = erase(own, settings, said, "admin")
    assert (len(done.cases), done.slides, done.uploads, done.artifacts, done.left) == (2, 2, 1, 3, 1)
    own.dispose()
    assert traces(settings.data) == []
    assert cases.get(own, other).state == "scored"
    assert (settings.results / other).is_dir()
    assert len(list(Store(settings.study.cache).entries())) == 3
    with pytest.raises(cases.UnknownCase):
        cases.get(own, case_id)
    assert [e.action for e in audit.entries(own, case_id)] == ["submit", "claim", "scored", "erase"]
    assert audit.verify(own).wrong == ()


def test_with_pseudonyms_off_the_audit_still_has_no_name(own: Engine, settings: ServiceSettings) -> None:
    scored_case(own, settings, patient=NAME)
    erase(own, settings, NAME, "admin")
    own.dispose()
    assert traces(settings.data) == []
    assert audit.verify(own).wrong == ()


def test_on_either_database_no_table_has_a_row_of_the_patient(db: Engine, settings: ServiceSettings) -> None:
    scored_case(db, settings)
    erase(db, settings, NAME, "admin")
    with reading(db) as connection:
        rows = {t.name: connection.execute(sa.select(t)).all() for t in metadata.sorted_tables}
    assert [name for name, some in rows.items() if some] == ["audit"]
    assert "Zwetschgenbaum" not in repr(rows)


def test_a_worker_that_has_the_case_is_refused_and_its_work_goes(own: Engine, settings: ServiceSettings) -> None:
    made = cases.submit(own, case(NAME), "scanner")
    held = leases.claim(own, "worker", 60.0)
    assert held is not None
    work = settings.work / f"{made.id}-{held.token}"
    work.mkdir(parents=True)
    (work / "names.json").write_text(NAME)
    erase(own, settings, NAME, "admin")
    assert not leases.renew(own, held, 60.0)
    assert not leases.commit(own, held, scored())
    own.dispose()
    assert traces(settings.data) == []


def test_slides_that_would_come_again_are_moved_away_first(own: Engine, settings: ServiceSettings) -> None:
    assert settings.watch is not None
    settings.watch.mkdir()
    slide = settings.watch / "a.svs"
    slide.write_text("a")
    one = cases.NewSlide(slide_id="id-a", name="a", place=str(slide), fingerprint="f", bytes=1)
    made = cases.submit(own, case(NAME, one), "watch")
    with pytest.raises(ConfigError, match="1 slides of the patient lie in the watched folder") as e:
        erase(own, settings, NAME, "admin")
    assert "a.svs" not in str(e.value)
    assert cases.get(own, made.id).state == "queued"
    slide.unlink()
    assert erase(own, settings, NAME, "admin").left == 1


def test_a_patient_who_is_not_there_is_an_error_that_repeats_no_name(own: Engine, settings: ServiceSettings) -> None:
    with pytest.raises(UnknownPatient) as e:
        erase(own, settings, NAME, "admin")
    assert NAME not in str(e.value)


def test_what_is_logged_names_nobody(own: Engine, settings: ServiceSettings) -> None:
    logged = io.StringIO()
    handler = logging.StreamHandler(logged)
    logger = logging.getLogger("kras")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        scored_case(own, settings)
        erase(own, settings, NAME, "admin")
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
    assert "erased 2 cases" in logged.getvalue()
    assert "Zwetschgenbaum" not in logged.getvalue()
