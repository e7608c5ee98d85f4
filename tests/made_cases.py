"""A made-up case with its pictures, and cases at random."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from kras_plugins.data import Prediction, SlideQC
from kras_plugins.evaluation.distribution import AT
from kras_plugins.report.case import CasePage, CaseSlide, Measure, Moved, Point, Rate, Tile, Tiles, measure_of
from kras_plugins.report.html import photo_uri
from kras_plugins.report.links import BARE, OnDisk

QUANTILES = tuple(float(p) for p in AT)
PIXEL = photo_uri(np.zeros((1, 1, 3), np.uint8))


def fake_case(patient_id: str = "TCGA-05-4244", slide_id: str = "TCGA-05-4244-01Z-00-DX1") -> CasePage:
    """A patient with two slides, one of which quality control set aside."""
    qc = SlideQC(
        slide_id=slide_id, verdict="warn", reasons=("pen on 4 % of the tissue",), mpp=0.2525, mpp_source="header",
        tissue_mm2=183.4, pen_share=0.04, blur_share=0.01, n_tiles=700,
    )  # fmt: skip
    failed = SlideQC(
        slide_id="DX2", verdict="fail", reasons=("no tissue found",), mpp=0.25, mpp_source="header",
        tissue_mm2=0.0, pen_share=0.0, blur_share=0.0, n_tiles=0,
    )  # fmt: skip
    tiles = [Tile(slide_id=slide_id, xy=(448 * i, 896), size=(448.0, 448.0), value=0.3 / i) for i in range(1, 7)]
    return CasePage(
        target="g12c",
        prediction=Prediction(
            patient_id=patient_id, slides=(slide_id, "DX2"), members={"he": 0.081, "mlp": 0.132, "rf": 0.115},
            ensemble=0.108, call="indeterminate",
            qc=f"warn: {slide_id}: pen on 4 % of the tissue",
        ),
        thresholds={
            "rule_in": Point(threshold=0.16, sensitivity=Rate(value=0.31), specificity=Rate(value=0.95)),
            "rule_out": Point(threshold=0.031, sensitivity=Rate(value=0.93, low=0.8, high=0.98)),
        },
        trained_on=(930, 62),
        prevalence=0.067,
        slides=(
            CaseSlide(
                slide_id=slide_id, qc=qc, size=(20000, 15000), layers=("contribution", "attention", "cells"),
                cells={"tumor": 61000, "lymphocyte": 20500}, looked_at=512,
            ),
            CaseSlide(slide_id="DX2", qc=failed),
        ),
        measures=(
            measure_of("area_ce", 12.34, QUANTILES), measure_of("itil", 62.0, QUANTILES), measure_of("stil", None),
        ),
        among=301,
        moved={
            "rf": (
                Moved(measure=measure_of("d_tl_p90", 51.7, QUANTILES), contribution=-0.9),
                Moved(measure=measure_of("OTHERS [1]", 3.0), contribution=0.5),
            )
        },
        tiles=Tiles(member="he", raising=tuple(tiles[:3]), lowering=tuple(tiles[3:])),
        provenance=(("bundle", "sha256 " + "ab" * 32), ("versions.kras", "0.1.0")),
    )  # fmt: skip


def fake_links(case: CasePage) -> OnDisk:
    """A picture for everything that the case can show."""
    places = [(s.slide_id, layer) for s in case.slides if s.size for layer in (BARE, *s.layers)]
    tiles = () if case.tiles is None else (*case.tiles.raising, *case.tiles.lowering, *case.tiles.attended)
    return OnDisk(pictures=dict.fromkeys([*places, *((t.slide_id, *t.xy) for t in tiles)], PIXEL))


_text = st.text(st.characters(codec="utf-8"), max_size=12)
_number = st.floats(allow_nan=False, allow_infinity=False)
_maybe = st.none() | _number
_share = st.floats(0, 1)
_quantiles = st.just(()) | st.lists(_number, min_size=len(AT), max_size=len(AT)).map(lambda q: tuple(sorted(q)))
_measure = st.builds(
    Measure,
    feature=_text,
    name=_text,
    unit=_text,
    sentence=_text,
    value=_maybe,
    quantiles=_quantiles,
    percentile=_maybe,
)
_xy = st.tuples(st.integers(0, 1 << 20), st.integers(0, 1 << 20))
_tiles = st.lists(
    st.builds(Tile, slide_id=_text, xy=_xy, size=st.tuples(_number, _number), value=_number), max_size=2
).map(tuple)
_qc = st.builds(
    SlideQC, slide_id=_text, verdict=st.sampled_from(["pass", "warn", "fail"]), reasons=st.tuples(_text), mpp=_number,
    mpp_source=_text, tissue_mm2=_number, pen_share=_number, blur_share=_number, n_tiles=st.integers(0, 1 << 30),
    stain_od=st.none() | st.tuples(_number, _number, _number),
)  # fmt: skip
_slide = st.builds(
    CaseSlide, slide_id=_text, qc=st.none() | _qc, size=st.none() | _xy,
    layers=st.lists(st.sampled_from(["contribution", "attention", "cells"]), max_size=3, unique=True).map(tuple),
    cells=st.dictionaries(_text, st.integers(0, 1 << 40), max_size=2), looked_at=st.none() | st.integers(0, 1 << 30),
)  # fmt: skip
_rate = st.none() | st.builds(Rate, value=_maybe, low=_maybe, high=_maybe)
_prediction = st.builds(
    Prediction, patient_id=_text, slides=st.tuples(_text), members=st.dictionaries(_text, _share, max_size=2),
    ensemble=st.none() | _share, reason=_text,
    call=st.sampled_from(["rule_in", "indeterminate", "rule_out", "not_assessable"]),
    qc=_text, cautions=st.tuples(_text),
)  # fmt: skip
_moved = st.lists(st.builds(Moved, measure=_measure, contribution=_number), max_size=2).map(tuple)

cases = st.builds(
    CasePage, target=_text, prediction=_prediction,
    thresholds=st.dictionaries(
        _text, st.builds(Point, threshold=_share, sensitivity=_rate, specificity=_rate), max_size=2
    ),
    trained_on=st.none() | st.tuples(st.integers(0, 9999), st.integers(0, 9999)), prevalence=st.none() | _share,
    slides=st.lists(_slide, max_size=2).map(tuple), measures=st.lists(_measure, max_size=2).map(tuple),
    among=st.none() | st.integers(1, 9999), moved=st.dictionaries(_text, _moved, max_size=2),
    tiles=st.none() | st.builds(Tiles, member=_text, raising=_tiles, lowering=_tiles, attended=_tiles),
    demonstration=st.lists(_text, max_size=2).map(tuple),
    provenance=st.lists(st.tuples(_text, _text), max_size=2).map(tuple),
)  # fmt: skip
"""Cases of every shape."""
