"""What makes a service ready."""

from __future__ import annotations

import shutil
import socket
from collections import namedtuple
from pathlib import Path

import pytest
from sqlalchemy import Engine

from kras_plugins.service.bundles import Bundles
from kras_plugins.service.database.engine import open_database
from kras_plugins.service.operations.health import LEAST_FREE, Check, Readiness, checks, servers_of
from kras_plugins.service.settings import ServiceSettings
from kras_plugins.study import StudySettings


@pytest.fixture
def settings(tmp_path: Path) -> ServiceSettings:
    """A service's folder, and a bundle beside it."""
    (tmp_path / "data").mkdir()
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "bundle.json").write_text("{}")
    return ServiceSettings(data=tmp_path / "data")


def wrong(db: Engine, settings: ServiceSettings, *servers: str) -> dict[str, str]:
    """What is wrong, by what it is."""
    bundles = Bundles(folders={"ab" * 32: settings.data.parent / "bundle"}, shown=("ab" * 32,))
    return {check.name: check.why for check in checks(db, settings, bundles, servers) if check.why}


def test_all_is_well_while_database_bundle_disk_and_servers_are_there(db: Engine, settings: ServiceSettings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        listening = f"127.0.0.1:{server.getsockname()[1]}"
        assert wrong(db, settings, "127.0.0.1:9", listening) == {}
    assert "nothing listens" in wrong(db, settings, "127.0.0.1:9")["backend"]
    shutil.rmtree(settings.data.parent / "bundle")
    assert wrong(db, settings) == {"bundles": "bundle abababababababab is missing"}


def test_a_database_that_is_away_or_has_no_tables_is_named(tmp_path: Path, settings: ServiceSettings) -> None:
    empty = open_database(f"sqlite:///{tmp_path / 'empty.sqlite'}")
    assert wrong(empty, settings) == {"database": "its tables are those of another version"}
    empty.dispose()
    away = open_database("postgresql://nobody@127.0.0.1:9/none?connect_timeout=2")
    assert wrong(away, settings) == {"database": "it does not answer"}
    away.dispose()


def test_a_disk_that_fills_up_is_told_in_time(
    db: Engine, settings: ServiceSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1, 1, LEAST_FREE - 1))
    assert set(wrong(db, settings)) == {"disk"}


def test_who_asks_often_asks_the_database_once() -> None:
    asked = []
    ready = Readiness(lambda: asked.append(1) or (Check(name="x"),))  # type: ignore[func-returns-value]
    assert {ready() for _ in range(50)} == {(Check(name="x"),)}
    assert len(asked) <= 2  # twice on a machine so slow that the first answer has become old


def test_servers_are_those_of_the_backend_where_it_has_any() -> None:
    assert servers_of(StudySettings()) == ()
    assert servers_of(StudySettings(backend="triton")) == ("localhost:8001",)
    several = StudySettings(backend="triton").with_options("backend.triton.url=a:1, dns:///b:2")
    assert servers_of(several) == ("a:1", "b:2")
