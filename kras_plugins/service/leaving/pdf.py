"""A patient's result on two printed pages: what the case page says first, without what only a screen can show."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from kras_plugins.cohort.targets import target_label
from kras_plugins.report.case_page import CALLS, no_thresholds, ordinal
from kras_plugins.report.html import percent, significant
from kras_plugins.report.score_plots import call_figure
from kras_plugins.report.style import INK, draw_png, model_label

if TYPE_CHECKING:
    from reportlab.pdfgen.canvas import Canvas
    from reportlab.platypus import Flowable, Paragraph, Table

    from kras_plugins.report.case import CasePage, CaseSlide
    from kras_plugins.service.leaving.finished import Finished, FinishedSlide

RESEARCH = "Research use only. The score is no diagnosis and does not replace sequencing."
"""The line above every page."""
_MOST_SLIDES, _MOST_MAPS, _MOST_MEASURES = 6, 2, 8
_MM = 72 / 25.4
_PAGE = (210 * _MM, 297 * _MM)
_MARGIN, _TOP, _INSET = 17 * _MM, 22 * _MM, 6.0
"""`_INSET`: what reportlab leaves free within a frame."""
_WIDTH = _PAGE[0] - 2 * (_MARGIN + _INSET)
_HEATMAP_PX, _DARK, _PALE = 900, "#7A1F0E", "#FDF0E8"


def case_pdf(done: Finished) -> bytes:
    """The result as PDF: A4, searchable text, embedded fonts; the same bytes for the same result.

    Two pages, or more if cautions and reasons need the room: none is left out. It names the patient as the folder does,
    by pseudonym if pseudonyms are used, and it names no path.
    """
    from reportlab.platypus import PageBreak, SimpleDocTemplate

    case = done.case
    buffer = io.BytesIO()
    title = f"{target_label(case.target)} from H&E: patient {done.patient}"
    document = SimpleDocTemplate(
        buffer, pagesize=_PAGE, leftMargin=_MARGIN, rightMargin=_MARGIN, topMargin=_TOP,
        bottomMargin=_MARGIN, title=title, author=f"kras {done.versions.get('kras', '')}", subject=RESEARCH, lang="en",
        invariant=1,
    )  # fmt: skip
    story = [*_first(case, title), PageBreak(), *_second(done)]
    foot = f"{done.patient} · bundle {done.bundle[:16]} · {done.at:%Y-%m-%d %H:%M} UTC"
    document.build(story, canvasmaker=_numbered(foot))
    return buffer.getvalue()


def _first(case: CasePage, title: str) -> Iterator[Flowable]:
    """The result and how far to trust it."""
    prediction = case.prediction
    yield _text(title, "title")
    yield _text(f"Slides: {', '.join(prediction.slides[:_MOST_SLIDES]) or 'none'}{_more(prediction.slides)}", "muted")
    if case.demonstration:
        yield _box([_text(f"Demonstration: {'; '.join(case.demonstration)}", "strong")])
    yield _box([*_call(case)])
    if case.assessable:
        marks = {name: {"threshold": point.threshold} for name, point in case.thresholds.items()}
        yield _text("Score of the ensemble and its members", "heading")
        yield _picture(draw_png(*call_figure(prediction.ensemble, prediction.members, marks)), 0.62 * _WIDTH)
        yield _text("Diamond: ensemble; dots: its members. Members far apart disagree about this patient.", "muted")
        rows = [["Ensemble", percent(prediction.ensemble)]]
        rows += [[model_label(name), percent(value)] for name, value in prediction.members.items()]
        yield _table(["Model", "Calibrated probability"], rows, [0.5, 0.5])
        yield from _thresholds(case)


def _call(case: CasePage) -> Iterator[Flowable]:
    prediction, (title, meaning) = case.prediction, CALLS[case.prediction.call]
    yield _text(title, "call")
    if case.assessable:
        where = "" if case.prevalence is None else f", where {percent(case.prevalence)} of patients are positive"
        score = percent(prediction.ensemble)
        yield _text(f"Calibrated probability of {target_label(case.target)}: {score}{where}.", "strong")
    yield _text(meaning)
    if prediction.reason:
        yield _text(f"Reason: {prediction.reason}", "strong")
    for caution in prediction.cautions:
        if caution not in case.demonstration:  # the banner says these already
            yield _text(f"Caution: {caution}", "strong")
    yield _text(f"Quality control: {prediction.qc}")


def _thresholds(case: CasePage) -> Iterator[Flowable]:
    names = {"rule_in": "rule-in: at or above", "rule_out": "rule-out: below"}
    points = {name: asdict(case.thresholds[name]) for name in names if name in case.thresholds}
    yield _text("What the thresholds mean", "heading")
    if not points:
        yield _text(no_thresholds(case.trained_on), "strong")
        return
    rows = [
        [names[name], percent(p["threshold"]), percent(p["sensitivity"] or None), percent(p["specificity"] or None)]
        for name, p in points.items()
    ]
    yield _table(["Threshold", "At", "Sensitivity (95 %)", "Specificity (95 %)"], rows, [0.28, 0.12, 0.3, 0.3])
    known = case.trained_on
    of = "" if known is None else f" ({known[0]} patients, {known[1]} positive)"
    yield _text(
        f"The thresholds are frozen in the bundle. They were chosen on scores of training patients in scope{of}, each "
        "by models that never saw the patient. Sensitivity and specificity are measured on these same scores: expect "
        "slightly lower values for other patients.",
        "muted",
    )


def _second(done: Finished) -> Iterator[Flowable]:
    """What the result rests on: slides, their quality, cells and tissue, the bundle and the versions."""
    case = done.case
    yield _text("Slides and quality control", "heading")
    if case.slides:
        heads = ["Slide", "Quality", "Tissue", "Tiles", "Remarks"]
        rows = [_slide(slide) for slide in case.slides[:_MOST_SLIDES]]
        yield _table(heads, rows, [0.27, 0.09, 0.12, 0.09, 0.43])
        if more := _more(case.slides):
            yield _text(f"The JSON of the case lists{more.removeprefix(',')}.", "muted")
    else:
        yield _text("No slide was read.")
    yield from _maps(done.slides)
    if case.measures:
        yield _text("Cells and tissue", "heading")
        heads = ["Measure", "This patient", f"Among {case.among} training patients" if case.among else ""]
        rows = [
            [
                m.name,
                "not measured" if m.value is None else f"{significant(m.value)} {m.unit}".strip(),
                "" if m.percentile is None else ordinal(m.percentile),
            ]
            for m in case.measures[:_MOST_MEASURES]
        ]
        yield _table(heads, rows, [0.5, 0.22, 0.28])
    yield _text("Where this comes from", "heading")
    versions = ", ".join(f"{name} {version}" for name, version in done.versions.items() if version != "absent")
    slides = [f"{s.slide_id}: {s.fingerprint}" for s in done.slides[:_MOST_SLIDES] if s.fingerprint]
    rows = [
        ["Bundle", f"sha256 {done.bundle}"],
        ["Scored", f"{done.at:%Y-%m-%d %H:%M:%S} UTC"],
        ["Versions", versions],
        ["Fingerprints of the slides", "\n".join(slides) or "none"],
    ]
    yield _table(["What", "Which"], rows, [0.2, 0.8])
    yield _text(
        "What moved the score, with all cells, tiles and settings, is on the case page and in its JSON. Heat maps show "
        "where a network looked; they do not prove a mutation.",
        "muted",
    )


def _slide(slide: CaseSlide) -> list[str]:
    qc = slide.qc
    if qc is None:
        return [slide.slide_id, "not recorded", "", "", ""]
    remarks = [*qc.reasons, f"pen {percent(qc.pen_share)}", f"blur {percent(qc.blur_share)}", f"{qc.mpp:.3g} µm/px"]
    return [slide.slide_id, qc.verdict, f"{qc.tissue_mm2:.1f} mm²", str(qc.n_tiles), "; ".join(remarks)]


def _maps(slides: Sequence[FinishedSlide]) -> Iterator[Flowable]:
    """Heat maps of the first slides that have one, side by side."""
    shown = [(slide.slide_id, slide.heatmap) for slide in slides if slide.heatmap is not None][:_MOST_MAPS]
    if not shown:
        return
    width = _WIDTH / len(shown)
    said = "attention, from blue (least) to yellow (most) among the tiles of this slide"
    cells = [[_picture(_jpeg(file), width - 6, 75 * _MM), _text(f"{name}: {said}", "muted")] for name, file in shown]
    yield _columns(cells, width)


def _more(some: Sequence[Any]) -> str:
    return f", {len(some) - _MOST_SLIDES} more slides" if len(some) > _MOST_SLIDES else ""


def _jpeg(file: Path) -> bytes:
    """A heat map of a size that prints well."""
    from PIL import Image

    with Image.open(file) as image:
        small = image.convert("RGB")
        small.thumbnail((_HEATMAP_PX, _HEATMAP_PX))
        buffer = io.BytesIO()
        small.save(buffer, format="JPEG", quality=88, subsampling=0)
    return buffer.getvalue()


def _picture(data: bytes, width: float, most: float = 90 * _MM) -> Flowable:
    """A picture `width` points wide, or less where it would be higher than `most`."""
    from PIL import Image as images
    from reportlab.platypus import Image

    with images.open(io.BytesIO(data)) as image:
        share = min(width / image.width, most / image.height)
        return Image(io.BytesIO(data), image.width * share, image.height * share, hAlign="LEFT")


def _text(text: str, style: str = "body") -> Paragraph:
    """A paragraph of plain text: reportlab reads markup, in which a name could ask for a file."""
    from reportlab.platypus import Paragraph

    return Paragraph(escape(text).replace("\n", "<br/>"), _styles()[style])


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], shares: Sequence[float]) -> Table:
    from reportlab.platypus import Table

    cells = [[_text(h, "head") for h in heads], *([_text(cell, "cell") for cell in row] for row in rows)]
    style = [
        ("LINEBELOW", (0, 0), (-1, 0), 0.8, INK),
        ("LINEBELOW", (0, 1), (-1, -1), 0.3, "#C9CED6"),
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ("TOPPADDING", (0, 0), (-1, -1), 2),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 2.5),
        ("LEFTPADDING", (0, 0), (-1, -1), 2),
    ]
    return Table(cells, [share * _WIDTH for share in shares], style=style, hAlign="LEFT", repeatRows=1)


def _box(content: list[Flowable]) -> Table:
    """A frame around what must not be overlooked. Each paragraph is a row, so that it can continue on the next page."""
    from reportlab.platypus import Table

    style = [
        ("BACKGROUND", (0, 0), (-1, -1), _PALE),
        ("LINEBEFORE", (0, 0), (0, -1), 3, _DARK),
        ("LEFTPADDING", (0, 0), (-1, -1), 8),
        ("TOPPADDING", (0, 0), (-1, -1), 1.5),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 1.5),
    ]
    return Table([[one] for one in content], [_WIDTH], style=style, hAlign="LEFT", spaceBefore=4, spaceAfter=6)


def _columns(cells: list[list[Flowable]], width: float) -> Table:
    from reportlab.platypus import Table

    style = [("VALIGN", (0, 0), (-1, -1), "TOP"), ("LEFTPADDING", (0, 0), (-1, -1), 0)]
    return Table([cells], [width] * len(cells), style=style, hAlign="LEFT", spaceBefore=6)


@cache
def _styles() -> dict[str, Any]:
    """Styles of paragraphs, in the font of the figures, which comes with matplotlib and has µ, ² and ≤."""
    import matplotlib
    from reportlab.lib.styles import ParagraphStyle
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFont

    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    for name in ("DejaVuSans", "DejaVuSans-Bold"):
        pdfmetrics.registerFont(TTFont(name, str(fonts / f"{name}.ttf")))
    body = ParagraphStyle("body", fontName="DejaVuSans", fontSize=8.5, leading=12, textColor=INK, splitLongWords=1)
    bold = "DejaVuSans-Bold"
    return {
        "body": body,
        "strong": ParagraphStyle("strong", body, fontName=bold),
        "muted": ParagraphStyle("muted", body, fontSize=7.5, leading=10, textColor="#4B5563", spaceAfter=3),
        "title": ParagraphStyle("title", body, fontName=bold, fontSize=14, leading=18, spaceAfter=3),
        "call": ParagraphStyle("call", body, fontName=bold, fontSize=18, leading=23),
        "heading": ParagraphStyle(
            "heading", body, fontName=bold, fontSize=10.5, leading=14, spaceBefore=9, spaceAfter=3
        ),
        "head": ParagraphStyle("head", body, fontName=bold, fontSize=7.5, leading=10),
        "cell": ParagraphStyle("cell", body, fontSize=7.5, leading=10),
    }


def _numbered(foot: str) -> type[Canvas]:
    """A canvas with the research notice above each page, and below it `foot` and the page number of the total."""
    from reportlab.pdfgen.canvas import Canvas

    class Numbered(Canvas):  # type: ignore[misc]
        def __init__(self, *args: Any, **given: Any) -> None:
            super().__init__(*args, **given)
            self._pages: list[dict[str, Any]] = []

        def showPage(self) -> None:
            self._pages.append(dict(self.__dict__))
            self._startPage()

        def save(self) -> None:
            for number, page in enumerate(self._pages, start=1):
                self.__dict__.update(page)
                self._frame(f"page {number} of {len(self._pages)}")
                super().showPage()
            super().save()

        def _frame(self, number: str) -> None:
            self.setFillColor(_DARK)
            left, (width, height) = _MARGIN + _INSET, _PAGE
            self.rect(0, height - 13 * _MM, width, 13 * _MM, stroke=0, fill=1)
            self.setFillColor("#FFFFFF")
            self.setFont("DejaVuSans-Bold", 9.5)
            self.drawString(left, height - 8.5 * _MM, RESEARCH)
            self.setFillColor("#4B5563")
            self.setFont("DejaVuSans", 7)
            self.drawString(left, 9 * _MM, foot)
            self.drawRightString(left + _WIDTH, 9 * _MM, number)

    return Numbered
