"""Is the service ready to take cases: its database, its bundles, its disk, and where its networks run."""

from __future__ import annotations

import logging
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from kras_plugins.errors import StoreError
from kras_plugins.learning.content import CONTENT
from kras_plugins.service.bundles import Bundles
from kras_plugins.service.database.migrate import is_current
from kras_plugins.service.settings import ServiceSettings
from kras_plugins.study.settings import StudySettings

LEAST_FREE = 1 << 30
"""Bytes that must be free for results: a case takes some ten MB."""
_KEPT_S = 2.0
"""How long an answer counts, so that frequent requests do not reach the database."""
_PATIENCE_S = 3.0
_log = logging.getLogger("kras.service.health")


@dataclass(frozen=True, kw_only=True)
class Check:
    """One condition. `why`: what is wrong, in words without addresses or paths; "" if nothing is."""

    name: str
    why: str = ""


def servers_of(study: StudySettings) -> tuple[str, ...]:
    """HOST:PORT of the servers that the networks of a study run on; none if they run in this process."""
    from kras_plugins.host.manager import discover

    own = (p.record for p in discover().provided if p.kind == "backend" and p.record.name == study.backend)
    field = next((record.options.model_fields.get("url") for record in own), None)
    if field is None:
        return ()
    url = study.options.get("backend", {}).get(study.backend, {}).get("url", field.default)
    return tuple(one.strip().rpartition("//")[2].strip("/") for one in str(url).split(","))


def checks(db: Engine, settings: ServiceSettings, bundles: Bundles, servers: Sequence[str] = ()) -> tuple[Check, ...]:
    """All conditions for scoring cases. `servers`: model servers, each waited for a few seconds at most."""
    found = {
        "database": _database(db),
        "bundles": next(_bundles(bundles), ""),
        "disk": _disk(settings),
        "backend": _backend(servers),
    }
    for name, why in found.items():
        if why:
            _log.warning("not ready: %s: %s", name, why)
    return tuple(Check(name=name, why=why) for name, why in found.items())


class Readiness:
    """The last answer of `checks`, renewed when it is old. Thread-safe."""

    def __init__(self, ask: Callable[[], tuple[Check, ...]]) -> None:
        self._ask, self._lock = ask, threading.Lock()
        self._found: tuple[Check, ...] = ()
        self._until = 0.0

    def __call__(self) -> tuple[Check, ...]:
        """The checks, at most a moment old."""
        with self._lock:
            if time.monotonic() >= self._until:
                self._found = self._ask()
                self._until = time.monotonic() + _KEPT_S
            return self._found


def _database(db: Engine) -> str:
    try:
        return "" if is_current(db) else "its tables are those of another version"
    except (StoreError, SQLAlchemyError):
        return "it does not answer"


def _bundles(bundles: Bundles) -> Iterator[str]:
    for digest, folder in bundles.folders.items():
        if not (folder / CONTENT).is_file():
            yield f"bundle {digest[:16]} is missing"


def _disk(settings: ServiceSettings) -> str:
    try:
        free = shutil.disk_usage(settings.data).free
    except OSError:
        return "the service's folder is missing"
    return "" if free >= LEAST_FREE else f"{free:,} bytes are free, less than {LEAST_FREE:,}"


def _backend(servers: Sequence[str]) -> str:
    """Whether anything listens at the address of one of the model servers."""
    if not servers:
        return ""
    for server in servers:
        host, _, port = server.rpartition(":")
        with suppress(OSError, ValueError), socket.create_connection((host.strip("[]"), int(port)), _PATIENCE_S):
            return ""
    return "nothing listens at the addresses of its servers"
