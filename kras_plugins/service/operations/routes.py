"""Addresses for machines that watch: `/healthz`, `/readyz` and `/metrics`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from kras_plugins.service.operations.health import Check
from kras_plugins.service.operations.metrics import Metrics

OPEN = ("/healthz", "/readyz")
"""What may be asked without a token: it says nothing but whether the service is well."""
_FORMAT = "text/plain; version=0.0.4; charset=utf-8"


def operation_routes(ready: Callable[[], tuple[Check, ...]], metrics: Metrics) -> APIRouter:
    """The three. `/metrics` has figures of the whole service and is for whoever may read it."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/healthz")
    def healthz() -> PlainTextResponse:
        """The process answers; nothing else is asked."""
        return PlainTextResponse("ok\n")

    @routes.get("/readyz")
    def readyz() -> JSONResponse:
        """Whether cases can be taken and scored: 503 where not, and which part is the reason."""
        found = ready()
        value: dict[str, Any] = {check.name: check.why or "ok" for check in found}
        return JSONResponse(value, 503 if any(check.why for check in found) else 200)

    @routes.get("/metrics")
    def figures() -> Response:
        """Figures in Prometheus's text format."""
        return Response(metrics.text(), media_type=_FORMAT)

    return routes
