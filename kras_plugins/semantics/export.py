"""The tissue raster as an image that other programs place over the slide: OME-TIFF, or PNG with a world file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kras_plugins.data import TISSUE_CLASSES
from kras_plugins.semantics.geojson import TISSUE_COLORS

if TYPE_CHECKING:
    from kras_plugins.data import SemanticMap, UInt8


def write_tissue_png(semantic: SemanticMap, path: Path, mpp: tuple[float, float]) -> None:
    """Write tissue classes as an indexed PNG (the index is that of TISSUE_CLASSES) and a world file `.pgw` beside it.

    World coordinates are level-0 pixels, x to the right and y downwards; the world file gives the size of a raster
    pixel and the center of the upper left one. `mpp`: µm per level-0 pixel.
    """
    from PIL import Image

    image = Image.fromarray(analysed_tissue(semantic), mode="P")
    image.putpalette([value for name in TISSUE_CLASSES for value in TISSUE_COLORS[name]])
    image.save(path, optimize=False)
    size = [semantic.tissue_mpp / unit for unit in mpp]
    first = [(semantic.origin_um[i] + semantic.tissue_mpp / 2) / mpp[i] for i in (0, 1)]
    lines = (size[0], 0.0, 0.0, size[1], first[0], first[1])
    path.with_suffix(".pgw").write_text("".join(f"{value:.10g}\n" for value in lines), encoding="ascii", newline="\n")


def write_tissue_ome_tiff(semantic: SemanticMap, path: Path) -> None:
    """Write tissue classes as an OME-TIFF of uint8 (the value is the index in TISSUE_CLASSES) with its pixel size."""
    import tifffile

    um = semantic.tissue_mpp
    x, y = ([value + um / 2] for value in semantic.origin_um)
    tifffile.imwrite(
        path,
        analysed_tissue(semantic),
        ome=True,
        photometric="minisblack",
        compression="zlib",
        tile=(256, 256),
        resolution=(1e4 / um, 1e4 / um),
        resolutionunit="CENTIMETER",
        metadata={
            "axes": "YX",
            "PhysicalSizeX": um,
            "PhysicalSizeXUnit": "µm",
            "PhysicalSizeY": um,
            "PhysicalSizeYUnit": "µm",
            "Channel": {"Name": "tissue"},
            "Plane": {"PositionX": x, "PositionXUnit": ["µm"], "PositionY": y, "PositionYUnit": ["µm"]},
            "Description": "; ".join(f"{i} {name}" for i, name in enumerate(TISSUE_CLASSES)),
            "UUID": f"urn:uuid:{_uuid(semantic)}",
        },
    )


def analysed_tissue(semantic: SemanticMap) -> UInt8:
    """Tissue classes uint8[h w], background where nothing was analyzed."""
    return np.where(semantic.analysed, semantic.tissue, np.uint8(0))


def _uuid(semantic: SemanticMap) -> str:
    """An identifier made from the content: the same map gives the same bytes."""
    import hashlib
    import uuid

    return str(uuid.UUID(bytes=hashlib.sha256(analysed_tissue(semantic).tobytes()).digest()[:16]))
