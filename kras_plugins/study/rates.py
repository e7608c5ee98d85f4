"""How fast this machine was: measured while slides are processed, kept in the store, reported by a dry run."""

from __future__ import annotations

import hashlib
import json
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kras_plugins.cores import cores
from kras_plugins.data import of_extractor, split_extractor
from kras_plugins.files.atomic import write_atomic

if TYPE_CHECKING:
    from kras_plugins.contracts.base import Options
    from kras_plugins.host.manager import Provided
    from kras_plugins.processing.pipeline import SlideResult
    from kras_plugins.store import Store
    from kras_plugins.study.notify import Notify

RATES = "rates.json"
STAGES = {"extractor": "embed", "profiler": "profile"}
"""Kind of plug-in -> the stage under which its tiles are reported."""


@dataclass(frozen=True, kw_only=True)
class Rate:
    """Tiles per second of one plug-in while nothing else ran, bytes stored per tile, peak memory of the process.

    `source`: where it was measured.
    """

    tiles_per_s: float
    bytes_per_tile: float
    peak_bytes: float
    source: str


LEAST_TILES, LEAST_SECONDS = 200, 2.0
"""Fewer tiles or a shorter time do not make a measurement."""

_CORE = "recorded on a core of an AMD EPYC with AVX-512 bf16, another machine"
RECORDED: Mapping[str, Rate] = {
    "extractor:vit lunit-s16": Rate(tiles_per_s=41.0, bytes_per_tile=1_550, peak_bytes=0.9e9, source=_CORE),
    "extractor:vit vit-mini": Rate(tiles_per_s=150.0, bytes_per_tile=780, peak_bytes=0.7e9, source=_CORE),
    "profiler:cells": Rate(tiles_per_s=26.0, bytes_per_tile=28_000, peak_bytes=1.0e9, source=_CORE),
}
"""Rates of one core for machines that have none of their own yet; from the benchmarks (`make bench`)."""


class Stopwatch:
    """A Notify that passes everything on and times the tiles of each stage of each slide."""

    def __init__(self, told: Notify) -> None:
        self._told = told
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._spans: dict[tuple[str, str], tuple[float, float, int]] = {}
        self.begin, self.finished = told.begin, told.finished
        self.step, self.note, self.warn = told.step, told.note, told.warn

    def tiles(self, slide_id: str, stage: str, done: int, total: int) -> None:
        """Record when the first and the last tiles came."""
        now = time.monotonic()
        with self._lock:
            first, _, _ = self._spans.get((slide_id, stage), (now, now, 0))
            self._spans[slide_id, stage] = (first, now, done)
        self._told.tiles(slide_id, stage, done, total)

    def computed(self, stage: str) -> dict[str, int]:
        """Tiles of each slide for which this stage was computed here, not taken from the store."""
        return {slide: done for (slide, of), (_, _, done) in self._spans.items() if of == stage}

    def seconds(self, stage: str) -> float:
        """The share of the time since the beginning that this stage took: stages and slides overlap."""
        spans = {key: last - first for key, (first, last, _) in self._spans.items()}
        total = sum(spans.values())
        mine = sum(span for (_, of), span in spans.items() if of == stage)
        return (time.monotonic() - self._began) * mine / total if total else 0.0


def record(
    store: Store, key: str, provided: Provided, options: Options, watch: Stopwatch, results: Iterable[SlideResult]
) -> None:
    """Record the rate of what was just computed; nothing if it was too little to measure.

    `key`: `extractor` (`extractor@vit` of several) or `profiler`.
    """
    kind, extractor = split_extractor(key)
    stage = of_extractor(STAGES[kind], extractor)
    tiles, seconds = watch.computed(stage), watch.seconds(stage)
    if sum(tiles.values()) < LEAST_TILES or seconds <= LEAST_SECONDS:
        return
    here = [r for r in results if r.ref.slide_id in tiles and (r.map_folder is None or r.map_folder.is_dir())]
    size = sum(_bytes(key, r) for r in here)
    rate = Rate(
        tiles_per_s=sum(tiles.values()) / seconds,
        bytes_per_tile=size / max(1, sum(tiles[r.ref.slide_id] for r in here)),
        peak_bytes=_peak_bytes(),
        source=f"measured here, {sum(tiles.values())} tiles",
    )
    known = _read(store.root / RATES)
    write_atomic(store.root / RATES, json.dumps({**known, _key(provided, options): asdict(rate)}, indent=1))


def rate_of(store: Store, kind: str, provided: Provided, options: Options) -> Rate | None:
    """The rate measured here with this plug-in and these options, else a recorded one, else None."""
    measured = _read(store.root / RATES).get(_key(provided, options))
    if measured is not None:
        return Rate(**measured)
    name = f"{kind}:{provided.record.name}"
    model = getattr(options, "model", "")
    found = RECORDED.get(f"{name} {model}") or (RECORDED.get(name) if not model else None)
    return None if found is None else Rate(**{**asdict(found), "tiles_per_s": found.tiles_per_s * cores()})


def _key(provided: Provided, options: Options) -> str:
    told = json.dumps(options.result_affecting(), sort_keys=True)
    return f"{provided.id} {hashlib.sha256(told.encode()).hexdigest()[:12]}"


def _read(file: Path) -> dict[str, dict[str, Any]]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _bytes(key: str, result: SlideResult) -> int:
    kind, extractor = split_extractor(key)
    if kind == "extractor":
        bag = result.bag_of(extractor)
        return 0 if bag is None else bag.features.nbytes + bag.xy.nbytes
    if result.map_folder is None:
        return 0
    return sum(f.stat().st_size for f in result.map_folder.iterdir() if f.is_file())


def _peak_bytes() -> float:
    """The peak memory of this process so far; 0 if the system does not report it."""
    if sys.platform == "win32":
        return 0.0
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)
