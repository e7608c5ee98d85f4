"""Predict KRAS G12C in NSCLC from H&E slides. Plug-in authors import this module and nothing else."""

from typing import TYPE_CHECKING

from kras_plugins.contracts.backend import Backend, BackendPlugin, Infer
from kras_plugins.contracts.base import API_VERSION, Options, location, tuning
from kras_plugins.contracts.classifier import Classifier, ClassifierPlugin, Cohort
from kras_plugins.contracts.extractor import ExtractorPlugin
from kras_plugins.contracts.model import ModelSpec, TensorSpec, Weights
from kras_plugins.contracts.profiler import Decode, Profiler, ProfilerPlugin, Tile, TileCells
from kras_plugins.contracts.reader import (
    AddressSource,
    Level,
    ReaderOptions,
    ReaderPlugin,
    RemoteFile,
    RemoteSource,
    SlideSource,
)
from kras_plugins.data import (
    CELL_CLASSES,
    CELL_COLUMNS,
    TISSUE_CLASSES,
    Bag,
    Explanation,
    Sample,
    SemanticMap,
    SemanticProfile,
    SlideRef,
    TileSpec,
)
from kras_plugins.errors import BackendError, ConfigError, ContentError, KrasError, PluginError, SlideError, StoreError
from kras_plugins.hookspecs import hookimpl
from kras_plugins.host.moved import serve_old_names
from kras_plugins.host.notes import note
from kras_plugins.host.telemetry import switch_off
from kras_plugins.learning.options import TableOptions
from kras_plugins.learning.skops_files import dump_skops, load_skops
from kras_plugins.learning.table_classifier import StoppingTableClassifier, TableClassifier
from kras_plugins.models.encoders import encoder
from kras_plugins.models.export import onnx_file
from kras_plugins.urls import Url

__all__ = [
    "API_VERSION",
    "CELL_CLASSES",
    "CELL_COLUMNS",
    "TISSUE_CLASSES",
    "AddressSource",
    "Backend",
    "BackendError",
    "BackendPlugin",
    "Bag",
    "Classifier",
    "ClassifierPlugin",
    "Cohort",
    "ConfigError",
    "ContentError",
    "Decode",
    "Explanation",
    "ExtractorPlugin",
    "Infer",
    "KrasError",
    "Level",
    "ModelSpec",
    "Options",
    "PluginError",
    "Profiler",
    "ProfilerPlugin",
    "ReaderOptions",
    "ReaderPlugin",
    "RemoteFile",
    "RemoteSource",
    "Sample",
    "SemanticMap",
    "SemanticProfile",
    "SlideError",
    "SlideRef",
    "SlideSource",
    "StoppingTableClassifier",
    "StoreError",
    "TableClassifier",
    "TableOptions",
    "TensorSpec",
    "Tile",
    "TileCells",
    "TileSpec",
    "Url",
    "Weights",
    "dump_skops",
    "encoder",
    "hookimpl",
    "load_skops",
    "location",
    "note",
    "onnx_file",
    "tuning",
]  # fmt: skip

switch_off()
serve_old_names()

if TYPE_CHECKING:
    __version__: str
    """The version of the distribution `kras`."""
else:

    def __getattr__(name: str) -> str:
        """`__version__`, read from the installed distribution on demand, since that is slow."""
        if name != "__version__":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib.metadata import version

        return version("kras")
