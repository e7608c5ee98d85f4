"""The pages of `kras view`, from the templates that pages on disk have."""

from __future__ import annotations

from pathlib import Path

from kras_plugins.report.html import rendered
from kras_plugins.viewer.shown import Listed, Shown


def index_page(shown: Shown) -> str:
    """Patients and slides, each with its link."""
    slides = [
        {"name": s.name, "slide_id": s.slide_id, "patient_id": s.patient_id, "patient": s.patient}
        for s in shown.slides.values()
    ]
    view = {"title": shown.title, "slides": slides, "cases": list(shown.cases), "report": shown.report is not None}
    return rendered("cases.html.j2", view)


def viewer_page(shown: Shown, slide: Listed) -> str:
    """One slide."""
    alone = len(shown.slides) == 1 and not shown.cases
    view = {
        "title": slide.slide_id, "name": slide.name, "slide_id": slide.slide_id, "patient_id": slide.patient_id,
        "case": f"/cases/{slide.patient}" if slide.patient else None, "index": None if alone else "/",
    }  # fmt: skip
    return rendered("viewer.html.j2", view)


def case_page(case: Path) -> str:
    """One patient."""
    return case.read_text(encoding="utf-8")
