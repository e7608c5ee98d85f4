from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import postgres_server
import pytest
import sqlalchemy as sa
from cohorts import draw_tables
from served import serving, small_bundle
from service_app import Running, running
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
    """Current tables on PostgreSQL, which tests empty: making them takes seconds on a busy machine."""
    made = open_database(postgres_server.new_database(postgres))
    upgrade(made)
    yield made
    made.dispose()


@pytest.fixture(params=["sqlite", "postgres"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """A database with the current tables and nothing in them, of each kind in turn."""
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


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cohort without slides, and the features of its patients in two tables."""
    folder = tmp_path_factory.mktemp("tables")
    draw_tables(folder)
    return folder


@pytest.fixture(scope="session")
def bundle(tables: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle on finished features, which scores a patient in a second."""
    return small_bundle(tables, tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="session")
def scored_data(tables: Path, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a service that scored two patients, 0 and 1; others may have copies of it."""
    folder = tmp_path_factory.mktemp("scored")
    with running(serving(folder, tables, [bundle])) as service:
        client = service.client("submit")
        for patient, path in enumerate(service.slides(range(2))):
            made = client.post("/api/v1/cases", json={"slides": [{"path": path}], "patient": f"person {patient}"})
            assert made.status_code == 201, made.text
        service.score()
    return folder


@pytest.fixture(scope="module")
def service(tables: Path, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service that the tests of a file share."""
    with running(serving(tmp_path_factory.mktemp("service"), tables, [bundle])) as made:
        yield made


@pytest.fixture(scope="module")
def scored(
    tables: Path, bundle: Path, scored_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    """A service that scored two patients, which the tests of a file share."""
    folder = tmp_path_factory.mktemp("scored")
    shutil.copytree(scored_data, folder, dirs_exist_ok=True)
    with running(serving(folder, tables, [bundle])) as made:
        yield made
