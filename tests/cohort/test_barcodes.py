"""Barcodes and slide names of TCGA, and identifiers that are neither."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kras_plugins import ConfigError
from kras_plugins.cohort.barcodes import parse_barcode, parse_slide_name

UUID = "7f5a7bf1-7ec4-4f30-b1f8-8c7a3a6d1f10"
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


@given(
    st.text(LETTERS, min_size=2, max_size=2),
    st.text(LETTERS, min_size=4, max_size=4),
    st.sampled_from(["01", "02", "06", "11"]),
    st.sampled_from(["", "A", "A-11D", "B-11D-A237-08"]),
)
def test_a_barcode_of_any_length_gives_its_patient_site_and_sample_type(site, person, kind, rest) -> None:
    found = parse_barcode(f"TCGA-{site}-{person}-{kind}{rest}")
    assert (found.patient, found.site, found.sample_type) == (f"TCGA-{site}-{person}", site, kind)
    assert parse_barcode(found.patient).sample_type == ""
    assert parse_barcode(found.text.lower()) == found


@pytest.mark.parametrize(
    "text", ["TCGA-05-424", "TCGA-5-4244", "TCGA-05-4244-1A", "TCGA-05-4244-01AA", "TCGA_05_4244", "tcga-"]
)
def test_what_only_begins_like_a_barcode_is_refused(text: str) -> None:
    if text.upper().startswith("TCGA-"):
        with pytest.raises(ConfigError, match="not a TCGA barcode"):
            parse_barcode(text)
    else:
        assert parse_barcode(text).patient == text


def test_other_identifiers_are_patients_and_nothing_is_guessed() -> None:
    found = parse_barcode(" C3L-00001 ")
    assert (found.patient, found.site, found.sample_type) == ("C3L-00001", "", "")
    with pytest.raises(ConfigError, match="empty"):
        parse_barcode("  ")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (f"TCGA-05-4244-01Z-00-DX1.{UUID}.svs", ("TCGA-05-4244", "05", "01", "DX")),
        (f"TCGA-05-4244-01Z-00-DXA.{UUID.upper()}.svs", ("TCGA-05-4244", "05", "01", "DX")),
        (f"TCGA-05-4244-01A-01-TS1.{UUID}.svs", ("TCGA-05-4244", "05", "01", "TS")),
        (f"TCGA-05-4244-11A-01-BS1.{UUID}.svs", ("TCGA-05-4244", "05", "11", "BS")),
        ("TCGA-05-4244-01Z-00-DX1.tiff", ("TCGA-05-4244", "05", "01", "DX")),
        ("TCGA-05-4244-01Z-00-DX1", ("TCGA-05-4244", "05", "01", "DX")),
    ],
)
def test_slide_names(name: str, told: tuple) -> None:
    found = parse_slide_name(name)
    assert found is not None
    assert (found.patient, found.site, found.sample_type, found.kind) == told


@pytest.mark.parametrize(
    "name", ["C3L-00001-21.svs", "TCGA-05-4244.svs", "TCGA-05-4244-01Z-00-XX1.svs", "xTCGA-05-4244-01Z-00-DX1.svs"]
)
def test_other_names_are_no_tcga_slides(name: str) -> None:
    assert parse_slide_name(name) is None


@given(
    st.text(LETTERS, min_size=2, max_size=2),
    st.text(LETTERS, min_size=4, max_size=4),
    st.sampled_from(["DX", "TS", "BS", "MS"]),
)
def test_slide_names_agree_with_the_published_pattern(site: str, person: str, kind: str) -> None:
    name = f"TCGA-{site}-{person}-01Z-00-{kind}1.{UUID}.svs"
    pattern = (
        r"^(TCGA-([A-Z0-9]{2})-([A-Z0-9]{4}))-(\d{2})([A-Z])-(\d{2})-(DX|TS|BS|MS)([0-9A-Z]+)\.([0-9A-Fa-f-]{36})\.svs$"
    )
    published, found = re.fullmatch(pattern, name), parse_slide_name(name)
    assert published is not None
    assert found is not None
    assert (found.patient, found.site, found.sample_type, found.kind) == (
        published[1],
        published[2],
        published[4],
        published[7],
    )
