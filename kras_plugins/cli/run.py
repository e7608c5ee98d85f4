"""`kras run`: features, nested cross-validation, ensemble, evaluation, report and bundle, in one command."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from kras_plugins.cli.audit import Covariates
from kras_plugins.cli.common import (
    EXIT_SET_ASIDE,
    AsJson,
    Backend,
    CacheFolder,
    ConfigFile,
    Overrides,
    PluginFiles,
    Reader,
    Workers,
    command,
    open_session,
    print_json,
    stdout,
)
from kras_plugins.cli.targets import Prevalences, RiskControl, Sensitivity, Specificity
from kras_plugins.data import Bag, SemanticProfile
from kras_plugins.errors import ConfigError


class Splits(StrEnum):
    """How patients are dealt to folds."""

    random = "random"
    site = "site"


class Fusion(StrEnum):
    """How members become one score: mean logit, mean probability, stacked logistic regression, mean training rank."""

    logit = "logit"
    probability = "probability"
    stacked = "stacked"
    rank = "rank"


@command
def run(
    cohort: Annotated[Path | None, typer.Argument(help="cohort CSV [default: kras.toml's, else ./cohort.csv]")] = None,
    extractor: Annotated[str | None, typer.Option(help="feature extractor [default: vit]")] = None,
    profiler: Annotated[str | None, typer.Option(help="semantic profiler [default: cells]")] = None,
    profile_table: Annotated[
        list[Path] | None,
        typer.Option("--profile-table", help="finished features, CSV or Parquet: short for --profiler import with it"),
    ] = None,
    classifiers: Annotated[str | None, typer.Option(help="comma-separated [default: he,mlp,rf]")] = None,
    target: Annotated[str | None, typer.Option(help="column of 0 and 1 to predict [default: g12c]")] = None,
    out: Annotated[Path | None, typer.Option(help="folder to write into [default: kras-out/<cohort>]")] = None,
    folds: Annotated[int | None, typer.Option(min=2, help="outer folds [default: 5]")] = None,
    repeats: Annotated[int | None, typer.Option(min=1, help="repeats of the cross-validation [default: 1]")] = None,
    thorough: Annotated[bool, typer.Option("--thorough", help="5 folds, 5 repeats")] = False,
    splits: Annotated[Splits | None, typer.Option(help="random, or whole sites to one fold [default: random]")] = None,
    folds_file: Annotated[
        Path | None, typer.Option("--folds-file", help="outer folds as `kras cohort split` writes them")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="seed of splits and fits [default: 0]")] = None,
    fusion: Annotated[Fusion | None, typer.Option(help="how members become one score [default: logit]")] = None,
    sensitivity: Sensitivity = None,
    specificity: Specificity = None,
    risk_control: RiskControl = False,
    prevalence: Prevalences = None,
    covariates: Covariates = None,
    shard: Annotated[str | None, typer.Option(metavar="I/N", help="only the features of every N-th slide")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would be computed and what is stored")] = False,
    backend: Backend = None,
    reader: Reader = None,
    workers: Workers = None,
    config: ConfigFile = None,
    option: Overrides = None,
    plugin: PluginFiles = None,
    cache: CacheFolder = None,
    as_json: AsJson = False,
) -> None:
    """Train and evaluate the ensemble on a cohort, and write a report and a deployable bundle."""
    from kras_plugins.cli.audit import (
        audit_settings,
        baseline_inputs,
        cohort_summary,
        described,
        with_patients,
    )
    from kras_plugins.cli.dealt import dealt
    from kras_plugins.cli.dry_run import print_plan
    from kras_plugins.cli.freeze import freeze
    from kras_plugins.cli.learn import choose_members, evaluate_experiment, learn, opens_pixels, split_names
    from kras_plugins.cli.study import (
        FAILURE_COLUMNS,
        failure_rows,
        find_cohort,
        make_folder,
        part_facts,
        print_metrics,
        process,
        slide_facts,
        tell_failures,
        write_study,
        write_table,
    )
    from kras_plugins.cli.tables import check_features, noted, table_overrides
    from kras_plugins.cli.targets import chosen_targets, other_prevalences, target_settings
    from kras_plugins.cohort.table import check_folds, read_cohort
    from kras_plugins.evaluation.baselines import why_absent
    from kras_plugins.evaluation.shift import internal_results
    from kras_plugins.host.parts import open_parts
    from kras_plugins.learning.samples import assemble
    from kras_plugins.manifest import build_manifest
    from kras_plugins.processing.execution import shard as choose_shard

    began, clock = datetime.now(UTC), time.monotonic()
    if thorough and (folds or repeats):
        raise ConfigError("--thorough and --folds or --repeats exclude each other", "leave one of them out")
    profiler, table_options = table_overrides(profile_table, profiler)
    session = open_session(config, [*(option or ()), *table_options], plugin, cache)
    file = find_cohort(session, cohort)
    settings: dict[str, Any] = {
        "cohort": str(file),
        "extractor": session.setting("extractor", extractor, "vit"),
        "profiler": session.setting("profiler", profiler, "cells"),
        "classifiers": split_names(session.setting("classifiers", classifiers, "he,mlp,rf")),
        "target": session.setting("target", target, "g12c"),
        "folds": 5 if thorough else session.setting("folds", folds, 5),
        "repeats": 5 if thorough else session.setting("repeats", repeats, 1),
        "splits": str(session.setting("splits", splits, "random")),
        "seed": session.setting("seed", seed, 0),
        "fusion": str(session.setting("fusion", fusion, "logit")),
        "backend": session.setting("backend", backend, "local"),
        **target_settings(session, sensitivity, specificity, risk_control),
        "prevalences": other_prevalences(session, prevalence),
        **audit_settings(session, covariates),
    }
    folder = out or session.config.path("out") or Path("kras-out") / file.stem
    members = choose_members(session, settings["classifiers"])
    table = read_cohort(file, settings["target"], needs_paths=opens_pixels(session, settings, members))
    folds_file, given = folds_file or session.config.path("folds_file"), None
    if folds_file is not None:
        others = {"--folds": folds, "--repeats": repeats, "--splits": splits, "--thorough": thorough}
        given, decided = dealt(folds_file, table.patients, others)
        settings |= decided
    check_folds(table, settings["folds"])
    patients, told = described(table.patients, settings)
    slides = [slide for patient in table.patients for slide in patient.slides]
    consumed = {m.plugin.consumes for m in members}
    with open_parts(
        session.registry,
        session.config,
        extractor=settings["extractor"] if Bag in consumed else None,
        profiler=settings["profiler"] if SemanticProfile in consumed else None,
        backend=settings["backend"],
        reader=reader,
    ) as parts:
        if shard is not None:
            slides = choose_shard(slides, shard)
        if dry_run:
            print_plan(slides, parts, session.store, settings, fits=shard is None, as_json=as_json)
            return
        make_folder(folder)
        with noted() as notes:
            results, failures = process(session, slides, parts, workers)
        facts, measured = part_facts(parts), parts.measured()
        made_elsewhere = parts.profiler is not None and parts.profiler.loads
    timings = {"slides": time.monotonic() - clock}
    failed = failure_rows(failures)
    # Written at once: whatever stops the run later, the reasons are there.
    part = "" if shard is None else f"-{shard.replace('/', 'of')}"
    write_table(folder / f"failures{part}.csv", failed, FAILURE_COLUMNS)
    if shard is not None:
        stdout().print(
            f"shard {shard}: {len(results)} slides in the store; run without --shard when all shards are done"
        )
        raise typer.Exit(EXIT_SET_ASIDE if failed else 0)
    cases = assemble(table.patients, results)
    flow = {**table.flow, "patients without a usable slide": len(table.patients) - len(cases)}
    if not cases:
        raise ConfigError(f"{file}: no slide could be used", f"the first: {failures[0].error}" if failures else "")
    if made_elsewhere:
        check_features(cases, settings["target"])
    cases = with_patients(cases, patients)  # only now: evaluation looks at covariates, nothing before it does
    known = baseline_inputs(cases, settings)
    experiment = learn(session, table, cases, members, settings, given)
    timings["learning"] = time.monotonic() - clock - timings["slides"]
    evaluated = evaluate_experiment(experiment, cases, chosen_targets(settings), known, settings)
    manifest = build_manifest(
        registry=session.registry,
        config={**settings, "options": session.config.options},
        began=began,
        timings=timings,
        failures=failed,
        facts={
            **facts,
            "measured": measured,
            "demonstration": session.config.run.get("demonstration", []),
            "members": [m.identity for m in members],
            "slides": slide_facts(results),
        },
    )
    metrics = write_study(
        folder,
        evaluated,
        cases,
        target=settings["target"],
        flow=flow,
        notes=[*table.warnings, *notes, *experiment.notes, *told, *why_absent(known, evaluated.fold)],
        failures=failed,
        manifest=manifest,
        prevalences=settings["prevalences"],
    )
    facts |= {
        "operating_points": metrics["models"]["ensemble"]["operating_points"],
        "internal": internal_results(metrics),
        "training": cohort_summary(cases),
    }
    freeze(folder, experiment, evaluated, known, facts, settings)
    if as_json:
        print_json(metrics)
    else:
        print_metrics(metrics, folder)
    tell_failures(failed, folder)
    if failed:
        raise typer.Exit(EXIT_SET_ASIDE)
