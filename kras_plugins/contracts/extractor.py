"""What a feature extractor must provide: tiles in, one vector per tile out; or bags made elsewhere."""

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


def _no_models(_options: Any) -> tuple[ModelSpec, ...]:
    return ()


@dataclass(frozen=True, kw_only=True)
class ExtractorPlugin(PluginRecord):
    """Either `tile` and `models`, with `dim` and `create` if it is more than one network; or `load`.

    `tile(options)`: the tiles it needs; `dim(options)`: features per tile; `models(options)`: the networks it runs.
    `create(options, infer)` gets one Infer per model, by name, and returns a function `uint8[tile h w 3] ->
    float32[tile feature]`, callable from many threads. Without it, the single network is run from its one input to its
    one output, whose length is the number of features: the host calls `assemble` and `length`. `load(slide, options)`
    returns a Bag and never opens pixels; it raises SlideError where the slide has none. A vector of the whole slide is
    a Bag of one row with `xy` and `size` of zeros. `catalog()`: published weights by the name that option `model`
    takes, for `kras model list` and `fetch`.
    """

    tile: Callable[[Any], TileSpec] | None = None
    dim: Callable[[Any], int] | None = None
    models: Callable[[Any], tuple[ModelSpec, ...]] = _no_models
    create: Callable[[Any, Mapping[str, Infer]], Embed] | None = None
    load: Callable[[SlideRef, Any], Bag] | None = None
    catalog: Callable[[], Mapping[str, Weights]] = dict

    def __post_init__(self) -> None:
        super().__post_init__()
        own = self.create is not None and self.dim is not None
        makes = self.tile is not None and (own or self.models is not _no_models)
        if makes == (self.load is not None):
            raise PluginError(
                f"extractor {self.name!r} gives neither tile and models (or create and dim) nor load, or gives both",
                "give tile(options) and models(options), or load(slide, options) alone",
            )

    def length(self, options: Any) -> int:
        """Features per tile: from `dim`, or the length of the single network's output; PluginError for several."""
        return self.dim(options) if self.dim is not None else self._network(options).outputs[0].shape[0]

    def assemble(self, options: Any, infer: Mapping[str, Infer]) -> Embed:
        """What `create` makes, or a function that runs the single network; PluginError if there are several."""
        if self.create is not None:
            return self.create(options, infer)
        spec = self._network(options)
        run, given, taken = infer[spec.name], spec.inputs[0].name, spec.outputs[0].name

        def embed(tiles: UInt8) -> Float32:
            return run({given: tiles})[taken]

        return embed

    def _network(self, options: Any) -> ModelSpec:
        """The single network, with one input and one output vector; PluginError if the extractor is more than that."""
        specs = self.models(options)
        if len(specs) == 1 and len(specs[0].inputs) == len(specs[0].outputs) == len(specs[0].outputs[0].shape) == 1:
            return specs[0]
        raise PluginError(
            f"extractor {self.name!r} is more than one network with one input and one vector as output",
            "give it create(options, infer) and dim(options)",
        )
