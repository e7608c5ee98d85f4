"""`kras similar` on the real slide: from a bag alone, and with the slide's pixels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from kras_plugins.bags import write_bag
from kras_plugins.cli.app import app
from kras_plugins.data import Bag, TileSpec


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    """Four tiles of the real slide; the last is most like the first."""
    made = Bag(
        slide_id="cmu_small_region",
        features=np.array([[1, 0], [0, 1], [-1, 0], [1, 0.1]], np.float32),
        xy=np.array([[0, 0], [224, 0], [448, 0], [896, 1344]], np.int32),
        size=(224.0, 224.0),
        tile_spec=TileSpec(px=224, mpp=0.499),
        encoder="vit/x",
        transform_hash="t",
    )
    write_bag(tmp_path / "cmu_small_region.h5", made)
    return tmp_path / "cmu_small_region.h5"


def run(*words: object) -> list[dict[str, object]]:
    done = CliRunner().invoke(app, ["similar", *map(str, words), "--json"])
    assert done.exit_code == 0, done.output
    found: list[dict[str, object]] = json.loads(done.stdout)
    return found


def test_a_bag_alone_gives_places_and_with_its_slide_pixels_too(bag: Path, shared_data: Path, tmp_path: Path) -> None:
    alone = run(bag, "--tile", "10,10", "--count", 2, "--out", tmp_path / "alone.png")
    assert [h["xy"] for h in alone] == [[0, 0], [896, 1344], [224, 0]]
    slide = shared_data / "slides" / "cmu_small_region.svs"
    assert run(bag, slide, "--tile", "10,10", "--count", 2, "--out", tmp_path / "both.png") == alone
    gray, drawn = (np.asarray(Image.open(tmp_path / f"{n}.png").convert("RGB")) for n in ("alone", "both"))
    assert gray.shape == drawn.shape
    tissue = drawn[100:180, 230:310].astype(int)  # within the second tile
    assert tissue.std() > 10
    assert (tissue[..., 0] - tissue[..., 1]).mean() > 20, "pink, as hematoxylin and eosin are"
    assert (gray[100:120, 230:250] == (236, 238, 240)).all()


def test_a_bad_point_is_told(bag: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["similar", str(bag), "--tile", "here", "--out", str(tmp_path / "x.png")])
    assert done.exit_code == 1
    assert not (tmp_path / "x.png").exists()
