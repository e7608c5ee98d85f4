"""Cases over HTTP: to submit, list, view, cancel and retry them; their results and files."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import FileResponse
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from kras_plugins.service import cases
from kras_plugins.service.api.access import Who, allowed_to, may
from kras_plugins.service.api.problems import RESPONSES, Refused
from kras_plugins.service.cases import CaseRow
from kras_plugins.service.intake import uploads
from kras_plugins.service.pages.viewers import case_file, result_folder, seen_by
from kras_plugins.service.worklist import MOST, Filter, listed

if TYPE_CHECKING:
    from pathlib import Path as Folder

    from kras_plugins.service.intake.arrivals import Arrivals
    from kras_plugins.service.parts import Service

State = Literal["queued", "running", "scored", "not_assessable", "failed", "canceled"]
Call = Literal["rule_in", "indeterminate", "rule_out", "not_assessable"]
Verdict = Literal["pass", "warn", "fail"]
Sort = Literal["newest", "oldest", "score", "patient"]
MOST_PRIORITY = 100


def _printable(text: str) -> str:
    """Text that a database, a page and a log can carry."""
    if not text.isprintable() or not text.strip():
        raise ValueError("is empty or has characters that cannot be printed")
    return text.strip()


def _no_bool(value: Any) -> Any:
    if isinstance(value, bool):  # which pydantic reads as 1 or 0
        raise ValueError("is true or false, not a number")
    return value


Rank = Annotated[
    int, BeforeValidator(_no_bool), Field(ge=-MOST_PRIORITY, le=MOST_PRIORITY, description="larger is earlier")
]
Text = Annotated[str, Field(max_length=500), AfterValidator(_printable)]
CaseId = Annotated[str, Path(pattern="^[0-9a-f]{32}$", description="id of a case")]
Reader = Annotated[Who, Depends(may("read"))]
Submitter = Annotated[Who, Depends(may("submit"))]


class SlideIn(BaseModel):
    """A slide to be scored: a path below an allowed folder, an address of an allowed host, or a complete upload."""

    model_config = ConfigDict(extra="forbid")

    path: Annotated[Text | None, Field(description="absolute path, as the service sees it")] = None
    url: Annotated[Text | None, Field(description="address")] = None
    upload: Annotated[str | None, Field(pattern="^[0-9a-f]{32}$", description="id of a complete upload")] = None
    sha256: Annotated[str | None, Field(pattern="^[0-9a-f]{64}$", description="of the upload, to be checked")] = None

    @model_validator(mode="after")
    def _one(self) -> SlideIn:
        if sum(one is not None for one in (self.path, self.url, self.upload)) != 1:
            raise ValueError("name one of path, url and upload")
        if self.sha256 is not None and self.upload is None:
            raise ValueError("sha256 goes with an upload only")
        return self


class CaseIn(BaseModel):
    """A case to be scored: the slides of one patient. Without `patient` it has one slide and is marked so."""

    model_config = ConfigDict(extra="forbid")

    slides: Annotated[list[SlideIn], Field(min_length=1, max_length=200)]
    patient: Annotated[Text | None, Field(description="whose slides these are; pages show a pseudonym")] = None
    priority: Rank = 0


class Priority(BaseModel):
    """The priority of a case among those that wait."""

    model_config = ConfigDict(extra="forbid")

    priority: Rank


class Case(BaseModel):
    """A case in its present state; times in UTC. `score` is null if none may be shown."""

    id: str
    patient: str
    state: State
    reason: str
    grouping: Literal["api", "csv", "pattern", "alone"]
    version: int
    supersedes: str | None
    superseded_by: str | None
    bundle_digest: str
    silent: bool
    priority: int
    attempts: int
    created: datetime
    updated: datetime
    scored_at: datetime | None
    score: float | None
    call: Call | None
    qc: Verdict | None
    cautions: str
    result_digest: str | None
    viewed_by: str | None
    viewed_at: datetime | None


class CaseList(BaseModel):
    """Some cases; `after` requests the next ones and is null at the end."""

    cases: list[Case]
    after: str | None


class File(BaseModel):
    """A file of a result."""

    name: str
    bytes: int


def case_of(row: CaseRow) -> Case:
    """A case as the API shows it: without a score if the patient is not assessable."""
    values = {name: getattr(row, name) for name in Case.model_fields}
    return Case(**values | {"score": shown_score(row)})


def shown_score(row: CaseRow) -> float | None:
    """The score; None before one is known, or if the patient is not assessable."""
    return row.score if row.state == "scored" and row.call != "not_assessable" else None


def files_of(folder: Folder) -> dict[str, Folder]:
    """The files of a result by name, those of its folders as `folder/file`; without links and hidden files."""
    found = [file for file in sorted(folder.rglob("*")) if file.is_file() and not file.is_symlink()]
    return {file.relative_to(folder).as_posix(): file for file in found if file.name[0] != "."}


def case_routes(service: Service, arrivals: Arrivals) -> APIRouter:
    """The routes of cases."""
    routes = APIRouter(prefix="/api/v1/cases", tags=["cases"], responses=RESPONSES)

    def found(request: Request, case_id: str) -> CaseRow:
        return seen_by(request.scope, cases.get(service.db, case_id))

    @routes.post("", status_code=201)
    def submit_case(who: Submitter, new: CaseIn, response: Response) -> Case:
        """Queue a case once: submitting the same slides again returns the existing case.

        Slides that come later make a new version; the previous version is kept as superseded.
        """
        places = [
            str(one.path or one.url) if one.upload is None else upload_place(service, one.upload, who, one.sha256)
            for one in new.slides
        ]
        made = arrivals.take(places, who.name, patient_id=new.patient, priority=new.priority)[0]
        response.headers["Location"] = f"/api/v1/cases/{made.id}"
        return case_of(made)

    @routes.get("")
    def list_cases(
        request: Request,
        who: Reader,
        state: State | None = None,
        call: Call | None = None,
        qc: Verdict | None = None,
        text: Annotated[str, Query(max_length=500, description="prefix of the shown patient or of the id")] = "",
        sort: Sort = "newest",
        after: Annotated[str | None, Query(max_length=1000, description="`after` of the previous page")] = None,
        limit: Annotated[int, Query(ge=1, le=MOST)] = 50,
        silent: Annotated[bool, Query(description="cases of silent bundles; needs the scope admin")] = False,
    ) -> CaseList:
        """Cases by page, without those that a later version superseded."""
        if silent:
            allowed_to(request, "admin")
        chosen = Filter(state=state, call=call, qc=qc, text=text, sort=sort, after=after, silent=silent)
        page = listed(service.db, chosen, limit)
        return CaseList(cases=[case_of(row) for row in page.cases], after=page.after)

    @routes.get("/{case_id}")
    def get_case(request: Request, who: Reader, case_id: CaseId) -> Case:
        """One case."""
        return case_of(found(request, case_id))

    @routes.post("/{case_id}/cancel")
    def cancel_case(request: Request, who: Submitter, case_id: CaseId) -> Case:
        """Cancel a case that waits or runs."""
        return case_of(cases.cancel(service.db, found(request, case_id).id, who.name))

    @routes.post("/{case_id}/retry")
    def retry_case(request: Request, who: Submitter, case_id: CaseId) -> Case:
        """Score again a case that failed, was canceled or is not assessable."""
        return case_of(cases.retry(service.db, found(request, case_id).id, who.name))

    @routes.put("/{case_id}/priority")
    def set_priority(request: Request, who: Submitter, case_id: CaseId, new: Priority) -> Case:
        """Move a case forward or back in the queue."""
        return case_of(cases.prioritize(service.db, found(request, case_id).id, new.priority, who.name))

    @routes.get("/{case_id}/result", response_model=dict[str, Any])
    def get_result(request: Request, who: Reader, case_id: CaseId) -> Response:
        """The result as `kras predict` writes it (`*.case.json`); it counts as viewed."""
        row = found(request, case_id)
        file = case_file(result_folder(service, row))
        if file is None:
            raise Refused(404, "nothing was scored", "see the case's reason")
        cases.viewed(service.db, row.id, who.name)
        return Response(file.read_bytes(), media_type="application/json")

    @routes.get("/{case_id}/files")
    def list_files(request: Request, who: Reader, case_id: CaseId) -> list[File]:
        """The files of the result."""
        files = files_of(result_folder(service, found(request, case_id)))
        return [File(name=name, bytes=file.stat().st_size) for name, file in files.items()]

    @routes.get(
        "/{case_id}/files/{name:path}",
        response_class=FileResponse,
        responses={200: {"content": {"application/octet-stream": {}}}},
    )
    def get_file(request: Request, who: Reader, case_id: CaseId, name: str) -> Response:
        """One file of the result, as `kras predict` wrote it; it counts as viewed."""
        row = found(request, case_id)
        file = files_of(result_folder(service, row)).get(name)
        if file is None:
            raise Refused(404, "the result has no such file", "see the list of its files")
        cases.viewed(service.db, row.id, who.name)
        return FileResponse(file, media_type="application/octet-stream", filename=file.name)

    return routes


def upload_place(service: Service, upload_id: str, who: Who, sha256: str | None = None) -> str:
    """Where an upload lies. Raises UsageError if it is not complete, UnknownUpload if it is somebody else's."""
    upload = uploads.find(service.db, service.settings.uploads, upload_id, who.id)
    return str(uploads.whole(upload, sha256))
