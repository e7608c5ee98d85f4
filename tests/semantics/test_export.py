"""Tissue as pictures: what other programs read back is what was written, at the same place."""

from __future__ import annotations

import numpy as np
import tifffile
from PIL import Image

from kras_plugins.data import TISSUE_CLASSES
from kras_plugins.semantics.export import write_tissue_ome_tiff, write_tissue_png

REGIONS = (("cancer_stroma", 0, 0, 800, 800), ("cancer_epithelium", 200, 300, 600, 600))


def test_the_png_holds_class_numbers_and_the_world_file_places_them(make_map, tmp_path):
    semantic = make_map(regions=REGIONS, origin=(100.0, 40.0))
    write_tissue_png(semantic, tmp_path / "tissue.png", (0.5, 0.25))
    image = Image.open(tmp_path / "tissue.png")
    assert image.mode == "P"
    np.testing.assert_array_equal(np.array(image), semantic.tissue)
    a, d, b, e, c, f = (float(line) for line in (tmp_path / "tissue.pgw").read_text().split())
    assert (a, d, b, e) == (8, 0, 0, 16)
    row, column = np.argwhere(semantic.tissue == TISSUE_CLASSES.index("cancer_epithelium"))[0]
    # the center of the epithelium's first pixel, in level-0 pixels
    assert (a * column + c, e * row + f) == ((100 + 200 + 2) / 0.5, (40 + 300 + 2) / 0.25)
    assert image.info.keys() <= {"transparency", "gamma"}


def test_the_ome_tiff_states_its_pixel_size_and_place(make_map, tmp_path):
    semantic = make_map(regions=REGIONS, mpp=8.0, origin=(100.0, 40.0))
    for name in ("a.ome.tiff", "b.ome.tiff"):
        write_tissue_ome_tiff(semantic, tmp_path / name)
    with tifffile.TiffFile(tmp_path / "a.ome.tiff") as file:
        np.testing.assert_array_equal(file.asarray(), semantic.tissue)
        pixels = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Pixels"]
    assert (pixels["PhysicalSizeX"], pixels["PhysicalSizeXUnit"]) == (8.0, "µm")
    assert (pixels["Plane"]["PositionX"], pixels["Plane"]["PositionY"]) == (104.0, 44.0)
    assert (tmp_path / "a.ome.tiff").read_bytes() == (tmp_path / "b.ome.tiff").read_bytes()


def test_what_was_not_analysed_is_background(make_map, tmp_path):
    semantic = make_map(regions=REGIONS, analysed=np.zeros((500, 500), bool))
    write_tissue_png(semantic, tmp_path / "tissue.png", (0.5, 0.5))
    assert not np.array(Image.open(tmp_path / "tissue.png")).any()
