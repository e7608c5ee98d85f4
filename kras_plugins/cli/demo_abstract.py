"""`kras demo --abstract`: the lines of AACR 5399 for a training cohort, and for an external hospital."""

from __future__ import annotations

import sys
from pathlib import Path

_TOML = """\
# Features with a planted signal, and models small enough for a trial: kras run --profile-table features.csv
[run]
cohort = "cohort.csv"
extractor = "h5"
classifiers = ["he", "mlp", "rf"]
folds = 3
demonstration = ["the cohort is synthetic and its signal was planted"]

[classifier.he]
seeds = 1
epochs = 10

[classifier.mlp]
seeds = 1
epochs = 50

[classifier.rf]
trees = 100
jobs = 1
"""


def demo_abstract(out: Path, *, patients: int, signal: float, seed: int, overwrite: bool, cache: str | None) -> None:
    """Draw two cohorts of features, run on the first, evaluate its bundle on the second, and print what was found.

    Arguments are those of `kras demo`. `out` gets the cohorts, `cohort` and `hospital`, and the studies, `results` and
    `external`, each with its abstract.csv.
    """
    from kras_plugins import study
    from kras_plugins.cli.console import escape, stdout
    from kras_plugins.cli.metrics_table import end_with, print_metrics
    from kras_plugins.cli.progress import progress
    from kras_plugins.report.abstract import ABSTRACT
    from kras_plugins.testing.features import draw_features

    words, drawn = ["kras", *sys.argv[1:]], {}
    for k, (name, prefix) in enumerate((("cohort", ""), ("hospital", "H-"))):
        drawn[name] = draw_features(out / name, patients=patients, signal=signal, seed=seed + k, name=prefix)
    file = out / "cohort" / "kras.toml"
    file.write_text(_TOML, encoding="utf-8", newline="\n")
    here, there = study.StudySettings.load(file), study.StudySettings()
    here, there = (
        settings.having(cache=cache or out / "store").with_tables([cohort.with_name("features.csv")])
        for settings, cohort in zip((here, there), drawn.values(), strict=True)
    )
    with progress() as notify:
        trained = study.train(settings=here, out=out / "results", overwrite=overwrite, notify=notify, command=words)
        evaluated = study.validate(
            trained.bundle, drawn["hospital"], there, out=out / "external", overwrite=overwrite, notify=notify,
            command=words,
        )  # fmt: skip
    for result in (trained, evaluated):
        print_metrics(result.metrics)
        stdout().print(f"abstract: {escape(result.folder / ABSTRACT)}")
        stdout().print(f"report: {escape(result.report)}")
    for result in (trained, evaluated):
        end_with(result.failures, result.folder)
