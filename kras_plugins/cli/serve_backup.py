"""`kras serve backup` and `kras serve restore`: a copy of a service, and a service from it."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated

import typer

from kras_plugins.cli.command import command
from kras_plugins.cli.console import print_json, stderr, stdout
from kras_plugins.cli.options import AsJson
from kras_plugins.cli.serve_options import Kept

Copy = Annotated[Path, typer.Argument(metavar="FOLDER", help="the backup")]


@command
def backup(out: Copy, kept: Kept = Kept(), as_json: AsJson = False) -> None:
    """Copy database, results and uploads while the service runs.

    The backup contains patients' names and the key of their pseudonyms: protect it as you protect those. For a
    database on PostgreSQL, run `pg_dump` first, then this.
    """
    from kras_plugins.service.database.engine import open_database
    from kras_plugins.service.operations.backup import backup as copied
    from kras_plugins.service.settings import ServiceSettings

    settings = ServiceSettings(data=kept.data, database=kept.database)
    db = open_database(settings.existing_database_url)
    try:
        made = copied(db, settings, out, getpass.getuser())
    finally:
        db.dispose()
    if not made.database:
        stderr().print("the database is on a server and not in the backup: run pg_dump for it", markup=False)
    _tell(out, made.files, made.bytes, as_json)


@command
def restore(source: Copy, kept: Kept = Kept(), as_json: AsJson = False) -> None:
    """Put a backup into an empty folder, each file checked.

    Start the service there afterwards. Patients who were erased since the backup must be erased again.
    """
    from kras_plugins.service.operations.backup import restore as put_back
    from kras_plugins.service.settings import ServiceSettings

    made = put_back(source, ServiceSettings(data=kept.data, database=kept.database), getpass.getuser())
    _tell(kept.data, made.files, made.bytes, as_json)


def _tell(folder: Path, files: int, size: int, as_json: bool) -> None:
    if as_json:
        print_json({"folder": str(folder), "files": files, "bytes": size})
    else:
        stdout().print(f"{folder}: {files} files, {size / 1e6:.1f} MB", markup=False)
