"""What a semantic profiler must provide: tiles in, cells and tissue out; or maps and tables made elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from kras_plugins.contracts.backend import Infer
from kras_plugins.contracts.base import PluginRecord
from kras_plugins.contracts.model import ModelSpec
from kras_plugins.data import SemanticMap, SemanticProfile, SlideRef, TileSpec
from kras_plugins.errors import PluginError

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Bool, Float32, UInt8

Outputs: TypeAlias = "Mapping[str, npt.NDArray[Any]]"
"""Named outputs of a network, with the tile as first axis, or without that axis for one tile."""


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One tile as a decoder sees it: `pixels` uint8[h w 3] with the halo, `mpp` µm per pixel.

    `wanted`: corners (x, y) and (x, y) of the rectangle, in the coordinates of TileCells; the host drops
    cells whose centroid is outside, and a decoder may save itself the work of measuring them. None: all are wanted.
    """

    pixels: UInt8
    mpp: float
    wanted: tuple[tuple[float, float], tuple[float, float]] | None = None


@dataclass(frozen=True, kw_only=True)
class TileCells:
    """The cells found in one tile, in the tile's own pixels (halo included), in any order.

    `x`, `y`: float32[cell] centroids; `columns`: further CELL_COLUMNS in µm and radians, float32[cell] each; `classes`:
    one of CELL_CLASSES per cell; `outlines`: one int32 or float32[vertex 2] polygon per cell (x, y), or none at all;
    one array [cell vertex 2] is faster if all have the same number of vertices. `tissue`: optional uint8[h w] raster of
    TISSUE_CLASSES over the whole tile. `unlike`: optional bool[h/k w/k], k a whole number: true where tissue is so
    unlike what the profiler learned from that it gives no class.
    """

    x: Float32
    y: Float32
    classes: Sequence[str]
    columns: Mapping[str, Float32] = field(default_factory=dict)
    outlines: Sequence[npt.NDArray[Any]] | npt.NDArray[Any] = ()
    tissue: UInt8 | None = None
    unlike: Bool | None = None


Decode: TypeAlias = "Callable[[Outputs, Tile], TileCells]"


class Profiler(Protocol):
    """The live profiler: `predict` runs in the host's threads, `decode` in worker processes."""

    decode: Decode
    """Picklable, imports no torch: turns one tile's outputs (no batch axis) into cells and tissue."""

    def predict(self, tiles: UInt8) -> Outputs:
        """Run the networks on `uint8[tile h w 3]`; every output's first axis is the tile."""
        ...


@dataclass(frozen=True, kw_only=True)
class ProfilerPlugin(PluginRecord):
    """Either `tile`, `models` and `decode`, or `create` in place of `decode`; or `load`.

    `decode(options)` gives the profiler's `decode` if it is one network (or none: `decode` then works on the tile's
    pixels alone); `create(options, infer)` gives the whole profiler if it is more. The host calls `assemble`.
    `provides(options)`: the cell classes, tissue classes and cell columns it can give. `load(slide, options)` returns a
    SemanticMap, or a finished SemanticProfile, and never opens pixels.
    """

    tile: Callable[[Any], TileSpec] | None = None
    models: Callable[[Any], tuple[ModelSpec, ...]] = lambda _options: ()
    provides: Callable[[Any], frozenset[str]] = lambda _options: frozenset()
    decode: Callable[[Any], Decode] | None = None
    create: Callable[[Any, Mapping[str, Infer]], Profiler] | None = None
    load: Callable[[SlideRef, Any], SemanticMap | SemanticProfile] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        makes = self.tile is not None and (self.create is None) != (self.decode is None)
        if makes == (self.load is not None):
            raise PluginError(
                f"profiler {self.name!r} gives neither tile with decode (or create) nor load, or gives both",
                "give tile(options), models(options) and decode(options), or load(slide, options) alone",
            )

    def assemble(self, options: Any, infer: Mapping[str, Infer]) -> Profiler:
        """What `create` makes, or `decode` after its single network; PluginError if it has several, or neither."""
        if self.create is not None:
            return self.create(options, infer)
        if self.decode is None:
            raise PluginError(f"profiler {self.name!r} only loads what was made elsewhere", "give it tile and decode")
        specs = self.models(options)
        if len(specs) > 1 or (specs and len(specs[0].inputs) > 1):
            raise PluginError(
                f"profiler {self.name!r} is more than one network with one input",
                "give it create(options, infer), not decode",
            )
        return _OneNetwork(self.decode(options), specs[0] if specs else None, infer)


class _OneNetwork:
    """A Profiler that runs one network, or none."""

    def __init__(self, decode: Decode, spec: ModelSpec | None, infer: Mapping[str, Infer]) -> None:
        self.decode = decode
        self._spec = spec
        self._infer = infer

    def predict(self, tiles: UInt8) -> Outputs:
        return {} if self._spec is None else self._infer[self._spec.name]({self._spec.inputs[0].name: tiles})
