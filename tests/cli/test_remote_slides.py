"""A cohort whose slides lie at URLs: the same bags as from files, and manifests that say what came over the network."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from cohorts import kras, read_rows, write_rows
from range_server import Behavior, range_server

from kras_plugins.bags import read_bag
from kras_plugins.remote import objects
from kras_plugins.remote.objects import Bucket
from kras_plugins.testing import draw_slide
from kras_plugins.urls import Url
from kras_plugins.viewer.results import read_result

COLOR = """
from kras_plugins import ExtractorPlugin, TileSpec, hookimpl

@hookimpl
def kras_extractors():
    yield ExtractorPlugin(name="color", summary="means", tile=lambda o: TileSpec(px=128, mpp=0.5), dim=lambda o: 3,
                          create=lambda options, infer: lambda tiles: tiles.mean((1, 2)).astype("float32"))
"""
WORDS = ("--extractor", "color", "--plugin", "color.py", "--workers", "1")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(objects, "RETRY", objects.RETRY | {"max_retries": 1})
    objects._opened.cache_clear()
    (tmp_path / "color.py").write_text(COLOR)
    (tmp_path / "slides").mkdir()
    for n in range(2):
        draw_slide(tmp_path / f"slides/s{n}.tiff", seed=n, size_um=(512.0, 512.0))
    return tmp_path


@pytest.fixture
def served(home: Path) -> Iterator[tuple[str, Behavior]]:
    with range_server(home / "slides") as at:
        yield at


def embed(home: Path, out: str, paths: Mapping[str, str], *more: str, code: int = 0) -> dict[str, object]:
    """The slides in the manifest that `kras embed` writes for a cohort of these slides."""
    rows = [{"patient_id": f"P-{name}", "slide_id": name, "path": path} for name, path in paths.items()]
    write_rows(home / f"{out}.csv", rows)
    words = ("embed", f"{out}.csv", "--out", out, *WORDS, *more)
    ran = kras(*words, cwd=home, store=home / f"store-{out}", KRAS_LOCAL_CACHE=str(home / "here"))
    assert ran.returncode == code, ran.stderr
    assert "S3CRET" not in ran.stderr + ran.stdout
    if code == 1:
        return {"stderr": " ".join(ran.stderr.split())}
    slides: dict[str, object] = json.loads((home / out / "manifest.json").read_text())["calls"][0]["slides"]
    return slides


def test_bags_are_those_of_the_files_whichever_way_they_came(
    home: Path, served: tuple[str, Behavior], bucket: str
) -> None:
    Bucket(Url(bucket)).put("a/s1.tiff", home / "slides/s1.tiff")
    urls = {"s0": f"{served[0]}/s0.tiff?sig=S3CRET", "s1": f"{bucket}/a/s1.tiff"}
    files = {name: f"slides/{name}.tiff" for name in urls}
    for reader in ("tiff", "openslide"):
        near = embed(home, f"near-{reader}", files, "--reader", reader)
        far = embed(home, f"far-{reader}", urls, "--reader", reader)
        for name, url in urls.items():
            here, there = near[name], far[name]
            assert isinstance(here, dict) and isinstance(there, dict)
            assert here["fingerprint"] == there["fingerprint"] and here["artifacts"] == there["artifacts"]
            assert there["path"] == url.replace("S3CRET", "***") and "transfer" not in here
            size = (home / f"slides/{name}.tiff").stat().st_size
            assert there["transfer"]["size"] == size
            assert (there["transfer"].get("copied") == size) == (reader == "openslide")
            bags = [read_bag(home / f"{where}-{reader}" / f"{name}.h5") for where in ("near", "far")]
            assert (bags[0].features == bags[1].features).all()
    assert not [f for f in (home / "here").rglob("*") if f.is_file()]  # copies went with the call
    assert not [f for f in home.rglob("*.*") if f.is_file() and f.suffix != ".csv" and b"S3CRET" in f.read_bytes()]
    slides = read_result(home / "far-tiff").slides
    assert (slides["s1"].path, str(slides["s1"].url)) == (None, urls["s1"])


def test_a_slide_that_cannot_be_had_is_set_aside_by_its_address(home: Path, served: tuple[str, Behavior]) -> None:
    paths = {"s0": f"{served[0]}/s0.tiff", "gone": f"{served[0]}/gone.tiff?sig=S3CRET"}
    embed(home, "out", paths, code=3)
    (row,) = read_rows(home / "out" / "failures.csv")
    assert (row["slide_id"], row["path"]) == ("gone", f"{served[0]}/gone.tiff?sig=***")
    assert "there is no such object" in row["reason"]


def test_pseudonyms_cover_the_address(home: Path, served: tuple[str, Behavior]) -> None:
    paths = {"s0": f"{served[0]}/s0.tiff", "Miller-gone": f"{served[0]}/Miller-gone.tiff"}
    slides = embed(home, "out", paths, "--pseudonyms", "names.json", code=3)
    assert [facts["path"] for facts in slides.values() if isinstance(facts, dict)] == [None]
    told = (home / "out" / "failures.csv").read_text() + (home / "out" / "manifest.json").read_text()
    assert "Miller" not in told and "s0.tiff" not in told


@pytest.mark.parametrize(
    ("path", "why"),
    [("ftp://host/a.svs", "ftp:// cannot be read"), ("s3:///a.svs", "names no host or bucket")],
    ids=["scheme", "host"],
)
def test_an_address_that_is_not_read_is_refused_before_any_work(home: Path, path: str, why: str) -> None:
    assert why in str(embed(home, "out", {"a": path}, code=1)["stderr"])


def test_an_address_on_the_command_line_is_told_where_it_goes(home: Path) -> None:
    ran = kras("embed", "https://host/a.svs", "--out", "out", *WORDS, cwd=home, store=home / "store")
    assert ran.returncode == 2 and "in a cohort CSV" in ran.stderr


def test_the_same_address_twice_is_told_and_check_opens_slides_there(home: Path, served: tuple[str, Behavior]) -> None:
    assert "two slides have" in str(embed(home, "out", dict.fromkeys("ab", f"{served[0]}/s0.tiff"), code=1))
    rows = [
        {"patient_id": n, "slide_id": n, "path": f"{served[0]}/{file}.tiff", "g12c": str(i % 2), "histology": "LUAD"}
        for i, (n, file) in enumerate({"a": "s0", "b": "s1", "c": "s0?version=2", "d": "gone"}.items())
    ]
    rows[2]["path"] = f"{served[0]}/s0.tiff?version=2"
    write_rows(home / "cohort.csv", rows)
    ran = kras("cohort", "check", "cohort.csv", "--slides", "--json", cwd=home, store=home / "store")
    assert "there is no such object" in ran.stdout and "belongs to several patients" in ran.stdout
