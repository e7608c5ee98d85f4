"""The available models: those of extractors and profilers as configured, and others that extractors publish."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from kras_plugins.contracts.extractor import ExtractorPlugin
from kras_plugins.contracts.model import ModelSpec, Weights
from kras_plugins.contracts.profiler import ProfilerPlugin
from kras_plugins.errors import ConfigError, PluginError
from kras_plugins.host.config import Config
from kras_plugins.host.isolation import ask
from kras_plugins.host.manager import Provided, Registry
from kras_plugins.host.parts import models_of

T = TypeVar("T")
Warn = Callable[[str], None]
"""Called with the reason why a plug-in is skipped: the models of others are still listed."""


def configured_models(
    registry: Registry, config: Config, warn: Warn, names: Sequence[str] = ()
) -> list[tuple[str, ModelSpec]]:
    """(plug-in, model) for every extractor and profiler, or only those with the given `names`.

    Raises ConfigError for an unknown name.
    """

    def models(p: Provided) -> tuple[ModelSpec, ...]:
        assert isinstance(p.record, ExtractorPlugin | ProfilerPlugin)
        return models_of(p, config.options_for(p.kind, p.record))

    found = [(id, s) for id, some in _asked(registry, models, warn, ExtractorPlugin, ProfilerPlugin) for s in some]
    _need(names, [s.name for _, s in found])
    return [(id, s) for id, s in found if not names or s.name in names]


def published_weights(registry: Registry, warn: Warn) -> dict[str, tuple[str, Weights]]:
    """(plug-in, weights) by name, of everything that extractors offer to fetch."""

    def catalog(p: Provided) -> Mapping[str, Weights]:
        record = p.record
        assert isinstance(record, ExtractorPlugin)
        return ask(p.id, lambda: dict(record.catalog()))

    return {
        name: (id, weights)
        for id, some in _asked(registry, catalog, warn, ExtractorPlugin)
        for name, weights in some.items()
    }


def weights_of(registry: Registry, config: Config, warn: Warn, names: Sequence[str]) -> Mapping[str, Weights]:
    """Weights by name; of the models as configured if no name is given.

    Configured models are only checked if a name is not one of the published. Raises ConfigError for an unknown name.
    """
    known = {name: weights for name, (_, weights) in published_weights(registry, warn).items()}
    if not names or not set(names) <= set(known):
        configured = {s.name: s.weights for _, s in configured_models(registry, config, warn)}
        if not names:
            return configured
        known |= configured
    _need(names, known)
    return {name: known[name] for name in names}


def _asked(registry: Registry, question: Callable[[Provided], T], warn: Warn, *kinds: type) -> Iterator[tuple[str, T]]:
    for p in registry.provided:
        if isinstance(p.record, kinds):
            try:
                yield f"{p.kind}:{p.record.name}", question(p)
            except PluginError as e:
                warn(str(e))


def _need(names: Sequence[str], known: Sequence[str] | Mapping[str, Weights]) -> None:
    for name in names:
        if name not in known:
            raise ConfigError(f"there is no model {name!r}", f"models: {', '.join(sorted(known))}")
