"""The options that choose what a study learns, from what, and how patients are assigned to folds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from kras_plugins.cli.options import Covariates, Extractor, Machine, Prevalences, Profiler, ProfileTables, setting
from kras_plugins.cohort.splits import Scheme
from kras_plugins.errors import ConfigError, UsageError
from kras_plugins.learning.fusion import Kind
from kras_plugins.study.settings import StudySettings, Verdict


@dataclass(frozen=True)
class Design:
    """What is learned, from what, and how patients are assigned to folds."""

    extractor: Extractor = None
    profiler: Profiler = None
    profile_table: ProfileTables = None
    classifiers: Annotated[str | None, setting("classifiers", metavar="NAME,…")] = None
    target: Annotated[str | None, setting("target")] = None
    folds: Annotated[int | None, setting("folds")] = None
    repeats: Annotated[int | None, setting("repeats")] = None
    thorough: Annotated[bool, typer.Option("--thorough", help="5 folds, 5 repeats")] = False
    splits: Annotated[Scheme | None, setting("splits")] = None
    folds_file: Annotated[Path | None, setting("folds_file", "--folds-file")] = None
    seed: Annotated[int | None, setting("seed")] = None
    fusion: Annotated[Kind | None, setting("fusion", metavar="NAME")] = None
    verdict: Annotated[Verdict | None, setting("verdict")] = None
    permutations: Annotated[int | None, setting("permutations")] = None
    sensitivity: Annotated[float | None, setting("target_sensitivity", "--sensitivity")] = None
    specificity: Annotated[float | None, setting("target_specificity", "--specificity")] = None
    risk_control: Annotated[bool, setting("risk_control", "--risk-control")] = False
    prevalence: Prevalences = None
    covariates: Covariates = None

    def stated(self) -> dict[str, Any]:
        """The settings that were given; ConfigError for two options that exclude each other."""
        if self.thorough and (self.folds or self.repeats):
            raise ConfigError("--thorough and --folds or --repeats exclude each other", "leave one of them out")
        if self.profile_table and self.profiler not in (None, "import"):
            raise ConfigError(
                f"--profile-table and --profiler {self.profiler} exclude each other",
                "leave one of them out: features come from one of the two",
            )
        return {
            "extractor": self.extractor,
            "profiler": self.profiler,
            "classifiers": self.classifiers,
            "target": self.target,
            "folds": 5 if self.thorough else self.folds,
            "repeats": 5 if self.thorough else self.repeats,
            "splits": self.splits,
            "folds_file": self.folds_file,
            "seed": self.seed,
            "fusion": self.fusion,
            "verdict": self.verdict,
            "permutations": self.permutations,
            "target_sensitivity": self.sensitivity,
            "target_specificity": self.specificity,
            "risk_control": self.risk_control or None,
            "prevalences": self.prevalence or None,
            "covariates": self.covariates,
        }

    def settings(self, machine: Machine, **given: Any) -> StudySettings:
        """The settings of a training, finished features included."""
        settings = machine.settings(**self.stated(), **given)
        if self.permutations is not None and settings.verdict != "permutation":
            raise UsageError("--permutations without --verdict permutation", "add that, or leave --permutations out")
        return settings.with_tables(self.profile_table or ())
