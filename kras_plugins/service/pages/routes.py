"""The pages: worklist, case, new case, login; all of them work without a script."""

from __future__ import annotations

import mimetypes
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, cast
from urllib.parse import urlencode, urlsplit

from fastapi import APIRouter, Depends, Form, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from kras_plugins.errors import KrasError, UsageError
from kras_plugins.report.case_json import read_case
from kras_plugins.report.case_page import CALLS, case_view
from kras_plugins.report.links import Served
from kras_plugins.service import cases
from kras_plugins.service.api.access import Who, cookie_name, holder, may, may_by_form
from kras_plugins.service.api.cases import MOST_PRIORITY, files_of, shown_score, upload_place
from kras_plugins.service.api.documents import finished_of
from kras_plugins.service.api.problems import Refused
from kras_plugins.service.cases import CaseRow
from kras_plugins.service.leaving.downloads import documents
from kras_plugins.service.pages.rendered import STATIC, page
from kras_plugins.service.pages.viewers import case_file, result_folder, seen_by
from kras_plugins.service.worklist import Filter, Sort, counts, listed
from kras_plugins.store import safe_name
from kras_plugins.viewer.results import read_result

if TYPE_CHECKING:
    from kras_plugins.service.intake.arrivals import Arrivals
    from kras_plugins.service.parts import Service

ON_A_PAGE = 50
STATES = {
    "queued": "Waiting", "running": "Running", "scored": "Scored", "not_assessable": "Not assessable",
    "failed": "Failed", "canceled": "Canceled",
}  # fmt: skip
"""The names of states."""
SORTS = {"newest": "Newest first", "oldest": "Oldest first", "score": "Probability", "patient": "Patient"}
VERDICTS = {"pass": "Pass", "warn": "Warn", "fail": "Fail"}
_MOST_PIECE = 8 << 20
Reader = Annotated[Who, Depends(may("read"))]
Sent = Annotated[Who, Depends(may_by_form("submit"))]
Typed = Annotated[str, Query(max_length=500)]


def page_routes(service: Service, arrivals: Arrivals) -> APIRouter:
    """All pages and what their forms send."""
    routes = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
    _lists(routes, service, arrivals)
    _new(routes, service, arrivals)
    _case(routes, service)
    _login(routes, service)
    files = {file.name: file for file in STATIC.iterdir() if file.is_file()}

    @routes.get("/static/{file}")
    def static(file: str) -> Response:
        if file not in files:
            raise Refused(404, "there is no such file", "")
        return Response(files[file].read_bytes(), media_type=mimetypes.guess_type(file)[0])

    return routes


def _lists(routes: APIRouter, service: Service, arrivals: Arrivals) -> None:
    @routes.get("/")
    def worklist(
        who: Reader,
        text: Typed = "",
        state: Typed = "",
        call: Typed = "",
        qc: Typed = "",
        sort: Typed = "newest",
        after: Annotated[str | None, Query(max_length=1000)] = None,
    ) -> str:
        asked = {"text": text.strip(), "state": state, "call": call, "qc": qc, "sort": sort}
        order = cast("Sort", sort)  # `listed` refuses an invalid one
        chosen = Filter(
            text=asked["text"], state=state or None, call=call or None, qc=qc or None, sort=order, after=after
        )
        found = listed(service.db, chosen, ON_A_PAGE)
        if not found.cases and chosen.text:  # somebody searched by name is listed by pseudonym
            found = listed(service.db, _of_person(chosen, arrivals), ON_A_PAGE)
        known = counts(service.db)
        here = {name: value for name, value in asked.items() if value and (name, value) != ("sort", "newest")}
        return page(
            "worklist.html.j2",
            {
                "who": who,
                "cases": [_row(case) for case in found.cases],
                "asked": asked,
                "filtered": bool(here) or after is not None,
                "states": [("", "All"), *STATES.items()],
                "calls": [("", "All"), *((name, title) for name, (title, _) in CALLS.items())],
                "qcs": [("", "All"), *VERDICTS.items()],
                "sorts": [*SORTS.items()],
                "waiting": known["queued"],
                "running": known["running"],
                "ended": sum(known.values()) - known["queued"] - known["running"],
                "first": f"/?{urlencode(here)}" if after else "",
                "next": f"/?{urlencode(here | {'after': found.after})}" if found.after else "",
            },
        )


def _of_person(chosen: Filter, arrivals: Arrivals) -> Filter:
    return Filter(**asdict(chosen) | {"text": arrivals.naming.shown(chosen.text)})


def _new(routes: APIRouter, service: Service, arrivals: Arrivals) -> None:
    def form(who: Who, given: dict[str, str], wrong: KrasError | None = None) -> str:
        return page(
            "new.html.j2",
            {
                "who": who,
                "given": given,
                "wrong": None if wrong is None else (wrong.message, wrong.hint),
                "roots": service.settings.roots,
                "hosts": sorted(service.settings.hosts),
                "piece": min(_MOST_PIECE, service.reach.most_piece),
            },
        )

    @routes.get("/cases/new")
    def new_case(who: Annotated[Who, Depends(may("submit"))]) -> str:
        return form(who, {"patient": "", "slides": "", "priority": "0"})

    @routes.post("/cases")
    def submit(
        who: Sent,
        patient: Annotated[str, Form(max_length=500)] = "",
        slides: Annotated[str, Form(max_length=100_000)] = "",
        priority: Annotated[str, Form(max_length=20)] = "0",
    ) -> Response:
        given = {"patient": patient, "slides": slides, "priority": priority}
        try:
            places = [_typed(service, line.strip(), who) for line in slides.splitlines() if line.strip()]
            made = arrivals.take(places, who.name, patient_id=patient.strip() or None, priority=_priority(priority))[0]
        except UsageError as e:
            return HTMLResponse(form(who, given, e), 422)
        return RedirectResponse(f"/cases/{made.id}", 303)


def _typed(service: Service, line: str, who: Who) -> str:
    kind, _, rest = line.partition(":")
    return upload_place(service, rest, who) if kind == "upload" else line


def _priority(text: str) -> int:
    if not text.strip().removeprefix("-").isdecimal() or abs(int(text)) > MOST_PRIORITY:
        raise UsageError("the priority is not a valid number", f"from -{MOST_PRIORITY} to {MOST_PRIORITY}")
    return int(text)


def _case(routes: APIRouter, service: Service) -> None:
    @routes.get("/cases/{case_id}")
    def case(request: Request, who: Reader, case_id: str) -> str:
        row = seen_by(request.scope, cases.get(service.db, case_id))
        folder = None if row.result is None else result_folder(service, row)
        file = None if folder is None else case_file(folder)
        if folder is not None and file is not None and request.headers.get("sec-purpose") is None:  # no prefetch
            row = cases.viewed(service.db, case_id, who.name)
        view: dict[str, Any] = {
            "who": who,
            "case": _row(row),
            "slide_ids": [slide.slide_id for slide in cases.slides_of(service.db, case_id)],
        }
        if folder is None or file is None:
            return page("waiting.html.j2", view)
        names = frozenset(safe_name(slide) for slide in read_result(folder).slides)
        links = Served(slides=names, base=f"/cases/{case_id}/view")
        files = [(name, one.stat().st_size) for name, one in files_of(folder).items()]
        own = documents(finished_of(service, request.scope, case_id)).values()
        leaving = [(one.label, f"/api/v1/cases/{case_id}/documents/{one.name}") for one in own]
        return page("scored.html.j2", case_view(read_case(file), links) | view | {"files": files, "leaving": leaving})

    def changed(change: Any) -> Any:
        def done(request: Request, who: Sent, case_id: str) -> Response:
            seen_by(request.scope, cases.get(service.db, case_id))
            change(service.db, case_id, who.name)
            return RedirectResponse(f"/cases/{case_id}", 303)

        return done

    routes.post("/cases/{case_id}/cancel")(changed(cases.cancel))
    routes.post("/cases/{case_id}/retry")(changed(cases.retry))


def _row(case: CaseRow) -> dict[str, Any]:
    """A case as pages show it."""
    return {
        **asdict(case),
        "score": shown_score(case),
        "state_text": STATES[case.state],
        "call_text": CALLS[case.call][0] if case.call in CALLS and case.state != "failed" else "",
    }


def _login(routes: APIRouter, service: Service) -> None:
    def let_in(request: Request, token: str, where: str, status: int = 200) -> Response:
        answer: Response = HTMLResponse(page("welcome.html.j2", {"who": None, "next": where}), status)
        secure = service.reach.is_name(request.headers["host"])  # these are reached over TLS
        answer.set_cookie(cookie_name(service.reach.port), token, httponly=True, samesite="strict", secure=secure)
        return answer

    def asked(where: str, wrong: str = "", status: int = 200) -> Response:
        return HTMLResponse(page("login.html.j2", {"who": None, "next": where, "wrong": wrong}), status)

    @routes.get("/login")
    def login(
        request: Request,
        token: Annotated[str, Query(max_length=200)] = "",
        next: Annotated[str, Query(max_length=500)] = "/",
    ) -> Response:
        if token and holder(service, token) is not None:
            return let_in(request, token, _own(next))
        return asked(_own(next), "This token is not valid." if token else "", 403 if token else 200)

    @routes.post("/login")
    def log_in(
        request: Request,
        token: Annotated[str, Form(max_length=200)] = "",
        next: Annotated[str, Form(max_length=500)] = "/",
    ) -> Response:
        if holder(service, token.strip()) is not None:
            return let_in(request, token.strip(), _own(next))
        return asked(_own(next), "This token is not valid.", 403)

    @routes.post("/logout")
    def log_out(who: Annotated[Who, Depends(may_by_form(None))]) -> Response:
        answer = RedirectResponse("/login", 303)
        answer.delete_cookie(cookie_name(service.reach.port), httponly=True, samesite="strict")
        return answer


def _own(where: str) -> str:
    """A path of this service to continue to: never another site's address."""
    parts = urlsplit(where)
    own = where.startswith("/") and not where.startswith(("//", "/\\")) and not parts.netloc and where.isprintable()
    return where if own else "/"
