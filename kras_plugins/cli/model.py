"""`kras model list|fetch|export`: networks, their weights and licences, and ONNX files for a model repository."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from kras_plugins.cli.common import (
    AsJson,
    ConfigFile,
    Overrides,
    PluginFiles,
    Session,
    command,
    open_session,
    print_json,
    stderr,
    stdout,
)
from kras_plugins.contracts.extractor import ExtractorPlugin
from kras_plugins.contracts.model import ModelSpec
from kras_plugins.contracts.profiler import ProfilerPlugin
from kras_plugins.errors import ConfigError, plugin_boundary

app = typer.Typer(help="Networks, their weights and licences.", no_args_is_help=True)

Names = Annotated[list[str] | None, typer.Argument(help="names of models; all where none is given")]


def _specs(session: Session, names: list[str] | None) -> list[tuple[str, ModelSpec]]:
    """(plug-in, model) for every extractor and profiler as configured."""
    specs = []
    for p in session.registry.provided:
        if isinstance(p.record, ExtractorPlugin | ProfilerPlugin):
            options = session.config.options_for(p.kind, p.record)
            with plugin_boundary(p.id):
                specs += [(f"{p.kind}:{p.record.name}", s) for s in p.record.models(options)]
    known = sorted(s.name for _, s in specs)
    for name in names or ():
        if name not in known:
            raise ConfigError(f"there is no model {name!r}", f"models: {', '.join(known)}")
    return [(plugin, s) for plugin, s in specs if not names or s.name in names]


@app.command("list")
@command
def list_models(
    config: ConfigFile = None, option: Overrides = None, plugin: PluginFiles = None, as_json: AsJson = False
) -> None:
    """List the models as configured: weights, licence, whether they are on this machine."""
    from kras_plugins.weights import has_consent, is_present

    rows: list[dict[str, Any]] = [
        {
            "model": s.name,
            "plugin": name,
            "weights": s.weights.source,
            "licence": s.weights.licence,
            "gated": s.weights.gated,
            "present": is_present(s.weights),
            "accepted": has_consent(s.weights),
            "transform_hash": s.transform_hash,
        }
        for name, s in _specs(open_session(config, option, plugin), None)
    ]
    if as_json:
        print_json(rows)
        return
    from rich.table import Table

    table = Table("model", "of", "weights", "licence", "here", box=None)
    for row in rows:
        table.add_row(row["model"], row["plugin"], row["weights"], row["licence"], "yes" if row["present"] else "no")
    stdout().print(table)


@app.command("fetch")
@command
def fetch_models(
    names: Names = None,
    accept: Annotated[
        bool, typer.Option("--accept-licence", help="the licences were read and are accepted (for scripts)")
    ] = False,
    config: ConfigFile = None,
    option: Overrides = None,
    plugin: PluginFiles = None,
) -> None:
    """Download weights; the licence is shown first and must be accepted once."""
    from kras_plugins.weights import fetch, has_consent, is_seeded, record_consent

    for _, spec in _specs(open_session(config, option, plugin), names):
        weights = spec.weights
        if is_seeded(weights):
            continue
        stderr().print(f"[bold]{spec.name}[/]: {weights.source}\n  licence: {weights.licence}\n  {weights.citation}")
        if weights.source.startswith("hf:") and not has_consent(weights):
            if not accept and not typer.confirm("Accept this licence?", err=True):
                raise ConfigError(f"the licence of {weights.source} was not accepted", "nothing was downloaded")
            record_consent(weights)
        stdout().print(str(fetch(weights)))


@app.command("export")
@command
def export_models(
    names: Names = None,
    repository: Annotated[Path, typer.Option("--repository", help="folder to write NAME/1/model.onnx into")] = Path(
        "model_repository"
    ),
    opset: Annotated[int, typer.Option(help="ONNX operator set")] = 18,
    config: ConfigFile = None,
    option: Overrides = None,
    plugin: PluginFiles = None,
) -> None:
    """Write each model as one ONNX file, verified against PyTorch."""
    from kras_plugins.export import export_onnx

    for _, spec in _specs(open_session(config, option, plugin), names):
        folder = repository / spec.name / str(spec.version)
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=repository, prefix=".export-") as work:
            export_onnx(spec, Path(work) / "model.onnx", opset)
            for file in Path(work).iterdir():  # above 2 GB the weights lie beside the graph
                file.replace(folder / file.name)
        stdout().print(str(folder / "model.onnx"))
