"""The viewer of `kras view` on the slides of a case, below the case's address."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection
from starlette.responses import RedirectResponse

from kras_plugins.errors import KrasError, StoreError
from kras_plugins.report.case_json import ENDING
from kras_plugins.service import cases
from kras_plugins.service.api.access import allowed_to
from kras_plugins.service.cases import CaseRow, WrongState
from kras_plugins.service.intake.places import file_of
from kras_plugins.viewer.app import answering
from kras_plugins.viewer.found import shown_result
from kras_plugins.viewer.opened import Opened

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from kras_plugins.service.parts import Service

MOST = 4
"""Cases whose slides stay open."""
_log = logging.getLogger("kras.service.viewer")


class Viewers:
    """Answers below `/cases/ID/view`. The slides unused for longest are closed. Thread-safe."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._lock = threading.Lock()
        self._open: OrderedDict[str, tuple[ASGIApp, Opened]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request for a slide; pages of the case itself are the service's."""
        case_id = scope["path_params"]["case_id"]
        allowed_to(HTTPConnection(scope), "read")
        app = await run_in_threadpool(self._app, scope, case_id)
        below = str(scope["path"]).removeprefix(str(scope["root_path"]))
        if not below.startswith(("/slides/", "/static/")):
            app = RedirectResponse(f"/cases/{case_id}", 303)
        await app(scope, receive, send)

    def close(self) -> None:
        """Close all slides."""
        with self._lock:
            for _, slides in self._open.values():
                slides.close()
            self._open.clear()

    def _app(self, scope: Scope, case_id: str) -> ASGIApp:
        case = seen_by(scope, cases.get(self._service.db, case_id))
        folder = result_folder(self._service, case)
        with self._lock:
            found = self._open.get(str(case.result))
            if found is None:
                found = self._opened(case, folder)
                self._open[str(case.result)] = found
            self._open.move_to_end(str(case.result))
            while len(self._open) > MOST:
                self._open.popitem(last=False)[1][1].close()
        return found[0]

    def _opened(self, case: CaseRow, folder: Path) -> tuple[ASGIApp, Opened]:
        places = {slide.slide_id: file_of(slide.place) for slide in cases.slides_of(self._service.db, case.id)}
        shown = shown_result(self._service.session, folder, places=places, base=f"/cases/{case.id}/view")
        slides = Opened(shown.slides)

        def tell(error: KrasError) -> None:  # whose text names the slide's file
            _log.warning("a slide of case %s cannot be shown: %s", case.id, type(error).__name__)

        return answering(shown, slides, tell), slides


def seen_by(scope: Scope, case: CaseRow) -> CaseRow:
    """The case. Raises Refused if it is silent and the caller may not see silent cases."""
    if case.silent:
        allowed_to(HTTPConnection(scope), "admin")
    return case


def result_folder(service: Service, case: CaseRow) -> Path:
    """Where the result of a case lies. Raises WrongState before it has one, StoreError if its files are gone."""
    if case.result is None:
        raise WrongState(f"case {case.id} is {case.state}: it has no result", "wait until it is scored")
    folder = service.settings.results / case.result
    if not folder.is_dir():
        raise StoreError(f"the result of case {case.id} is gone", "restore it from a backup, or score the case again")
    return folder


def case_file(folder: Path) -> Path | None:
    """The JSON of the one patient of a result, None if nothing was scored."""
    return next(iter(sorted(folder.glob(f"*{ENDING}"))), None)
