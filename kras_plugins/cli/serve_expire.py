"""`kras serve expire`: remove results and uploads that have expired."""

from __future__ import annotations

from typing import Annotated

import typer

from kras_plugins.cli.command import command
from kras_plugins.cli.console import print_json, stdout
from kras_plugins.cli.options import AsJson
from kras_plugins.cli.serve_options import Kept
from kras_plugins.errors import UsageError

Days = Annotated[float | None, typer.Option(metavar="DAYS", help="remove results that are at least this old")]


@command
def expire(
    results: Days = None,
    superseded: Annotated[
        float | None, typer.Option(metavar="DAYS", help="remove results that a later version replaced this long ago")
    ] = None,
    uploads: Annotated[
        float | None,
        typer.Option(metavar="DAYS", help="remove uploads that are at least this old and belong to no case"),
    ] = None,
    kept: Kept = Kept(),
    as_json: AsJson = False,
) -> None:
    """Remove results and uploads by age; the audit trail records each.

    Run it daily. The case stays, without its result, so that its slides are not scored again; `kras serve erase`
    removes a patient.
    """
    from kras_plugins.service.database.engine import open_database
    from kras_plugins.service.operations.retention import Rule, keep
    from kras_plugins.service.settings import ServiceSettings

    if results is superseded is uploads is None:
        raise UsageError("no rule is named", "give --results, --superseded or --uploads with a number of days")
    settings = ServiceSettings(data=kept.data, database=kept.database)
    db = open_database(settings.existing_database_url)
    try:
        removed = keep(db, settings, Rule(results=results, superseded=superseded, uploads=uploads))
    finally:
        db.dispose()
    if as_json:
        print_json({"removed": removed})
    else:
        stdout().print(f"removed: {removed}", markup=False)
