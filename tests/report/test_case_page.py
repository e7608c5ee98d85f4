"""The page of one patient, on disk and served, and what it says as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from made_cases import PIXEL, cases, fake_case, fake_links

from kras_plugins.data import Prediction
from kras_plugins.errors import StoreError
from kras_plugins.report.case import CasePage, case_name, without_scores
from kras_plugins.report.case_json import case_json, read_case
from kras_plugins.report.case_page import ordinal, render_case, write_case
from kras_plugins.report.links import OnDisk, Served
from kras_plugins.store import safe_name


def page_of(case: CasePage) -> str:
    """The page on disk, its white space alike."""
    return " ".join(render_case(case, fake_links(case)).split())


def text_of(page: str) -> str:
    """What a reader sees of a page."""
    found: list[str] = []

    class Text(HTMLParser):
        def handle_data(self, data: str) -> None:
            found.append(data)

    Text().feed(re.sub(r"<style>.*?</style>", "", page, flags=re.S))
    return " ".join(" ".join(found).split())


def test_the_page_shows_result_thresholds_members_quality_cells_tiles_and_features() -> None:
    text = text_of(page_of(fake_case()))
    for said in ("Indeterminate", "10.8 %", "13.2 %", "16.0 %", "3.1 %", "93.0 % (80.0–98.0)",
                 "pen on 4 % of the tissue", "no tissue found", "930 patients, 62 positive", "on these same",
                 "183.4 mm²", "Research use only",
                 "sha256 abab", "61,000", "81,500", "12.3 mm²", "62.0 per mm²", "62nd percentile",
                 "Among 301 training patients", "not measured", "512 of 700 tiles were looked at",
                 "+0.300", "x 448, y 896", "alone, not the ensemble. It is not a counterfactual"):  # fmt: skip
        assert said in text, said


def test_a_feature_that_moved_the_score_has_name_value_unit_percentile_direction_and_sentence_and_a_small_id() -> None:
    page = page_of(fake_case())
    text = text_of(page)
    row = text[text.index("Distance from tumor cell to nearest lymphocyte, farthest tenth") :]
    assert re.match(
        r".*?farthest tenth High where parts of the tumor have none\. d_tl_p90 51\.7 µm 52nd percentile "
        r"lowers it by 0\.900",
        row,
    )
    assert "<code>d_tl_p90</code>" in page
    assert re.search(r"OTHERS \[1\] 3\.00 raises it by 0\.500", text), "one made elsewhere keeps its name"
    assert page.index("d_tl_p90") < page.index("OTHERS [1]")


def test_without_a_distribution_the_page_says_so_and_shows_no_percentile() -> None:
    case = fake_case()
    bare = tuple(replace(m, quantiles=(), percentile=None) for m in case.measures)
    moved = {k: tuple(replace(m, measure=replace(m.measure, quantiles=(), percentile=None)) for m in v)
             for k, v in case.moved.items()}  # fmt: skip
    text = text_of(page_of(replace(case, measures=bare, moved=moved, among=None)))
    assert "does not say how these are distributed" in text
    assert "percentile" not in text


def test_a_bundle_without_thresholds_says_why_nobody_gets_a_call() -> None:
    for trained_on, said in (
        ((120, 7), "No thresholds: 7 positive patients were in scope in training, at least 10 are needed to set one."),
        (None, "The bundle has no thresholds: no patient gets a call."),
    ):
        page = page_of(replace(fake_case(), thresholds={}, trained_on=trained_on))
        assert said in page
        assert "What the thresholds mean" not in page
    assert "No thresholds" not in page_of(fake_case())


def test_the_page_on_disk_loads_nothing_and_links_to_its_neighbor_alone() -> None:
    page = page_of(fake_case())
    assert set(re.findall(r"""(?:src|srcset)\s*=\s*["']([^"']*)""", page)) == {PIXEL}
    assert set(re.findall(r"""href\s*=\s*["'](?!#|data:,["'])([^"']*)""", page)) == {"index.html"}
    assert "<script" not in page
    assert re.findall("<link[^>]*>", page) == ['<link rel="icon" href="data:,">'], (
        "an icon, lest the browser asks for one"
    )
    assert "kras view ." in page


def test_each_layer_lies_over_the_bare_slide_and_has_a_labelled_switch_that_needs_no_script() -> None:
    page = page_of(fake_case())
    switches = re.findall(r'<input type="checkbox" id="([^"]+)"( checked)?>', page)
    assert [name.split("-")[-1] for name, _ in switches] == ["cells", "contribution", "attention"]
    assert [bool(on) for _, on in switches] == [True, True, False]
    for name, _ in switches:
        assert f'<label for="{name}">' in page
    assert len({name for name, _ in switches}) == 3
    assert page.count('class="layer layer-1"') == 2
    assert page.count('class="layer layer-2"') == 1


def test_the_served_page_takes_pictures_and_links_from_the_viewer() -> None:
    case = fake_case(slide_id="a b/c")
    name = safe_name("a b/c")
    page = render_case(case, Served(slides={name}, cases={"TCGA-05-4244"}))
    assert set(re.findall(r'href="(?!#|data:,")([^"]*)"', page)) == {
        "/", f"/slides/{name}", *(f"/slides/{name}#x={448 * i + 224}&amp;y=1120&amp;um=339.36" for i in range(1, 7)),
    }  # fmt: skip
    assert set(re.findall(r'src="([^"]*)"', page)) == {
        f"/slides/{name}/pixels/9/0_0.jpg",
        *(f"/slides/{name}/layers/{layer}/9/0_0.png" for layer in ("contribution", "attention", "cells")),
        *(f"/slides/{name}/crop.jpg?x={448 * i}&amp;y=896&amp;w=448&amp;h=448&amp;px=320" for i in range(1, 7)),
    }
    assert "img-src 'self' data:" in page
    assert "kras view" not in page


def test_a_slide_that_is_not_served_has_neither_pictures_nor_links() -> None:
    page = render_case(fake_case(), Served(slides=()))
    assert "/slides/" not in page
    assert "src=" not in page


def test_the_same_case_says_the_same_on_disk_and_served() -> None:
    case = fake_case()
    on_disk = text_of(render_case(case, fake_links(case)))
    served = text_of(render_case(case, Served(slides={case.slides[0].slide_id})))
    on_disk = re.sub("To view the slides .* kras view \\. ", "", on_disk)
    on_disk = on_disk.replace(" Tints: red is cancer epithelium, blue is stroma.", "")
    assert on_disk == served.replace(" Look at the slide", "")


EVIL = "../../<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


@pytest.mark.parametrize("served", [False, True])
def test_a_malicious_case_stays_text(served: bool) -> None:
    case = replace(
        fake_case(EVIL, EVIL), target=EVIL, demonstration=(EVIL,), provenance=((EVIL, EVIL),),
        moved={EVIL: tuple(replace(m, measure=replace(m.measure, feature=EVIL, name=EVIL, unit=EVIL, sentence=EVIL))
                           for m in fake_case().moved["rf"])},
    )  # fmt: skip
    case = replace(case, slides=(replace(case.slides[0], cells={EVIL: 3, "tumor": 1}, layers=(EVIL, "cells")),))
    page = render_case(case, Served(slides={safe_name(EVIL)}) if served else fake_links(case))
    assert "<script" not in page
    assert "<img src=x" not in page
    assert "&lt;script&gt;" in page
    for address in re.findall(r'(?:href|src)="(?!#|data:,")([^"]*)"', page):
        assert re.match(r"index\.html$|data:image/|/$|/slides/[A-Za-z0-9_.-]+($|[/#?])", address), address


def test_a_malicious_patient_stays_inside_the_folder(tmp_path: Path) -> None:
    case = fake_case(EVIL, EVIL)
    path = write_case(tmp_path, case, OnDisk())
    assert path.resolve().parent == tmp_path.resolve()
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([path.name, f"{path.stem}.case.json"])


@pytest.mark.parametrize("patient", ["a/b", "a\\b", "..", "", "é", "x" * 300, "a b"])
def test_file_names_are_valid_and_tell_patients_apart(patient: str) -> None:
    name = case_name(patient)
    assert re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,120}", name)
    assert case_name("a/b") != case_name("a_b") != case_name("a\\b")
    assert case_name("TCGA-05.x") == "TCGA-05.x"


@pytest.mark.parametrize("patient", ["index", "Index"])
def test_a_patient_called_index_does_not_overwrite_the_page_of_all_patients(patient: str) -> None:
    assert f"{case_name(patient)}.html".lower() != "index.html"


def scoreless(case: CasePage) -> CasePage:
    """The same patient, of whom no result may be given, but with all numbers left in."""
    prediction = replace(case.prediction, call="not_assessable", reason="out of scope: LUSC is squamous")
    return replace(case, prediction=prediction)


def test_a_patient_who_is_not_assessable_gets_the_reason_and_no_score_on_the_page_or_in_the_json(
    tmp_path: Path,
) -> None:
    case = scoreless(fake_case())
    page, said = page_of(case), case_json(case)
    assert "Not assessable" in page
    assert "out of scope: LUSC is squamous" in page
    assert "pen on 4 % of the tissue" in page, "quality stays"
    for hidden in ("Calibrated probability", "10.8", "13.2", "8.1 %", "raise", "lowers", "threshold", "+0.300"):
        assert hidden not in text_of(page), hidden
    for hidden in ("0.108", "0.132", "0.081", "contribution", '"xy"', "0.031", "d_tl_p90"):
        assert hidden not in said, hidden
    file = tmp_path / "a.case.json"
    file.write_text(
        said.replace('"members": {}', '"members": {"rf": 0.115}').replace('"ensemble": null', '"ensemble": 0.4')
    )
    assert read_case(file).prediction.members == {}
    assert read_case(file).prediction.ensemble is None


def test_a_patient_without_a_usable_slide_gets_the_reason_alone() -> None:
    prediction = Prediction(
        patient_id="P1", slides=(), members={}, ensemble=None, call="not_assessable",
        reason="every slide failed quality control", qc="fail",
    )  # fmt: skip
    page = page_of(CasePage(target="g12c", prediction=prediction))
    assert "every slide failed quality control" in page
    assert "No slide was read" in page


def test_a_caution_that_the_banner_says_is_said_once() -> None:
    case = replace(fake_case(), demonstration=("made up",))
    page = page_of(replace(case, prediction=replace(case.prediction, cautions=("made up", "seen before"))))
    assert "Demonstration" in page
    assert page.count("made up") == 1
    assert page.count("seen before") == 1
    assert "Demonstration" not in page_of(fake_case())


def test_provenance_is_folded() -> None:
    assert re.search(r"<details class=\"\"><summary>Command, options", page_of(fake_case()))


def test_the_same_case_gives_the_same_bytes(tmp_path: Path) -> None:
    case = fake_case()
    first = write_case(tmp_path, case, fake_links(case)).read_bytes()
    assert write_case(tmp_path, case, fake_links(case)).read_bytes() == first
    assert b"data:image" not in (tmp_path / "TCGA-05-4244.case.json").read_bytes()


def test_percentiles_are_read_as_ordinals_with_open_ends() -> None:
    said = [ordinal(p).partition(" percentile")[0] for p in (5, 11.2, 22.9, 61, 63, 94.6, 95)]
    assert said == ["≤ 5th", "11th", "23rd", "61st", "63rd", "95th", "≥ 95th"]


@settings(deadline=None)
@given(cases)
def test_a_case_is_read_as_it_was_written_but_for_scores_that_may_not_be_shown(
    tmp_path_factory: pytest.TempPathFactory, case: CasePage
) -> None:
    file = tmp_path_factory.getbasetemp() / "case.json"
    file.write_text(case_json(case), encoding="utf-8")
    assert read_case(file) == without_scores(case)
    assert case_json(read_case(file)) == case_json(case)


@settings(deadline=None, max_examples=25)
@given(cases)
def test_a_case_of_any_shape_has_a_page(case: CasePage) -> None:
    assert "</html>" in render_case(case, fake_links(case))


def _drop(value: dict[str, Any]) -> None:
    del value["prediction"]


WRONG: dict[str, Callable[[dict[str, Any]], object]] = {
    "schema_version": lambda c: c.update(schema_version=2),
    "prediction": _drop,
    "prediction.members.he": lambda c: c["prediction"]["members"].update(he="0.1"),
    "prediction.call": lambda c: c["prediction"].update(call="maybe"),
    "prediction.members.rf does not lie between 0 and 1": lambda c: c["prediction"]["members"].update(rf=1.5),
    "thresholds.rule_in.threshold does not": lambda c: c["thresholds"]["rule_in"].update(threshold=-1),
    "slides.0.cells.tumor": lambda c: c["slides"][0]["cells"].update(tumor=1.5),
    "tiles.raising.0.xy": lambda c: c["tiles"]["raising"][0].update(xy=[1]),
    "quantiles in ascending order": lambda c: c["measures"][0].update(quantiles=[2, 1]),
    "provenance": lambda c: c.update(provenance="x"),
}


@pytest.mark.parametrize(("said", "change"), WRONG.items(), ids=WRONG)
def test_json_of_another_shape_is_one_error_that_names_file_and_place(
    tmp_path: Path, said: str, change: Callable[[dict[str, Any]], object]
) -> None:
    value = json.loads(case_json(fake_case()))
    change(value)
    file = tmp_path / "p.case.json"
    file.write_text(json.dumps(value))
    with pytest.raises(StoreError, match=rf"p\.case\.json: .*{re.escape(said)}") as caught:
        read_case(file)
    assert "score the patient again" in caught.value.hint


@pytest.mark.parametrize("text", [b"", b"[1", b"\xff", b'{"a": NaN}', b"[" * 5000, b'{"a": 1, "a": 2}', b"[]"])
def test_what_is_no_json_is_one_error_that_names_the_file(tmp_path: Path, text: bytes) -> None:
    file = tmp_path / "p.case.json"
    file.write_bytes(text)
    with pytest.raises(StoreError, match=r"p\.case\.json"):
        read_case(file)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "p.case.json"
    with file.open("wb") as f:
        f.truncate((16 << 20) + 1)
    with pytest.raises(StoreError, match=r"p\.case\.json .*at most 16,777,216"):
        read_case(file)
