"""A name that a scanner wrote into a slide, and the pixels of its label, reach nothing that any command writes."""

from __future__ import annotations

import base64
import gzip
import io
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import openslide
import pyarrow.parquet as pq
import pytest
from cohorts import kras, settle, write_rows
from networks import lay_networks
from PIL import Image
from planted import DATE, LIME, MAGENTA, NAME, NUMBER, PLANTED, draw_aperio, draw_dicom

from kras_plugins import SlideError, SlideRef
from kras_plugins.host.config import Config
from kras_plugins.host.manager import discover
from kras_plugins.host.parts import usable_readers
from kras_plugins.slides.slide import open_slide

_DATA = re.compile(rb"data:image/(?:png|jpeg);base64,([A-Za-z0-9+/=]+)")


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with planted slides: twelve of Aperio, one of DICOM, and two that are damaged."""
    folder = tmp_path_factory.mktemp("planted")
    for i in range(12):
        draw_aperio(folder / f"s{i}.svs", i)
    whole = draw_dicom(folder / "d", 9)
    assert openslide.OpenSlide(folder / "s0.svs").properties["aperio.User"] == NAME
    assert openslide.OpenSlide(whole).properties["dicom.PatientName"] == f"{NAME}^Maria"
    assert openslide.OpenSlide(whole).properties["dicom.StudyDate"] == DATE
    content = (folder / "s0.svs").read_bytes()
    (folder / "cut.svs").write_bytes(content[: len(content) // 2])
    # A useless description: no message about it may quote it.
    (folder / "odd.svs").write_bytes(content.replace(b"|MPP = 0.5|", f"|MPP = {NAME[:3]}|".encode()))
    return folder


@pytest.fixture(scope="module")
def written(slides: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[subprocess.CompletedProcess]]:
    """What all commands that open slides wrote and printed."""
    home = tmp_path_factory.mktemp("home")
    rows = [
        {"patient_id": f"p{i}", "slide_id": f"s{i}", "path": str(slides / f"s{i}.svs"), "g12c": str(i % 2)}
        for i in range(12)
    ]
    rows.append({"patient_id": "other", "slide_id": "cut", "path": str(slides / "cut.svs"), "g12c": "0"})
    write_rows(home / "cohort.csv", rows)
    settle(home)
    lay_networks(home / "store")
    given = [slides / "s0.svs", slides / "d" / "volume.dcm", slides / "cut.svs", slides / "odd.svs"]
    quick = ("-o", "classifier.he.seeds=1")
    calls: list[tuple[str | Path, ...]] = [
        ("run", "--classifiers", "he", "--folds", "2", *quick),
        ("predict", "kras-out/cohort/bundle", *given, "--out", "predicted"),
        ("profile", given[0], given[2], "--out", "profiled", "--geojson", "--tissue", "png", "--overlay"),
        ("embed", *given, "--out", "embedded"),
    ]
    said = [kras(*call, cwd=home, store=home / "store", KRAS_DEBUG="1") for call in calls]
    shutil.rmtree(home / "store" / "tmp", ignore_errors=True)
    assert [ran.returncode for ran in said] == [3, 3, 3, 3], "\n".join(ran.stderr for ran in said)
    return home, said


def texts(file: Path) -> bytes:
    """Everything in a file, unpacked."""
    content = file.read_bytes()
    if file.suffix == ".gz":
        return gzip.decompress(content)
    if file.suffix == ".parquet":
        return (str(pq.read_table(file).to_pydict()) + str(pq.read_schema(file).metadata)).encode()
    return content


def found_in(content: bytes) -> list[str]:
    return [word for word in PLANTED if word.lower().encode() in content.lower()]


def test_nothing_that_is_written_or_said_holds_a_name(written) -> None:
    home, said = written
    files = [f for f in home.rglob("*") if f.is_file()]
    suffixes = {f.suffix for f in files}
    assert suffixes >= {".html", ".csv", ".json", ".md", ".h5", ".parquet", ".geojson", ".png"}
    held = {str(f.relative_to(home)): found_in(texts(f)) for f in files}
    assert {name: words for name, words in held.items() if words} == {}
    assert [ran.args for ran in said if found_in((ran.stdout + ran.stderr).encode())] == []


def near(pixels: np.ndarray, color: tuple[int, int, int]) -> bool:
    return bool((np.abs(pixels.astype(int) - color).max(axis=-1) < 40).any())


def test_no_picture_holds_pixels_of_a_label_or_a_macro(slides: Path, written) -> None:
    label = openslide.OpenSlide(slides / "s0.svs").associated_images["label"]
    assert near(np.asarray(label.convert("RGB")), MAGENTA)
    home, _ = written
    pictures = {str(f): f.read_bytes() for f in home.rglob("*.png")}
    for page in home.rglob("*.html"):
        pictures |= {f"{page} {i}": base64.b64decode(p) for i, p in enumerate(_DATA.findall(page.read_bytes()))}
    assert len(pictures) > 10
    held = []
    for name, content in pictures.items():
        pixels = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
        held += [name for color in (MAGENTA, LIME) if near(pixels, color)]
    assert held == []


@pytest.mark.parametrize("reader", ["openslide", "tiff"])
@pytest.mark.parametrize("name", ["s0.svs", "cut.svs", "odd.svs", "d/volume.dcm", "d/label.dcm"])
def test_no_reader_passes_a_name_on(name: str, reader: str, slides: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = slides / name
    readers = usable_readers(discover(()), Config(), reader)
    told: list[str] = []
    try:
        with open_slide(SlideRef(patient_id="p", slide_id="s", path=file, mpp=0.5), readers, reader) as slide:
            told += [repr(vars(slide.ref)) if hasattr(slide.ref, "__dict__") else "", *slide.warnings]
            told += [f"{k}={v}" for k, v in slide._source.properties.items()]
            told += [slide.fingerprint]
            pixels = slide.read((slide.size[0] / 2, slide.size[1] / 2), (64, 64), 0.5)
            assert not near(pixels, MAGENTA)
    except SlideError as e:
        told += [e.message, e.hint, repr(e.__cause__)]
    assert found_in("\n".join([*told, caplog.text]).encode()) == []
    assert NUMBER not in "".join(told)
