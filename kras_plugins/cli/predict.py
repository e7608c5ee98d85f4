"""`kras predict`: a locked bundle on new slides; a result, a page, a heat map and GeoJSON for each patient."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from kras_plugins.cli.command import command
from kras_plugins.cli.console import print_json, stdout
from kras_plugins.cli.options import AsJson, Bundle, Machine, Overwrite, ProfileTables, RequireSignature, Slides


@command
def predict(
    bundle: Bundle,
    slides: Slides,
    out: Annotated[Path, typer.Option(help="folder to add to")],
    patient: Annotated[str | None, typer.Option(help="patient to whom all slides belong")] = None,
    prevalence: Annotated[
        float | None,
        typer.Option(min=0.0001, max=0.9999, metavar="P", help="share of positives where results will be used"),
    ] = None,
    profile_table: ProfileTables = None,
    overlay: Annotated[bool, typer.Option("--overlay", help="also draw cells at full resolution")] = False,
    overwrite: Overwrite = False,
    require_signature: RequireSignature = False,
    machine: Machine = Machine(),
    as_json: AsJson = False,
) -> None:
    """Score new slides with a bundle.

    Research use only. Each patient gets a row in predictions.csv, a page, heat maps and GeoJSON. Later calls may add
    patients to the same folder.
    """
    from kras_plugins import study
    from kras_plugins.cli.metrics_table import end_with
    from kras_plugins.cli.progress import progress

    with progress() as notify:
        result = study.score(
            bundle,
            slides,
            machine.settings(require_signature=require_signature or None).with_tables(profile_table or ()),
            out=out,
            patient=patient,
            prevalence=prevalence,
            overlay=overlay,
            overwrite=overwrite,
            notify=notify,
            command=["kras", *sys.argv[1:]],
        )
    rows = {row["patient_id"]: row for row in result.predictions.to_pylist()}
    if as_json:
        print_json([rows[patient_id] for patient_id in result.added])
    else:
        for patient_id in result.added:
            row = rows[patient_id]
            shown = row["ensemble"] is not None and row["call"] != "not_assessable"
            score = f"{row['ensemble']:.3f}" if shown else "–"
            page = f"  {result.pages[patient_id]}" if patient_id in result.pages else ""
            stdout().print(f"{patient_id}: {row['call']} {score} {row['reason']}{page}", markup=False)
            if row["cautions"]:
                stdout().print(f"  caution: {row['cautions']}", markup=False)
    end_with(result.failures, result.folder)
