"""The tables of docs/scale.md are those of benchmarks/scale.py, and what it reckons with is what the code does."""

from __future__ import annotations

import csv
import gzip
import importlib.util
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cohorts import kras, write_rows

from kras_plugins.bags import write_bag
from kras_plugins.data import Bag, TileSpec
from kras_plugins.testing import draw_slide

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs/scale.md").read_text()
PLUGIN = """
from kras_plugins import ExtractorPlugin, TileSpec, hookimpl

KRAS_API = 1

@hookimpl
def kras_extractors():
    yield ExtractorPlugin(name="color", summary="means", tile=lambda o: TileSpec(px=128, mpp=0.5), dim=lambda o: 3,
                          create=lambda options, infer: lambda tiles: tiles.mean((1, 2)).astype("float32"))
"""


@pytest.fixture(scope="module")
def scale() -> Any:
    found = importlib.util.spec_from_file_location("kras_scale", ROOT / "benchmarks/scale.py")
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules["kras_scale"] = module  # its dataclass looks for it there
    found.loader.exec_module(module)
    return module


def test_the_page_has_the_tables_and_figures_that_the_script_prints(
    scale: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    scale.main()
    *tables, places = capsys.readouterr().out.strip().split("\n\n")
    assert len(tables) == 2 and [table for table in tables if table not in PAGE] == []
    for line in places.splitlines():
        a_slide, many = line.partition(", at ")[2].split(" a slide: ")
        assert a_slide in PAGE and many in PAGE


@pytest.mark.parametrize(
    ("value", "said"),
    [(1.0, "1"), (1.55, "1.6"), (0.0133, "0.013"), (814, "810"), (8_131, "8,100"), (999_999, "1 million"),
     (8.131e9, "8.1 billion")],
)  # fmt: skip
def test_quantities_have_two_digits(scale: Any, value: float, said: str) -> None:
    assert scale.quantity(value) == said


def test_quantities_have_units(scale: Any) -> None:
    assert [scale.size(v) for v in (600, 1e9, 6.9e14, 2e15)] == ["0.60 kB", "1 GB", "690 TB", "2 PB"]
    assert [scale.span(v) for v in (32, 133, 8_000, 1.6e6, 1e9)] == ["32 s", "2.2 min", "2.2 h", "19 days", "32 years"]
    assert [scale.work(v) for v in (930, 7_200)] == ["930 s", "2 h"]


def test_a_bag_of_so_many_tiles_has_so_many_bytes(scale: Any, tmp_path: Path) -> None:
    n = round(scale.tiles(scale.VIT_PX))
    bag = Bag(slide_id="s", features=np.zeros((n, 384), "f4"), xy=np.zeros((n, 2), "i4"), size=(448.0, 448.0),
              tile_spec=TileSpec(px=224, mpp=0.5), encoder="e", transform_hash="h")  # fmt: skip
    write_bag(tmp_path / "bag.h5", bag)
    assert scale.bag_bytes(384) == pytest.approx((tmp_path / "bag.h5").stat().st_size, rel=0.01)


def test_a_slide_has_so_many_files_in_the_store(scale: Any, tmp_path: Path) -> None:
    (tmp_path / "color.py").write_text(PLUGIN)
    rows = []
    for i in range(4):
        draw_slide(tmp_path / f"{i}.tiff", seed=i, size_um=(384.0, 384.0))
        rows.append({"patient_id": f"p{i}", "slide_id": f"s{i}", "path": f"{i}.tiff", "g12c": str(i % 2)})
    write_rows(tmp_path / "cohort.csv", rows)
    words = [
        "--extractor",
        "color",
        "--plugin",
        "color.py",
        "--classifiers",
        "rf,meanmax",
        "--folds",
        "2",
        "--workers",
        "1",
    ]
    ran = kras("run", "cohort.csv", *words, "--shard", "1/4", cwd=tmp_path, store=tmp_path / "store")
    assert ran.returncode == 0, ran.stderr
    found = {json.loads(key.read_text())["kind"]: key.parent for key in (tmp_path / "store").glob("*/*/key.json")}
    files = {kind: len(list(folder.iterdir())) for kind, folder in found.items()}
    assert {kind: n for kind, n in files.items() if kind not in ("place", "onnx")} == scale.STORED
    assert files["place"] == 2


def test_the_tissue_of_a_slide_is_the_mean_of_tcgas(scale: Any, shared_data: Path) -> None:
    areas = []
    for name, end in (("luad", "HE"), ("lusc", "FFPE")):
        with gzip.open(shared_data / f"tcga/hif_{name}.csv.gz", "rt", encoding="utf-8-sig") as f:
            areas += [float(row[f"AREA (MM2) OF [TUMOR] IN [TISSUE]_{end}"]) for row in csv.DictReader(f)]
    assert len(areas) == 944
    assert round(math.fsum(areas) / len(areas)) == scale.TISSUE_MM2
