"""One service process: the pages and the API, workers, and what watches, until it is asked to end."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from kras_plugins.errors import KrasError
from kras_plugins.service.api.app import create_app
from kras_plugins.service.bundles import open_bundles, require_usable
from kras_plugins.service.database.engine import open_database
from kras_plugins.service.database.migrate import upgrade
from kras_plugins.service.intake.arrivals import Arrivals
from kras_plugins.service.intake.watch import Watch, watching
from kras_plugins.service.leaving.outbox import Courier, put
from kras_plugins.service.parts import Service
from kras_plugins.service.tokens import new_secret
from kras_plugins.service.worker import Worker
from kras_plugins.study.inputs import slide_suffixes
from kras_plugins.study.notify import SILENT, Notify
from kras_plugins.study.session import opened
from kras_plugins.viewer.server import PATIENCE, listening, web_server

if TYPE_CHECKING:
    from kras_plugins.service.api.reach import Reach
    from kras_plugins.service.leaving.outbox import Webhook
    from kras_plugins.service.settings import ServiceSettings

PATIENCE_S = 30.0
"""How long current cases may take to end when the service is asked to: then they are given back."""


@dataclass(frozen=True)
class Ending:
    """How a service is asked to end, from any thread: `asked`, and `now`, which does not wait for cases."""

    asked: threading.Event = field(default_factory=threading.Event)
    now: threading.Event = field(default_factory=threading.Event)

    def ask(self) -> None:
        """Ask it to end; the second time, to end at once."""
        (self.now if self.asked.is_set() else self.asked).set()


def run(
    settings: ServiceSettings,
    reach: Reach,
    ending: Ending,
    *,
    workers: int,
    announce: Callable[[str], None],
    begun: Callable[[Arrivals], object] = lambda arrivals: None,
    hook: Webhook | None = None,
    notify: Notify = SILENT,
) -> None:
    """Serve until `ending`. `workers`: cases that are scored at a time, 0 if other processes score.

    `hook`: where results are posted. `announce` gets the address that a browser opens, with a secret if only this
    machine can reach it; `begun` is called before the first case is scored. Raises ConfigError for a port that is in
    use, KrasError if a part of the service failed, and what `open_bundles`, `require_usable`, `open_database` and
    `upgrade` do.
    """
    settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    bundles = open_bundles(settings)
    with ExitStack() as stack:
        db = open_database(settings.database_url)
        stack.callback(db.dispose)
        upgrade(db)
        session = stack.enter_context(opened(settings.study, notify))
        if workers:
            require_usable(session, bundles.folders.values())
        listener = stack.enter_context(listening(reach.host, reach.port))
        reach = replace(reach, port=listener.getsockname()[1])
        console = new_secret() if reach.local and reach.proxy_header is None else None
        service = Service(settings=settings, reach=reach, db=db, bundles=bundles, session=session, console=console)
        server, arrivals = web_server(stack.enter_context(create_app(service))), Arrivals(db, settings, bundles)
        beside = None if hook is None else partial(put, url=hook.url)
        scorers = [Worker(db, settings, bundles, beside) for _ in range(workers)]
        jobs = [_Job(f"worker-{i}", one.run, ending) for i, one in enumerate(scorers)]
        if settings.watch is not None:
            watch = Watch(settings.watch, slide_suffixes(session.registry))
            jobs.append(_Job("watch", lambda: watching(arrivals, watch, settings.name_pattern, ending.asked), ending))
        if hook is not None:
            jobs.append(_Job("courier", Courier(db, hook, ending.asked).run, ending))
        pages = _Job("pages", lambda: server.run([listener]), ending)
        pages.start()
        announce(_address(service))
        try:
            begun(arrivals)
            for job in jobs:
                job.start()
            ending.asked.wait()
        finally:
            ending.asked.set()
            _end(ending, scorers, [job for job in jobs if job.is_alive()])
            server.should_exit = True
            pages.join(PATIENCE)
    broken = [job.name for job in (pages, *jobs) if job.failed]
    if broken:
        raise KrasError(f"the service stopped: {', '.join(broken)} failed", "the lines above say why")


class _Job(threading.Thread):
    """A part of the service in a thread of its own; when one ends, all end."""

    def __init__(self, name: str, do: Callable[[], object], ending: Ending) -> None:
        super().__init__(name=f"kras-{name}", daemon=True)
        self.failed = False
        self._do, self._ending = do, ending
        self._inherit = contextvars.copy_context()  # store, deadline

    def run(self) -> None:
        """Do it; a bug shows its traceback."""
        self.failed = True
        try:
            self._inherit.run(self._do)
            self.failed = False
        finally:
            self._ending.asked.set()


def _end(ending: Ending, scorers: Sequence[Worker], running: Sequence[threading.Thread]) -> None:
    """Let current cases end within `PATIENCE_S`; then they are given back, and other workers score them."""
    for one in scorers:
        one.stop()
    until = time.monotonic() + PATIENCE_S
    while any(one.is_alive() for one in running) and time.monotonic() < until and not ending.now.wait(0.1):
        pass
    for one in scorers:
        one.stop(now=True)
    for thread in running:
        thread.join(PATIENCE_S)


def _address(service: Service) -> str:
    reach = service.reach
    if not reach.local:
        return f"https://{min(reach.names)}/"
    host = f"[{reach.host}]" if ":" in reach.host else reach.host
    return f"http://{host}:{reach.port}/" + ("" if service.console is None else f"login?token={service.console}")
