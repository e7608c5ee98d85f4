"""The features of a study's slides alone, all or every N-th, so that several machines can share one training."""

from __future__ import annotations

from pathlib import Path

from kras_plugins.study.notify import SILENT, Notify
from kras_plugins.study.outputs import write_failures
from kras_plugins.study.results import Features
from kras_plugins.study.settings import StudySettings


def features(
    cohort: Path | str | None = None,
    settings: StudySettings | None = None,
    *,
    shard: str | None = None,
    out: Path | str | None = None,
    overwrite: bool = False,
    notify: Notify = SILENT,
) -> Features:
    """Compute what `train` needs from the slides, and nothing more, into the store, where `train` then finds it.

    Parameters:
        cohort, settings, out, overwrite, notify: as for `train`.
        shard: `I/N` for every N-th slide beginning with the I-th; None for all slides.

    Returns:
        How many slides are in the store, and those set aside. The folder lists these in `failures-IofN.csv` for a
        shard, else in `failures.csv`.

    Raises:
        What `train` raises before it learns; ConfigError for a malformed shard.

    Example:
        >>> from kras_plugins import study
        >>> settings = study.StudySettings(classifiers=("rf",), folds=2).with_tables(["features.csv"])
        >>> study.features("cohort.csv", settings, shard="1/4", out="results").slides
        10
    """
    from kras_plugins.processing.execution import shard as choose_shard
    from kras_plugins.study.identity import claim
    from kras_plugins.study.prepare import find_cohort, identity_of, parts_of, prepare
    from kras_plugins.study.session import opened, process

    with opened(settings or StudySettings(), notify) as session:
        prepared = prepare(session, find_cohort(session.settings.cohort if cohort is None else Path(cohort)), out)
        slides = prepared.slides if shard is None else choose_shard(prepared.slides, shard)
        folder = prepared.folder
        claim(folder, identity_of(session, prepared), overwrite=overwrite)
        with parts_of(session, prepared) as parts:
            processed = process(session, slides, parts)
        part = "" if shard is None else f"-{shard.replace('/', 'of')}"
        write_failures(folder / f"failures{part}.csv", processed.aside)
    return Features(folder=folder, slides=len(processed.results), failures=processed.aside)
