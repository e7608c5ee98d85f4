"""The demonstration of `kras serve`: a bundle trained once on synthetic patients, and ten other patients to score."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from platformdirs import user_cache_path

from kras_plugins.errors import ConfigError, StoreError, UsageError
from kras_plugins.service.bundles import require_usable
from kras_plugins.service.settings import ServiceSettings
from kras_plugins.study.notify import SILENT, Notify
from kras_plugins.study.session import opened
from kras_plugins.study.settings import StudySettings

if TYPE_CHECKING:
    from kras_plugins.service.intake.arrivals import Arrivals

PATIENTS, POSITIVES, SIDE_UM = 24, 11, 800.0
"""As few and small as thresholds and scope allow: ten positives in scope, 0.1 mm² of cancer epithelium a slide."""
CASES = 10
SIGNAL = 0.35
"""Strength of what is planted: weak enough for scores that look like those of patients, few of them near 0 or 1."""
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
    """What the demonstration starts from. `slides`: files by patient, below `folder`."""

    folder: Path
    bundle: Path
    slides: Mapping[str, tuple[Path, ...]]

    def served(self, settings: ServiceSettings) -> ServiceSettings:
        """The settings of a service that scores these slides."""
        study = settings.study.having(cache=self.folder / "store")
        return replace(settings, bundles=(self.bundle,), roots=(*settings.roots, self.folder / "slides"), study=study)


def prepared(folder: Path | None = None, notify: Notify = SILENT) -> Demo:
    """Draw and train what is not yet in `folder`, by default one in the user's cache.

    That takes minutes the first time and resumes if it was interrupted. Raises what `study.train` does.
    """
    from kras_plugins import study
    from kras_plugins.cohort.table import read_cohort
    from kras_plugins.testing.cohort import draw_cohort

    folder = folder or user_cache_path("kras") / "serve-demo"
    notify.note("demonstration: synthetic slides with a planted signal; the numbers say nothing about patients")
    size = (SIDE_UM, SIDE_UM)
    draw_cohort(folder / "cohort", patients=PATIENTS, positives=POSITIVES, signal=SIGNAL, size_um=size)
    arriving = draw_cohort(folder / "slides", patients=CASES, signal=SIGNAL, seed=1, name="new-", size_um=size)
    out, settings = folder / "study", folder / "cohort" / "kras.toml"
    began, finished = out / "study.json", out / "manifest.json"  # which a study writes first and last
    stale = began.is_file() and not _of(folder / "cohort", began)
    if stale or (finished.is_file() and not _usable(out / "bundle", folder / "store")):
        notify.note("the bundle of the demonstration was made by another version of kras: it is made again")
        shutil.rmtree(out)
    if not finished.is_file():
        settings.write_text(_TOML, encoding="utf-8", newline="\n")
        loaded = StudySettings.load(settings, cache=folder / "store")
        study.train(settings=loaded, out=out, notify=notify, command=("kras", "serve", "--demo"))
    return Demo(
        folder=folder,
        bundle=out / "bundle",
        slides={
            patient.patient_id: tuple(slide.path for slide in patient.slides if slide.path is not None)
            for patient in read_cohort(arriving).patients
        },
    )


def _of(cohort: Path, began: Path) -> bool:
    """Whether a study began after its cohort was drawn, of which a call that draws nothing leaves the record."""
    return (cohort / "drawn.json").stat().st_mtime <= began.stat().st_mtime


def _usable(bundle: Path, store: Path) -> bool:
    with opened(StudySettings().having(cache=store)) as session:
        try:
            require_usable(session, [bundle])
        except (ConfigError, StoreError, UsageError):
            return False
    return True


def submitted(demo: Demo, arrivals: Arrivals) -> None:
    """Queue the ten patients; those that the service already has stay as they are."""
    for patient, slides in demo.slides.items():
        arrivals.take(slides, "demonstration", patient_id=patient)
