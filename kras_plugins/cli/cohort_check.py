"""`kras cohort check`: what would break a study, found before any GPU time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kras_plugins.cli.command import EXIT_ERROR, command
from kras_plugins.cli.console import print_json
from kras_plugins.cli.options import AsJson, Mpp, Plugins, Reader

if TYPE_CHECKING:
    from kras_plugins.cohort.check_slides import Opened
    from kras_plugins.data import SlideRef


@command
def check(
    cohorts: Annotated[
        list[Path], typer.Argument(metavar="COHORT", help="cohort CSV; several are also compared with each other")
    ],
    target: Annotated[str, typer.Option(help="column of 0 and 1")] = "g12c",
    folds: Annotated[int, typer.Option(min=2, help="folds the study will have")] = 5,
    whole: Annotated[bool, typer.Option("--hash", help="also compare whole files of equal size (slow)")] = False,
    profile_table: Annotated[
        list[Path] | None,
        typer.Option("--profile-table", help="finished features to search for leaks, as for kras run"),
    ] = None,
    open_slides: Annotated[bool, typer.Option("--slides/--no-slides", help="open every slide")] = True,
    reader: Reader = None,
    mpp: Mpp = None,
    plugins: Plugins = Plugins(),
    as_json: AsJson = False,
) -> None:
    """Find what breaks studies before any GPU time.

    Ends with exit code 1 if something must be fixed.
    """
    from kras_plugins.cli.cohort_tables import print_findings
    from kras_plugins.cli.progress import progress
    from kras_plugins.cohort.check import check_tables
    from kras_plugins.cohort.check_slides import check_slides
    from kras_plugins.cohort.findings import as_json as as_values
    from kras_plugins.cohort.findings import in_order
    from kras_plugins.cohort.opening import open_and_read
    from kras_plugins.evaluation.histology import histology_auroc
    from kras_plugins.host.parts import usable_readers
    from kras_plugins.study.leaks import feature_findings

    histologies = plugins.settings(reader=reader).histologies
    found = check_tables(cohorts, target, folds, histology_auroc, histologies)
    if profile_table:
        with progress() as notify:
            session = plugins.session(notify, reader=reader)
            with_tables = replace(session, settings=session.settings.with_tables(profile_table))
            for one in cohorts:
                found += feature_findings(with_tables, one, target)
    if open_slides:
        with progress() as notify:
            session = plugins.session(notify, reader=reader, mpp=mpp)
            readers = usable_readers(session.registry, session.config, session.settings.reader)

            def open_one(ref: SlideRef) -> Opened:
                return open_and_read(ref, readers, session.settings.reader)

            found += check_slides(
                cohorts, open_one, whole=whole, step=lambda done, of: notify.step("opening slides", done, of)
            )
    found = in_order(found)
    errors = sum(one.severity == "error" for one in found)
    if as_json:
        print_json({"cohorts": [str(c) for c in cohorts], "errors": errors, "findings": as_values(found)})
    else:
        print_findings(found)
    if errors:
        raise typer.Exit(EXIT_ERROR)
