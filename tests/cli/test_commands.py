"""The small commands."""

from __future__ import annotations

import json
import shutil
from importlib import metadata
from pathlib import Path

import h5py
import onnx
import pytest
from cohorts import kras, read_rows
from networks import lay_networks

import kras_plugins
from kras_plugins.testing import draw_slide

TINY = ("-o", "extractor.vit.model=vit_tiny_patch16_224", "-o", "extractor.vit.weights=random:0")


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("slide")
    draw_slide(folder / "one.tiff", seed=3, size_um=(512.0, 512.0))
    return folder / "one.tiff"


@pytest.fixture(scope="module")
def embedded(slide: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `kras embed` writes, with its store `s` and its messages in `said.json`."""
    folder = tmp_path_factory.mktemp("embedded")
    ran = kras("embed", slide, "--out", "bags", *TINY, "--json", cwd=folder, store=folder / "s")
    assert ran.returncode == 0, ran.stderr
    (folder / "said.json").write_text(ran.stdout)
    return folder


def test_plugin_list_names_each_with_distribution_and_version(tmp_path: Path) -> None:
    listed = json.loads(kras("plugin", "list", "--json", cwd=tmp_path, store=tmp_path).stdout)
    names = {(p["kind"], p["name"]) for p in listed["plugins"]}
    assert {("reader", "openslide"), ("classifier", "he"), ("backend", "local"), ("profiler", "cells")} <= names
    assert all(p["distribution"] and p["version"] for p in listed["plugins"])
    blocked = kras("plugin", "list", "--json", cwd=tmp_path, store=tmp_path, KRAS_BLOCK="reader:tiff").stdout
    assert names - {(p["kind"], p["name"]) for p in json.loads(blocked)["plugins"]} == {("reader", "tiff")}


def test_plugin_show_tells_every_option_with_its_default(tmp_path: Path) -> None:
    (shown,) = json.loads(kras("plugin", "show", "vit", "--json", cwd=tmp_path, store=tmp_path).stdout)
    assert shown["options"]["model"]["default"] == ""
    assert all(o["description"] for o in shown["options"].values())
    text = kras("plugin", "show", "backend:local", cwd=tmp_path, store=tmp_path).stdout
    assert "precision" in text
    assert kras("plugin", "show", "nothing", cwd=tmp_path, store=tmp_path).returncode == 1


def test_a_broken_loose_plugin_is_told_and_the_command_goes_on(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("raise RuntimeError('no driver')")
    ran = kras("plugin", "list", "--plugin", "bad.py", cwd=tmp_path, store=tmp_path)
    assert ran.returncode == 0
    assert "no driver" in ran.stdout


def test_model_list_shows_licences_and_export_writes_a_checked_graph(tmp_path: Path) -> None:
    rows = json.loads(kras("model", "list", "--json", cwd=tmp_path, store=tmp_path / "s").stdout)
    lunit = next(r for r in rows if r["model"] == "vit")
    assert "non-commercial" in lunit["licence"]
    assert not lunit["present"]
    ran = kras("model", "export", "vit", "cells", "--repository", "repo", *TINY, cwd=tmp_path, store=tmp_path / "s")
    assert ran.returncode == 0, ran.stderr
    for name in ("vit", "cells"):
        (file,) = (tmp_path / "repo" / name).glob("[0-9]*/model.onnx")
        graph = onnx.load(file)
        onnx.checker.check_model(graph)
        first = graph.graph.input[0].type.tensor_type
        assert first.elem_type == onnx.TensorProto.UINT8
        assert first.shape.dim[0].dim_param
        assert first.shape.dim[3].dim_value == 3


def test_fetching_without_consent_downloads_nothing(tmp_path: Path) -> None:
    config = str(tmp_path / "config")
    ran = kras("model", "fetch", "vit", cwd=tmp_path, store=tmp_path / "s", KRAS_CONFIG=config)
    assert ran.returncode == 1
    assert "Lunit Public License" in ran.stderr
    assert not (tmp_path / "config").exists()


def test_embed_writes_a_bag_that_others_read(slide: Path, embedded: Path, tmp_path: Path) -> None:
    (told,) = json.loads((embedded / "said.json").read_text())
    with h5py.File(embedded / "bags" / "one.h5") as f:
        assert f["features"].shape == (told["tiles"], 192)
        assert f["coords"].shape == (told["tiles"], 2)
        assert f["coords"].attrs["patch_size_level0"] == 224
        x, y = map(int, f["coords"][1])
    words = ("similar", slide, "--tile", f"{x + 5},{y + 5}", "--out", "near.png", "--count", 2, *TINY, "--json")
    near = kras(*words, cwd=tmp_path, store=embedded / "s")  # the slide itself: its bag comes from the store
    assert near.returncode == 0, near.stderr
    hits = json.loads(near.stdout)
    assert hits[0] == {"slide_id": "one", "xy": [x, y], "cosine": 1.0}
    assert 1 >= hits[1]["cosine"] >= hits[2]["cosine"]
    assert (tmp_path / "near.png").stat().st_size > 10_000


def test_profile_writes_cells_and_a_row_of_features(slide: Path, tmp_path: Path) -> None:
    lay_networks(tmp_path / "s")
    ran = kras("profile", slide, "--out", "cells", cwd=tmp_path, store=tmp_path / "s")
    assert ran.returncode == 0, ran.stderr
    (row,) = read_rows(tmp_path / "cells" / "features.csv")
    assert row["slide_id"] == "one"
    assert len(row) > 30
    assert float(row["area_tissue"]) > 0.05
    collection = json.loads((tmp_path / "cells" / "one" / "cells.geojson").read_text())
    assert len(collection["features"]) > 100


def test_cache_list_counts_and_prune_empties(embedded: Path, tmp_path: Path) -> None:
    store = shutil.copytree(embedded / "s", tmp_path / "s")
    listed = json.loads(kras("cache", "list", "--json", cwd=tmp_path, store=store).stdout)
    assert {"tissue", "bag", "onnx", "place"} == set(listed["kinds"])
    assert kras("cache", "prune", cwd=tmp_path, store=store).returncode == 1
    kras("cache", "prune", "--keep", "0", cwd=tmp_path, store=store)
    assert json.loads(kras("cache", "list", "--json", cwd=tmp_path, store=store).stdout)["kinds"] == {}


def test_the_version_is_that_of_the_distribution_and_of_manifests(tmp_path: Path) -> None:
    ran = kras("--version", cwd=tmp_path, store=tmp_path)
    assert (ran.returncode, ran.stdout) == (0, f"kras {metadata.version('kras')}\n")
    assert kras_plugins.__version__ == metadata.version("kras")
    with pytest.raises(AttributeError, match="no_such_name"):
        kras_plugins.no_such_name  # noqa: B018
