"""Whether this machine is fit for a run: what the run lacks fails; what only other runs would need is a warning."""

from __future__ import annotations

import platform
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from kras_plugins.contracts.extractor import ExtractorPlugin
from kras_plugins.contracts.profiler import ProfilerPlugin
from kras_plugins.cores import cores
from kras_plugins.errors import KrasError
from kras_plugins.host.config import Config
from kras_plugins.host.manager import Provided, Registry
from kras_plugins.host.parts import models_of
from kras_plugins.models.accelerators import Accelerators
from kras_plugins.models.accelerators import look as look_for_accelerators
from kras_plugins.models.weights import is_present
from kras_plugins.urls import Url

LOW_DISK_GB = 5
"""Less free space in the store is a warning."""

State = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Check:
    """One thing that was checked, and what was found."""

    what: str
    state: State
    found: str


def check_machine(
    registry: Registry, config: Config, store: Path | Url, chosen: Collection[tuple[str, str]]
) -> Iterator[Check]:
    """Check the machine, the libraries, the store, the plug-ins and the weights.

    `chosen`: kind and name of the extractors and the profiler of a run; their weights must be on this machine, those of
    others need not be.
    """
    yield Check("kras", "ok", metadata.version("kras"))
    yield Check("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    yield Check("processor", "ok", f"{cores()} cores")
    for what, look in LIBRARIES.items():
        yield check_library(what, look)
    with suppress(ImportError, OSError):  # a PyTorch that does not load was reported above
        yield check_accelerators(look_for_accelerators())
    yield check_far_store(store) if isinstance(store, Url) else check_store(store)
    for broken in registry.broken:
        yield Check("plug-in", "fail", f"{broken.plugin} ({broken.distribution} {broken.version}): {broken.cause}")
    for clash in registry.clashes():
        yield Check("plug-in", "fail", str(clash))
    yield Check("plug-ins", "ok", f"{len(registry.provided)} usable")
    yield from check_weights(registry, config, chosen)


def check_library(what: str, look: Callable[[], str]) -> Check:
    """Whether a library loads, and its version."""
    try:
        return Check(what, "ok", look())
    except (ImportError, OSError) as e:
        return Check(what, "fail", f"does not load: {e}")


def check_accelerators(found: Accelerators) -> Check:
    """What networks can run on besides the CPU; an NVIDIA GPU that PyTorch cannot use is a warning."""
    if found.trouble:
        return Check("gpu", "warn", f"an NVIDIA GPU is present but not used: {found.trouble}; {found.remedy}")
    cards = [f"{c.device} {c.name} ({c.capability[0]}.{c.capability[1]})" for c in found.cards]
    others = [*(f"xpu {name}" for name in found.xpu), *(["mps (Apple)"] if found.mps else [])]
    return Check("gpu", "ok", ", ".join(cards + others) or "none, networks run on the CPU")


def check_store(root: Path) -> Check:
    """Whether the store can be written, tested by writing, since permissions are not always right.

    They are wrong for folders on a network or mounted read-only, and for the superuser.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root) as file:
            file.write(b"kras")
            file.flush()
        free = shutil.disk_usage(root).free / 1e9
    except OSError as e:
        return Check("store", "fail", f"{root} cannot be written: {e.strerror}; choose another with --cache")
    return Check("store", "warn" if free < LOW_DISK_GB else "ok", f"{root}, {free:.0f} GB free")


def check_far_store(url: Url) -> Check:
    """Whether a store on object storage can be written; a web server is only read."""
    from kras_plugins.remote.artifacts import Artifacts

    try:
        artifacts = Artifacts(url)
        if not artifacts.writable:
            return Check(
                "store", "warn", f"{url}: a web server, read only; what is not there is stored on this machine"
            )
        artifacts.check()
    except KrasError as e:
        return Check("store", "fail", str(e))
    return Check("store", "ok", str(url))


def check_weights(registry: Registry, config: Config, chosen: Collection[tuple[str, str]]) -> Iterator[Check]:
    """Whether the weights of extractors and profilers as configured are on this machine."""
    for kind, name in chosen:
        if name not in registry.names(kind):
            yield Check("weights", "fail", f"there is no {kind} {name!r}")
    for p in registry.provided:
        if isinstance(p.record, ExtractorPlugin | ProfilerPlugin):
            yield from _weights(p, config, needed=(p.kind, p.record.name) in chosen)


def _weights(p: Provided, config: Config, *, needed: bool) -> Iterator[Check]:
    lacking: State = "fail" if needed else "warn"
    try:
        for spec in models_of(p, config.options_for(p.kind, p.record)):
            here = is_present(spec.weights)
            what = f"{p.record.name}: {spec.weights.source}"
            found = what if here else f"{what} is not here; get it: kras model fetch {spec.name}"
            yield Check("weights", "ok" if here else lacking, found)
    except KrasError as e:
        yield Check("weights", lacking, f"{p.record.name}: {e}")


def _openslide() -> str:
    import openslide

    return str(openslide.__library_version__)


def _openvino() -> str:
    import openvino

    fast = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return f"{openvino.__version__.split('-')[0]}, {'bf16' if fast else 'f32 only'}"


def _onnxruntime() -> str:
    import onnxruntime

    providers = [p.removesuffix("ExecutionProvider") for p in onnxruntime.get_available_providers()]
    return f"{onnxruntime.__version__}: {', '.join(providers)}"


def _torch() -> str:
    import torch

    return str(torch.__version__)


LIBRARIES: Mapping[str, Callable[[], str]] = {
    "openslide": _openslide,
    "openvino": _openvino,
    "onnxruntime": _onnxruntime,
    "torch": _torch,
}
"""The libraries that a run computes with, and how to get the version of each."""
