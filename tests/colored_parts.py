"""A loose plug-in of two quick parts: an extractor of colors, a profiler whose lymphocytes follow the darkness."""

PARTS = """
import numpy as np
from kras_plugins import ExtractorPlugin, ProfilerPlugin, TileCells, TileSpec, hookimpl

class Centers:
    def predict(self, tiles):
        return {"x": tiles[:, :1, :1, 0]}
    @staticmethod
    def decode(outputs, tile):
        # Tumor cells dense enough for epithelium, and the more lymphocytes the darker the tile.
        x, y = (a.ravel().astype("float32") for a in np.mgrid[8:tile.pixels.shape[1]:16, 8:tile.pixels.shape[0]:16])
        few = int(255 - tile.pixels.mean()) // 4
        return TileCells(x=x, y=y, classes=["lymphocyte" if i < few else "tumor" for i in range(len(x))])

def color(tiles):
    return np.hstack([tiles.mean((1, 2)), tiles.std((1, 2))]).astype("float32")

@hookimpl
def kras_extractors():
    yield ExtractorPlugin(name="color", summary="color", tile=lambda o: TileSpec(px=128, mpp=0.5), dim=lambda o: 6,
                          create=lambda options, infer: color)

@hookimpl
def kras_profilers():
    yield ProfilerPlugin(name="centers", summary="centers", tile=lambda o: TileSpec(px=256, mpp=0.5),
                         provides=lambda o: frozenset({"tumor", "lymphocyte"}), create=lambda options, infer: Centers())
"""
