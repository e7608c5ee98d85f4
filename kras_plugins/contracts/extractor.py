"""What a feature extractor must provide: tiles in, one vector a tile out; or bags made elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from kras_plugins.contracts.backend import Infer
from kras_plugins.contracts.base import PluginRecord
from kras_plugins.contracts.model import ModelSpec, Weights
from kras_plugins.data import Bag, SlideRef, TileSpec
from kras_plugins.errors import PluginError

if TYPE_CHECKING:
    from kras_plugins.data import Float32, UInt8

Embed: TypeAlias = "Callable[[UInt8], Float32]"
"""uint8[tile h w 3] -> float32[tile feature]."""


@dataclass(frozen=True, kw_only=True)
class ExtractorPlugin(PluginRecord):
    """Either `create` with `tile`, `dim` and `models`, or `load`.

    `tile(options)`: the tiles it wants; `dim(options)`: features per tile; `models(options)`: the networks it runs.
    `create(options, infer)` gets one Infer per model, by name, and returns a function
    `uint8[tile h w 3] -> float32[tile feature]`, callable from many threads. `load(slide, options)` returns a Bag and
    never opens pixels; it raises SlideError where the slide has none. `catalog()`: published weights by the name that
    option `model` takes, for `kras model list` and `fetch`.
    """

    tile: Callable[[Any], TileSpec] | None = None
    dim: Callable[[Any], int] | None = None
    models: Callable[[Any], tuple[ModelSpec, ...]] = lambda _options: ()
    create: Callable[[Any, Mapping[str, Infer]], Embed] | None = None
    load: Callable[[SlideRef, Any], Bag] | None = None
    catalog: Callable[[], Mapping[str, Weights]] = dict

    def __post_init__(self) -> None:
        super().__post_init__()
        makes = self.create is not None and self.tile is not None and self.dim is not None
        if makes == (self.load is not None):
            raise PluginError(
                f"extractor {self.name!r} gives neither create, tile and dim nor load, or gives both",
                "give create(options, infer), tile(options) and dim(options), or load(slide, options) alone",
            )
