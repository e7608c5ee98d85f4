"""The demonstration of `kras serve`: a bundle of drawn patients, made once, and ten other patients to score with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kras_plugins.study.notify import SILENT, Notify
from kras_plugins.study.settings import StudySettings

PATIENTS, POSITIVES, SIDE_UM = 24, 11, 768.0
"""As few and small as thresholds and scope allow: ten positives in scope, 0.1 mm² of cancer epithelium a slide."""
CASES = 10
_TOML = """\
[run]
cohort = "cohort.csv"
extractor = "vit"
profiler = "cells"
classifiers = ["he", "rf"]
folds = 3
demonstration = ["the cohort is synthetic and its signal was planted"]

[extractor.vit]
model = "vit-mini"

[classifier.he]
seeds = 1
epochs = 10

[classifier.rf]
trees = 100
jobs = 1
"""


@dataclass(frozen=True, kw_only=True)
class Demo:
    """What the demonstration begins with. `slides` by patient: files below `folder`; `study`: how they are scored."""

    bundle: Path
    folder: Path
    slides: dict[str, tuple[Path, ...]]
    study: StudySettings


def demo(folder: Path, notify: Notify = SILENT) -> Demo:
    """Draw and train in `folder` what is not there yet: minutes the first time, and nothing after that.

    An interrupted call goes on where it stopped. Raises what `study.train` does.
    """
    from kras_plugins import study
    from kras_plugins.cohort.table import read_cohort
    from kras_plugins.testing.cohort import draw_cohort

    cohort, arriving = folder / "cohort", folder / "slides"
    size = (SIDE_UM, SIDE_UM)
    notify.note("demonstration: synthetic slides with a planted signal; the numbers say nothing about patients")
    draw_cohort(cohort, patients=PATIENTS, positives=POSITIVES, signal=0.45, size_um=size)
    table = read_cohort(draw_cohort(arriving, patients=CASES, signal=0.45, seed=1, name="new-", size_um=size))
    (cohort / "kras.toml").write_text(_TOML, encoding="utf-8")
    settings = StudySettings.load(cohort / "kras.toml", cache=folder / "store")
    out = folder / "study"
    if not (out / "bundle" / "bundle.json").is_file():
        study.train(settings=settings, out=out, notify=notify, command=("kras", "serve", "--demo"))
    return Demo(
        bundle=out / "bundle",
        folder=arriving,
        slides={p.patient_id: tuple(s.path for s in p.slides if s.path is not None) for p in table.patients},
        study=StudySettings(cache=folder / "store"),
    )
