"""`kras cohort labels`: labels, and a cohort, from mutation tables."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from kras_plugins.cli.command import command
from kras_plugins.cli.console import print_json
from kras_plugins.cli.options import AsJson, Sites
from kras_plugins.cohort.calls import Genome
from kras_plugins.errors import ConfigError


@dataclass(frozen=True)
class Rules:
    """Who gets which label."""

    disease: Annotated[str, typer.Option(metavar="NAME,…", help="diseases to keep, if a table states them")] = (
        "LUAD,LUSC"
    )
    genome: Annotated[Genome, typer.Option(help="genome build of positions")] = "auto"
    gene: Annotated[str, typer.Option(metavar="KRAS", help="gene of all rows of a table without a gene column")] = ""
    min_vaf: Annotated[float, typer.Option(min=0, max=1, help="below this share of reads the label is unknown")] = 0.0
    ambiguous: Annotated[
        Literal["exclude", "positive", "negative"], typer.Option(help="label of G12C/D/V with a second codon-12 call")
    ] = "exclude"
    vus: Annotated[Literal["negative", "exclude"], typer.Option(help="driver label of patients with VUS alone")] = (
        "negative"
    )


@command
def labels(
    sources: Annotated[
        list[str],
        typer.Argument(metavar="SOURCE", help="MAF, data_mutations.txt or table; LUAD=FILE states a histology"),
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="labels, one row per patient")] = Path("labels.csv"),
    slides: Annotated[Path | None, typer.Option(help="slides to label: a folder, a table, or a GDC manifest")] = None,
    cohort: Annotated[
        Path | None, typer.Option(help="cohort table to write [default: with --slides, cohort.csv next to --out]")
    ] = None,
    kinds: Annotated[
        str, typer.Option(metavar="DX,…", help="TCGA slides to keep: DX, and TS,BS,MS for frozen ones")
    ] = "DX",
    sequenced: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="who was sequenced: cases_sequenced.txt or a list of cases; LUAD=FILE too"),
    ] = None,
    sites: Sites = None,
    rules: Rules = Rules(),
    as_json: AsJson = False,
) -> None:
    """Make labels, and a cohort, from mutation tables.

    A patient who is not known to have been sequenced is unknown, never negative.
    """
    from kras_plugins.cli.cohort_tables import print_labels
    from kras_plugins.cohort.labelling import Rows, cohort_rows, label_tables
    from kras_plugins.cohort.labels import LABEL_COLUMNS, Policy
    from kras_plugins.cohort.opening import slide_suffixes
    from kras_plugins.host.manager import discover
    from kras_plugins.study.outputs import make_folder, write_json, write_table

    target = cohort or out.with_name("cohort.csv")
    if target == out:
        raise ConfigError(f"{out} cannot be both labels and cohort", "name another --out or --cohort")
    policy = Policy(ambiguous=rules.ambiguous, vus=rules.vus, min_vaf=rules.min_vaf)
    found = label_tables(
        sources,
        policy,
        sequenced=sequenced or (),
        diseases=_words(rules.disease),
        genome=rules.genome,
        symbol=rules.gene,
        sites=sites,
    )
    result: dict[str, Any] = {**found.facts, "labels": str(out)}
    rows: Rows = ()
    if slides or cohort:
        suffixes = slide_suffixes(discover()) if slides else ()
        rows, flow = cohort_rows(found.labels, slides, target.parent, kinds=_words(kinds), suffixes=suffixes)
        result |= {**flow, "cohort": str(target)}
    make_folder(out.parent)
    write_table(out, [one.row() for one in found.labels], LABEL_COLUMNS)
    if "cohort" in result:
        make_folder(target.parent)
        write_table(target, rows)
    write_json(out.with_suffix(".flow.json"), result)
    print_labels(result)
    if as_json:
        print_json(result)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]
