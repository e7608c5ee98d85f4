"""The fourteen bundled plug-ins do what the host relies on: one line each, as a third party's test file has it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from cell_files import MPP, features_of, write_geojson

import kras_backend_local
import kras_backend_triton
import kras_classifier_he
import kras_classifier_lgbm
import kras_classifier_meanmax
import kras_classifier_mlp
import kras_classifier_rf
import kras_extractor_h5
import kras_extractor_vit
import kras_profiler_cells
import kras_profiler_import
import kras_reader_dicomweb
import kras_reader_openslide
import kras_reader_tiff
from kras_plugins import Bag, SlideRef, TileSpec
from kras_plugins.bags import write_bag
from kras_plugins.testing import conformance
from kras_plugins.testing.checks.candidate import Given, candidates
from kras_plugins.testing.checks.catalog import checks_of
from kras_plugins.testing.checks.run import run_check

FOLDER = Path(tempfile.mkdtemp(prefix="kras-bundled-"))


def a_bag() -> Path:
    features = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)
    bag = Bag(
        slide_id="s", features=features, xy=448 * np.arange(10, dtype=np.int32).reshape(5, 2), size=(448.0, 448.0),
        tile_spec=TileSpec(px=224, mpp=0.5), encoder="e", transform_hash="t",
    )  # fmt: skip
    write_bag(FOLDER / "s.h5", bag)
    return FOLDER


def some_cells() -> str:
    write_geojson(FOLDER / "s.geojson", features_of())
    return str(FOLDER / "{slide_id}.geojson")


SLIDE = SlideRef(patient_id="p", slide_id="s", mpp=MPP)

test_reader_dicomweb = conformance(kras_reader_dicomweb)  # with a server: test_reader_dicomweb.py
test_reader_openslide = conformance(kras_reader_openslide)
test_reader_tiff = conformance(kras_reader_tiff)
test_extractor_vit = conformance(
    kras_extractor_vit,
    options={"extractor:vit": {"model": "test_vit", "weights": "random:0", "px": 32, "mpp": 2.0}},
)
test_extractor_h5 = conformance(
    kras_extractor_h5, options={"extractor:h5": {"folder": a_bag()}}, samples={"extractor:h5": [SLIDE]}
)
test_profiler_cells = conformance(kras_profiler_cells)
test_profiler_import = conformance(
    kras_profiler_import,
    options={"profiler:import": {"cells": some_cells()}},
    samples={"profiler:import": [SLIDE]},
)
test_classifier_he = conformance(
    kras_classifier_he, options={"classifier:he": {"hidden": 16, "attention": 8, "seeds": 1, "epochs": 8}}
)
test_classifier_mlp = conformance(kras_classifier_mlp, options={"classifier:mlp": {"seeds": 1, "epochs": 25}})
test_classifier_rf = conformance(
    kras_classifier_rf, options={"classifier:rf": {"trees": 20, "jobs": 1, "features": "core"}}
)
test_classifier_lgbm = conformance(
    kras_classifier_lgbm, options={"classifier:lgbm": {"rounds": 20, "features": "core"}}
)
test_backend_local = conformance(kras_backend_local, options={"backend:local": {"engine": "openvino", "threads": 2}})
test_backend_local_torch = conformance(
    kras_backend_local, options={"backend:local": {"engine": "torch", "device": "cpu"}}
)
test_classifier_meanmax = conformance(kras_classifier_meanmax, options={"classifier:meanmax": {"inner_folds": 2}})
# Without a server it can only say so; with one: test_conformance_triton.py.
test_backend_triton = conformance(
    kras_backend_triton,
    options={"backend:triton": {"url": "127.0.0.1:9", "patience_s": 0.0}},
    known_failures={"opened": "no server listens there"},
)


@pytest.mark.parametrize("module", [kras_reader_openslide, kras_reader_tiff])
def test_readers_conform_on_real_slides(module: ModuleType, shared_data: Path) -> None:
    slides = [shared_data / "slides" / name for name in ("cmu_small_region.svs", "generic_pyramid.tiff")]
    name = module.__name__.rpartition("_")[2]
    _, candidate = candidates(module, Given(samples={f"reader:{name}": slides}))
    outcomes = [run_check(check, candidate) for check in checks_of(candidate)]
    assert [o.message for o in outcomes if o.status == "failed"] == []
    assert "reference_pixels" in {o.check for o in outcomes if o.status == "skipped"}
