"""Answers to what cannot be done: the cause and the remedy, as problem+json (RFC 9457), or as a page for people."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from kras_plugins.errors import BackendError, ConfigError, KrasError, SlideError, StoreError
from kras_plugins.service.cases import UnknownCase, WrongState
from kras_plugins.service.intake.uploads import UnknownUpload, WrongOffset
from kras_plugins.service.leaving.downloads import UnknownDocument
from kras_plugins.service.pages.rendered import page

if TYPE_CHECKING:
    from starlette.types import Scope

_log = logging.getLogger("kras.service.api")
_MEANT = (
    (UnknownCase, 404), (UnknownUpload, 404), (UnknownDocument, 404), (WrongState, 409), (WrongOffset, 409),
    (ConfigError, 422), (SlideError, 422),
)  # fmt: skip
"""Errors that the caller can mend, and the status of their answers."""


class Refused(KrasError):
    """A request that cannot be fulfilled, and the HTTP status of the answer."""

    def __init__(self, status: int, cause: str, remedy: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(cause, remedy)
        self.status = status
        self.headers = headers or {}


class Problem(BaseModel):
    """Why a request was not answered: `detail` is the cause, `remedy` what to do."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    remedy: str = ""


_PROBLEM = {"application/problem+json": {"schema": Problem.model_json_schema()}}
RESPONSES: dict[int | str, dict[str, Any]] = {
    code: {"description": what, "content": _PROBLEM}
    for code, what in (
        (400, "What was sent cannot be read"), (401, "No valid token"), (403, "The token lacks the scope"),
        (404, "Not found"), (405, "Method not allowed"), (409, "Not allowed in its present state"),
        (413, "Too large"), (422, "What was sent is not valid"), (429, "Too many requests"),
        (503, "Part of the service is unavailable"),
    )
}  # fmt: skip
"""The problems with which every route of the API may answer."""


def answered(scope: Scope, status: int, cause: str, remedy: str = "") -> Response:
    """The answer to a request of this scope."""
    title = HTTPStatus(status).phrase
    if scope["path"].startswith("/api/"):
        problem = Problem(title=title, status=status, detail=_sayable(cause), remedy=_sayable(remedy))
        return JSONResponse(problem.model_dump(), status, media_type="application/problem+json")
    who = scope.get("state", {}).get("who")
    view = {"who": who, "title": title, "status": status, "cause": _sayable(cause), "remedy": _sayable(remedy)}
    return HTMLResponse(page("error.html.j2", view), status)


def add_problems(app: FastAPI) -> None:
    """Answer every error in this form."""

    @app.exception_handler(HTTPException)
    def refused(request: Request, error: HTTPException) -> Response:
        answer = answered(request.scope, error.status_code, str(error.detail))
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if isinstance(part, str | int))
        return answered(request.scope, 422, f"{where[:200]}: {first['msg'][:300]}", "see /api/v1/openapi.json")

    @app.exception_handler(KrasError)
    def told(request: Request, error: KrasError) -> Response:
        if isinstance(error, Refused):
            answer = answered(request.scope, error.status, error.message, error.hint)
            answer.headers.update(error.headers)
            return answer
        for kind, status in _MEANT:
            if isinstance(error, kind):
                return answered(request.scope, status, error.message, error.hint)
        # Its text may name files of patients: the log says what kind of thing went wrong where.
        _log.error("%s at %s", type(error).__name__, getattr(request.scope.get("route"), "path", "an address"))
        away = isinstance(error, StoreError | BackendError)
        return answered(
            request.scope, 503 if away else 500, "this cannot be read or written now", "ask whoever runs the service"
        )


def _sayable(text: str) -> str:
    """Text that JSON and HTML can carry, whatever was sent."""
    return text.encode(errors="replace").decode()
