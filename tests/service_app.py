"""What tests of the service's pages and API share: a service with a bundle of features, and clients of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from served import arrive
from sqlalchemy import Engine
from starlette.testclient import TestClient

from kras_plugins.service.api.app import create_app
from kras_plugins.service.api.reach import Reach
from kras_plugins.service.bundles import open_bundles
from kras_plugins.service.database.engine import open_database
from kras_plugins.service.database.migrate import upgrade
from kras_plugins.service.parts import Service
from kras_plugins.service.settings import ServiceSettings
from kras_plugins.service.tokens import issue
from kras_plugins.service.worker import Worker
from kras_plugins.study.session import opened

CONSOLE = "kras_the-secret-that-the-console-shows"
PORT = 8700
REACH = Reach(port=PORT, per_minute=1_000_000)
"""Tests ask more than people do."""


@dataclass(frozen=True)
class Running:
    """A service that answers in this process."""

    service: Service
    app: Any

    @property
    def db(self) -> Engine:
        """Its database."""
        return self.service.db

    def client(self, *scopes: str, name: str = "a program", **headers: str) -> TestClient:
        """A program with a token of these scopes; a stranger where none is named."""
        if scopes:
            headers["Authorization"] = f"Bearer {issue(self.db, name, scopes, 'test')[1]}"
        base = f"http://127.0.0.1:{self.service.reach.port}"
        return TestClient(self.app, base_url=base, headers=headers, follow_redirects=False)

    def browser(self, *scopes: str) -> TestClient:
        """A browser that logged in: with the printed address, or with a token of these scopes."""
        client = self.client()
        token = issue(self.db, "a person", scopes, "test")[1] if scopes else CONSOLE
        assert client.get("/login", params={"token": token}).status_code == 200
        return client

    def slides(self, patients: Iterable[int]) -> list[str]:
        """Paths of slides of patients whose features the bundle is given."""
        return [str(arrive(self.service.settings.roots[0], patient)) for patient in patients]

    def score(self) -> None:
        """Score all that waits."""
        Worker(self.db, self.service.settings, self.service.bundles).run(until_empty=True)


@contextlib.contextmanager
def running(settings: ServiceSettings, reach: Reach | None = None) -> Iterator[Running]:
    """A service, its database made."""
    db = open_database(settings.database_url)
    upgrade(db)
    try:
        with opened(settings.study) as session:
            service = Service(
                settings=settings,
                reach=reach or REACH,
                db=db,
                bundles=open_bundles(settings),
                session=session,
                console=CONSOLE,
            )
            with create_app(service) as app:
                yield Running(service, app)
    finally:
        db.dispose()


def csrf_of(page: str) -> str:
    """What the forms of a page carry."""
    return page.split('name="csrf" value="')[1].split('"')[0]
