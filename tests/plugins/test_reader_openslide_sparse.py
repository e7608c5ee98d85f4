"""DICOM that OpenSlide 4.0 ends the process over, found by `make fuzz`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dicom_slides import instance, save
from tiff_files import SlideError, opened

SERIES = "1.2.826.0.1.3680043.9.20.7"
PIXELS = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)


@pytest.mark.parametrize("beside", [False, True])
def test_sparse_tiles_without_places_are_one_error(tmp_path: Path, beside: bool) -> None:
    lost = instance(PIXELS, 1, series=SERIES, spacing=(0.0005, 0.0005))
    lost.DimensionOrganizationType = "TILED_SPARSE"
    whole = instance(PIXELS[::2, ::2], 2, series=SERIES, spacing=(0.001, 0.001))
    files = save([lost, whole], tmp_path)
    with pytest.raises(SlideError, match=r"1\.dcm: is tiled sparsely"), opened(files[int(beside)]):
        pass


def test_sparse_tiles_with_places_are_read(tmp_path: Path) -> None:
    (file,) = save([instance(PIXELS, 1, series=SERIES, sparse=True, spacing=(0.0005, 0.0005))], tmp_path)
    with opened(file, mpp=None) as slide:
        assert slide.size == (128, 128)
        assert slide.read((0, 0), (128, 128), 0.5).std() > 10
