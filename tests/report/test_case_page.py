"""The page of one patient."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

from kras_plugins.data import Explanation, Prediction, SlideQC
from kras_plugins.report.case import CasePage, CaseSlide, TopTile, case_page_name, write_case_page
from kras_plugins.report.heatmap import attention_heatmap


def fake_case(patient_id: str = "TCGA-05-4244", slide_id: str = "TCGA-05-4244-01Z-00-DX1") -> CasePage:
    """A patient with two slides, one of which quality control set aside."""
    rng = np.random.default_rng(4)
    thumbnail = np.full((360, 520, 3), 244, np.uint8)
    yy, xx = np.mgrid[:360, :520]
    tissue = ((xx - 260) / 210) ** 2 + ((yy - 180) / 140) ** 2 < 1
    thumbnail[tissue] = (np.array([214, 160, 196]) + rng.integers(-18, 18, (int(tissue.sum()), 3))).astype(np.uint8)
    x, y = np.meshgrid(np.arange(37), np.arange(25))
    xy = np.stack([x.ravel(), y.ravel()], axis=1) * 448
    xy = xy[tissue[np.minimum(xy[:, 1] // 32 + 7, 359), np.minimum(xy[:, 0] // 32 + 7, 519)]].astype(np.int32)
    values = np.exp(-((xy[:, 0] - 9000) ** 2 + (xy[:, 1] - 4500) ** 2) / 3e6) + 0.1 * rng.random(len(xy))
    values /= values.sum()
    best = np.argsort(-values)[:6]
    tiles = tuple(
        TopTile(
            xy=(int(xy[i, 0]), int(xy[i, 1])), value=float(values[i]),
            pixels=rng.integers(120, 230, (224, 224, 3)).astype(np.uint8),
        )
        for i in best
    )  # fmt: skip
    qc = SlideQC(
        slide_id=slide_id, verdict="warn", reasons=("pen on 4 % of the tissue",), mpp=0.2525, mpp_source="header",
        tissue_mm2=183.4, pen_share=0.04, blur_share=0.01, n_tiles=len(xy),
    )  # fmt: skip
    failed = dataclasses.replace(qc, slide_id="DX2", verdict="fail", reasons=("no tissue found",), n_tiles=0)
    names = tuple(f"density of lymphocytes in stroma {i}" for i in range(30))
    heatmap = attention_heatmap(thumbnail, xy, (448, 448), values, scale=32.0, mpp=0.2525)
    return CasePage(
        target="g12c",
        prediction=Prediction(
            patient_id=patient_id, slides=(slide_id, "DX2"), members={"he": 0.081, "mlp": 0.132, "rf": 0.115},
            ensemble=0.108, call="indeterminate", qc="warn",
        ),
        thresholds={"rule_in": {"threshold": 0.16, "sensitivity": 0.31, "specificity": 0.95},
                    "rule_out": {"threshold": 0.031, "sensitivity": 0.93, "specificity": None}},
        trained_on=(930, 62),
        prevalence=0.067,
        slides=(
            CaseSlide(slide_id=slide_id, qc=qc, heatmap=heatmap, tiles=tiles),
            CaseSlide(slide_id="DX2", qc=failed),
        ),
        explanations={
            "he": Explanation(kind="attention", values=values),
            "rf": Explanation(kind="contribution", values=rng.normal(0, 0.02, 30), names=names),
        },
        provenance={"bundle": "sha256 " + "ab" * 32, "versions": {"kras": "0.1.0"}},
    )  # fmt: skip


def test_the_page_shows_result_thresholds_members_quality_heat_map_and_features(tmp_path: Path) -> None:
    path = write_case_page(tmp_path, fake_case())
    page = path.read_text()
    assert path.name == "TCGA-05-4244.html"
    for text in ("Indeterminate", "10.8 %", "13.2 %", "16.0 %", "3.1 %", "pen on 4 % of the tissue", "no tissue found",
                 "930 patients, 62 positive", "on these very", "183.4 mm²", "Research use only",
                 "sha256 abab"):  # fmt: skip
        assert text in page
    assert page.count("data:image/png;base64,") == 7
    assert page.count("<svg") == 2, "attention is not drawn as a contribution"


def test_a_bundle_without_thresholds_says_why_nobody_gets_a_call(tmp_path: Path) -> None:
    for trained_on, said in (
        ((120, 7), "No thresholds: 7 positive patients were in scope in training, at least 10 are needed to set one."),
        (None, "The bundle has no thresholds: no patient gets a call."),
    ):
        bare = dataclasses.replace(fake_case(), thresholds={}, trained_on=trained_on)
        page = " ".join(write_case_page(tmp_path, bare).read_text().split())
        assert said in page
        assert "What the thresholds mean" not in page
    assert "No thresholds" not in write_case_page(tmp_path, fake_case()).read_text()


def test_the_page_loads_nothing(tmp_path: Path) -> None:
    page = write_case_page(tmp_path, fake_case()).read_text()
    loads = re.findall(r"""(?:src|href|xlink:href|srcset)\s*=\s*["']([^"']*)""", page)
    assert loads
    assert all(load.startswith(("data:image/png;base64,", "#")) for load in loads)
    assert "<script" not in page
    assert "<link" not in page


def test_a_malicious_patient_stays_text_and_inside_the_folder(tmp_path: Path) -> None:
    evil = "../../<script>alert(1)</script>"
    path = write_case_page(tmp_path, fake_case(evil, evil))
    assert path.parent == tmp_path
    assert path.resolve().parent == tmp_path.resolve()
    assert "<script" not in path.read_text()
    assert "&lt;script&gt;" in path.read_text()


@pytest.mark.parametrize("patient", ["a/b", "a\\b", "..", "", "é", "x" * 300, "a b"])
def test_file_names_are_valid_and_tell_patients_apart(patient: str) -> None:
    name = case_page_name(patient)
    assert re.fullmatch(r"[A-Za-z0-9_.-]{5,120}", name)
    assert not name.startswith(".")
    assert case_page_name("a/b") != case_page_name("a_b") != case_page_name("a\\b")
    assert case_page_name("TCGA-05.x") == "TCGA-05.x.html"


def test_a_patient_who_is_not_assessable_gets_the_reason_and_no_number(tmp_path: Path) -> None:
    case = fake_case()
    prediction = Prediction(
        patient_id="P1", slides=("DX2",), members={}, ensemble=None, call="not_assessable",
        reason="every slide failed quality control", qc="fail",
    )  # fmt: skip
    bare = dataclasses.replace(case, prediction=prediction, slides=(), explanations={}, thresholds={}, prevalence=None)
    page = write_case_page(tmp_path, bare).read_text()
    assert "Not assessable" in page
    assert "every slide failed quality control" in page
    assert "Calibrated probability" not in page


def test_contributions_are_ordered_by_size_and_nan_is_left_out(tmp_path: Path) -> None:
    values = np.array([0.1, -0.9, np.nan, 0.5, 0.0])
    explanation = Explanation(kind="contribution", values=values, names=("small", "large", "unknown", "middle", "zero"))
    page = write_case_page(tmp_path, dataclasses.replace(fake_case(), explanations={"rf": explanation})).read_text()
    assert page.index(">large<") < page.index(">middle<") < page.index(">small<")
    assert ">unknown<" not in page
    assert ">zero<" not in page


def test_random_weights_make_it_a_demonstration(tmp_path: Path) -> None:
    case = dataclasses.replace(fake_case(), provenance={"weights": {"vit": {"source": "random:0"}}})
    assert "Demonstration" in write_case_page(tmp_path, case).read_text()
    assert "Demonstration" not in write_case_page(tmp_path, fake_case()).read_text()


def test_what_weights_ask_to_be_told_makes_it_a_demonstration(tmp_path: Path) -> None:
    weights = [{"source": "a", "caution": "a toy encoder"}, {"source": "b", "caution": ""}]
    case = dataclasses.replace(fake_case(), provenance={"extractor": {"weights": weights}})
    assert "a toy encoder" in write_case_page(tmp_path, case).read_text()


def test_a_caution_that_the_bundle_and_its_weights_both_ask_for_is_told_once(tmp_path: Path) -> None:
    facts = {"demonstration": ["made up"], "extractor": {"weights": [{"caution": "made up"}, {"caution": "too"}]}}
    page = write_case_page(tmp_path, dataclasses.replace(fake_case(), provenance=facts)).read_text(encoding="utf-8")
    assert page.count("<li>made up</li>") == 1
    assert page.count("<li>too</li>") == 1


def test_the_same_case_gives_the_same_bytes(tmp_path: Path) -> None:
    first = write_case_page(tmp_path, fake_case()).read_bytes()
    assert write_case_page(tmp_path, fake_case()).read_bytes() == first
