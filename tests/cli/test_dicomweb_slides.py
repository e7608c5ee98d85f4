"""A slide on a DICOMweb server beside its files: the same tiles and features from both, and no name anywhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile
from cohorts import kras, read_rows, write_rows
from colored_parts import PARTS
from dicom_slides import STUDY, pyramid, save
from dicomweb_server import Front, orthanc, proxy
from planted import PLANTED

from kras_plugins.bags import read_bag
from kras_plugins.study.session import opened
from kras_plugins.study.settings import StudySettings
from kras_plugins.testing import draw_slide
from kras_plugins.viewer.found import find_shown

SERIES = "1.2.826.0.1.3680043.9.20.7"
WORDS = ("--plugin", "parts.py", "--workers", "1")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str, Front]]:
    """A folder with a slide of somebody with a name in DICOM files; its address on a server, behind a proxy."""
    home = tmp_path_factory.mktemp("home")
    (home / "parts.py").write_text(PARTS)
    draw_slide(home / "drawn.tiff", seed=7, size_um=(512.0, 512.0), mpp=0.5, levels=2)
    with tifffile.TiffFile(home / "drawn.tiff") as tif:
        levels = [page.asarray() for page in tif.pages]
    (home / "drawn.tiff").unlink()
    files = save(pyramid(levels, SERIES, tile=256, spacing=(0.0005, 0.0005)), home / "files")
    with orthanc(tmp_path_factory.mktemp("orthanc")) as server:
        server.store(files)
        with proxy(server) as (before, front):
            yield home, f"{before.series(STUDY, SERIES)}?key=S3CRET", front


@pytest.fixture(scope="module")
def made(home: tuple[Path, str, Front]) -> Path:
    """What `embed` and `profile` write of the files, and of the address beside one where nothing is."""
    folder, address, _ = home
    gone = address.replace(SERIES, f"{SERIES}.404")
    for name, paths in {"near": {"s": "files/1.dcm"}, "far": {"s": address, "gone": gone}}.items():
        rows = [{"patient_id": f"P-{one}", "slide_id": one, "path": path} for one, path in paths.items()]
        write_rows(folder / f"{name}.csv", rows)
        for verb, *more in (("embed", "--extractor", "color"), ("profile", "--profiler", "centers")):
            words = (verb, f"{name}.csv", "--out", f"{name}-{verb}", *more, *WORDS)
            ran = kras(*words, cwd=folder, store=folder / f"store-{name}", KRAS_DEBUG="1")
            assert ran.returncode == (3 if "gone" in paths else 0), ran.stderr
            told = ran.stdout + ran.stderr
            assert not [word for word in ("S3CRET", *PLANTED) if word in told]
    return folder


def slide(made: Path, folder: str) -> dict[str, object]:
    facts: dict[str, object] = json.loads((made / folder / "manifest.json").read_text())["calls"][0]["slides"]["s"]
    return facts


def test_tiles_and_features_are_those_of_the_files(made: Path) -> None:
    near, far = (read_bag(made / f"{name}-embed" / "s.h5") for name in ("near", "far"))
    assert len(near.features) > 3
    np.testing.assert_array_equal(near.xy, far.xy)
    np.testing.assert_array_equal(near.features, far.features)
    (one,), (two,) = (read_rows(made / f"{name}-profile" / "features.csv") for name in ("near", "far"))
    assert one == two and len(one) > 100


def test_the_manifest_has_the_address_and_what_came_over_the_network(made: Path, home: tuple[Path, str, Front]) -> None:
    _, address, front = home
    embedded, profiled = slide(made, "far-embed"), slide(made, "far-profile")
    assert embedded["path"] == profiled["path"] == address.replace("S3CRET", "***")
    assert str(embedded["fingerprint"]).startswith("quickhash:") and embedded["fingerprint"] == profiled["fingerprint"]
    transfers = [embedded["transfer"], profiled["transfer"]]
    ours = [size for path, _, size in front.asked if f"/series/{SERIES}/" in path]
    assert sum(t["bytes"] for t in transfers) == sum(ours)  # type: ignore[index]
    assert sum(t["requests"] for t in transfers) == len(ours)  # type: ignore[index]
    (row,) = read_rows(made / "far-embed" / "failures.csv")
    assert row["slide_id"] == "gone" and "there is no such series (404)" in row["reason"]


def test_no_name_number_or_secret_is_in_any_file_of_results_or_store(made: Path) -> None:
    files = [f for where in ("far-embed", "far-profile", "store-far") for f in (made / where).rglob("*") if f.is_file()]
    assert {f.suffix for f in files} >= {".h5", ".json", ".csv", ".parquet"}
    said = {f: f.read_bytes() for f in files}
    said |= {f: f"{pq.read_table(f).to_pydict()}{pq.read_schema(f)}".encode() for f in files if f.suffix == ".parquet"}
    assert [f for f in files for word in ("S3CRET", *PLANTED) if word.encode() in said[f]] == []


def test_labels_and_overviews_were_never_asked_for(made: Path, home: tuple[Path, str, Front]) -> None:
    asked = {path.split("/instances/")[1].split("/")[0] for path, *_ in home[2].asked if "/frames/" in path}
    assert asked <= {f"{SERIES}.1", f"{SERIES}.2"}


def test_the_viewer_shows_it(made: Path) -> None:
    settings = StudySettings(plugins=(made / "parts.py",), cache=made / "store-far", workers=1)
    with opened(settings) as session:
        shown = find_shown(session, [made / "far-profile"])
        with closing(shown.slides["s"].open()) as one:
            assert one.slide.reader == "dicomweb" and one.slide.transfer() is not None
            pixels = one.slide.box((0, 0), (512.0, 512.0), (64, 64))
        with closing(find_shown(session, [made / "near-profile"]).slides["s"].open()) as other:
            np.testing.assert_array_equal(pixels, other.slide.box((0, 0), (512.0, 512.0), (64, 64)))
