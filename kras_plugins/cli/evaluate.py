"""`kras evaluate`: external validation of a bundle, with the thresholds that are frozen in it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from kras_plugins.cli.command import command
from kras_plugins.cli.options import (
    AsJson,
    Bundle,
    Covariates,
    Machine,
    Overwrite,
    Prevalences,
    ProfileTables,
    RequireSignature,
)


@command
def evaluate(
    bundle: Bundle,
    cohort: Annotated[Path, typer.Argument(metavar="COHORT", help="cohort CSV with labels")],
    out: Annotated[Path, typer.Option(help="folder to write into")],
    overwrite: Overwrite = False,
    prevalence: Prevalences = None,
    covariates: Covariates = None,
    profile_table: ProfileTables = None,
    require_signature: RequireSignature = False,
    machine: Machine = Machine(),
    as_json: AsJson = False,
) -> None:
    """Apply a bundle to an independent cohort.

    Reports how well its scores perform there, with the calibration and the thresholds frozen in the bundle.
    """
    from kras_plugins import study
    from kras_plugins.cli.metrics_table import show_study
    from kras_plugins.cli.progress import progress

    settings = machine.settings(
        prevalences=prevalence or None, covariates=covariates, require_signature=require_signature or None
    ).with_tables(profile_table or ())
    with progress() as notify:
        words = ["kras", *sys.argv[1:]]
        result = study.validate(bundle, cohort, settings, out=out, overwrite=overwrite, notify=notify, command=words)
    show_study(result, as_json=as_json)
