"""A study on Dask workers: the same bytes as here, whichever worker is killed meanwhile."""

from __future__ import annotations

import json
import re
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from cohorts import draw_tables, kras, read_rows, write_rows
from dask_cluster import Cluster, cluster
from PIL import Image

from kras_plugins.bags import read_bag
from kras_plugins.testing import draw_slide

PLUGIN = """
import os, time
from pathlib import Path
from kras_plugins import ExtractorPlugin, Options, TileSpec, hookimpl
from pydantic import Field

KRAS_API = 1

class Slow(Options):
    seconds: float = Field(0.0, description="to wait for each batch", json_schema_extra={"tuning": True})

def made(options, infer):
    def color(tiles):
        time.sleep(options.seconds)
        return tiles.mean((1, 2)).astype("float32")
    return color

@hookimpl
def kras_extractors():
    yield ExtractorPlugin(name="color", summary="mean color", options=Slow, tile=lambda o: TileSpec(px=128, mpp=0.5),
                          dim=lambda o: 3, create=made)
"""
SLIDES = 6


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("dask"), workers=2) as made:
        yield made


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cohort of slides of different sizes, one of them not a slide, and a loose plug-in."""
    folder = tmp_path_factory.mktemp("cohort")
    (folder / "color.py").write_text(PLUGIN)
    (folder / "bad.tiff").write_bytes(b"no slide")
    rows = [{"patient_id": "bad", "slide_id": "bad", "path": "bad.tiff"}]
    for i in range(SLIDES):
        draw_slide(folder / f"s{i}.tiff", seed=i, size_um=(448.0 + 64.0 * i, 448.0))
        rows.append({"patient_id": f"p{i}", "slide_id": f"s{i}", "path": f"s{i}.tiff"})
    write_rows(folder / "cohort.csv", rows)
    return folder


def embed(out: str, *more: str) -> list[str]:
    return [
        "embed",
        "cohort.csv",
        "--out",
        out,
        "--extractor",
        "color",
        "--plugin",
        "color.py",
        "--workers",
        "1",
        *more,
    ]


def on(there: Cluster) -> list[str]:
    return ["--engine", "dask", "-o", f"engine.dask.scheduler={there.address}"]


def test_bags_and_reasons_are_those_of_this_machine(there: Cluster, drawn: Path, tmp_path: Path) -> None:
    here = kras(*embed(str(tmp_path / "here")), cwd=drawn, store=tmp_path / "store-here")
    dask = kras(*embed(str(tmp_path / "dask"), *on(there)), cwd=drawn, store=tmp_path / "store-dask")
    assert (here.returncode, dask.returncode) == (3, 3), dask.stderr
    for name in [*(f"s{i}.h5" for i in range(SLIDES)), "failures.csv"]:
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "dask" / name).read_bytes(), name
    assert f"Dask scheduler {there.address}" in dask.stderr
    assert f"slides: {SLIDES + 1} of {SLIDES + 1}" in dask.stderr
    made = {p.parent.name for p in (tmp_path / "store-dask").glob("*/*/bag.h5")}
    assert made == {p.parent.name for p in (tmp_path / "store-here").glob("*/*/bag.h5")}  # one loose file, one name


def test_a_store_that_workers_do_not_see_is_refused(there: Cluster, drawn: Path, tmp_path: Path) -> None:
    """As with a store on this machine's own disk: the workers have another under its name."""
    from kras_plugins.store import Store
    from kras_plugins.study.benches import mark

    moved = tmp_path / "moved"
    for place in (tmp_path / "store", moved):
        mark(Store(place))
    from kras_plugins.engines.worker import differences
    from kras_plugins.host.manager import discover
    from kras_plugins.study.benches import identity_of

    registry = discover()
    told = differences(identity_of(registry, Store(tmp_path / "store")), identity_of(registry, Store(moved)))
    assert re.fullmatch(r"store is [0-9a-f]{32} there, [0-9a-f]{32} here", told)


def test_predictions_are_those_of_this_machine(there: Cluster, tmp_path: Path) -> None:
    draw_tables(tmp_path)
    words = ["run", "cohort.csv", "--profile-table", "LUAD.csv,LUSC.csv", "--classifiers", "rf,lgbm", "--folds", "3",
             "-o", "classifier.rf.trees=50", "--workers", "1"]  # fmt: skip
    for out, more in (("here", []), ("dask", on(there))):
        ran = kras(*words, "--out", out, *more, cwd=tmp_path, store=tmp_path / f"store-{out}")
        assert ran.returncode == 0, ran.stderr
    for name in ("predictions.csv", "metrics.json"):
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "dask" / name).read_bytes(), name
    here, dask = (read_rows(tmp_path / out / "predictions.csv") for out in ("here", "dask"))
    assert here == dask
    models = [sorted(p.name for p in (tmp_path / out / "bundle" / "models").rglob("*")) for out in ("here", "dask")]
    assert models[0] == models[1]
    (samples,) = (tmp_path / "store-dask").glob("*/*/samples.json")
    assert '"label"' not in samples.read_text()


TINY = {
    "model": "vit_tiny_patch16_224", "arguments": {"depth": 1, "embed_dim": 24, "num_heads": 2, "patch_size": 8},
    "px": 32, "read_px": 40, "global_px": 32, "local_px": 16, "local_views": 2, "batch": 4, "head": (32, 16, 64),
    "precision": "f32",
}  # fmt: skip


def test_an_encoder_of_tiles_that_workers_found_is_that_of_this_machine(
    there: Cluster, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("lightly", reason="no lightly: pip install 'kras[pretrain]'")
    (images := tmp_path / "images").mkdir()
    Image.fromarray(np.random.default_rng(0).integers(60, 200, (96, 96, 3), np.uint8)).save(images / "a.png")
    recipe = [word for k, v in TINY.items() for word in ("--set", f"{k}={json.dumps(v)}")]
    words = ["pretrain", str(images), ".", "--steps", "2", *recipe, "--threads", "1", "--workers", "0", "--out"]
    here = kras(*words, str(tmp_path / "here.safetensors"), cwd=drawn, store=tmp_path / "store-here")
    assert here.returncode == 0, here.stderr
    monkeypatch.setattr("kras_plugins.pretraining.tiles.tile_grid", lambda *_: pytest.fail("not by this process"))
    dask = kras(*words, str(tmp_path / "dask.safetensors"), *on(there), cwd=drawn, store=tmp_path / "store-dask")
    assert dask.returncode == 0, dask.stderr
    assert (tmp_path / "here.safetensors").read_bytes() == (tmp_path / "dask.safetensors").read_bytes()
    assert f"Dask scheduler {there.address}" in dask.stderr
    for ran in (here, dask):
        assert f"{SLIDES} slides and 1 images" in ran.stderr
        assert re.search(r"left out bad\.tiff: bad\.tiff: ", ran.stderr.replace("\n", " ")), ran.stderr


def test_after_a_lost_scheduler_the_same_command_goes_on(drawn: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    slow = ["-o", "extractor.color.seconds=0.2"]

    def kill_midway(there: Cluster) -> None:
        while len(list(store.glob("*/*/bag.h5"))) < 2:
            time.sleep(0.05)
        there.scheduler.send_signal(signal.SIGKILL)

    with cluster(tmp_path / "first", workers=1) as there:
        killer = threading.Thread(target=kill_midway, args=(there,))
        killer.start()
        ran = kras(*embed(str(tmp_path / "out"), *on(there), *slow), cwd=drawn, store=store)
        killer.join()
    assert ran.returncode == 1
    assert f"error: the Dask scheduler {there.address} is gone" in ran.stderr.replace("\n", " ")
    assert "Traceback" not in ran.stderr
    kept = {p: p.stat().st_mtime_ns for p in store.glob("*/*/bag.h5")}
    assert 2 <= len(kept) < SLIDES
    ran = kras(*embed(str(tmp_path / "out")), cwd=drawn, store=store)
    assert ran.returncode == 3, ran.stderr
    assert {p: p.stat().st_mtime_ns for p in kept} == kept
    assert len({read_bag(tmp_path / "out" / f"s{i}.h5").slide_id for i in range(SLIDES)}) == SLIDES
