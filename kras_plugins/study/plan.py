"""What a training would compute and what is already stored, slide by slide, without reading a tile."""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kras_plugins.cores import cores
from kras_plugins.data import split_extractor
from kras_plugins.study.notify import SILENT, Notify
from kras_plugins.study.settings import StudySettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kras_plugins.data import SlideRef
    from kras_plugins.host.parts import Parts
    from kras_plugins.slides.slide import Slide
    from kras_plugins.study.prepare import Prepared
    from kras_plugins.study.rates import Rate
    from kras_plugins.study.session import Session

STORED, COMPUTE, READ = "stored", "compute", "read from file"
_WORKER_BYTES = 250e6
"""The memory of a worker process for decoding."""


@dataclass(frozen=True, kw_only=True)
class SlidePlan:
    """One slide: for tile features and semantic map `stored`, `compute` or `read from file`, "" if not needed.

    Of several extractors, the one with most to do counts for all. `mm2`: area of its tissue if known, else of the whole
    slide as an upper bound; None if no pixels are read. `tiles`: those to compute, by kind. `error`: why the slide
    would be set aside.
    """

    slide_id: str
    bag: str = ""
    map: str = ""
    mm2: float | None = None
    bounded: bool = False
    tiles: tuple[tuple[str, int], ...] = ()
    error: str = ""

    @property
    def computes(self) -> bool:
        """Whether anything must be computed for it."""
        return COMPUTE in (self.bag, self.map)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The work ahead: seconds, bytes of memory and of disk for the slides, None if no rate is known.

    `rates`: the sources of rates, by plug-in. `fits`: outer fits of models, each with its inner ones, including those
    with permuted labels; `notes`: obstacles, such as missing weights.
    """

    settings: StudySettings
    slides: tuple[SlidePlan, ...]
    fits: int
    seconds: float | None
    memory: float | None
    disk: float | None
    rates: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


def plan(
    cohort: Path | str | None = None,
    settings: StudySettings | None = None,
    *,
    shard: str | None = None,
    notify: Notify = SILENT,
) -> Plan:
    """Estimate what `train` would compute and how much time, memory and disk this takes, from rates of this machine.

    If a slide's tissue is not known yet, its whole area is the upper bound. Rates are those of earlier slides with the
    same plug-in and options in this store, else those that we recorded on another machine.

    Parameters:
        cohort, settings, notify: as for `train`.
        shard: `I/N` for every N-th slide beginning with the I-th; models are then fitted by another call.

    Returns:
        One row per slide, and the sums.

    Raises:
        ConfigError: the settings or the cohort cannot make a study. Missing weights are only a note.

    Example:
        >>> from kras_plugins import study
        >>> settings = study.StudySettings(classifiers=("rf",), folds=2).with_tables(["features.csv"])
        >>> study.plan("cohort.csv", settings).fits
        2
    """
    from kras_plugins.processing.execution import shard as choose_shard
    from kras_plugins.study.prepare import find_cohort, prepare
    from kras_plugins.study.session import opened

    with opened(settings or StudySettings(), notify) as session:
        prepared = prepare(session, find_cohort(session.settings.cohort if cohort is None else Path(cohort)), None)
        slides = prepared.slides if shard is None else choose_shard(prepared.slides, shard)
        with ExitStack() as stack:
            parts, notes = _parts(session, prepared, stack)
            rows = [_row(ref, session, prepared, parts) for ref in slides]
        rates = _rates(session, prepared)
        own = prepared.settings
        rounds = 1 + (own.permutations if own.verdict == "permutation" else 0)
        fits = 0 if shard else own.folds * own.repeats * (len(prepared.members) * rounds + len(prepared.baselines))
        return _summed(prepared, rows, fits, rates, notes)


def _parts(session: Session, prepared: Prepared, stack: ExitStack) -> tuple[Parts | None, tuple[str, ...]]:
    """The parts, which name what they make in the store; None without their weights: then all must be computed."""
    from kras_plugins.errors import BackendError
    from kras_plugins.study.prepare import parts_of

    try:
        return stack.enter_context(parts_of(session, prepared)), ()
    except BackendError as e:
        return None, (str(e),)


def _row(ref: SlideRef, session: Session, prepared: Prepared, parts: Parts | None) -> SlidePlan:
    from kras_plugins.errors import KrasError
    from kras_plugins.host.parts import usable_readers
    from kras_plugins.processing.pipeline import key_of_part, key_of_tissue
    from kras_plugins.slides.slide import open_slide
    from kras_plugins.study.prepare import made_elsewhere

    states = {
        key: READ if made_elsewhere(session.registry, [(split_extractor(key)[0], name)]) else COMPUTE
        for key, name in prepared.chosen.items()
    }
    if COMPUTE not in states.values():
        return SlidePlan(slide_id=ref.slide_id, bag=_bags(states), map=states.get("profiler", ""))
    reader = session.settings.reader
    readers = parts.readers if parts is not None else tuple(usable_readers(session.registry, session.config, reader))
    try:
        with open_slide(ref, readers, reader) as slide:
            tissue = key_of_tissue(slide)
            for key, part in ({} if parts is None else parts.named()).items():
                made = "map" if key == "profiler" else "bag"
                if states[key] == COMPUTE and session.store.has(key_of_part(made, part, tissue)):
                    states[key] = STORED
            found = session.store.find(tissue)
            share = _tissue_share(found / "tissue.h5") if found is not None else 1.0
            mm2 = math.prod(slide.size) * math.prod(slide.mpp) / 1e6
            tiles = tuple(
                (key, math.ceil(mm2 * share / _tile_mm2(session, key, prepared, slide)))
                for key, state in states.items()
                if state == COMPUTE
            )
    except KrasError as e:
        return SlidePlan(slide_id=ref.slide_id, error=session.names.hide(str(e)))
    return SlidePlan(
        slide_id=ref.slide_id,
        bag=_bags(states),
        map=states.get("profiler", ""),
        mm2=mm2 * share,
        bounded=found is None,
        tiles=tiles,
    )


def _bags(states: Mapping[str, str]) -> str:
    found = [state for key, state in states.items() if key != "profiler"]
    return next((state for state in (COMPUTE, STORED, READ) if state in found), "")


def _tissue_share(file: Path) -> float:
    import h5py

    with h5py.File(file, "r") as f:
        return float(f["mask"][:].mean())


def _tile_mm2(session: Session, key: str, prepared: Prepared, slide: Slide) -> float:
    """Area of one tile as it would be cut from this slide."""
    from kras_plugins.contracts.extractor import ExtractorPlugin
    from kras_plugins.contracts.profiler import ProfilerPlugin
    from kras_plugins.host.isolation import ask

    kind = split_extractor(key)[0]
    provided = session.registry.find(kind, prepared.chosen[key])
    record = provided.record
    assert isinstance(record, ExtractorPlugin | ProfilerPlugin) and record.tile is not None
    spec = ask(provided.id, record.tile, session.config.options_for(kind, record))
    return (spec.px * slide.actual_mpp(spec.mpp) / 1000) ** 2


def _rates(session: Session, prepared: Prepared) -> dict[str, Rate | None]:
    from kras_plugins.study.rates import rate_of

    found = {}
    for key, name in prepared.chosen.items():
        kind = split_extractor(key)[0]
        provided = session.registry.find(kind, name)
        options = session.config.options_for(kind, provided.record)
        found[key] = rate_of(session.store, kind, provided, options)
    return found


def _summed(
    prepared: Prepared, rows: list[SlidePlan], fits: int, rates: dict[str, Rate | None], notes: tuple[str, ...]
) -> Plan:
    todo: dict[str, int] = {}
    for row in rows:
        for kind, count in row.tiles:
            todo[kind] = todo.get(kind, 0) + count
    needed = {kind: rates.get(kind) for kind, count in todo.items() if count}
    known = {kind: rate for kind, rate in needed.items() if rate is not None}
    complete = len(known) == len(needed)
    workers = (prepared.settings.workers or cores()) if "profiler" in needed else 0
    return Plan(
        settings=prepared.settings,
        slides=tuple(rows),
        fits=fits,
        seconds=sum(todo[kind] / rate.tiles_per_s for kind, rate in known.items()) if complete else None,
        memory=max((r.peak_bytes for r in known.values()), default=0.0) + workers * _WORKER_BYTES if complete else None,
        disk=sum(todo[kind] * rate.bytes_per_tile for kind, rate in known.items()) if complete else None,
        rates=tuple(
            (f"{split_extractor(k)[0]} {prepared.chosen[k]}", r.source if r else "no rate known yet")
            for k, r in needed.items()
        ),
        notes=notes,
    )
