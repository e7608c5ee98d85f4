"""`kras cohort`: labels from mutation tables, a check before any GPU time, folds in a file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kras_plugins.cli.command import EXIT_ERROR, command
from kras_plugins.cli.console import print_json
from kras_plugins.cli.options import AsJson, ConfigFile, Overrides, PluginFiles, Reader, open_session
from kras_plugins.errors import ConfigError

if TYPE_CHECKING:
    from kras_plugins.cohort.check_slides import Opened
    from kras_plugins.cohort.findings import Finding
    from kras_plugins.data import SlideRef

_PROBE_PX = 32

app = typer.Typer(no_args_is_help=True, help="Labels, checks and folds of a cohort.")


class Genome(StrEnum):
    """Genome builds."""

    auto = "auto"
    GRCh37 = "GRCh37"
    GRCh38 = "GRCh38"


class Ambiguous(StrEnum):
    """What G12C beside another call at codon 12 counts as."""

    exclude = "exclude"
    positive = "positive"
    negative = "negative"


class Vus(StrEnum):
    """What a patient with variants of unknown significance alone is for kras_driver."""

    negative = "negative"
    exclude = "exclude"


class Scheme(StrEnum):
    """How patients are dealt to folds."""

    random = "random"
    site = "site"


@app.command("labels")
@command
def labels(
    sources: Annotated[
        list[str],
        typer.Argument(metavar="SOURCE…", help="MAF, data_mutations.txt or table; LUAD=FILE states a histology"),
    ],
    out: Annotated[Path, typer.Option(help="labels, one row a patient")] = Path("labels.csv"),
    slides: Annotated[Path | None, typer.Option(help="slides to label: a folder, a table, or a GDC manifest")] = None,
    cohort: Annotated[
        Path | None, typer.Option(help="cohort table [default: cohort.csv beside --out, with --slides]")
    ] = None,
    kinds: Annotated[str, typer.Option(help="TCGA slides to keep: DX, and TS,BS,MS for frozen ones")] = "DX",
    sequenced: Annotated[
        list[str] | None, typer.Option(help="who was sequenced: cases_sequenced.txt or a list of cases; LUAD=FILE too")
    ] = None,
    disease: Annotated[str, typer.Option(help="of a table with diseases, keep these")] = "LUAD,LUSC",
    genome: Annotated[Genome, typer.Option(help="build of positions")] = Genome.auto,
    min_vaf: Annotated[
        float, typer.Option(min=0, max=1, help="a smaller share of reads proves nothing, e.g. 0.05")
    ] = 0.0,
    ambiguous: Annotated[Ambiguous, typer.Option(help="G12C with a second codon-12 call")] = Ambiguous.exclude,
    vus: Annotated[Vus, typer.Option(help="kras_driver of those with unknown significance alone")] = Vus.negative,
    as_json: AsJson = False,
) -> None:
    """Make labels of mutation tables; who is not known to have been sequenced is unknown, never negative."""
    from kras_plugins.cli.cohort_tables import print_labels
    from kras_plugins.cohort.labels import LABEL_COLUMNS, PUBLISHED, Policy, label_flow, label_patients, totals
    from kras_plugins.cohort.mutations import read_mutations
    from kras_plugins.cohort.pairing import find_slides, pair, without_slides
    from kras_plugins.study.outputs import make_folder, write_json, write_table

    policy = Policy(ambiguous=ambiguous.value, vus=vus.value, min_vaf=min_vaf)
    mutations = read_mutations(sources, sequenced or (), _words(disease), genome.value)
    found = label_patients(mutations, policy)
    if not found:
        diseases = ", ".join(sorted(mutations.other_diseases))
        raise ConfigError(
            f"no patient of {disease} in {', '.join(sources)}" + (f"; there are {diseases}" if diseases else ""),
            "name the disease with --disease",
        )
    result: dict[str, Any] = {
        "sources": sources,
        "policy": {"ambiguous": ambiguous.value, "vus": vus.value, "min_vaf": min_vaf, "genome": genome.value},
        "flow": label_flow(mutations, found),
        "totals": totals(found),
        "published": PUBLISHED,
        "samples_left_out": {kind: len(names) for kind, names in sorted(mutations.other_samples.items())},
        "rows_left_out": dict(mutations.rows_left_out),
        "flagged": {one.patient_id: list(one.flags) for one in found if one.flags},
        "warnings": mutations.warnings,
        "labels": str(out),
    }
    target = cohort or out.with_name("cohort.csv")
    rows: Sequence[Mapping[str, Any]] = []
    if target == out:
        raise ConfigError(f"{out} cannot be both labels and cohort", "name another --out or --cohort")
    if slides is not None:
        pairing = pair(find_slides(slides, _suffixes()), found, target.parent, _words(kinds))
        rows = pairing.rows
        result |= {"slide_flow": list(pairing.flow), "cohort": str(target)}
    elif cohort is not None:
        rows = without_slides(found)
        result |= {"cohort": str(target)}
    make_folder(out.parent)
    write_table(out, [one.row() for one in found], LABEL_COLUMNS)
    if "cohort" in result:
        make_folder(target.parent)
        write_table(target, rows)
    write_json(out.with_suffix(".flow.json"), result)
    print_labels(result)
    if as_json:
        print_json(result)


@app.command("check")
@command
def check(
    cohorts: Annotated[list[Path], typer.Argument(metavar="COHORT…", help="cohort CSV; several are compared as well")],
    target: Annotated[str, typer.Option(help="column of 0 and 1")] = "g12c",
    folds: Annotated[int, typer.Option(min=2, help="folds the study will have")] = 5,
    whole: Annotated[bool, typer.Option("--hash", help="compare whole files, where sizes agree: slow")] = False,
    open_slides: Annotated[bool, typer.Option("--slides/--no-slides", help="open every slide")] = True,
    reader: Reader = None,
    config: ConfigFile = None,
    option: Overrides = None,
    plugin: PluginFiles = None,
    as_json: AsJson = False,
) -> None:
    """Find what breaks studies before any GPU time; exit code 1 where something must be mended."""
    from kras_plugins.cli.cohort_tables import print_findings
    from kras_plugins.cli.progress import steps
    from kras_plugins.cohort.check import check_across, check_table
    from kras_plugins.cohort.check_slides import check_slides
    from kras_plugins.cohort.findings import as_json as as_values
    from kras_plugins.cohort.findings import in_order
    from kras_plugins.cohort.table import read_rows
    from kras_plugins.host.parts import open_parts

    found: list[Finding] = []
    several = len(cohorts) > 1
    for path in cohorts:
        own = check_table(path, target, folds, _histology_auroc)
        name = str(path)  # which the table's own errors begin with already
        found += [replace(f, what=f"{name}: {f.what}") if several and not f.what.startswith(name) else f for f in own]
    found += check_across(cohorts)
    n = sum(bool(row.get("path")) for path in cohorts for row in read_rows(path, ["patient_id"]))
    if open_slides and n:
        session = open_session(config, option, plugin)
        with (
            open_parts(
                session.registry, session.config, extractor=None, profiler=None, backend="local", reader=reader
            ) as parts,
            steps(n, "opening slides") as bar,
        ):

            def open_one(ref: SlideRef) -> Opened:
                return _open(ref, parts.readers, reader)

            def step() -> None:
                bar.advance(bar.task_ids[0])

            found += check_slides(cohorts, open_one, whole=whole, step=step)
    found = in_order(found)
    errors = sum(one.severity == "error" for one in found)
    if as_json:
        print_json({"cohorts": [str(c) for c in cohorts], "errors": errors, "findings": as_values(found)})
    else:
        print_findings(found)
    if errors:
        raise typer.Exit(EXIT_ERROR)


@app.command("split")
@command
def split(
    cohort: Annotated[Path, typer.Argument(help="cohort CSV")],
    scheme: Annotated[Scheme, typer.Option(help="random, or whole sites to one fold")] = Scheme.random,
    folds: Annotated[int, typer.Option(min=2, help="folds")] = 5,
    repeats: Annotated[int, typer.Option(min=1, help="repeats, each with folds of its own")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="seed")] = 0,
    target: Annotated[str, typer.Option(help="column of 0 and 1")] = "g12c",
    out: Annotated[Path, typer.Option(help="folds, one row a patient and repeat")] = Path("folds.csv"),
    as_json: AsJson = False,
) -> None:
    """Deal patients to folds, balanced by label and histology, and say how unlike the folds are."""
    import numpy as np

    from kras_plugins.cli.cohort_tables import print_folds
    from kras_plugins.cohort.folds_file import FOLD_COLUMNS, describe_folds, fold_rows
    from kras_plugins.cohort.splits import folds as assign
    from kras_plugins.cohort.splits import imbalance
    from kras_plugins.cohort.table import check_folds, read_cohort
    from kras_plugins.learning.plan import derive_seed
    from kras_plugins.study.outputs import make_folder, write_table

    table = read_cohort(cohort, target, needs_paths=False)
    check_folds(table, folds)
    y = np.array([patient.label for patient in table.patients], np.int8)
    strata = [patient.histology for patient in table.patients]
    sites = [patient.site for patient in table.patients]
    cube = np.stack(
        [assign(y, strata, sites, folds, derive_seed(seed, "outer", r), scheme.value) for r in range(repeats)]
    )
    make_folder(out.parent)
    write_table(out, fold_rows(cube, [patient.patient_id for patient in table.patients]), FOLD_COLUMNS)
    result = {
        "scheme": scheme.value,
        "seed": seed,
        "target": target,
        "n": len(y),
        "n_positive": int(y.sum()),
        "imbalance": [imbalance(row, y, strata, folds) for row in cube],
        "folds": describe_folds(cube, y, strata, sites),
        "warnings": list(table.warnings),
        "out": str(out),
    }
    if as_json:
        print_json(result)
    else:
        print_folds(result)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _suffixes() -> list[str]:
    """Endings of slides that some reader knows; a DICOM slide is many files and needs a table."""
    from kras_plugins.contracts.reader import ReaderPlugin
    from kras_plugins.host.manager import discover

    registry = discover()
    records = [registry.record("reader", name, ReaderPlugin) for name in registry.names("reader")]
    return sorted({suffix for record in records for suffix in record.suffixes} - {".dcm", ".dicom"})


def _open(ref: SlideRef, readers: Any, reader: str | None) -> Opened:
    """Open a slide and read a few pixels of its middle: some damage shows only then."""
    import numpy as np

    from kras_plugins.cohort.check_slides import Opened
    from kras_plugins.slides.slide import open_slide

    with open_slide(ref, readers, reader) as slide:
        slide.read((slide.size[0] / 2, slide.size[1] / 2), (_PROBE_PX, _PROBE_PX), float(np.mean(slide.mpp)))
        return Opened(
            fingerprint=slide.fingerprint,
            mpp=float(np.mean(slide.mpp)),
            mpp_source=slide.mpp_source,
            warnings=slide.warnings,
        )


def _histology_auroc(labels: Sequence[int], histologies: Sequence[str]) -> tuple[float, float, float] | None:
    """AUROC of "is it adenocarcinoma" with its interval, None without patients of both classes."""
    from kras_plugins.evaluation.auroc import auroc
    from kras_plugins.evaluation.histology import is_adenocarcinoma

    rank = {True: 1.0, False: 0.0, None: 0.5}
    area = auroc(labels, [rank[is_adenocarcinoma(histology)] for histology in histologies])
    return None if math.isnan(area.value) else (area.value, area.low, area.high)
