"""`kras cohort split`: folds in a file, for every study of the same patients."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kras_plugins.cli.command import command
from kras_plugins.cli.console import print_json
from kras_plugins.cli.options import AsJson, ConfigFile, Sites
from kras_plugins.cohort.splits import Scheme


@command
def split(
    cohort: Annotated[Path, typer.Argument(metavar="COHORT", help="cohort CSV")],
    scheme: Annotated[Scheme, typer.Option(help="random, or each site as a whole in one fold")] = "random",
    folds: Annotated[int, typer.Option(min=2, help="folds")] = 5,
    repeats: Annotated[int, typer.Option(min=1, help="repeats, each with its own folds")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="seed")] = 0,
    sites: Sites = None,
    target: Annotated[str, typer.Option(help="column of 0 and 1")] = "g12c",
    out: Annotated[Path, typer.Option(metavar="FILE", help="folds, one row per patient and repeat")] = Path(
        "folds.csv"
    ),
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Assign patients to folds, and show how similar the folds are.

    Folds are balanced by label and histology.
    """
    from kras_plugins.cli.cohort_tables import print_folds
    from kras_plugins.cohort.dealing import deal
    from kras_plugins.cohort.folds_file import FOLD_COLUMNS
    from kras_plugins.cohort.sites import read_sites, with_institutions
    from kras_plugins.cohort.table import read_cohort
    from kras_plugins.learning.plan import derive_seed
    from kras_plugins.study.outputs import make_folder, write_table
    from kras_plugins.study.settings import StudySettings

    table = read_cohort(cohort, target, needs_paths=False, histologies=StudySettings.load(config).histologies)
    notes: list[str] = []
    if sites is not None:
        table, notes = with_institutions(table, read_sites(sites))
    dealt = deal(table, scheme, folds, [derive_seed(seed, "outer", r) for r in range(repeats)])
    make_folder(out.parent)
    write_table(out, dealt.rows, FOLD_COLUMNS)
    result = {"scheme": scheme, "seed": seed, "target": target, **dealt.facts, "notes": notes, "out": str(out)}
    if as_json:
        print_json(result)
    else:
        print_folds(result)
