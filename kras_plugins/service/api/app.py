"""The application: routes of programs and of pages, behind access and limits."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, FastAPI
from fastapi.responses import JSONResponse

from kras_plugins.service.api.access import Access, Who, may
from kras_plugins.service.api.cases import case_routes
from kras_plugins.service.api.documents import document_routes
from kras_plugins.service.api.limits import Limits
from kras_plugins.service.api.problems import add_problems
from kras_plugins.service.api.tokens import token_routes
from kras_plugins.service.api.uploads import upload_routes
from kras_plugins.service.intake.arrivals import Arrivals
from kras_plugins.service.operations.health import Readiness, checks, servers_of
from kras_plugins.service.operations.metrics import Metrics, Timed
from kras_plugins.service.operations.routes import operation_routes
from kras_plugins.service.pages.routes import page_routes
from kras_plugins.service.pages.viewers import Viewers

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from kras_plugins.service.parts import Service

_TITLE = "kras serve"
_KEY_BYTES = 32


@contextmanager
def create_app(service: Service) -> Iterator[ASGIApp]:
    """The application of a service, which answers in the threads of a pool."""
    app = FastAPI(title=_TITLE, version="1", openapi_url=None, docs_url=None, redoc_url=None)
    arrivals, viewers = Arrivals(service.db, service.settings, service.bundles), Viewers(service)
    add_problems(app)
    own = (case_routes(service, arrivals), document_routes(service), upload_routes(service), token_routes(service))
    for routes in own:
        app.include_router(routes)
    _schema(app)
    app.include_router(page_routes(service, arrivals))
    app.mount("/cases/{case_id}/view", viewers)
    metrics = Metrics(service.db)
    servers = servers_of(service.settings.study)
    ready = Readiness(lambda: checks(service.db, service.settings, service.bundles, servers))
    app.include_router(operation_routes(ready, metrics, may("read")))
    try:
        yield Access(Limits(Timed(app, metrics), service.reach), service, _form_key(service.settings.data))
    finally:
        viewers.close()


def _schema(app: FastAPI) -> None:
    """The OpenAPI description of the API, for anybody with a token; pages are not part of it."""

    @app.get("/api/v1/openapi.json", include_in_schema=False)
    def schema(who: Annotated[Who, Depends(may("read"))]) -> JSONResponse:
        described: dict[str, Any] = app.openapi()
        return JSONResponse(described)


def _form_key(data: Path) -> bytes:
    """The key that signs the forms of a proxy's users: one for all processes of a service, made by the first."""
    file, made = data / "form.key", secrets.token_bytes(_KEY_BYTES)
    data.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".form.key-{secrets.token_hex(8)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as f:
        f.write(made)
    try:
        os.link(draft, file)  # atomic: of several processes one succeeds
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    return file.read_bytes()
