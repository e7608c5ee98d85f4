"""The viewer's addresses: pages, tiles of pixels and layers, and what is at a point."""

from __future__ import annotations

import logging
import mimetypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import FastAPI, HTTPException, Query, Request
from fastapi import Path as Part
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException as HTTPError
from starlette.responses import StreamingResponse

from kras_plugins.errors import KrasError
from kras_plugins.viewer.access import POLICY, Access
from kras_plugins.viewer.encoded import Cache, jpeg, png
from kras_plugins.viewer.geometry import TILE, Box
from kras_plugins.viewer.opened import Opened
from kras_plugins.viewer.pages import case_page, index_page, viewer_page
from kras_plugins.viewer.picture import MOST_PX, Overlay, fitted, view_png

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from kras_plugins.viewer.layers.layer import Layer
    from kras_plugins.viewer.shown import Listed, Shown, ShownSlide

STATIC = Path(__file__).parent / "static"
_CROP_PX = 2048
_UNREADABLE = "this cannot be read; the terminal where `kras view` runs says why"
_log = logging.getLogger("kras.viewer")

Number = Annotated[float, Query(allow_inf_nan=False, ge=-1e7, le=1e7)]
Extent = Annotated[float, Query(allow_inf_nan=False, gt=0, le=1e7)]
Index = Annotated[int, Part(ge=0, le=1 << 31)]


@contextmanager
def create_app(shown: Shown, token: str, port: int) -> Iterator[ASGIApp]:
    """The application that shows `shown` to anybody who has the token and connects to this machine's `port`.

    It answers in the threads of a pool; slides are opened on request. Answers name no place of this machine: what went
    wrong with a slide is logged (`kras.viewer`).
    """
    slides = Opened(shown.slides)
    try:
        yield Access(answering(shown, slides), token, port)
    finally:
        slides.close()


def answering(shown: Shown, slides: Opened, tell: Callable[[KrasError], None] | None = None) -> FastAPI:
    """The addresses of `shown`, without access control; `slides`: those of `shown`, which the caller closes.

    `tell`: receives errors of what cannot be read, in place of the log.
    """
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    _refuse(app, tell or (lambda error: _log.warning("%s", error)))
    _pages(app, shown, slides)
    _tiles(app, slides)
    _points(app, shown, slides)
    return app


def _refuse(app: FastAPI, tell: Callable[[KrasError], None]) -> None:
    """Answer errors with one line of plain text."""

    @app.exception_handler(HTTPError)
    def refused(_: Request, error: HTTPError) -> Response:
        return PlainTextResponse(str(error.detail), error.status_code)

    @app.exception_handler(RequestValidationError)
    def invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return PlainTextResponse(f"{first['loc'][-1]}: {first['msg']}", 400)

    @app.exception_handler(KrasError)
    def unreadable(_: Request, error: KrasError) -> Response:
        tell(error)
        return PlainTextResponse(_UNREADABLE, 500)


def _pages(app: FastAPI, shown: Shown, slides: Opened) -> None:
    files = {file.name: file for file in STATIC.iterdir() if file.is_file()} if STATIC.is_dir() else {}

    @app.get("/")
    def index() -> Response:
        if len(shown.slides) == 1 and not shown.cases:
            return RedirectResponse(f"{shown.base}/slides/{next(iter(shown.slides))}", 303)
        return HTMLResponse(index_page(shown))

    @app.get("/slides/{name}")
    def viewer(name: str) -> Response:
        with _use(slides, name) as one:
            listed = _listed(shown, name)
            return HTMLResponse(viewer_page(shown, listed, _facts(shown, listed, one)))

    @app.get("/cases/{name}")
    def case(name: str) -> Response:
        if name not in shown.cases:
            raise HTTPException(404, "no such case")
        return HTMLResponse(case_page(shown, shown.cases[name]))

    @app.get("/report")
    def report() -> Response:
        if shown.report is None:
            raise HTTPException(404, "no report")
        from kras_plugins.report.study import report_script  # takes half a second: other pages must not wait for it

        # The report may come from another run or machine: of its scripts only that of current reports is allowed.
        policy = POLICY.replace("script-src 'self'", f"script-src 'sha256-{report_script()[1]}'")
        return HTMLResponse(shown.report.read_bytes(), headers={"Content-Security-Policy": policy})

    @app.get("/static/{file}")
    def static(file: str) -> Response:
        if file not in files:
            raise HTTPException(404, "no such file")
        return Response(files[file].read_bytes(), media_type=mimetypes.guess_type(file)[0] or "text/plain")


def _tiles(app: FastAPI, slides: Opened) -> None:
    cache = Cache()

    @app.get("/slides/{name}/pixels/{level}/{col}_{row}.jpg")
    def pixels(name: str, level: Index, col: Index, row: Index) -> Response:
        with _use(slides, name) as one:
            box, size = _tile(one, level, col, row)
            made = cache.get((name, level, col, row), lambda: jpeg(one.pixels.box(box, size)))
        return Response(made, media_type="image/jpeg")

    @app.get("/slides/{name}/layers/{layer_id}/{level}/{col}_{row}.png")
    def layer(
        name: str, layer_id: str, level: Index, col: Index, row: Index,
        keys: Annotated[str | None, Query(max_length=2000)] = None,
    ) -> Response:  # fmt: skip
        with _use(slides, name) as one:
            drawn = _layer(one, layer_id)
            box, size = _tile(one, level, col, row)
            entries = None if keys is None else frozenset(keys.split(",")) & {entry.key for entry in drawn.legend}
            made = cache.get((name, layer_id, level, col, row, entries), lambda: png(drawn.draw(box, size, entries)))
        return Response(made, media_type="image/png")

    @app.get("/slides/{name}/layers/{layer_id}.geojson")
    def geojson(name: str, layer_id: str) -> Response:
        with _use(slides, name) as one:
            if _layer(one, layer_id).geojson() is None:
                raise HTTPException(404, "this layer has no GeoJSON")

        def pieces() -> Iterator[bytes]:
            with _use(slides, name) as one:
                yield from _layer(one, layer_id).geojson() or ()

        return StreamingResponse(
            pieces(), headers=_download(f"{name}.{layer_id}.geojson"), media_type="application/geo+json"
        )

    @app.get("/slides/{name}/crop.jpg")
    def crop(
        name: str, x: Number, y: Number, w: Extent, h: Extent, px: Annotated[int, Query(ge=16, le=_CROP_PX)] = 512
    ) -> Response:
        with _use(slides, name) as one:
            box = _part(one, x, y, w, h)
            size = fitted(box, one.pyramid.scale, px)
            return Response(jpeg(one.pixels.box(box, size)), media_type="image/jpeg")

    @app.get("/slides/{name}/view.png")
    def view(
        name: str, x: Number, y: Number, w: Extent, h: Extent,
        px: Annotated[int, Query(ge=64, le=MOST_PX)] = 1600,
        layers: Annotated[str, Query(max_length=2000)] = "",
    ) -> Response:  # fmt: skip
        with _use(slides, name) as one:
            box = _part(one, x, y, w, h)
            size = fitted(box, one.pyramid.scale, px)
            made = view_png(one, box, size, _overlays(one, layers))
        return Response(made, headers=_download(f"{name}.view.png"), media_type="image/png")


def _points(app: FastAPI, shown: Shown, slides: Opened) -> None:
    @app.get("/slides/{name}/facts")
    def facts(name: str) -> Response:
        with _use(slides, name) as one:
            return JSONResponse(_facts(shown, _listed(shown, name), one))

    @app.get("/slides/{name}/at")
    def at(name: str, x: Number, y: Number) -> Response:
        with _use(slides, name) as one:
            return JSONResponse(one.at(x, y))

    @app.get("/slides/{name}/similar")
    def similar(name: str, x: Number, y: Number, n: Annotated[int, Query(ge=1, le=100)] = 12) -> Response:
        with _use(slides, name) as one:
            return JSONResponse(one.similar(x, y, n))


def _facts(shown: Shown, listed: Listed, one: ShownSlide) -> dict[str, Any]:
    pyramid = one.pyramid
    width, height = pyramid.display
    return {
        "call": None,
        "cautions": [],
        **one.facts,
        "slide_id": listed.slide_id,
        "patient_id": listed.patient_id,
        "width": pyramid.size[0],
        "height": pyramid.size[1],
        "mpp": list(pyramid.slide_mpp),
        "display": {
            "width": width, "height": height, "mpp": pyramid.mpp, "scale": list(pyramid.scale), "tile": TILE,
            "overlap": 0, "levels": pyramid.top + 1,
        },
        "objective": one.slide.objective,
        "layers": [
            {
                "id": layer.id, "label": layer.label, "note": layer.note, "unit": layer.unit,
                "legend": [
                    {"key": e.key, "label": e.label, "color": e.color, "count": e.count} for e in layer.legend
                ],
                "geojson": layer.geojson() is not None,
            }
            for layer in one.layers
        ],
        "missing": dict(one.missing),
        "case": f"{shown.base}/cases/{listed.patient}" if listed.patient else None,
    }  # fmt: skip


def _listed(shown: Shown, name: str) -> Listed:
    if name not in shown.slides:
        raise HTTPException(404, "no such slide")
    return shown.slides[name]


@contextmanager
def _use(slides: Opened, name: str) -> Iterator[ShownSlide]:
    if name not in slides:
        raise HTTPException(404, "no such slide")
    with slides.use(name) as one:
        yield one


def _layer(one: ShownSlide, layer_id: str) -> Layer:
    layer = one.layer(layer_id)
    if layer is None:
        raise HTTPException(404, "no such layer")
    return layer


def _tile(one: ShownSlide, level: int, col: int, row: int) -> tuple[Box, tuple[int, int]]:
    pyramid = one.pyramid
    if not pyramid.has(level, col, row):
        raise HTTPException(404, "no such tile")
    return pyramid.box(level, col, row)


def _part(one: ShownSlide, x: float, y: float, width: float, height: float) -> Box:
    """A rectangle that touches the slide and is at most twice as large."""
    across, down = one.slide.size
    if width > 2 * across + 1000 or height > 2 * down + 1000:
        raise HTTPException(400, "w, h: much larger than the slide")
    if not (-width < x < across and -height < y < down):
        raise HTTPException(400, "x, y: outside the slide")
    return Box(x, y, width, height)


def _overlays(one: ShownSlide, text: str) -> list[Overlay]:
    """Parse `cells:0.8:tumor:lymphocyte,attention:0.5`: layers, opacities and, if not all, legend entries."""
    found = []
    for part in filter(None, text.split(",")):
        layer_id, share, *keys = part.split(":") if ":" in part else (part, "1")
        try:
            opacity = float(share)
        except ValueError:
            opacity = -1.0
        if not 0 <= opacity <= 1:
            raise HTTPException(400, "layers: opacity must be a number from 0 to 1")
        found.append(Overlay(_layer(one, layer_id), opacity, frozenset(keys) if keys else None))
    return found


def _download(file: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{file}"'}
