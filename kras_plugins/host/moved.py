"""Modules of the host that moved: imported by their old names they still work, with a warning that names the new one.

They were never part of the plug-in API, yet plug-ins import them. 0.1 supports the old names, 0.2 need not.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_HOST = ("compatibility", "config", "isolation", "loose_files", "manager", "parts")
_PROCESSING = ("embedding", "execution", "pipeline", "profiling", "workers")
_TILES = ("handover", "placement", "seams")
_FEATURES = (
    "architecture", "areas", "clusters", "densities", "graph", "hotspots", "interface", "neighbors", "nuclei", "page",
    "patterns", "phenotype", "ratios", "second_order", "similarity", "table", "validity",
)  # fmt: skip

MOVED: dict[str, tuple[str, ...]] = {
    **{name: (f"host.{name}",) for name in _HOST},
    **{name: (f"processing.{name}",) for name in _PROCESSING},
    **{f"semantics.{name}": (f"processing.{name}",) for name in _TILES},
    **{f"semantics.{name}": (f"semantics.features.{name}",) for name in _FEATURES},
    "semantics.collect": ("processing.decoding", "semantics.cells", "semantics.raster"),
    "learning.ensemble": ("learning.fusion",),
    "learning.saved": ("learning.tabular",),
    "parity": ("probing.parity",),
    "retrieval": ("probing.retrieval",),
}
"""Old name below `kras_plugins` -> where its content is."""

_PACKAGE = "kras_plugins."


class _Moved(MetaPathFinder, Loader):
    """Makes a module of the old name with the content of the new ones; used after all other finders found nothing."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(name, self) if name.removeprefix(_PACKAGE) in MOVED and name.startswith(_PACKAGE) else None

    def exec_module(self, module: ModuleType) -> None:
        homes = [_PACKAGE + home for home in MOVED[module.__name__.removeprefix(_PACKAGE)]]
        warnings.warn(
            f"{module.__name__} is now {' and '.join(homes)}; the old name will be removed in kras 0.2",
            DeprecationWarning,
            stacklevel=2,
        )
        for home in reversed(homes):
            vars(module).update({k: v for k, v in vars(import_module(home)).items() if not k.startswith("__")})


def serve_old_names() -> None:
    """Make the old names importable from now on."""
    if not any(isinstance(finder, _Moved) for finder in sys.meta_path):
        sys.meta_path.append(_Moved())
