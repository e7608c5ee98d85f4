from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import postgres_server
import pytest
from sqlalchemy import Engine

from kras_plugins.service.database.engine import open_database
from kras_plugins.service.database.migrate import upgrade


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


@pytest.fixture
def db(new_database: str) -> Iterator[Engine]:
    """A database with the tables of today, of each kind in turn."""
    made = open_database(new_database)
    upgrade(made)
    yield made
    made.dispose()
