"""`kras model list|fetch`: whose weights there are, on what terms, and getting them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from kras_plugins.cli.command import command
from kras_plugins.cli.console import escape, print_json, stderr, stdout
from kras_plugins.cli.options import AsJson, ConfigFile, Overrides, PluginFiles, open_session
from kras_plugins.contracts.extractor import ExtractorPlugin
from kras_plugins.contracts.model import ModelSpec, Weights
from kras_plugins.contracts.profiler import ProfilerPlugin
from kras_plugins.errors import BackendError, ConfigError, PluginError
from kras_plugins.host.isolation import ask
from kras_plugins.study.session import Session

Names = Annotated[
    list[str] | None, typer.Argument(help="names from `kras model list`; the models as configured where none is given")
]


def specs(session: Session, names: list[str] | None) -> list[tuple[str, ModelSpec]]:
    """(plug-in, model) for every extractor and profiler as configured."""
    from kras_plugins.host.parts import models_of

    found = []
    for p in session.registry.provided:
        if isinstance(p.record, ExtractorPlugin | ProfilerPlugin):
            try:
                models = models_of(p, session.config.options_for(p.kind, p.record))
            except PluginError as e:  # the models of others are there all the same
                stderr().print(f"[yellow]{escape(e)}[/]")
                continue
            found += [(f"{p.kind}:{p.record.name}", s) for s in models]
    known = sorted(s.name for _, s in found)
    for name in names or ():
        if name not in known:
            raise ConfigError(f"there is no model {name!r}", f"models: {', '.join(known)}")
    return [(plugin, s) for plugin, s in found if not names or s.name in names]


@command
def list_models(
    config: ConfigFile = None, option: Overrides = None, plugin: PluginFiles = None, as_json: AsJson = False
) -> None:
    """List the models as configured, then every published encoder: licence, gating, size, digest, what is here."""
    session = open_session(config, option, plugin)
    rows = [
        {**row(s.name, name, s.weights), "configured": True, "transform_hash": s.transform_hash}
        for name, s in specs(session, None)
    ]
    rows += [
        {**row(name, plugin, weights), "configured": False, "transform_hash": None}
        for name, (plugin, weights) in _catalog(session).items()
    ]
    if as_json:
        print_json(rows)
        return
    from rich.table import Table

    table = Table("model", "licence", "gated", "size", "TCGA seen", "here", "sha256", box=None)
    for r in rows:
        table.add_row(
            f"[bold]{r['model']}[/]" if r["configured"] else r["model"],
            escape(r["licence"]),
            "yes" if r["gated"] else "",
            _size(r["bytes"], r["parameters"]),
            {True: "yes", False: "no", None: "not said"}[r["tcga"]],
            "yes" if r["present"] else "no",
            (r["sha256"] or "")[:12],
        )
    stdout().print(table)
    stderr().print(
        "bold: as configured. Others: kras model fetch NAME, then --extractor vit -o extractor.vit.model=NAME. "
        "TCGA seen: its slides were in the pre-training, unlabelled; results on TCGA are then not on unseen slides."
    )


@command
def fetch_models(
    names: Names = None,
    accept: Annotated[
        bool, typer.Option("--accept-licence", help="the licences were read and are accepted (for scripts)")
    ] = False,
    mirror: Annotated[
        str | None, typer.Option(metavar="URL", help="take it from this hub instead of HF_ENDPOINT")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="commit, tag or branch instead of the preset's")] = None,
    config: ConfigFile = None,
    option: Overrides = None,
    plugin: PluginFiles = None,
) -> None:
    """Download weights; the licence is shown first and must be accepted once. A cut-off download is gone on with."""
    from kras_plugins.models.hub import fetch, has_consent, page, record_consent
    from kras_plugins.models.weights import is_seeded

    for name, chosen in _wanted(open_session(config, option, plugin), names).items():
        weights = replace(chosen, revision=revision) if revision else chosen
        if is_seeded(weights):
            continue
        where = page(weights, mirror)
        terms = f"licence: {weights.licence}" + (f"  (text and access: {where})" if where else "")
        lines = (f"[bold]{name}[/]: {escape(weights.source)}", *map(escape, (terms, weights.citation)))
        stderr().print("\n  ".join(line for line in lines if line))
        if weights.source.startswith("hf:") and not has_consent(weights):
            if not accept and not typer.confirm("Accept this licence?", err=True):
                raise ConfigError(f"the licence of {weights.source} was not accepted", "nothing was downloaded")
            record_consent(weights)
        stdout().print(str(fetch(weights, mirror)), markup=False, soft_wrap=True)
        if revision:
            stderr().print(f"use it with -o extractor.vit.revision={escape(revision)}")


def _catalog(session: Session) -> dict[str, tuple[str, Weights]]:
    """(plug-in, weights) by name, of everything that extractors say can be fetched."""
    found: dict[str, tuple[str, Weights]] = {}
    for p in session.registry.provided:
        if isinstance(p.record, ExtractorPlugin):
            try:
                weights = ask(p.id, _published, p.record)
            except PluginError as e:
                stderr().print(f"[yellow]{escape(e)}[/]")
                continue
            found |= {name: (f"{p.kind}:{p.record.name}", w) for name, w in weights.items()}
    return found


def _published(record: ExtractorPlugin) -> dict[str, Weights]:
    return dict(record.catalog())


def _wanted(session: Session, names: list[str] | None) -> Mapping[str, Weights]:
    """Weights by name; models as configured are looked at only where a name is none of the catalog's."""
    known = {name: weights for name, (_, weights) in _catalog(session).items()}
    if not names or not set(names) <= set(known):
        configured = {s.name: s.weights for _, s in specs(session, None)}
        if not names:
            return configured
        known |= configured
    for name in names:
        if name not in known:
            raise ConfigError(f"there is no model {name!r}", f"models: {', '.join(sorted(known))}")
    return {name: known[name] for name in names}


def row(name: str, plugin: str, weights: Weights) -> dict[str, Any]:
    """What `kras model list` says of one file: terms, size, digest, whether it is here."""
    from kras_plugins.models.hub import has_consent
    from kras_plugins.models.weights import digest, is_present, locate

    present = is_present(weights)
    path: Path | None = None
    sha256 = weights.sha256 or None
    if present and (path := locate(weights)) is not None:
        try:
            sha256 = digest(weights)
        except BackendError as e:  # a damaged file is told, and the list goes on
            stderr().print(f"[yellow]{escape(e)}[/]")
    return {
        "model": name,
        "plugin": plugin,
        "weights": weights.source,
        "licence": weights.licence,
        "gated": weights.gated,
        "present": present,
        "accepted": has_consent(weights),
        "tcga": weights.tcga,
        "parameters": weights.parameters,
        "bytes": None if path is None else path.stat().st_size,
        "sha256": sha256,
        "citation": weights.citation,
    }


def _size(count: int | None, parameters: float | None) -> str:
    """Bytes on disk, else what float32 parameters (in millions) take."""
    if count is None and parameters is None:
        return ""
    size = float(count) if count is not None else 4e6 * (parameters or 0)
    about = "" if count is not None else "≈ "
    return f"{about}{size / 1e9:.1f} GB" if size >= 1e9 else f"{about}{size / 1e6:.0f} MB"
