"""`kras model list`: which weights exist, and on what terms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kras_plugins.cli.command import command
from kras_plugins.cli.console import escape, print_json, stderr, stdout
from kras_plugins.cli.options import AsJson, Plugins


@command
def list_models(plugins: Plugins = Plugins(), as_json: AsJson = False) -> None:
    """List models as configured, then every published encoder.

    Each with its license, whether it is gated, its size, its digest, and whether it is on this machine.
    """
    from kras_plugins.host.catalog import configured_models, published_weights
    from kras_plugins.models.listing import weights_facts

    session = plugins.session()
    warn = session.notify.warn
    rows = [
        {"model": s.name, "plugin": owner, **weights_facts(s.weights, warn), "configured": True,
         "transform_hash": s.transform_hash}
        for owner, s in configured_models(session.registry, session.config, warn)
    ]  # fmt: skip
    rows += [
        {"model": name, "plugin": owner, **weights_facts(weights, warn), "configured": False, "transform_hash": None}
        for name, (owner, weights) in published_weights(session.registry, warn).items()
    ]
    if as_json:
        print_json(rows)
    else:
        _print(rows)


def _print(rows: Iterable[Mapping[str, Any]]) -> None:
    from rich.table import Table

    table = Table("model", "license", "gated", "size", "TCGA seen", "here", "sha256", box=None)
    for r in rows:
        table.add_row(
            f"[bold]{r['model']}[/]" if r["configured"] else r["model"],
            escape(r["licence"]),
            "yes" if r["gated"] else "",
            _size(r["bytes"], r["parameters"]),
            {True: "yes", False: "no", None: "not stated"}[r["tcga"]],
            "yes" if r["present"] else "no",
            (r["sha256"] or "")[:12],
        )
    stdout().print(table)
    stderr().print(
        "bold: as configured. Others: kras model fetch NAME, then --extractor vit -o extractor.vit.model=NAME. "
        "TCGA seen: TCGA slides (no labels) were in the pre-training; results on TCGA are then not on unseen slides."
    )


def _size(count: int | None, parameters: float | None) -> str:
    """Bytes on disk, else what float32 parameters (in millions) take."""
    if count is None and parameters is None:
        return ""
    size = float(count) if count is not None else 4e6 * (parameters or 0)
    about = "" if count is not None else "≈ "
    return f"{about}{size / 1e9:.1f} GB" if size >= 1e9 else f"{about}{size / 1e6:.0f} MB"
