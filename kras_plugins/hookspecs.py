"""The five hooks. All alike: no arguments, yield records, do no work. Their order has no meaning."""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from kras_plugins.contracts.backend import BackendPlugin
from kras_plugins.contracts.base import PluginRecord
from kras_plugins.contracts.classifier import ClassifierPlugin
from kras_plugins.contracts.extractor import ExtractorPlugin
from kras_plugins.contracts.profiler import ProfilerPlugin
from kras_plugins.contracts.reader import ReaderPlugin

GROUP = "kras"
"""Entry-point group, and pluggy's project name."""

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)

KINDS: dict[str, type[PluginRecord]] = {
    "reader": ReaderPlugin,
    "extractor": ExtractorPlugin,
    "profiler": ProfilerPlugin,
    "classifier": ClassifierPlugin,
    "backend": BackendPlugin,
}
"""Kind -> its record. The hook of kind K is called `kras_Ks`."""


@hookspec
def kras_readers() -> Iterable[ReaderPlugin]:
    """Slide readers: file formats."""
    return ()


@hookspec
def kras_extractors() -> Iterable[ExtractorPlugin]:
    """Feature extractors: tiles to vectors."""
    return ()


@hookspec
def kras_profilers() -> Iterable[ProfilerPlugin]:
    """Semantic profilers: tiles to cells and tissue."""
    return ()


@hookspec
def kras_classifiers() -> Iterable[ClassifierPlugin]:
    """Classifiers: patients to scores."""
    return ()


@hookspec
def kras_backends() -> Iterable[BackendPlugin]:
    """Backends: where networks run."""
    return ()
