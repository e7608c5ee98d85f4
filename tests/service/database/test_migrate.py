"""A database is brought up to date in one step, by the first process, and its tables are those that are stated."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from service_cases import case
from sqlalchemy import Engine

from kras_plugins.errors import ConfigError, StoreError
from kras_plugins.service import cases
from kras_plugins.service.database.engine import open_database, reading, writing
from kras_plugins.service.database.migrate import is_current, upgrade
from kras_plugins.service.database.tables import audit, metadata


def test_the_migrations_make_the_tables_that_are_stated(db: Engine) -> None:
    with reading(db) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []
        inspector = sa.inspect(connection)
        for table in metadata.tables.values():  # alembic compares no expressions of indexes
            assert {i["name"] for i in inspector.get_indexes(table.name)} >= {i.name for i in table.indexes}


def test_several_processes_may_bring_it_up_to_date_at_once_and_again(new_database: str) -> None:
    def one(_: int) -> None:
        db = open_database(new_database)
        upgrade(db)
        db.dispose()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one, range(4)))
    db = open_database(new_database)
    assert is_current(db)
    made = cases.submit(db, case(), "me")
    upgrade(db)
    assert cases.get(db, made.id) == made
    db.dispose()


def test_a_database_of_a_later_version_is_refused_and_left_as_it_is(new_database: str) -> None:
    db = open_database(new_database)
    upgrade(db)
    with writing(db) as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match=r"tables of a later kras \(9999\)"):
        upgrade(db)
    assert not is_current(db)
    db.dispose()


def test_moments_come_back_in_utc_and_those_without_a_zone_are_refused(db: Engine) -> None:
    there = datetime(2026, 1, 1, 12, 0, 0, 5, tzinfo=timezone(timedelta(hours=2)))
    row = {"number": 1, "at": there, "actor": "", "action": "", "subject": "", "detail": "", "previous": "", "hash": ""}
    with writing(db) as connection:
        connection.execute(audit.insert().values(row))
    with reading(db) as connection:
        found = connection.execute(sa.select(audit.c.at)).scalar_one()
    assert found == there and found.tzinfo is UTC
    with pytest.raises(sa.exc.StatementError, match="without a time zone"), writing(db) as connection:
        connection.execute(audit.insert().values({**row, "number": 2, "hash": "2", "at": there.replace(tzinfo=None)}))


@pytest.mark.parametrize("url", ["nonsense", "mysql://host/db", "sqlite://", "sqlite:///:memory:"])
def test_an_address_that_is_no_database_of_a_service_is_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        open_database(url)


def test_a_database_that_does_not_answer_is_an_error_that_shows_no_password() -> None:
    db = open_database("postgresql://someone:secret@127.0.0.1:9/nothing")
    with pytest.raises(StoreError, match="the database does not answer") as e, reading(db):
        pass
    assert "secret" not in str(e.value)


def test_whoever_stops_in_the_middle_of_a_transaction_keeps_the_others_waiting_for_a_minute_at_most(db: Engine) -> None:
    with reading(db) as connection:
        if db.dialect.name == "postgresql":
            for name in ("idle_in_transaction_session_timeout", "lock_timeout"):
                assert connection.execute(sa.text(f"SHOW {name}")).scalar_one() == "1min"
        else:
            assert connection.execute(sa.text("PRAGMA busy_timeout")).scalar_one() == 60_000
