"""A case's documents over HTTP: PDF, JSON, DICOM, FHIR."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import BaseModel

from kras_plugins.service import cases
from kras_plugins.service.api.access import Who, may
from kras_plugins.service.api.problems import RESPONSES
from kras_plugins.service.leaving.downloads import document, documents, finished_case
from kras_plugins.service.pages.viewers import result_folder, seen_by

if TYPE_CHECKING:
    from starlette.types import Scope

    from kras_plugins.service.leaving.finished import Finished
    from kras_plugins.service.parts import Service

CaseId = Annotated[str, Path(pattern="^[0-9a-f]{32}$", description="id of a case")]
Reader = Annotated[Who, Depends(may("read"))]


class DocumentOut(BaseModel):
    """A document of a case."""

    name: str
    label: str
    media_type: str


def finished_of(service: Service, scope: Scope, case_id: str) -> Finished:
    """What a case's documents say. Raises what `result_folder` does, and Refused for a silent case."""
    row = seen_by(scope, cases.get(service.db, case_id))
    result_folder(service, row)
    return finished_case(service.settings.results, row, cases.slides_of(service.db, case_id))


def document_routes(service: Service) -> APIRouter:
    """The routes of a case's documents."""
    routes = APIRouter(prefix="/api/v1/cases", tags=["documents"], responses=RESPONSES)

    @routes.get("/{case_id}/documents")
    def list_documents(request: Request, who: Reader, case_id: CaseId) -> list[DocumentOut]:
        """The documents of the result."""
        found = documents(finished_of(service, request.scope, case_id)).values()
        return [DocumentOut(name=one.name, label=one.label, media_type=one.media_type) for one in found]

    @routes.get(
        "/{case_id}/documents/{name}",
        response_class=Response,
        responses={200: {"content": {"application/octet-stream": {}}}},
    )
    def get_document(request: Request, who: Reader, case_id: CaseId, name: str) -> Response:
        """One document, made on request; the result counts as viewed."""
        one = document(finished_of(service, request.scope, case_id), name)
        data = one.make()
        cases.viewed(service.db, case_id, who.name)
        headers = {"Content-Disposition": f'attachment; filename="{one.name}"'}
        return Response(data, media_type=one.media_type, headers=headers)

    return routes
