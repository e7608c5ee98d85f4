"""What kras relies on, and what this reader promises."""

import json
import tempfile
from pathlib import Path

import kras_reader_tile_folder as plugin
import numpy as np
import pytest
from PIL import Image

from kras_plugins import SlideError
from kras_plugins.testing import conformance

PX = 64
PIXELS = np.random.default_rng(0).integers(0, 256, (3 * PX, 4 * PX, 3), np.uint8)


def cut(folder: Path, name: str = "slide", leave_out: tuple[int, int] | None = None) -> Path:
    """Write PIXELS as a folder of tiles and its sidecar, which is returned."""
    (folder / name).mkdir()
    tiles = {f"{c}-{r}.png": [c, r] for c in range(4) for r in range(3) if (c, r) != leave_out}
    for file, (c, r) in tiles.items():
        Image.fromarray(PIXELS[r * PX : (r + 1) * PX, c * PX : (c + 1) * PX]).save(folder / name / file)
    sidecar = folder / f"{name}.json"
    sidecar.write_text(json.dumps({"tile_px": PX, "mpp": 0.5, "tiles": tiles}))
    return sidecar


SAMPLE = cut(Path(tempfile.mkdtemp()))
test_contract = conformance(plugin, samples={"reader:tile_folder": [(SAMPLE, PIXELS)]})


def test_a_region_across_tiles_is_put_together(tmp_path: Path) -> None:
    source = plugin.TileFolder(cut(tmp_path))
    np.testing.assert_array_equal(source.read_level(0, (50, 60), (100, 90)), PIXELS[60:150, 50:150])


def test_where_there_is_no_tile_it_is_white(tmp_path: Path) -> None:
    source = plugin.TileFolder(cut(tmp_path, leave_out=(1, 2)))
    assert (source.read_level(0, (PX, 2 * PX), (PX, PX)) == 255).all()


def test_another_tile_makes_another_slide_although_the_sidecar_is_the_same(tmp_path: Path) -> None:
    sidecar = cut(tmp_path)
    before = plugin.TileFolder(sidecar).quickhash
    Image.new("RGB", (PX, PX)).save(tmp_path / "slide" / "0-0.png")
    assert plugin.TileFolder(sidecar).quickhash != before


def test_a_lost_tile_is_named(tmp_path: Path) -> None:
    sidecar = cut(tmp_path)
    (tmp_path / "slide" / "1-1.png").unlink()
    with pytest.raises(SlideError, match=r"1-1\.png"):
        plugin.TileFolder(sidecar)
