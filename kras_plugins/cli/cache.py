"""`kras cache list|prune`: what is stored, and making room."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from kras_plugins.cli.command import command
from kras_plugins.cli.console import print_json, stdout
from kras_plugins.cli.options import AsJson, CacheFolder, Plugins
from kras_plugins.cli.words import Commands
from kras_plugins.errors import ConfigError
from kras_plugins.store import Store


@command
def list_entries(cache: CacheFolder = None, as_json: AsJson = False) -> None:
    """List what is stored, by kind."""
    store = Plugins(cache=cache).session().store
    kinds: dict[str, list[int]] = {}
    for entry in store.entries():
        kinds.setdefault(entry.kind, []).append(entry.bytes)
    if as_json:
        listed = {k: {"artifacts": len(v), "bytes": sum(v)} for k, v in kinds.items()}
        print_json({"root": str(store.place), "kinds": listed, **_copies(store)})
        return
    from rich.table import Table

    table = Table("kind", "artifacts", "size", box=None, title=str(store.place), title_justify="left")
    for kind, sizes in sorted(kinds.items()):
        table.add_row(kind, str(len(sizes)), f"{sum(sizes) / 1e6:.1f} MB")
    stdout().print(table)
    if copies := _copies(store).get("copies"):
        stdout().print(f"copies here: {copies['bytes'] / 1e6:.1f} MB in {copies['root']}", markup=False)


@command
def prune(
    days: Annotated[
        float | None, typer.Option("--older-than", metavar="DAYS", help="remove what was not used for this many days")
    ] = None,
    gigabytes: Annotated[
        float | None,
        typer.Option("--keep", metavar="GIGABYTES", help="remove the least recently used until this many are left"),
    ] = None,
    cache: CacheFolder = None,
    as_json: AsJson = False,
) -> None:
    """Remove stored results; they are computed again when needed."""
    if days is None and gigabytes is None:
        raise ConfigError("no rule says what to remove", "give --older-than DAYS or --keep GIGABYTES (0 removes all)")
    store = Plugins(cache=cache).session().store
    began = time.monotonic()
    limit = int(gigabytes * 1e9) if gigabytes is not None else None
    removed = store.prune(older_than_days=days, max_bytes=limit)
    freed = sum(e.bytes for e in removed)
    if as_json:
        print_json({"removed": len(removed), "bytes": freed, "seconds": time.monotonic() - began})
    else:
        stdout().print(f"removed {len(removed)} artifacts, {freed / 1e6:.1f} MB")


def _copies(store: Store) -> dict[str, Any]:
    """The local copies of a store on object storage, for `list`."""
    return {} if store.copies is None else {"copies": {"root": str(store.copies.root), "bytes": store.copies.size()}}


app = Commands("Intermediate results kept for reuse.")
app.add("list", list_entries)
app.add("prune", prune)
