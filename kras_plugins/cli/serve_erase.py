"""`kras serve erase`: everything of one patient, for good."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated

import typer

from kras_plugins.cli.command import command
from kras_plugins.cli.console import print_json, stderr, stdout
from kras_plugins.cli.options import AsJson, CacheFolder
from kras_plugins.cli.serve_options import Kept
from kras_plugins.errors import UsageError


@command
def erase(
    patient: Annotated[str, typer.Argument(help="the patient's id, or pseudonym on the pages")],
    kept: Kept = Kept(),
    watch: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="the folder that the service watches, if any")
    ] = None,
    cache: CacheFolder = None,
    sure: Annotated[bool, typer.Option("--yes", help="do it without asking")] = False,
    as_json: AsJson = False,
) -> None:
    """Erase cases, results, uploads and stored work of a patient.

    The audit trail still shows that there were cases, and that they were erased. Backups, results that were downloaded
    or sent, and slides outside of the service's own folder remain: remove them yourself.
    """
    from kras_plugins.service.database.engine import open_database
    from kras_plugins.service.leaving.erase import erase as erased
    from kras_plugins.service.settings import ServiceSettings
    from kras_plugins.study.settings import StudySettings

    if not sure and not typer.confirm("Erase everything of this patient? It cannot be undone"):
        raise UsageError("nothing was erased", "--yes erases without asking")
    study = StudySettings() if cache is None else StudySettings().having(cache=cache)
    settings = ServiceSettings(data=kept.data, database=kept.database, watch=watch, study=study)
    db = open_database(settings.existing_database_url)
    try:
        done = erased(db, settings, patient, getpass.getuser())
    finally:
        db.dispose()
    if as_json:
        print_json({"cases": list(done.cases), "uploads": done.uploads, "stored": done.artifacts, "left": done.left})
        return
    stdout().print(
        f"erased: {len(done.cases)} cases, {done.uploads} uploads, {done.artifacts} stored results", markup=False
    )
    if done.left:
        stderr().print(f"{done.left} slides lie in folders that are not the service's own, and stay", markup=False)
