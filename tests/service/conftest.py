from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import postgres_server
import pytest
import sqlalchemy as sa
from sqlalchemy import Engine

from kras_plugins.service.database.engine import open_database, writing
from kras_plugins.service.database.migrate import upgrade
from kras_plugins.service.database.tables import metadata


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of a PostgreSQL server of these tests."""
    with postgres_server.postgres_server() as address:
        yield address


@pytest.fixture(params=["sqlite", "postgres"])
def new_database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database, of each kind in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'cases.sqlite'}"
    return postgres_server.new_database(request.getfixturevalue("postgres"))


@pytest.fixture(scope="session")
def tables_on_postgres(postgres: str) -> Iterator[Engine]:
    """Tables of today on PostgreSQL, which tests empty: to make them takes seconds on a busy machine."""
    made = open_database(postgres_server.new_database(postgres))
    upgrade(made)
    yield made
    made.dispose()


@pytest.fixture(params=["sqlite", "postgres"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """A database with the tables of today and nothing in them, of each kind in turn."""
    if request.param == "postgres":
        made: Engine = request.getfixturevalue("tables_on_postgres")
        with writing(made) as connection:
            connection.execute(sa.text(f"TRUNCATE {', '.join(metadata.tables)}"))
        yield made
        return
    made = open_database(f"sqlite:///{tmp_path / 'cases.sqlite'}")
    upgrade(made)
    yield made
    made.dispose()
