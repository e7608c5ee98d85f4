"""Addresses for monitoring: `/healthz`, `/readyz` and `/metrics`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Depends, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from kras_plugins.service.operations.health import Check
from kras_plugins.service.operations.metrics import Metrics

_FORMAT = "text/plain; version=0.0.4; charset=utf-8"


def operation_routes(
    ready: Callable[[], tuple[Check, ...]], metrics: Metrics, may_read: Callable[..., object] = lambda: None
) -> APIRouter:
    """The three routes. `may_read`: a dependency that refuses those who may not see the service's metrics.

    Anybody may request the other two, which say only whether the service is well.
    """
    routes = APIRouter(include_in_schema=False)

    @routes.get("/healthz")
    def healthz() -> PlainTextResponse:
        """The process answers; nothing else is checked."""
        return PlainTextResponse("ok\n")

    @routes.get("/readyz")
    def readyz() -> JSONResponse:
        """Whether cases can be taken and scored; if not, 503 and the part that is the reason."""
        found = ready()
        value: dict[str, Any] = {check.name: check.why or "ok" for check in found}
        return JSONResponse(value, 503 if any(check.why for check in found) else 200)

    @routes.get("/metrics", dependencies=[Depends(may_read)])
    def figures() -> Response:
        """Metrics in Prometheus's text format."""
        return Response(metrics.text(), media_type=_FORMAT)

    return routes
