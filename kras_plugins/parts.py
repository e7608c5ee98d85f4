"""The plug-ins of one run, opened: options checked, models named by digest, engines loaded at first use."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from kras_plugins.config import Config
from kras_plugins.contracts.backend import Backend, BackendPlugin, Infer
from kras_plugins.contracts.base import Options
from kras_plugins.contracts.extractor import ExtractorPlugin
from kras_plugins.contracts.model import ModelSpec
from kras_plugins.contracts.profiler import ProfilerPlugin
from kras_plugins.contracts.reader import ReaderPlugin
from kras_plugins.data import TileSpec
from kras_plugins.errors import ConfigError, KrasError, plugin_boundary
from kras_plugins.manager import Provided, Registry
from kras_plugins.weights import model_digest

if TYPE_CHECKING:
    from kras_plugins.contracts.backend import Arrays


class LazyInfer:
    """An Infer that loads its model when first asked to run: a run served from the store loads none."""

    def __init__(self, backend: Backend, spec: ModelSpec) -> None:
        self._backend = backend
        self._spec = spec
        self._lock = threading.Lock()
        self._loaded: Infer | None = None
        self._failed: KrasError | None = None

    def _infer(self) -> Infer:
        with self._lock:
            if self._failed is not None:
                raise self._failed  # those who waited meanwhile need not find out again
            if self._loaded is None:
                try:
                    with plugin_boundary(f"backend {self._backend.engine}, loading {self._spec.name}"):
                        self._loaded = self._backend.load(self._spec)
                except KrasError as e:
                    self._failed = e
                    raise
            return self._loaded

    @property
    def batch(self) -> int:
        """Items per call that suit the engine."""
        return self._infer().batch

    @property
    def in_flight(self) -> int:
        """Calls at once that keep the engine busy."""
        return self._infer().in_flight

    def __call__(self, inputs: Arrays) -> Arrays:
        """Run one batch."""
        return self._infer()(inputs)


@dataclass(frozen=True)
class Part:
    """One extractor or profiler with its options and models. `facts` are what its results depend on, as JSON."""

    provided: Provided
    options: Options
    specs: tuple[ModelSpec, ...]
    infer: Mapping[str, LazyInfer]
    facts: Mapping[str, Any]

    @cached_property
    def made(self) -> Any:
        """What the plug-in's `create` returns; PluginError with the cause when it raises."""
        create: Any = getattr(self.provided.record, "create")  # noqa: B009 - extractor and profiler both have it
        with plugin_boundary(self.provided.id):
            return create(self.options, self.infer)

    @property
    def loads(self) -> bool:
        """Whether the plug-in reads results made elsewhere and never opens pixels."""
        return getattr(self.provided.record, "load", None) is not None

    @property
    def tile(self) -> TileSpec:
        """The tiles it wants; only for parts that open pixels."""
        tile = getattr(self.provided.record, "tile")  # noqa: B009 - extractor and profiler both have it
        with plugin_boundary(self.provided.id):
            spec: TileSpec = tile(self.options)
            return spec

    @property
    def batch(self) -> int:
        """Tiles per call: what suits the most demanding of its models, 16 where it has none."""
        return min((i.batch for i in self.infer.values()), default=16)

    @property
    def in_flight(self) -> int:
        """Calls at once that keep its models busy, 2 where it has none."""
        return max((i.in_flight for i in self.infer.values()), default=2)

    @property
    def identity(self) -> str:
        """A short name of what made a feature: plug-in, model digest and precision."""
        digests = "+".join(str(d)[:16] for d in self.facts["models"].values()) or "no-model"
        return f"{self.provided.record.name}/{digests}"


@dataclass(frozen=True, kw_only=True)
class Parts:
    """All that a slide passes through. `extractor` and `profiler` are None where no classifier asks for them."""

    readers: tuple[tuple[ReaderPlugin, Options], ...]
    reader: str | None
    extractor: Part | None
    profiler: Part | None
    backend: Backend | None

    @property
    def precision(self) -> str | None:
        """The arithmetic of the models; None where there are none."""
        return self.backend.precision if self.backend else None

    @property
    def engine(self) -> str | None:
        """What computes the models; None where there are none."""
        return self.backend.engine if self.backend else None

    def measured(self) -> Mapping[str, Any]:
        """What the backend measured so far, for the manifest."""
        return self.backend.report() if self.backend else {}

    def abandon(self) -> None:
        """Give up requests under way, so that an interrupted run ends at once."""
        if self.backend:
            self.backend.close()


@contextmanager
def open_parts(
    registry: Registry,
    config: Config,
    *,
    extractor: str | None,
    profiler: str | None,
    backend: str,
    reader: str | None = None,
) -> Iterator[Parts]:
    """Resolve and open the named plug-ins; closes the backend at the end.

    Raises ConfigError for unknown names and options, BackendError when weights or engine are missing.
    """
    readers = []
    for name in registry.names("reader"):
        record = registry.record("reader", name, ReaderPlugin)
        readers.append((record, config.options_for("reader", record)))
    if reader is not None:
        registry.find("reader", reader)
    wanted = [(k, n) for k, n in (("extractor", extractor), ("profiler", profiler)) if n is not None]
    found = {kind: registry.find(kind, name) for kind, name in wanted}
    options = {kind: config.options_for(kind, p.record) for kind, p in found.items()}
    specs = {kind: _models(p, options[kind]) for kind, p in found.items()}
    engine: Backend | None = None
    backend_facts: dict[str, Any] = {}
    if any(specs.values()):
        server = registry.record("backend", backend, BackendPlugin)
        chosen = config.options_for("backend", server)
        served_by = registry.find("backend", backend).id
        with plugin_boundary(f"backend:{backend}"):
            engine = server.create(chosen)
        # What is truly used wins over what was asked for: `auto` means another thing on another machine.
        used = {"plugin": served_by, "engine": engine.engine, "precision": engine.precision}
        backend_facts = {**chosen.result_affecting(), **used}
    try:
        parts = {}
        for kind, provided in found.items():
            facts = {
                "plugin": provided.id,
                "options": options[kind].result_affecting(),
                "models": {s.name: model_digest(s) for s in specs[kind]},
                "transforms": {s.name: s.transform_hash for s in specs[kind]},
                "backend": backend_facts if specs[kind] else {},
            }
            infer = {s.name: LazyInfer(engine, s) for s in specs[kind]} if engine else {}
            parts[kind] = Part(provided, options[kind], specs[kind], infer, facts)
        yield Parts(
            readers=tuple(readers),
            reader=reader,
            extractor=parts.get("extractor"),
            profiler=parts.get("profiler"),
            backend=engine,
        )
    finally:
        if engine is not None:
            engine.close()


def _models(provided: Provided, options: Options) -> tuple[ModelSpec, ...]:
    record = provided.record
    if not isinstance(record, ExtractorPlugin | ProfilerPlugin):
        raise ConfigError(f"{provided.id} has no models", "name an extractor or a profiler")
    with plugin_boundary(provided.id):
        return tuple(record.models(options))
