"""The plug-ins of one run, opened: options checked, models named by digest, engines loaded at first use."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from kras_plugins.contracts.backend import Backend, BackendPlugin, Infer
from kras_plugins.contracts.base import Options
from kras_plugins.contracts.extractor import ExtractorPlugin
from kras_plugins.contracts.model import ModelSpec
from kras_plugins.contracts.profiler import ProfilerPlugin
from kras_plugins.contracts.reader import ReaderPlugin
from kras_plugins.data import TileSpec, of_extractor
from kras_plugins.errors import ConfigError, KrasError, PluginError, plugin_boundary
from kras_plugins.host.config import Config
from kras_plugins.host.isolation import allowed, ask, ask_about
from kras_plugins.host.manager import Provided, Registry
from kras_plugins.models.weights import model_digest

if TYPE_CHECKING:
    from kras_plugins.contracts.backend import Arrays

R = TypeVar("R")
T = TypeVar("T")


_log = logging.getLogger("kras.parts")


class Once(Generic[R]):
    """Something costly, made on first use. An error is stored and raised again, so that a failure is not repeated."""

    def __init__(self, make: Callable[[], R]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._made: list[R] = []
        self._failed: KrasError | None = None

    def __call__(self) -> R:
        """The thing itself."""
        with self._lock:
            if self._failed is not None:
                raise self._failed
            if not self._made:
                try:
                    self._made.append(self._make())
                except KrasError as e:
                    self._failed = e
                    raise
            return self._made[0]


class LazyInfer:
    """An Infer that loads its model on first use: a run whose results are all in the store loads none.

    `plugin`: the backend, as errors name it.
    """

    def __init__(self, plugin: str, backend: Backend, spec: ModelSpec) -> None:
        self._plugin = plugin

        def load() -> Infer:
            infer = backend.load(spec)
            if not (int(infer.batch) > 0 and int(infer.in_flight) > 0):
                raise PluginError(
                    f"{plugin} takes {infer.in_flight} batches of {infer.batch} at once", "both are 1 or more"
                )
            return infer

        self._infer = Once(lambda: ask_about(plugin, f"loading {spec.name}", allowed(), load))

    @property
    def batch(self) -> int:
        """Items per call that suit the engine."""
        return self._infer().batch

    @property
    def in_flight(self) -> int:
        """Simultaneous calls that keep the engine busy."""
        return self._infer().in_flight

    def __call__(self, inputs: Arrays) -> Arrays:
        """Run one batch."""
        infer = self._infer()
        with plugin_boundary(self._plugin):
            return infer(inputs)


@dataclass(frozen=True)
class Part:
    """One extractor or profiler with its options and models. `facts` are what its results depend on, as JSON."""

    provided: Provided
    options: Options
    specs: tuple[ModelSpec, ...]
    infer: Mapping[str, LazyInfer]
    facts: Mapping[str, Any]

    @cached_property
    def _made(self) -> Once[Any]:
        assemble: Any = getattr(self.provided.record, "assemble")  # noqa: B009 - extractor and profiler both have it
        return Once(lambda: ask(self.provided.id, assemble, self.options, self.infer))

    @property
    def made(self) -> Any:
        """What the plug-in's `create` returns, or its substitute; PluginError with the cause if it raises."""
        return self._made()

    @property
    def loads(self) -> bool:
        """Whether the plug-in reads results made elsewhere and never opens pixels."""
        return getattr(self.provided.record, "load", None) is not None

    @cached_property
    def tile(self) -> TileSpec:
        """The tiles it needs; only for parts that open pixels. PluginError if it fails to state them."""
        tile: Any = getattr(self.provided.record, "tile")  # noqa: B009 - extractor and profiler both have it
        return instance(self.provided.id, ask(self.provided.id, tile, self.options), TileSpec)

    @property
    def batch(self) -> int:
        """Tiles per call: what suits the most demanding of its models, 16 if it has none."""
        return min((i.batch for i in self.infer.values()), default=16)

    @property
    def in_flight(self) -> int:
        """Simultaneous calls that keep its models busy, 2 if it has none."""
        return max((i.in_flight for i in self.infer.values()), default=2)

    @property
    def identity(self) -> str:
        """A short name of what made a feature: plug-in, model digest and precision."""
        digests = "+".join(str(d)[:16] for d in self.facts["models"].values()) or "no-model"
        return f"{self.provided.record.name}/{digests}"


@dataclass(frozen=True)
class UsableReader:
    """A reader with its options, and where it comes from ("" if unknown), for error messages."""

    plugin: ReaderPlugin
    options: Options
    origin: str = ""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Everything that a slide passes through.

    `extractors`: by name, or under "" if there is only one, as bags are marked; none, and `profiler` None, if no
    classifier needs them. `asked`: what `open_parts` was called with, as JSON values, so that another process can open
    the same.
    """

    readers: tuple[UsableReader, ...]
    reader: str | None
    extractors: Mapping[str, Part]
    profiler: Part | None
    backend: Backend | None
    backend_id: str = ""
    asked: Mapping[str, Any] = field(default_factory=dict)

    def named(self) -> dict[str, Part]:
        """Extractors and profiler, by the names under which their facts stand in manifests and bundles."""
        found = {of_extractor("extractor", name): part for name, part in self.extractors.items()}
        return found if self.profiler is None else {**found, "profiler": self.profiler}

    @property
    def precision(self) -> str | None:
        """The arithmetic of the models; None if there are none."""
        return self.backend.precision if self.backend else None

    @property
    def engine(self) -> str | None:
        """The engine that runs the models; None if there are none."""
        return self.backend.engine if self.backend else None

    def measured(self) -> Mapping[str, Any]:
        """What the backend measured so far, for the manifest; empty if it fails to report, which is logged."""
        if self.backend is None:
            return {}
        try:
            return dict(ask(self.backend_id, self.backend.report))
        except KrasError as e:  # what it was asked for is done
            _log.warning("no measurements: %s", e.message)
            return {}

    def abandon(self) -> None:
        """Abandon requests in progress, so that an interrupted run ends at once."""
        if self.backend:
            _close(self.backend_id, self.backend)


@contextmanager
def open_parts(
    registry: Registry,
    config: Config,
    *,
    extractors: Sequence[str],
    profiler: str | None,
    backend: str,
    reader: str | None = None,
) -> Iterator[Parts]:
    """Resolve and open the named plug-ins; closes the backend at the end.

    Raises ConfigError for unknown names and options, BackendError if weights or engine are missing.
    """
    readers = usable_readers(registry, config, reader)
    wanted = [*(("extractor", name) for name in extractors), *([("profiler", profiler)] if profiler else [])]
    found = {one: registry.find(*one) for one in wanted}
    options = {one: config.options_for(p.kind, p.record) for one, p in found.items()}
    specs = {one: _models(p, options[one]) for one, p in found.items()}
    engine: Backend | None = None
    served_by = ""
    backend_facts: dict[str, Any] = {}
    if any(specs.values()):
        server = registry.record("backend", backend, BackendPlugin)
        chosen = config.options_for("backend", server)
        served_by = registry.find("backend", backend).id
        engine = ask(served_by, server.create, chosen)
        with plugin_boundary(served_by):
            # What is actually used wins over what was requested: `auto` means something else on another machine.
            used = {"plugin": served_by, "engine": engine.engine, "precision": engine.precision}
            backend_facts = {**chosen.result_affecting(), **used}
    try:
        parts = {}
        for one, provided in found.items():
            with plugin_boundary(provided.id):
                facts = {
                    "plugin": provided.id,
                    "options": options[one].result_affecting(),
                    "models": {s.name: model_digest(s) for s in specs[one]},
                    "transforms": {s.name: s.transform_hash for s in specs[one]},
                    "backend": backend_facts if specs[one] else {},
                }
            infer = {s.name: LazyInfer(served_by, engine, s) for s in specs[one]} if engine else {}
            parts[one] = Part(provided, options[one], specs[one], infer, facts)
        yield Parts(
            readers=tuple(readers),
            reader=reader,
            extractors={name if len(extractors) > 1 else "": parts["extractor", name] for name in extractors},
            profiler=None if profiler is None else parts["profiler", profiler],
            backend=engine,
            backend_id=served_by,
            asked={
                "config": config.options,
                "extractors": list(extractors),
                "profiler": profiler,
                "backend": backend,
                "reader": reader,
            },
        )
    finally:
        if engine is not None:
            _close(served_by, engine)


def usable_readers(registry: Registry, config: Config, wanted: str | None = None) -> list[UsableReader]:
    """Every reader with its options. A reader that refuses its defaults is logged and left out, unless it is `wanted`.

    Raises ConfigError for an unknown `wanted`, for options that were set and are refused, and for two readers of one
    name.
    """
    if wanted is not None:
        registry.find("reader", wanted)
    readers = []
    for name in registry.names("reader"):
        record, origin = registry.record("reader", name, ReaderPlugin), registry.find("reader", name).origin
        try:
            readers.append(UsableReader(record, config.options_for("reader", record), origin))
        except KrasError as e:
            if name == wanted or name in config.options.get("reader", {}):
                raise
            _log.warning("reader %r of %s is left out: %s", name, origin, e)
    return readers


def models_of(provided: Provided, options: Options) -> tuple[ModelSpec, ...]:
    """The networks that an extractor or profiler runs; PluginError if it fails to state them."""
    record: Any = provided.record
    found = ask(provided.id, lambda: tuple(record.models(options)))
    return tuple(instance(provided.id, spec, ModelSpec) for spec in found)


def instance(plugin: str, value: object, kind: type[T]) -> T:
    """The value, if a plug-in returned the right type; else PluginError."""
    if isinstance(value, kind):
        return value
    raise PluginError(
        f"{plugin} returned {type(value).__name__} where {kind.__name__} is expected", "this is a fault of the plug-in"
    )


def _close(plugin: str, backend: Backend) -> None:
    try:
        ask(plugin, backend.close)
    except KrasError as e:  # what it was asked for is done
        _log.warning("a backend was not closed: %s", e.message)


def _models(provided: Provided, options: Options) -> tuple[ModelSpec, ...]:
    record = provided.record
    if not isinstance(record, ExtractorPlugin | ProfilerPlugin):
        raise ConfigError(f"{provided.id} has no models", "name an extractor or a profiler")
    return models_of(provided, options)
