"""A backup of a running service, restored into an empty folder."""

from __future__ import annotations

import json
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from left_results import left
from made_cases import fake_case
from postgres_server import new_database
from service_cases import case, scored
from sqlalchemy import Engine

from kras_plugins.errors import ConfigError, UsageError
from kras_plugins.service import audit, cases, leases
from kras_plugins.service.database.engine import open_database, reading
from kras_plugins.service.database.migrate import upgrade
from kras_plugins.service.database.tables import metadata
from kras_plugins.service.operations.backup import CONTENT, backup, restore
from kras_plugins.service.settings import ServiceSettings


@pytest.fixture
def settings(tmp_path: Path) -> ServiceSettings:
    return ServiceSettings(data=tmp_path / "data")


@pytest.fixture
def own(settings: ServiceSettings) -> Iterator[Engine]:
    """A service with three cases, two of them scored, an upload and a key."""
    db = open_database(settings.database_url)
    upgrade(db)
    for name in ("ann", "bob", "cid"):
        cases.submit(db, case(name), "scanner")
    for _ in range(2):
        held = leases.claim(db, "w", 60.0)
        assert held is not None
        where = f"{held.case.id}/{held.token}"
        left(settings.results / where, fake_case(held.case.patient))
        assert leases.commit(db, held, scored(where))
    (settings.uploads / "1f").mkdir(parents=True)
    (settings.uploads / "1f" / "a.svs").write_text("slide")
    (settings.data / "pseudonyms.json").write_text("{}")
    yield db
    db.dispose()


def rows(db: Engine) -> dict[str, list[object]]:
    with reading(db) as connection:
        return {t.name: sorted(map(str, connection.execute(sa.select(t)).all())) for t in metadata.sorted_tables}


def content(folder: Path) -> dict[str, bytes]:
    """The bytes of each file but the database's."""
    return {
        str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file() and "sqlite" not in f.name
    }


def test_what_is_restored_is_what_was_backed_up_and_the_audit_goes_on(
    own: Engine, settings: ServiceSettings, tmp_path: Path
) -> None:
    (settings.results / "never-committed").mkdir()
    (settings.results / "never-committed" / "x").write_text("half")
    made = backup(own, settings, tmp_path / "backup", "admin")
    before = rows(own)
    cases.submit(own, case("dan"), "scanner")  # after the backup
    other = ServiceSettings(data=tmp_path / "other")
    back = restore(tmp_path / "backup", other, "admin")
    assert (back.at, back.files, back.database) == (made.at, made.files, True)
    db = open_database(other.database_url)
    after = rows(db)
    assert {k: v for k, v in after.items() if k != "audit"} == {k: v for k, v in before.items() if k != "audit"}
    assert len(after["audit"]) == len(before["audit"]) + 1
    assert [e.action for e in audit.entries(db)][-2:] == ["backup", "restore"]
    assert audit.verify(db).wrong == ()
    whole = content(settings.data)
    del whole["results/never-committed/x"]
    assert content(other.data) == whole
    assert leases.claim(db, "w", 60.0) is not None  # it continues with what waited
    db.dispose()


def test_a_backup_is_its_owners_alone(own: Engine, settings: ServiceSettings, tmp_path: Path) -> None:
    backup(own, settings, tmp_path / "backup", "admin")
    for path in [tmp_path / "backup", *(f for f in (tmp_path / "backup").rglob("*") if f.is_file())]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_a_copy_that_is_made_while_others_write_is_of_one_moment(
    own: Engine, settings: ServiceSettings, tmp_path: Path
) -> None:
    stop = threading.Event()

    def submit() -> None:
        i = 0
        while not stop.is_set():
            cases.submit(own, case(f"p{i}"), "scanner")
            i += 1

    writer = threading.Thread(target=submit)
    writer.start()
    try:
        for i in range(2):
            backup(own, settings, tmp_path / f"backup{i}", "admin")
    finally:
        stop.set()
        writer.join()
    for i in range(2):
        db = open_database(f"sqlite:///{tmp_path / f'backup{i}' / 'kras.sqlite'}")
        assert audit.verify(db).wrong == ()
        with reading(db) as connection:
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar_one() == "ok"
            assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []
        db.dispose()


@pytest.mark.parametrize("harm", ["changed", "missing", "unfinished", "escaping"])
def test_a_backup_that_is_not_whole_is_refused_and_nothing_is_written(
    own: Engine, settings: ServiceSettings, tmp_path: Path, harm: str
) -> None:
    made = tmp_path / "backup"
    backup(own, settings, made, "admin")
    if harm == "changed":
        (made / "uploads" / "1f" / "a.svs").write_text("other")
    elif harm == "missing":
        (made / "kras.sqlite").unlink()
    elif harm == "unfinished":
        (made / CONTENT).unlink()
    else:
        value = json.loads((made / CONTENT).read_text())
        value["files"]["../escaped"] = "0" * 64
        (made / CONTENT).write_text(json.dumps(value))
    with pytest.raises(ConfigError):
        restore(made, ServiceSettings(data=tmp_path / "other"), "admin")
    assert not (tmp_path / "other").exists()


def test_nothing_is_written_over(own: Engine, settings: ServiceSettings, tmp_path: Path) -> None:
    backup(own, settings, tmp_path / "backup", "admin")
    with pytest.raises(UsageError, match="already exists"):
        backup(own, settings, tmp_path / "backup", "admin")
    with pytest.raises(UsageError, match="is not empty"):
        restore(tmp_path / "backup", settings, "admin")


def test_of_a_service_on_postgresql_the_files_are_copied(
    postgres: str, settings: ServiceSettings, tmp_path: Path
) -> None:
    url = new_database(postgres)
    db = open_database(url)
    upgrade(db)
    cases.submit(db, case("ann"), "scanner")
    held = leases.claim(db, "w", 60.0)
    assert held is not None
    left(settings.results / "a/1", fake_case("id-ann"))
    assert leases.commit(db, held, scored("a/1"))
    assert not backup(db, settings, tmp_path / "backup", "admin").database
    other = ServiceSettings(data=tmp_path / "other", database=url)
    restore(tmp_path / "backup", other, "admin")
    assert content(other.results) == content(settings.results) != {}
    assert [e.action for e in audit.entries(db)][-1] == "restore"
    db.dispose()
