"""`kras serve audit`: whether the record of who did what is intact."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kras_plugins.cli.command import command
from kras_plugins.cli.console import print_json, stdout
from kras_plugins.cli.options import AsJson


@command
def audit(
    data: Annotated[Path, typer.Option(metavar="FOLDER", help="the service's folder")] = Path("kras-service"),
    database: Annotated[str, typer.Option(metavar="URL", help="the database's URL; else SQLite in that folder")] = "",
    log: Annotated[
        list[Path] | None, typer.Option(help="a log that was kept elsewhere; its hashes must be in the trail")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check that nothing in the audit trail was changed or removed.

    Entries that were moved are found too. Prints the number of entries and the hash of the last one. Anyone who can
    write to the database could replace the whole trail. To detect that as well, keep the service's logs where nobody
    else can write, and pass them with --log. Ends with exit code 1 if the trail is wrong.
    """
    from kras_plugins.errors import StoreError
    from kras_plugins.files.regular import STREAMED, regular
    from kras_plugins.service.audit import verify
    from kras_plugins.service.database.engine import open_database
    from kras_plugins.service.database.migrate import is_current
    from kras_plugins.service.settings import ServiceSettings

    lines = (
        line
        for file in log or ()
        for line in regular(file, STREAMED).open(encoding="utf-8", errors="replace")
        if "audit head" in line
    )
    db = open_database(ServiceSettings(data=data, database=database).existing_database_url)
    try:
        if not is_current(db):
            raise StoreError("the database lacks the tables of this version", "start `kras serve` with it once")
        found = verify(db, lines)
    finally:
        db.dispose()
    if as_json:
        print_json({"entries": found.entries, "head": found.head, "wrong": list(found.wrong)})
    else:
        stdout().print(f"{found.entries} entries, head {found.head}", markup=False)
        for what in found.wrong:
            stdout().print(what, markup=False)
        if not found.wrong:
            stdout().print("the record is intact", markup=False)
    if found.wrong:
        raise typer.Exit(1)
