"""`kras doctor`: is this machine fit for a run, and what would make it faster."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Literal

import typer

from kras_plugins.cli.command import EXIT_ERROR, command
from kras_plugins.cli.console import print_json, stdout
from kras_plugins.cli.options import AsJson, CacheFolder, ConfigFile, Overrides, PluginFiles, open_session
from kras_plugins.contracts.extractor import ExtractorPlugin
from kras_plugins.errors import KrasError
from kras_plugins.study.session import Session

_LOW_DISK_GB = 5


@dataclass(frozen=True)
class Check:
    """One line of the report."""

    what: str
    state: Literal["ok", "warn", "fail"]
    found: str


@command
def doctor(
    config: ConfigFile = None,
    option: Overrides = None,
    plugin: PluginFiles = None,
    cache: CacheFolder = None,
    as_json: AsJson = False,
) -> None:
    """Check the machine, the libraries, the plug-ins and the weights; exits with 1 when something is missing."""
    session = open_session(config, option, plugin, cache)
    checks = list(_checks(session))
    if as_json:
        print_json([asdict(c) for c in checks])
    else:
        from rich.markup import escape

        colors = {"ok": "green", "warn": "yellow", "fail": "red"}
        for c in checks:
            stdout().print(f"[{colors[c.state]}]{c.state:4}[/] {c.what:12} {escape(c.found)}")
    if any(c.state == "fail" for c in checks):
        raise typer.Exit(EXIT_ERROR)


def _checks(session: Session) -> Iterator[Check]:
    yield Check("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    yield Check("processor", "ok", f"{os.cpu_count()} cores")
    for what, look in (
        ("openslide", _openslide),
        ("openvino", _openvino),
        ("onnxruntime", _onnxruntime),
        ("torch", _torch),
    ):
        yield _guarded(what, look)
    yield _disk(session)
    for broken in session.registry.broken:
        yield Check("plug-in", "fail", f"{broken.plugin} ({broken.distribution} {broken.version}): {broken.cause}")
    for clash in session.registry.clashes():
        yield Check("plug-in", "fail", str(clash))
    yield Check("plug-ins", "ok", f"{len(session.registry.provided)} usable")
    yield from _weights(session)


def _guarded(what: str, look: Callable[[], Check]) -> Check:
    try:
        return look()
    except (ImportError, OSError) as e:
        return Check(what, "fail", f"does not load: {e}")


def _openslide() -> Check:
    import openslide

    return Check("openslide", "ok", f"{openslide.__library_version__}")


def _openvino() -> Check:
    import openvino

    fast = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return Check("openvino", "ok", f"{openvino.__version__.split('-')[0]}, {'bf16' if fast else 'f32 only'}")


def _onnxruntime() -> Check:
    import onnxruntime

    providers = [p.removesuffix("ExecutionProvider") for p in onnxruntime.get_available_providers()]
    return Check("onnxruntime", "ok", f"{onnxruntime.__version__}: {', '.join(providers)}")


def _torch() -> Check:
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return Check("torch", "ok", f"{torch.__version__}, {gpu}")


def _disk(session: Session) -> Check:
    folder = session.store.root
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 1e9
    writable = os.access(folder, os.W_OK)
    state: Literal["ok", "warn", "fail"] = "fail" if not writable else "warn" if free < _LOW_DISK_GB else "ok"
    found = f"{session.store.root}, {free:.0f} GB free" + ("" if writable else ", not writable")
    return Check("store", state, found)


def _weights(session: Session) -> Iterator[Check]:
    from kras_plugins.host.parts import models_of
    from kras_plugins.models.weights import is_present

    for p in session.registry.provided:
        if isinstance(p.record, ExtractorPlugin):
            try:
                for spec in models_of(p, session.config.options_for("extractor", p.record)):
                    here = is_present(spec.weights)
                    found = f"{p.record.name}: {spec.weights.source}" + ("" if here else "; get them: kras model fetch")
                    yield Check("weights", "ok" if here else "warn", found)
            except KrasError as e:
                yield Check("weights", "fail", str(e))
