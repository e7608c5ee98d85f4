"""The schema says what the API does: no request that it allows, or nearly allows, causes a server error."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from service_app import PORT, Running

from kras_plugins.service.tokens import issue

schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")
EXAMPLES = 15
"""For each operation, of what the schema allows and of what it does not."""
CHECKS = [not_a_server_error, response_schema_conformance, content_type_conformance, status_code_conformance]
OPERATIONS = [
    "GET /api/v1/cases", "POST /api/v1/cases", "GET /api/v1/cases/{case_id}", "POST /api/v1/cases/{case_id}/cancel",
    "POST /api/v1/cases/{case_id}/retry", "PUT /api/v1/cases/{case_id}/priority", "GET /api/v1/cases/{case_id}/result",
    "GET /api/v1/cases/{case_id}/files", "GET /api/v1/cases/{case_id}/files/{name}", "POST /api/v1/uploads",
    "HEAD /api/v1/uploads/{upload_id}", "PATCH /api/v1/uploads/{upload_id}", "DELETE /api/v1/uploads/{upload_id}",
    "GET /api/v1/cases/{case_id}/documents", "GET /api/v1/cases/{case_id}/documents/{name}",
    "GET /api/v1/tokens", "POST /api/v1/tokens", "POST /api/v1/tokens/{token_id}/revoke",
]  # fmt: skip


@pytest.fixture(scope="module")
def schema_of(service: Running) -> Any:
    secret = issue(service.db, "schemathesis", ["read", "submit", "admin"], "test")[1]
    headers = {"Authorization": f"Bearer {secret}", "Host": f"127.0.0.1:{PORT}"}
    made = schemathesis.openapi.from_asgi("/api/v1/openapi.json", service.app, headers=headers)
    return made, headers


def test_every_operation_is_in_this_list(schema_of: Any) -> None:
    found = [f"{method.upper()} {path}" for path, some in schema_of[0].raw_schema["paths"].items() for method in some]
    assert sorted(found) == sorted(OPERATIONS)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_whatever_is_sent_is_answered_as_the_schema_says(service: Running, schema_of: Any, operation: str) -> None:
    schema, headers = schema_of
    method, path = operation.split(" ")
    one = schema[path][method]
    (slide,) = service.slides([30])
    body = {"slides": [{"path": slide}], "patient": operation}
    case_id = service.client("submit").post("/api/v1/cases", json=body).json()["id"]
    known = {"path_parameters": {"case_id": case_id}} if path.startswith("/api/v1/cases/{case_id}") else {}
    if "{name}" in path:
        known = {}
    any_case = one.as_strategy(GenerationMode.POSITIVE, **known) | one.as_strategy(GenerationMode.NEGATIVE)

    @given(case=any_case)
    @settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    def answered(case: Any) -> None:
        case.call_and_validate(base_url=f"http://127.0.0.1:{PORT}", headers=headers, checks=CHECKS)

    answered()
